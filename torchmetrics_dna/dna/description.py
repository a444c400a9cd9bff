"""Describe DNA files without importing torch, which takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.codec import array_name, check_planes, largest_count
from torchmetrics_dna.dna.paths import check_dna_file
from torchmetrics_dna.files.container import Arrays, content_digest, is_container, read_container
from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.files.download import PREFIX
from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.neurons.index import Neurons

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = ("histogram", "gaussian", "layer-gaussian")


def describe(path: str) -> dict[str, Any]:
    """Check a DNA file of any kind and return a JSON-serializable description of it.

    Args:
        path: File, stem or address that :func:`load_dna` reads.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If the hub or an address can't be read.
        ValueError: If it is not a DNA file, or damaged.

    """
    if not is_address(path) and not path.startswith(PREFIX):
        check_dna_file(path)
        if Path(path).is_file() and is_container(path):
            header, arrays = read_container(path)
            with refusing(path, "a DNA file"):
                if header["dna"]["kind"] in _KINDS:
                    return _described(header["dna"], arrays, header)
    from torchmetrics_dna.dna.load import load_dna

    dna = load_dna(path)
    with refusing(path, "a DNA file"):
        return _described(*dna._encode_all())


def _described(dna: Mapping[str, Any], arrays: Arrays, remarks: Mapping[str, Any]) -> dict[str, Any]:
    """Build the description from the encoded parts of a file."""
    unfolded = {name: array for name, array in arrays.items() if not name.startswith("folds/")}
    neurons = Neurons.from_list(dna["layers"])
    description = {
        "kind": dna["kind"],
        "digest": content_digest({key: value for key, value in dna.items() if key != "folds"}, unfolded),
        "extractor": dna["extractor"],
        "weights_digest": dna["weights"],
        "preparation": dna["preparation"],
        "num_images": dna["num_images"],
        "num_folds": len(dna.get("folds", [])),
        "num_neurons": neurons.total,
    }
    layers = {layer: {"neurons": width} for layer, width in neurons.items()}
    if dna["kind"] == "histogram":
        ranges = dna["ranges"]
        description["num_bins"] = dna["num_bins"]
        description["ranges"] = ranges and {
            "name": remarks.get("ranges_name"),
            "digest": ranges["digest"],
            "margin": ranges["margin"],
        }
        for layer, width in neurons.items():
            planes = arrays[array_name("counts", layer)]
            check_planes(planes, (width, dna["num_bins"]), dna["num_values"][layer])
            layers[layer] |= {"values": dna["num_values"][layer], "largest count": largest_count(planes)}
    if dna["kind"] == "gaussian":
        description["statistics"] = dna["statistics"]
    return {**description, "notes": remarks.get("notes", ""), "layers": layers}
