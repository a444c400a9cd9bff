"""Registry of the distances between image sets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.distance import Distance, Kind, Protocol
from torchmetrics_dna.dna.histogram import pairwise_emd
from torchmetrics_dna.dna.unions import emd_unions, frechet_unions, layer_frechet_unions, unions_of_images
from torchmetrics_dna.files.visible import plain_name, unknown_metrics
from torchmetrics_dna.functional.features import NEAREST, SPLITS, cmmd, inception_score, kernel_distance, mind, prdc
from torchmetrics_dna.functional.unions import cmmd_of_unions, kernel_of_unions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.images.cells import Crop


def _of_dnas(a: DNA, b: DNA) -> Tensor:
    return a.distances(b)


def _inception_score(_: Tensor, logits: Tensor) -> tuple[float, float]:  # not a lambda, since metrics are pickled
    return inception_score(logits)


def _prdc_of_adm(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    return prdc(a, b, _NEAREST_OF_ADM)


_PRDC = {
    "precision": "share of B's images that lie among those of A, by the last layer's spatial means",
    "recall": "share of A's images that lie among those of B, likewise",
    "density": "how densely A's images lie where those of B are, likewise",
    "coverage": "share of A's images with one of B near, likewise",
}
_RECORDS = (
    Distance(
        "dna-emd", "dna_emd", "bins", "how far each neuron's histogram of A must be moved to become that of B",
        "neuron", ("histogram",), 1, _of_dnas, emd_unions, 2, pairwise=pairwise_emd,
    ),
    Distance(
        "dna-fd", "dna_frechet", "squared activations", "Fréchet distance of each neuron's spatial means",
        "neuron", ("gaussian", "layer-gaussian"), 2, _of_dnas, frechet_unions,
    ),
    Distance(
        "fd", "fd", "squared activations", "multivariate Fréchet distance of each layer, as FID is of one",
        "layer", ("layer-gaussian",), 2, _of_dnas, layer_frechet_unions, by_image=True,
    ),
    Distance(
        "kid", "kid", "", "kernel distance of the last layer's spatial means",
        "set", (), 2, kernel_distance, partial(unions_of_images, kernel_of_unions), subsets=True,
    ),
    Distance(
        "mind", "mind", "squared activations", "sliced Wasserstein distance of the last layer's spatial means",
        "set", (), 1, mind,
    ),
    Distance(
        "cmmd", "cmmd", "", "maximum mean discrepancy of the directions of the last layer's spatial means",
        "set", (), 1, cmmd, partial(unions_of_images, cmmd_of_unions),
    ),
    *(
        Distance(name, name, "", sentence, "set", (), NEAREST + 1, prdc, higher_is_better=True)
        for name, sentence in _PRDC.items()
    ),
)  # fmt: skip
DISTANCES = {record.name: record for record in _RECORDS}
_DEFAULT = ("dna-emd", "dna-fd")
_NEAREST_OF_ADM = 3
_POOLED, _CLASS_TOKEN = Protocol("inception_fid", "block_3"), "class token of DINOv2 ViT-L/14, resized as in"


def _published(base: str, protocol: Protocol, sentence: str, **fields: Any) -> Distance:
    return replace(DISTANCES[base], protocol=protocol, sentence=sentence, **fields)


_PUBLISHED = (
    _published("fd", _POOLED, "FID: fd of Inception's pooled features", name="fid", key="fid"),
    _published("kid", _POOLED, "KID: kernel distance of Inception's pooled features"),
    Distance(
        "is", "inception_score", "of B", "inception score of B's images, the mean over ten splits", "set", (), SPLITS,
        _inception_score, subsets=True, higher_is_better=True,
        protocol=Protocol("inception_fid", "logits"),
    ),
    _published(
        "fd", Protocol("inception_fid", "spatial"), "sFID: fd of seven channels of Inception at all positions",
        name="sfid", key="sfid",
    ),
    *(
        _published(
            name, _POOLED, f"{_PRDC[name].partition(',')[0]}, by 3 nearest neighbours in Inception's pooled features",
            least=_NEAREST_OF_ADM + 1, between=_prdc_of_adm,
        )
        for name in ("precision", "recall")
    ),
    *(
        _published(
            "fd", Protocol(preset, "class_token"), f"fd of the {_CLASS_TOKEN} {code}", name=name, key=plain_key
        )
        for name, plain_key, preset, code in (
            ("fd-dinov2", "fd_dinov2", "dinov2_dgm_eval", "dgm-eval"),
            ("fd-dinov2-edm2", "fd_dinov2_edm2", "dinov2_edm2", "EDM2"),
        )
    ),
    _published(
        "cmmd", Protocol("clip_vit_large_336", "projected", "center"),
        "CMMD: maximum mean discrepancy of CLIP's embeddings",
    ),
)  # fmt: skip
PROTOCOLS = {record.name: record for record in _PUBLISHED}


def named_in(records: Mapping[str, Distance], name: str | Distance) -> Distance | None:
    """Look up a record by its name, its key in json, or its metric: "dna-emd", "dna_emd" or "DNAEMD"; or by itself.

    Example:
        >>> named_in(DISTANCES, "DNAFrechet").name, named_in(PROTOCOLS, "FID").protocol, named_in(PROTOCOLS, "dna-emd")
        ('dna-fd', Protocol(feature='inception_fid', layer='block_3', crop='none'), None)

    """
    if isinstance(name, Distance):
        return name if records.get(name.name) == name else None
    plain = plain_name(name)
    return next(
        (record for record in records.values() if plain in (plain_name(record.name), plain_name(record.key))), None
    )


def networks_of(
    records: Sequence[Distance], network: dict[str, Any], with_others: bool = False
) -> list[tuple[dict[str, Any], list[Distance]]]:
    """Return the network of each publication, with the layers that are needed, and its metrics.

    ``network`` has weights and device; ``with_others`` tells that there are metrics of another network beside them.

    Raises:
        ValueError: If one file has the weights for several networks.

    """
    by_network: dict[tuple[str, Crop], list[Distance]] = {}
    for record in records:
        assert record.protocol is not None
        by_network.setdefault((record.protocol.feature, record.protocol.crop), []).append(record)
    weights_path = network.get("weights_path")
    if len(by_network) + with_others > 1 and weights_path is not None and not Path(weights_path).is_dir():
        raise ValueError(
            f"Argument `weights_path` expected to be a folder with the weights of each network, but got"
            f" {str(weights_path)!r}"
        )
    return [
        (
            {
                "feature": feature,
                "weights_path": weights_path,
                "crop": None if crop == "none" else crop,
                "layers": list(dict.fromkeys(record.layer for record in of_network if record.layer)),
                "device": network.get("device"),
            },
            of_network,
        )
        for (feature, crop), of_network in by_network.items()
    ]


def resolve_distances(metrics: Sequence[str | Distance] | None, dnas: Sequence[DNA]) -> tuple[Distance, ...]:
    """Return the distances for an argument ``metrics``, names or records; by default all that the given DNAs allow.

    Raises:
        ValueError: If a name is unknown, or a DNA lacks what a distance needs.

    """
    if metrics is None:
        supported = [record for record in DISTANCES.values() if all(dna.kind in record.kinds for dna in dnas)]
        if not supported:
            raise ValueError(f"Can't compare a {dnas[0].kind} DNA with a {dnas[-1].kind} DNA; make both of one kind")
        return tuple(supported if dnas else (DISTANCES[name] for name in _DEFAULT))
    records = {
        metric: metric if isinstance(metric, Distance) else named_in(DISTANCES, metric)
        for metric in ([metrics] if isinstance(metrics, str) else metrics)
    }
    unknown = [str(metric) for metric, record in records.items() if record is None]
    if unknown or not records:
        raise ValueError(unknown_metrics(unknown, DISTANCES))
    # in the order of the registry, by which verdicts and tables go, however they were given; others after them
    order, unsorted = list(DISTANCES), dict.fromkeys(record for record in records.values() if record is not None)
    chosen = tuple(
        sorted(unsorted, key=lambda record: order.index(record.name) if record.name in order else len(order))
    )
    if len({record.name for record in chosen}) < len(chosen):
        names = [record.name for record in chosen]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"Argument `metrics` has several distances of the name {twice!r}; leave out all but one")
    for record in chosen:
        for dna in dnas:
            if dna.kind not in record.kinds:
                kinds = " or ".join(map(repr, record.kinds))
                remedy = f"a DNA that was made with `kind` {kinds}" if kinds else "images on both sides"
                raise ValueError(
                    f"A {dna.kind} DNA does not have what {record.name} takes; give {remedy}, or leave it out"
                )
    return chosen


def check_distances(metrics: Sequence[str | Distance] | None, what: str) -> None:
    """Raise ValueError if no metric is a distance, which ``what``, such as "A table of sets", needs."""
    records = [
        metric if isinstance(metric, Distance) else named_in(DISTANCES, metric) or named_in(PROTOCOLS, metric)
        for metric in ([metrics] if isinstance(metrics, str) else metrics or ())
    ]
    scores = [record.name for record in records if record is not None and record.higher_is_better]
    if scores and len(scores) == len(records):
        raise ValueError(f"{what} takes a distance, but got {', '.join(scores)} alone; add one, such as dna-emd")


def kinds_for(distances: Sequence[Distance]) -> list[Kind]:
    """Return the fewest kinds of DNA that serve all of the distances."""
    wanted: list[Kind] = []
    for kind in ("histogram", "layer-gaussian", "gaussian"):  # kinds that contain others come first
        needed = [record.kinds for record in distances if record.kinds and not set(record.kinds) & set(wanted)]
        if any(kind == kinds[0] for kinds in needed):
            wanted.append(kind)
    # features alone carry no extractor and neurons; a Gaussian does, at next to no cost
    return wanted or ["gaussian"]


def flat_figures(
    prefix: str, whole: Mapping[str, float | None], layers: Mapping[str, Mapping[str, float | None]]
) -> dict[str, float]:
    """Flatten figures over all neurons, and of layers, into one dictionary for loggers, without those that are None.

    Example:
        >>> flat_figures("dna/", {"dna_emd": 2.0, "fd": None}, {"block_0": {"dna_emd": 3.0}})
        {'dna/dna_emd': 2.0, 'dna/block_0/dna_emd': 3.0}

    """
    named = {"": whole} | {f"{layer}/": figures for layer, figures in layers.items()}
    return {
        f"{prefix}{of}{key}": value
        for of, figures in named.items()
        for key, value in figures.items()
        if value is not None
    }
