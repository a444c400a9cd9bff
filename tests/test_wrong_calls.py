"""What is said of wrong calls of Python: one line with what was got, what was expected, and what to do."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import Pixels

import torchmetrics_dna as dna
from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    ActivationRanges,
    Checkpoints,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    NeuronWeights,
    compare,
    make_dna,
    monitor,
    rank,
    report,
)
from torchmetrics_dna.comparisons import matrix
from torchmetrics_dna.metrics import CMMD, MIND, PRDC
from torchmetrics_dna.options import Public
from torchmetrics_dna.plots import plot_curve, plot_histograms
from torchmetrics_dna.reporting import write

EXTRACTOR = DNAExtractor(Pixels(), layers=["mean", "contrast"])
REAL = torch.randint(0, 200, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
FAKE = 255 - REAL


def updated(metric: Any, *side: bool) -> Any:
    metric.update(REAL, *side)
    return metric


SETTINGS: dict[str, Any] = {"causes": False, "num_folds": None}
CALLS: dict[str, tuple[Any, type[Exception], str]] = {
    "compute_fid": (lambda: dna.compute_fid, AttributeError, "compare(a, b, metrics=['fid', 'kid']) gives distances"),
    "compere": (lambda: dna.compere, AttributeError, "did you mean 'compare'?"),
    "nothing": (lambda: dna.xyzzy, AttributeError, "it has ActivationRange, "),
    "worst": (
        lambda: rank(FAKE, REAL, EXTRACTOR).worst,
        AttributeError,
        "'Ranking' has no attribute 'worst'; use `rows(worst=5)`",
    ),
    "fid": (lambda: compare(REAL, FAKE, EXTRACTOR, **SETTINGS).xyzzy, AttributeError, "it has "),
    "value": (lambda: compare(REAL, FAKE, EXTRACTOR, **SETTINGS).value, AttributeError, 'use `["dna-emd"].value`'),
    "feature_extractor": (lambda: DNAEMD(feature_extractor=EXTRACTOR), ValueError, "did you mean `feature=...`?"),
    "one set": (lambda: compare(REAL), TypeError, "missing a required argument: 'b'; it takes a, b, feature, and all"),
    "too many": (
        lambda: compare(REAL, FAKE, EXTRACTOR, "fid"),
        TypeError,
        "too many positional arguments; it takes a, b,",
    ),
    "update": (
        lambda: DNAEMD(EXTRACTOR).update(REAL),
        TypeError,
        "DNAEMD.update(): missing a required argument: 'real'",
    ),
    "to_dna": (lambda: DNAEMD(EXTRACTOR).to_dna(), TypeError, "missing a required argument: 'real'; it takes real"),
    "real=None": (
        lambda: DNAEMD(EXTRACTOR).update(REAL, None),
        ValueError,
        "`real` expected to be a bool, but got None",
    ),
    "real=1": (lambda: DNAEMD(EXTRACTOR).update(REAL, 1), ValueError, "`real` expected to be a bool, but got 1"),
    "path": (lambda: DNAEMD(EXTRACTOR).update("real", True), TypeError, "paths go to `compare`, `rank` and `make_dna`"),
    "int64": (lambda: DNAEMD(EXTRACTOR).update(REAL.long(), True), ValueError, "0 to 255, give `imgs.to(torch.uint8)`"),
    "float": (lambda: DNAEMD(EXTRACTOR).update(REAL.float(), True), ValueError, "in [0, 1] set `normalize=True`"),
    "kind of DNA": (
        lambda: DNAFrechet(EXTRACTOR, reference=make_dna(REAL, EXTRACTOR)),
        TypeError,
        "make_dna(images, kind='gaussian')",
    ),
    "order": (
        lambda: DNAEMD(EXTRACTOR, "sum"),
        ValueError,
        "but got 'sum'; the order is feature, reset_real_features, no",
    ),
    "reversed": (
        lambda: Checkpoints("run", REAL),
        ValueError,
        "of shape (12, 3, 16, 16); the order is reference, folder,",
    ),
    "literal": (
        lambda: monitor(REAL, FAKE, EXTRACTOR, order="time"),
        ValueError,
        "one of 'random', 'source', but got 't",
    ),
    "score": (
        lambda: rank(FAKE, REAL, EXTRACTOR, score="fid"),
        ValueError,
        "`score` expected to be one of 'outlier', ",
    ),
    "kind": (
        lambda: make_dna(REAL, EXTRACTOR, kind="hist"),
        ValueError,
        "'gaussian', 'layer-gaussian', but got 'hist'",
    ),
    "margin": (
        lambda: ActivationRange(EXTRACTOR, margin=0.2),
        ValueError,
        "`margin` expected to be one of 'scale', 'wid",
    ),
    "metric": (
        lambda: compare(REAL, FAKE, EXTRACTOR, metrics=[DNAEMD(EXTRACTOR)]),
        TypeError,
        "expected to be names, as",
    ),
    "class": (lambda: compare(REAL, FAKE, EXTRACTOR, metrics=DNAEMD), ValueError, "to be a list of names or None, but"),
    "report": (
        lambda: report(REAL, FAKE, EXTRACTOR),
        ValueError,
        "`output` expected to be a path, but got DNAExtractor",
    ),
    "matrix": (
        lambda: matrix("real", "fake"),
        ValueError,
        "expected to be a dict or a list, but got 'real'; the order is",
    ),
    "extractor": (lambda: DNAExtractor(EXTRACTOR), TypeError, "is a DNAExtractor already; give it as it is"),
    "nearest": (lambda: rank(REAL, FAKE, EXTRACTOR, nearest=5), TypeError, "or function that gives them, but got int"),
    "folder": (lambda: compare(".", ".", "."), ValueError, "several sets go into a dict"),
    "save": (
        lambda: make_dna(REAL, EXTRACTOR).save("x.html"),
        ValueError,
        "`torchmetrics_dna.reporting.write` writes pages",
    ),
    "ranges": (
        lambda: ActivationRanges.load("none.json"),
        FileNotFoundError,
        "no file 'none.json'; expected activation ranges",
    ),
    "add": (
        lambda: Checkpoints.add(None, "fake"),
        ValueError,
        "`step` expected to be an integer, but got 'fake'; the order is step, images",
    ),
    "another home": (lambda: dna.matrix, AttributeError, "it is `torchmetrics_dna.comparisons.matrix`"),
    "difference": (
        lambda: make_dna(REAL, EXTRACTOR) - make_dna(FAKE, EXTRACTOR),
        TypeError,
        "'HistogramDNA' takes no `-`; use `compare(a, b)`",
    ),
    "index": (lambda: make_dna(REAL, EXTRACTOR)["mean"], TypeError, "use `select(layers=[...])`"),
    "smaller": (
        lambda: compare(REAL, FAKE, EXTRACTOR, **SETTINGS)["dna-emd"] < 3,
        TypeError,
        "'Result' takes no `<`; use `value`",
    ),
    "mean": (lambda: make_dna(REAL, EXTRACTOR).mean, AttributeError, "use `make_dna(images, kind='gaussian')`"),
    "extract": (lambda: EXTRACTOR.extract, AttributeError, "use `extractor(images)`"),
    "score of a metric": (lambda: DNAEMD(EXTRACTOR).score, AttributeError, "did you mean `compute`?"),
    "nothing of a metric": (lambda: DNAEMD(EXTRACTOR).xyzzy, AttributeError, "it has "),
    "size": (lambda: make_dna(REAL, EXTRACTOR).size, AttributeError, "did you mean `num_images`?"),
    "weights": (
        lambda: NeuronWeights(torch.ones(6), EXTRACTOR),
        TypeError,
        "`neurons` expected to be a Neurons, but got DNAExtractor('Pixels', Neurons(6 in 2 layers: mean 3, contrast "
        "3)); give its `neurons`",
    ),
    "a metric, no DNA": (
        lambda: DNAEMD(EXTRACTOR, reference=DNAEMD(EXTRACTOR)),
        TypeError,
        "expected to be a HistogramDNA, a path or None, but got a DNAEMD; `make_dna`, or the command make, gives one",
    ),
    "layer": (
        lambda: compare(REAL, FAKE, EXTRACTOR, **SETTINGS)["dna-emd"].layers["head"],
        KeyError,
        "There is no 'head' here; there are mean, contrast",
    ),
    "a name of others": (lambda: dna.FrechetInceptionDistance, AttributeError, "did you mean 'published_metrics'?"),
    "a metric of none": (
        lambda: dna.metrics.DNAKID,
        AttributeError,
        "torchmetrics_dna.metrics attribute DNAKID; it has",
    ),
    "here, not there": (lambda: dna.singles.make_dna, AttributeError, "it is `torchmetrics_dna.make_dna`"),
    "weights of neurons": (
        lambda: DNAEMD(EXTRACTOR, weights=torch.ones(6)),
        ValueError,
        "did you mean `neuron_weights=...`?",
    ),
    "neighbours": (lambda: PRDC(EXTRACTOR, k=3), ValueError, "did you mean `nearest_k=...`?"),
    "fake": (
        lambda: DNAEMD(EXTRACTOR).update(REAL, real=True, fake=False),
        TypeError,
        "got an unexpected keyword argument 'fake'; it takes imgs, real, groups",
    ),
    "a dict of metrics": (
        lambda: compare(REAL, FAKE, EXTRACTOR, metrics={"dna-emd": 1.0}),
        ValueError,
        "to be a list of names or None, but got {'dna-emd': 1.0}",
    ),
    "a list of batches": (lambda: DNAEMD(EXTRACTOR).update([REAL], True), TypeError, "give `torch.cat(imgs)`"),
    "a list of numbers": (lambda: EXTRACTOR(REAL.tolist()), TypeError, "but got list; give `torch.tensor(imgs)`"),
    "a channel": (lambda: EXTRACTOR(REAL[0, 0]), ValueError, "give a grey image as `imgs.expand(1, 3, -1, -1)`"),
    "a figure": (
        lambda: rank(FAKE, REAL, EXTRACTOR).plot("sheet.png"),
        ValueError,
        "but got 'sheet.png'; the figure that it returns has `savefig`",
    ),
    "rounded": (
        lambda: round(compare(REAL, FAKE, EXTRACTOR, **SETTINGS)["dna-emd"], 2),
        TypeError,
        "'Result' takes no `round()`; use `value`",
    ),
    "properties": (
        lambda: DNAExtractor(Pixels(), layers=["mean", "properties"], properties=False),
        ValueError,
        "`properties` is False, but `layers` has 'properties'; leave one out",
    ),
    "set": (
        lambda: compare(REAL, {"x": FAKE, "y": REAL}, EXTRACTOR, **SETTINGS)["z"],
        KeyError,
        "There is no 'z' here; there are x, y",
    ),
    "swapped": (
        lambda: write(compare(REAL, FAKE, EXTRACTOR, **SETTINGS), "x.html"),
        ValueError,
        "the order is output, result, gallery",
    ),
    "no arguments": (
        lambda: DNAEMD(EXTRACTOR).to_dna(True, 3),
        TypeError,
        "too many positional arguments; it takes real",
    ),
    "one side": (
        lambda: DNARealism.update(None, REAL, real=True),
        TypeError,
        "'real'; `compare` takes the reference first, and only",
    ),
    "mean of 255": (
        lambda: DNAExtractor(Pixels(), layers=["mean"], mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
        ValueError,
        "in [0, 1], but got (123.7, 116.3, 103.5); divide `mean` and `std` by 255",
    ),
    "save of an extractor": (lambda: EXTRACTOR.save, AttributeError, "use `network.state_dict()`"),
    "of the constructor": (
        lambda: EXTRACTOR(REAL, layers=["mean"]),
        TypeError,
        "keyword argument 'layers'; DNAExtractor takes it",
    ),
    "layer by number": (lambda: EXTRACTOR.neurons[0], KeyError, "There is no 0 here; there are mean, contrast"),
    "p of evidence": (
        lambda: compare(REAL, FAKE, EXTRACTOR, causes=False)["dna-emd"].evidence.p_value,
        AttributeError,
        "use `test.p_value`",
    ),
    "member": (
        lambda: dna.SharedCollection(DNAEMD(EXTRACTOR)).explain,
        AttributeError,
        """use `collection["DNAEMD"]`""",
    ),
    "name of a member": (
        lambda: dna.SharedCollection(DNAEMD(EXTRACTOR))["dna-emd"],
        KeyError,
        "There is no 'dna-emd' here; there are DNAEMD",
    ),
    "as documented": (
        lambda: compare(REAL, FAKE, EXTRACTOR, held_out=0.2),
        ValueError,
        "got 0.2; held_out: Name of the set in `b` that holds real images",
    ),
    "as documented of all": (
        lambda: compare(REAL, FAKE, EXTRACTOR, num_folds="ten"),
        ValueError,
        "got 'ten'; num_folds: Number of folds of images, for",
    ),
    "no text": (
        lambda: rank(FAKE, REAL, EXTRACTOR).maps("image 0"),
        ValueError,
        "`places` expected to be a list, but got 'image 0'; places: ",
    ),
    "a loader": (
        lambda: compare(iter(REAL), FAKE, EXTRACTOR, pairs=True),
        ValueError,
        "such as a DataLoader; give its dataset",
    ),
    "a function": (
        lambda: compare(REAL, FAKE, EXTRACTOR, groups=lambda name: name.split("/")[3], num_folds=5),
        ValueError,
        "`groups` fails for 'image 0': IndexError: list index out of range",
    ),
    "an open file": (
        lambda: compare(BytesIO(b"x"), FAKE, EXTRACTOR),
        TypeError,
        "but got an open BytesIO; give its name, or its `read()`",
    ),
    "one distance matrix": (
        lambda: matrix({"a": REAL, "b": FAKE}, EXTRACTOR).best,
        AttributeError,
        "use `compare(reference, sets)`",
    ),
    "of two sets": (
        lambda: plot_curve(compare(REAL, FAKE, EXTRACTOR, **SETTINGS)),
        TypeError,
        "expected to be a Comparisons, but got a Comparison of 2",
    ),
    "no pairs": (
        lambda: plot_histograms(compare(REAL, FAKE, EXTRACTOR, **SETTINGS), neurons=[3, 5]),
        ValueError,
        "expected to be pairs as ('head', 3), but got [3, 5]",
    ),
    "another DNA": (
        lambda: make_dna(REAL, EXTRACTOR).distances("b.dna.npz"),
        TypeError,
        "`other` expected to be a DNA, but got 'b.dna.npz'; `make_dna`",
    ),
    "kernel": (lambda: CMMD(EXTRACTOR, sigma=10), ValueError, "kernels of kid and cmmd are as published"),
    "summary": (
        lambda: updated(DNARealism(EXTRACTOR, reference=make_dna(REAL, EXTRACTOR, kind="layer-gaussian"))).summary()[
            "p"
        ],
        KeyError,
        "There is no 'p' here; there are mean, median",
    ),
    "imported": (
        lambda: exec("from torchmetrics_dna import DNACollection"),
        ImportError,
        "did you mean 'SharedCollection'?",
    ),
    "example": (
        lambda: DNAExtractor(torch.nn.Conv2d(3, 2, 3), inputs="any", example=REAL),
        ValueError,
        "of shape (2, 3, 16, 16) and torch.uint8: ",
    ),
    "activations": (
        lambda: DNAEMD(EXTRACTOR).update(EXTRACTOR(REAL), True),
        TypeError,
        "but got dict; give images, the metric runs the network",
    ),
    "of the metric's constructor": (
        lambda: updated(DNAEMD(EXTRACTOR), True).compute(reduction="layer"),
        TypeError,
        "argument 'reduction'; DNAEMD takes it",
    ),
    "ranges of a metric": (
        lambda: compare(REAL, FAKE, EXTRACTOR, ranges=ActivationRange(EXTRACTOR)),
        TypeError,
        "but got an ActivationRange; `ActivationRange.to_ranges`, or",
    ),
    "save of ranges": (lambda: ActivationRange(EXTRACTOR).save, AttributeError, "use `to_ranges().save("),
    "several names": (
        lambda: dna.published_metrics("dna-emd", "fd"),
        ValueError,
        "is for published metrics, but dna-emd is none; leave it out",
    ),
    "gate": (
        lambda: compare(REAL, FAKE, EXTRACTOR, fail_above=12),
        TypeError,
        "gates are of commands; a result has `value` and `p_value`",
    ),
    "truth": (
        lambda: bool(compare(REAL, FAKE, EXTRACTOR, **SETTINGS)),
        TypeError,
        "'Comparison' takes no `bool()`; use `differs`",
    ),
    "scalars": (
        lambda: compare(REAL, FAKE, EXTRACTOR, **SETTINGS).scalars()["dna_emd"],
        KeyError,
        "There is no 'dna_emd' here; there are dna/dna_emd, ",
    ),
    "a list of others": (
        lambda: make_dna(REAL, EXTRACTOR).merge([make_dna(FAKE, EXTRACTOR)]),
        TypeError,
        "but got a list of 1; give them one by one",
    ),
    "of a class": (
        lambda: NeuronWeights.of_neurons(3, EXTRACTOR.neurons),
        ValueError,
        "but got 3; the order is chosen, neurons, ",
    ),
    "used up": (
        lambda: compare(iter(()), FAKE, EXTRACTOR),
        ValueError,
        "There are no images in 'tuple_iterator of images'; if it is an iterator, it may have been read before",
    ),
    "matrix by names": (
        lambda: matrix({"a": REAL, "b": FAKE}, EXTRACTOR)["a", "b"],
        TypeError,
        """use `distances["dna-emd"]`""",
    ),
    "head of timm": (
        lambda: DNAExtractor("efficientnet_lite0", num_classes=0),
        TypeError,
        "did you mean `layers=...`?",
    ),
    "normalised": (
        lambda: compare([(2 * each / 255 - 1.5) for each in REAL.float()], FAKE, EXTRACTOR),
        ValueError,
        "to 0.0607843; leave out `Normalize`, which is the extractor's",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_told_in_one_line(name: str) -> None:
    call, error, message = CALLS[name]
    with pytest.raises(error) as raised:
        call()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_of_another_kind_is_told_with_what_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.dna.npz"
    make_dna(REAL, EXTRACTOR).save(path)
    with pytest.raises(ValueError, match=r"holds 'histogram', expected 'features', which `to_features` of a metric"):
        MIND(EXTRACTOR, layer="mean", reference=path)


def test_no_other_kind_has_the_name_of_a_public_class() -> None:
    package = Path(dna.__file__).parent
    aliases = [
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"^ *(\w+)(?:: TypeAlias)? = (?:.*\[|\w+ \| )", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert "Feature" in aliases
    assert not {*aliases} & {each.__name__ for each in all_below(Public)}


def all_below(kind: type) -> set[type]:
    return {kind}.union(*map(all_below, kind.__subclasses__()))
