"""Commands that make, describe and convert files of DNAs and activation ranges, or list the extractors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

import torchmetrics_dna.cli.options as o
from torchmetrics_dna.cli.console import (
    PROCESSES,
    check_output,
    check_sources,
    interrupted,
    listing,
    print_unreadable,
    rich_table,
    talk,
)
from torchmetrics_dna.cli.output import FormatOption, ResultFile, format_for, write
from torchmetrics_dna.files.tables import Table
from torchmetrics_dna.files.visible import images_in_words, in_words
from torchmetrics_dna.options import names_in
from torchmetrics_dna.reporting.document import Document

if TYPE_CHECKING:
    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.extractors.presets import Preset
    from torchmetrics_dna.neurons.ranges import ActivationRanges

# Margin rules: how the bounds of histograms follow from activation ranges.
Rule = StrEnum("Rule", ["widen", "scale"])
_SOURCES = f"Sets of images. Files of earlier ranges (.json) are merged with the result. {o.FORMATS}"
_FILE = f"DNA file. {o.FORMATS}"
File = Annotated[str, typer.Argument(metavar="FILE", help=_FILE)]
Files = Annotated[list[str], typer.Argument(metavar="FILES", help="DNA files of the same kind and network.")]
Converted = Annotated[
    Path,
    typer.Argument(
        metavar="OUTPUT",
        help="File to write. If FILE is of vdna, this is a DNA file (.npz). Otherwise, this is a file of FID statistics"
        " (.npz), or the path of the two files of vdna without their endings .json and .npz.",
    ),
]
Kinds = Annotated[
    str, o.option("Kinds of DNA, separated by commas: histogram, gaussian, layer-gaussian. One pass makes all of them.")
]
KeptFolds = Annotated[
    int, o.option("Number of folds of images to keep, which tests and intervals need later, such as 20. 0 keeps none.")
]
AttachedRanges = Annotated[str | None, o.option("File of activation ranges for a file of vdna, which has none.")]


@o.measures_images("num_bins", "ranges", "crop", "fps", "on", "groups")
def make(
    images: o.Images,
    output: o.Written,
    kind: Kinds = "histogram",
    num_folds: KeptFolds = 0,
    resume: Annotated[bool, o.option("Resume from the finished parts of an interrupted run.", "--resume")] = False,
    notes: Annotated[str, o.option("Text to store in the file.")] = "",
    **options: Any,
) -> None:
    """Write the DNA of an image set to one file per kind of DNA."""
    check_sources(images)
    check_output(output, ".npz")
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.jobs.make import make_files, output_paths, parts_folder
    from torchmetrics_dna.jobs.processes import rank

    kinds = _checked_kinds(kind)
    if len(kinds) > 1:
        for path in output_paths(output, kinds).values():
            check_output(path, ".npz")
    try:
        with o.showing_progress(options) as options_with_progress:
            arguments = Arguments(num_folds=num_folds or None, **options_with_progress)
            paths, unreadable = make_files(images, output, kinds, arguments, resume=resume, notes=notes)
    except BaseException as err:
        folder = parts_folder(output)
        if interrupted(err) and folder.is_dir():
            talk.print(f"Finished parts are in {folder}. Use --resume to continue from them.", soft_wrap=True)
        raise
    if rank() == 0:
        for path in paths.values():
            # The size of a file at an address is unknown.
            size = f": {path.stat().st_size / 1e6:.3g} MB" if isinstance(path, Path) else ""
            talk.print(f"{path}{size}")
    print_unreadable(unreadable)


def _checked_kinds(text: str) -> list[Any]:
    """Return the kinds of DNA in a text of names that are separated by commas, each once, in order.

    Raises:
        ValueError: If there is no such kind.

    """
    from torchmetrics_dna.dna.distances import Kind

    allowed = get_args(Kind)
    # A dictionary keeps each name once, in order.
    kinds: list[Any] = list(dict.fromkeys(names_in(text)))
    for kind in kinds:
        if kind not in allowed:
            raise ValueError(f"Option --kind expected to be one of {', '.join(allowed)}, but got {kind!r}")
    return kinds


def merge(files: Files, output: o.Written) -> None:
    """Merge the DNAs of several image sets into that of all images."""
    check_output(output, ".npz")
    from torchmetrics_dna.dna.load import merge_files

    merged = merge_files(files)
    merged.save(output)
    talk.print(f"{output}: {merged!r}")


def info(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help=f"{_FILE} Default: the named extractors are listed.")
    ] = None,
    form: FormatOption = None,
    output: ResultFile = None,
) -> None:
    """Check a DNA file and describe it, or list the named extractors."""
    result_format = format_for(form, output)
    if file is not None:
        write(_description(file), result_format, output)
        return
    write(_extractors(), result_format, output)
    talk.print(
        "✓ marks files on this machine. Other files are downloaded on first use. --feature also accepts the name of"
        " any timm model."
    )


def convert(file: File, output: Converted, ranges: AttachedRanges = None) -> None:
    """Convert a DNA file to or from the format of vdna.

    vdna is the reference implementation of Visual DNA. A file of kind layer-gaussian can also be converted to an .npz
    of FID statistics.
    """
    from torchmetrics_dna.dna import HistogramDNA
    from torchmetrics_dna.dna.load import load_dna
    from torchmetrics_dna.dna.vdna import load_vdna
    from torchmetrics_dna.dna.vdna_files import is_vdna_path

    if is_vdna_path(file):
        converted = load_vdna(file, ranges)
        written = _save_own(converted, output)
    else:
        converted = load_dna(file, ranges)
        # Two files of vdna are named by their common stem.
        save = _save_statistics if output.suffix == ".npz" else _save_vdna
        written = save(converted, output)
    talk.print(f"{written}: {converted!r}")
    if isinstance(converted, HistogramDNA) and converted.ranges is None:
        talk.print("Its activation ranges are unknown. Use --ranges to attach them.")


def _save_own(loaded: DNA | ActivationRanges, output: Path) -> str:
    """Save what a file of vdna holds, a DNA or activation ranges, in the format of this package.

    Returns:
        The name of the file.

    """
    from torchmetrics_dna.dna import DNA

    check_output(output, ".npz" if isinstance(loaded, DNA) else ".json")
    loaded.save(output)
    return str(output)


def _save_statistics(dna: DNA, output: Path) -> str:
    """Save a DNA as statistics of FID.

    Returns:
        The name of the file that was written.

    Raises:
        ValueError: If the DNA is not of kind layer-gaussian.

    """
    from torchmetrics_dna.dna import LayerGaussianDNA
    from torchmetrics_dna.dna.fid_statistics import save_fid_statistics

    if not isinstance(dna, LayerGaussianDNA):
        raise ValueError(f"Statistics of FID are of kind 'layer-gaussian', but FILE is of kind {dna.kind!r}")
    check_output(output, ".npz")
    save_fid_statistics(dna, output)
    return str(output)


def _save_vdna(dna: DNA, output: Path) -> str:
    """Save a DNA as the two files of vdna, whose common stem is ``output``.

    Returns:
        The names of both files.

    """
    from torchmetrics_dna.dna.vdna import save_vdna

    for suffix in (".json", ".npz"):
        check_output(output.with_name(output.name + suffix), suffix)
    save_vdna(dna, output)
    return f"{output}.json and {output}.npz"


@o.measures_images("crop")
def ranges(
    sources: Annotated[list[str], typer.Argument(metavar="IMAGES", help=_SOURCES)],
    output: o.Written,
    margin: Annotated[
        Rule, o.option("Rule for the bounds of histograms. scale is the rule of the reference implementation.")
    ] = Rule.widen,
    **options: Any,
) -> None:
    """Measure activation ranges of image sets and write them to a file."""
    check_sources(*sources)
    check_output(output, ".json")
    from torchmetrics_dna.images.noun import noun_of
    from torchmetrics_dna.images.paths import writing
    from torchmetrics_dna.jobs.make import measure_ranges
    from torchmetrics_dna.jobs.processes import rank
    from torchmetrics_dna.neurons.ranges import ActivationRanges

    inputs: list[Any] = []
    for name in sources:
        is_file_of_ranges = name.endswith(".json")
        inputs.append(ActivationRanges.load(name) if is_file_of_ranges else name)
    options["margin"] = margin.value
    with o.showing_progress(options) as options_with_progress:
        measured = measure_ranges(inputs, distributed=PROCESSES > 1, **options_with_progress)
    if rank() == 0:
        with writing(output) as path:
            measured.ranges.save(path)
    talk.print(f"{output}: {measured.ranges!r}, {images_in_words(measured.num_images, noun_of(options['feature']))}")
    print_unreadable(measured.unreadable)


def _description(file: str) -> Document:
    """Check a DNA file, and return a table of its properties and a table of its layers."""
    from torchmetrics_dna.dna.load import describe
    from torchmetrics_dna.images.noun import noun_of

    description = describe(file)
    records = [{"layer": layer, **values} for layer, values in description["layers"].items()]
    layers = Table(list(records[0]), [[*record.values()] for record in records], "Layers")
    noun = noun_of(description.get("extractor"))
    properties: list[list[str]] = []
    for key, value in description.items():
        # The layers have a table of their own.
        if key != "layers":
            name = f"num {noun}s" if key == "num_images" else key.replace("_", " ")
            properties.append([name, in_words(value)])
    text = [listing(properties), "", rich_table(layers.header, layers.rows, layers.title)]
    tables = [Table(["property", "value"], properties), layers]
    return Document(lambda: description, lambda: records, [], tables, text)


def _extractors() -> Document:
    """Return a table of the named extractors, which marks the weights and ranges that are on this machine."""
    from torchmetrics_dna.extractors import PRESETS
    from torchmetrics_dna.extractors.weights import is_here

    descriptions: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for preset in PRESETS.values():
        ranges = "packaged" if isinstance(preset.ranges, Path) else preset.ranges
        has_weights = is_here(preset.weights)
        has_ranges = ranges is not None and is_here(ranges)
        on_this_machine = {"weights_here": has_weights, "ranges_here": has_ranges}
        descriptions.append(_described(preset, ranges) | on_this_machine)
        weights_in_table = _place_with_mark(preset.weights, has_weights)
        ranges_in_table = _place_with_mark(ranges, has_ranges)
        records.append(_record_of(preset, weights_in_table, ranges_in_table))
    table = Table(list(records[0]), [[*record.values()] for record in records], "Extractors")
    # The table fits into 80 columns only if it is compact.
    text = [rich_table(table.header, table.rows, table.title, compact=True)]
    return Document(lambda: descriptions, lambda: records, [], [table], text)


def _record_of(preset: Preset, weights: str, ranges: str) -> dict[str, Any]:
    """Return the row of a named extractor in the table, with short texts for its weights and ranges."""
    return {
        "extractor": preset.name,
        "layers": len(preset.neurons),
        "neurons": sum(preset.neurons.values()),
        "input": preset.input_size[0] if preset.input_size else None,
        "weights": weights,
        "ranges": ranges,
        "licence": preset.licence,
    }


def _described(preset: Preset, ranges: str | None) -> dict[str, Any]:
    """Return the description of a named extractor in json types; ``ranges`` is the source of its ranges."""
    return {
        "name": preset.name,
        "layers": dict(preset.neurons),
        "input_size": preset.input_size,
        "resize": preset.resize,
        "mean": preset.mean,
        "std": preset.std,
        "weights": preset.weights,
        "licence": preset.licence,
        "ranges": ranges,
    }


def _place_with_mark(source: str | None, is_on_this_machine: bool) -> str:
    """Abbreviate the source of a file, and add a mark if the file need not be downloaded."""
    if is_on_this_machine:
        return f"{_place(source)} ✓"
    return _place(source)


def _place(source: str | None) -> str:
    """Abbreviate the source of a file.

    Returns:
        The owner of a repository on the Hugging Face Hub, or the domain of an address. "packaged" for a file of this
        package, and a dash for None.

    """
    if source is None:
        return "-"
    if source.startswith("hub:"):
        return source.removeprefix("hub:").split("/")[0]
    if "://" not in source:
        return "packaged"
    host = source.split("/")[2]
    last_labels = host.split(".")[-2:]
    return ".".join(last_labels)
