"""Distances between image sets: a record of each, and their registry; imports no torch, so that commands start fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torchmetrics_dna.files.visible import plain_name, unknown_metrics
from torchmetrics_dna.options import argument, names_in, written
from torchmetrics_dna.registry import Lazy, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.dna.averaging import Averaging
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.dna.folded import FoldedSides
    from torchmetrics_dna.dna.result import Result
    from torchmetrics_dna.images.cells import Crop

Kind = Literal["histogram", "gaussian", "layer-gaussian"]
Grain = Literal["neuron", "layer", "set"]


class Protocol(NamedTuple):
    """Network and images of a published metric."""

    feature: str  # name of the preset, which brings resize, mean and standard deviation
    layer: str
    crop: Crop = "none"  # crop of images before they are resized


@dataclass(frozen=True)
class Distance:
    """Record of a distance.

    Args:
        name: Display name.
        key: Name in json, tables and Python.
        unit: Unit of the values.
        sentence: One-line explanation for readers of a report.
        grain: Granularity of the values: per neuron, per layer, or one for the set.
        kinds: Kind of DNA that it needs, then kinds that contain that one; empty if it needs features of single images.
        least: Minimum number of images per side.
        between: Function of two DNAs of the first kind that returns distances, float64, shape ``(N,)`` or
            ``(layers,)``; or of features of images, ``(images, n)`` each, that returns the value, with its standard
            deviation over subsets of images if it is a mean over these, or values by key.
        folded: Function of the two sides that returns them as :class:`FoldedSides`, for the test and the interval; for
            features, it also takes the fold of each image, and with ``by_image`` a plan. None for no evidence.
        power: Power of the distance whose finite-sample bias is proportional to 1/images.
        subsets: True if the distance is a mean over subsets of images.
        by_image: True if ``folded`` takes features of all layers instead of the arguments of ``between``.
        pairwise: Function of several sides that returns the distances of all pairs, a row each; None to call
            ``between`` for each pair.
        higher_is_better: True for scores where higher is better; they are not symmetric and never order sets.
        protocol: Network and layer of a published metric; None for a distance of any network.
        published: For a distance of any network, the metric of that name as it was published, which the name means
            where no network is given; None if there is none.

    """

    name: str
    key: str
    unit: str
    sentence: str
    grain: Grain
    kinds: tuple[Kind, ...]
    least: int
    between: Callable[[Any, Any], Any]
    folded: Callable[..., FoldedSides] | None = None
    power: int = 1
    subsets: bool = False
    by_image: bool = False
    pairwise: Callable[[Sequence[Any]], Tensor] | None = None
    higher_is_better: bool = False
    protocol: Protocol | None = None
    published: Distance | None = None

    @property
    def layer(self) -> str | None:
        """The layer of a published metric; None for a distance of any layers."""
        return None if self.protocol is None else self.protocol.layer

    @property
    def as_published(self) -> Distance | None:
        """The metric of this name by the network of its publication; None if there is none."""
        return self.published if self.protocol is None else self

    @property
    def label(self) -> str:
        """Name, with the unit in brackets if there is one."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def result(
        self,
        a: Any,
        b: Any,
        averaging: Averaging | None = None,
        *,
        confidence: float = 0.95,
        with_evidence: bool = True,
        folded: FoldedSides | None = None,
        paired: bool = False,
        cache: dict[Any, Any] | None = None,
    ) -> Result:
        """Compute the distance between two sets and its evidence.

        Args:
            a: DNA of the first of :attr:`kinds`, or features of images.
            b: DNA or features of the other set.
            averaging: How the values become one number; None for the plain mean. A distance of sets has one.
            confidence: Level of the confidence intervals.
            with_evidence: Compute evidence, where there are folds of images.
            folded: Both sides in folds, if ``a`` and ``b`` do not contain them.
            paired: Whether fold k of one side and fold k of the other hold the same pairs of images.
            cache: Values of :attr:`between` that several distances of the same two sides share.

        Raises:
            ValueError: If the sides are not comparable.
            RuntimeError: If a side has too few images.

        """
        import torch

        from torchmetrics_dna.dna.averaging import PLAIN
        from torchmetrics_dna.dna.base import check_comparable, check_enough
        from torchmetrics_dna.dna.result import Result

        spread = None
        if self.grain == "set":
            value, spread = self.of_features(a.values, b.values, cache)
            values = torch.tensor([value], dtype=torch.float64)
        else:
            check_comparable(a, b)
            check_enough(a, b, self.name, self.least)
            values = self.between(a, b)
        result = Result(self, values, a.neurons, averaging or PLAIN, spread=spread)
        if not with_evidence or self.folded is None:
            return result
        if folded is None and self.kinds and not self.by_image:
            folded = self.folded(a, b)
        if folded is None:
            return result
        return result.tested(folded.as_pairs() if paired else folded, confidence)

    def of_features(self, a: Tensor, b: Tensor, cache: dict[Any, Any] | None = None) -> tuple[float, float | None]:
        """Compute a distance of features ``(images, n)``, and its deviation over subsets; ``cache`` as in `result`."""
        cache = {} if cache is None else cache
        if self.between not in cache:
            cache[self.between] = self.between(a, b)
        figure = cache[self.between]
        if isinstance(figure, dict):
            figure = figure[self.key]
        return figure if isinstance(figure, tuple) else (float(figure), None)


def of_dnas(a: DNA, b: DNA) -> Tensor:
    """Compute the distances of two DNAs that were checked."""
    return a._distances(b)


def score_of_b(_: Tensor, logits: Tensor) -> tuple[float, float]:
    """Compute the inception score of the images of B."""
    from torchmetrics_dna.functional.features import inception_score

    return inception_score(logits)


def prdc_of_adm(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Compute precision and recall by three nearest neighbours, as ADM's code does."""
    from torchmetrics_dna.functional.features import prdc

    return prdc(a, b, 3)


def _ours(function: str) -> Lazy:
    return Lazy(f"torchmetrics_dna.{function}")


_POOLED = Protocol("inception_fid", "block_3")
_FD = Distance(
    "fd", "fd", "squared activations", "multivariate Fréchet distance of each layer, as FID is of one",
    "layer", ("layer-gaussian",), 2, of_dnas, _ours("dna.folded:folded_layer_frechet"), by_image=True,
)  # fmt: skip


def _with_published(record: Distance, protocol: Protocol, sentence: str, **fields: Any) -> Distance:
    return replace(record, published=replace(record, protocol=protocol, sentence=sentence, **fields))


def _of_neighbours(name: str, sentence: str) -> Distance:
    key = name.replace("-", "_")
    between = _ours("functional.features:prdc")
    # These distances take the 5 nearest images, so they need 6.
    return Distance(name, key, "", sentence, "set", (), 6, between, higher_is_better=True)


def _of_fd(name: str, protocol: Protocol, sentence: str) -> Distance:
    return replace(_FD, name=name, key=name.replace("-", "_"), protocol=protocol, sentence=sentence)


def names_of(record: Distance) -> list[str]:
    """Return the names by which a distance is found: its own, its key, and that of its metric, if it is another."""
    names = [record.name, record.key]
    if record.name == "dna-fd":
        names.append("DNAFrechet")
    return names


DISTANCES = Registry(
    "distance",
    (
        Distance(
            "dna-emd", "dna_emd", "bins", "how far each neuron's histogram of A must be moved to become that of B",
            "neuron", ("histogram",), 1, of_dnas, _ours("dna.folded:folded_emd"), 2,
            pairwise=_ours("dna.histogram:pairwise_emd"),
        ),
        Distance(
            "dna-fd", "dna_fd", "squared activations", "Fréchet distance of each neuron's spatial means",
            "neuron", ("gaussian", "layer-gaussian"), 2, of_dnas, _ours("dna.folded:folded_frechet"),
        ),
        _FD,
        _with_published(
            Distance(
                "kid", "kid", "", "kernel distance of the last layer's spatial means", "set", (), 2,
                _ours("functional.features:kernel_distance"), _ours("dna.folded:folded_kernel"), subsets=True,
            ),
            _POOLED, "KID: kernel distance of Inception's pooled features",
        ),
        Distance(
            "mind", "mind", "squared activations", "sliced Wasserstein distance of the last layer's spatial means",
            "set", (), 1, _ours("functional.features:mind"),
        ),
        *(
            _with_published(
                _of_neighbours(name, sentence), _POOLED,
                f"{sentence.partition(',')[0]}, by 3 nearest neighbours in Inception's pooled features",
                least=4, between=prdc_of_adm,
            )
            for name, sentence in (
                ("precision", "share of B's images that lie among those of A, by the last layer's spatial means"),
                ("recall", "share of A's images that lie among those of B, likewise"),
            )
        ),
        _of_neighbours("clipped-density", "share of good images in B, by how densely they lie among A's, likewise"),
        _of_neighbours("clipped-coverage", "share of good images in B, by how well they cover A's, likewise"),
        _of_neighbours("density", "how densely A's images lie where those of B are, likewise"),
        _of_neighbours("coverage", "share of A's images with one of B near, likewise"),
        _of_fd("fid", _POOLED, "FID: fd of Inception's pooled features"),
        Distance(
            "is", "inception_score", "of B", "inception score of B's images, the mean over ten splits", "set", (), 10,
            score_of_b, subsets=True, higher_is_better=True, protocol=Protocol("inception_fid", "logits"),
        ),
        _of_fd(
            "sfid", Protocol("inception_fid", "spatial"), "sFID: fd of seven channels of Inception at all positions"
        ),
        *(
            _of_fd(
                name, Protocol(preset, "class_token"),
                f"fd of the class token of DINOv2 ViT-L/14, resized as in {code}",
            )
            for name, preset, code in (
                ("fd-dinov2", "dinov2_dgm_eval", "dgm-eval"),
                ("fd-dinov2-edm2", "dinov2_edm2", "EDM2"),
            )
        ),
        _with_published(
            Distance(
                "cmmd", "cmmd", "", "maximum mean discrepancy of the directions of the last layer's spatial means",
                "set", (), 1, _ours("functional.features:cmmd"), _ours("dna.folded:folded_cmmd"),
            ),
            Protocol("clip_vit_large_336", "projected", "center"),
            "CMMD: maximum mean discrepancy of CLIP's embeddings",
        ),
    ),
    names_of,
    plain_name,
)  # fmt: skip
_DEFAULT = ("dna-emd", "dna-fd")


def of_any_network() -> dict[str, Distance]:
    """Return the distances, by name, but for those that bring a network of their own."""
    return {name: record for name, record in DISTANCES.items() if record.protocol is None}


def all_published() -> dict[str, Distance]:
    """Return the published metrics by name, each of which brings its network."""
    return {name: record.as_published for name, record in DISTANCES.items() if record.as_published is not None}


def record_of(metric: str | Distance) -> Distance | None:
    """Return the distance that a name or a record means where a network is given; None if there is none."""
    return metric if isinstance(metric, Distance) else DISTANCES.find(metric)


def published(metric: str | Distance) -> Distance | None:
    """Return the published metric that a name or a record means where no network is given; None if it means none."""
    if isinstance(metric, Distance):
        return None if metric.protocol is None else metric
    record = DISTANCES.find(metric)
    return None if record is None else record.as_published


def find_distances(metrics: str | Sequence[str | Distance], *, with_published: bool = False) -> list[Distance]:
    """Look up distances of any network; with ``with_published``, names mean published metrics where there are such.

    ValueError if a name is unknown, or there is none.

    Example:
        >>> [record.name for record in find_distances(["dna-emd", "dna_emd", "DNAFrechet"])]
        ['dna-emd', 'dna-emd', 'dna-fd']

    """
    allowed = DISTANCES if with_published else of_any_network()
    records: list[Distance] = []
    unknown: list[str] = []
    for metric in names_in(metrics) if isinstance(metrics, str) else metrics:
        record = record_of(metric)
        if record is None or (isinstance(metric, str) and record.name not in allowed):
            unknown.append(str(metric))
        else:
            records.append((with_published and published(metric)) or record)
    if unknown or not records:
        raise ValueError(unknown_metrics(unknown, allowed))
    return records


def networks_of(
    records: Sequence[Distance], network: dict[str, Any], with_others: bool = False
) -> list[tuple[dict[str, Any], list[Distance]]]:
    """Return the network of each publication, with the layers that are needed, and its metrics.

    ``network`` has weights and device; ``with_others`` tells that there are metrics of another network beside them.
    ValueError if one file has the weights for several networks.
    """
    by_network: dict[tuple[str, Crop], list[Distance]] = {}
    for record in records:
        assert record.protocol is not None
        by_network.setdefault((record.protocol.feature, record.protocol.crop), []).append(record)
    weights_path = network.get("weights_path")
    if len(by_network) + with_others > 1 and weights_path is not None and not Path(weights_path).is_dir():
        raise ValueError(
            f"{argument('weights_path')} expected to be a folder with the weights of each network, but got"
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


def in_order(records: Iterable[Distance]) -> tuple[Distance, ...]:
    """Return records in the order of the registry, by which verdicts and tables go, once each; others after them."""
    order = {name: place for place, name in enumerate(DISTANCES)}
    return tuple(sorted(dict.fromkeys(records), key=lambda record: order.get(record.name, len(order))))


def resolve_distances(metrics: Sequence[str | Distance] | None, dnas: Sequence[DNA]) -> tuple[Distance, ...]:
    """Return the distances for an argument ``metrics``, names or records; by default all that the given DNAs allow.

    ValueError if a name is unknown, or a DNA lacks what a distance needs.
    """
    if metrics is None:
        supported = [record for record in of_any_network().values() if all(dna.kind in record.kinds for dna in dnas)]
        if not supported:
            raise ValueError(f"Can't compare a {dnas[0].kind} DNA with a {dnas[-1].kind} DNA; make both of one kind")
        return tuple(supported if dnas else (DISTANCES[name] for name in _DEFAULT))
    chosen = in_order(find_distances(metrics))
    if len({record.name for record in chosen}) < len(chosen):
        names = [record.name for record in chosen]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{argument('metrics')} has several distances of the name {twice!r}")
    for record in chosen:
        for dna in dnas:
            if dna.kind not in record.kinds:
                kinds = " or ".join(map(repr, record.kinds))
                remedy = f"a DNA that was made with {written('kind')} {kinds}" if kinds else "images on both sides"
                has = ", ".join(name for name, each in of_any_network().items() if dna.kind in each.kinds)
                kind = dna.kind
                described = (
                    f"{kind} DNA (mean and covariance, as of FID)" if kind == "layer-gaussian" else f"{kind} DNA"
                )
                raise ValueError(
                    f"A {described} does not have what {record.name} takes; give {remedy}, or"
                    f" {written('metrics')} that it has: {has}"
                )
    return chosen


def check_distances(metrics: Sequence[str | Distance] | None, what: str) -> None:
    """Raise ValueError if no metric is a distance, which ``what``, such as "A table of sets", needs."""
    records = [*map(record_of, [metrics] if isinstance(metrics, str) else metrics or ())]
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
