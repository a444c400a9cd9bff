"""Registry of the distances between image sets.

This module does not import torch, so that commands start fast. Functions that need torch are imported when they are
called.
"""

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
Granularity = Literal["neuron", "layer", "set"]


class Protocol(NamedTuple):
    """Network and images of a published metric.

    Attributes:
        feature: Name of the preset of the network. The preset includes the resize, the mean and the standard deviation.
        layer: Name of the layer.
        crop: Crop of images before they are resized.

    """

    feature: str
    layer: str
    crop: Crop = "none"


@dataclass(frozen=True)
class Distance:
    """Registry entry of a distance.

    Args:
        name: Display name.
        key: Name in json, tables and Python.
        unit: Unit of the values.
        sentence: One-line explanation for readers of a report.
        granularity: ``"neuron"`` or ``"layer"`` if each neuron or layer has a value; ``"set"`` for a single value.
        kinds: Representations that the distance supports. ``between`` takes the first representation, and the others
            contain it. Empty if the distance takes features of single images.
        least: Minimum number of images per set.
        between: Function that computes the distance. It takes two DNAs, and returns a float64 tensor ``(N,)`` or
            ``(layers,)``. If ``kinds`` is empty, it takes the features of both sets, ``(images, n)``. It then returns
            the value, the value and its standard deviation over subsets of images, or values by key.
        folded: Function that returns both sets as :class:`FoldedSides`, for the test and the interval. If it takes
            features, it also takes the fold of each image, and with ``by_image`` a plan. None if there is no evidence.
        power: Power of the distance whose finite-sample bias is proportional to 1/images.
        subsets: True if the distance is a mean over subsets of images.
        by_image: True if ``folded`` takes features of all layers instead of the arguments of ``between``.
        pairwise: Function that takes several sets, and returns the distances of all pairs, a row each. None to call
            ``between`` for each pair.
        higher_is_better: True for a score, of which higher values are better. Scores are not symmetric, and never order
            sets.
        protocol: Network and layer of a published metric; None for a distance of any network.
        published: For a distance of any network, the published metric of the same name. The name refers to that metric
            if no network is given. None if there is no such metric.

    """

    name: str
    key: str
    unit: str
    sentence: str
    granularity: Granularity
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
        """Layer of a published metric; None for a distance of any network."""
        return None if self.protocol is None else self.protocol.layer

    @property
    def as_published(self) -> Distance | None:
        """Published metric of this name; None if there is none."""
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
            averaging: How the values become one number; None for the plain mean. A distance of sets has a single value.
            confidence: Confidence of the intervals.
            with_evidence: If True, evidence is computed if there are folds of images.
            folded: Both sets in folds, if ``a`` and ``b`` do not contain the folds.
            paired: True if fold k of one set and fold k of the other hold the same pairs of images.
            cache: Values of :attr:`between` that several distances of the same two sets share.

        Raises:
            ValueError: If the sets are not comparable.
            RuntimeError: If a set has too few images.

        """
        # These modules import torch.
        from torchmetrics_dna.dna.averaging import PLAIN
        from torchmetrics_dna.dna.result import Result

        values, spread = self._values(a, b, cache)
        result = Result(self, values, a.neurons, averaging or PLAIN, spread=spread)
        if not with_evidence or self.folded is None:
            return result
        # DNAs contain their folds, features do not.
        if folded is None and self.kinds and not self.by_image:
            folded = self.folded(a, b)
        if folded is None:
            return result
        if paired:
            folded = folded.as_pairs()
        return result.tested(folded, confidence)

    def _values(self, a: Any, b: Any, cache: dict[Any, Any] | None) -> tuple[Tensor, float | None]:
        """Return the values of the distance, and their standard deviation over subsets; the arguments of `result`."""
        import torch

        from torchmetrics_dna.dna.base import check_comparable, check_enough

        if self.granularity == "set":
            value, spread = self.of_features(a.values, b.values, cache)
            return torch.tensor([value], dtype=torch.float64), spread
        check_comparable(a, b)
        check_enough(a, b, self.name, self.least)
        return self.between(a, b), None

    def of_features(self, a: Tensor, b: Tensor, cache: dict[Any, Any] | None = None) -> tuple[float, float | None]:
        """Compute a distance of sets from features.

        Args:
            a: Features of the first set, ``(images, n)``.
            b: Features of the second set, ``(images, n)``.
            cache: As for :meth:`result`.

        Returns:
            The value, and its standard deviation over subsets of images; None if it is not a mean over subsets.

        """
        if cache is None:
            cache = {}
        if self.between not in cache:
            cache[self.between] = self.between(a, b)
        figure = cache[self.between]
        # A function that several distances share returns the value of each distance by its key.
        if isinstance(figure, dict):
            figure = figure[self.key]
        if isinstance(figure, tuple):
            return figure
        return float(figure), None


def of_dnas(a: DNA, b: DNA) -> Tensor:
    """Compute the distances between two DNAs, which were checked to be comparable."""
    return a._distances(b)


def score_of_b(_: Tensor, logits: Tensor) -> tuple[float, float]:
    """Compute the inception score of the images of B."""
    from torchmetrics_dna.functional.features import inception_score

    return inception_score(logits)


def prdc_of_adm(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Compute precision and recall by three nearest neighbours, as ADM's code does."""
    from torchmetrics_dna.functional.features import prdc

    return prdc(a, b, 3)


def _lazy(function: str) -> Lazy:
    """Return a function of this package, such as "dna.folded:folded_emd". It is imported when it is called."""
    return Lazy(f"torchmetrics_dna.{function}")


def names_of(record: Distance) -> list[str]:
    """Return the names by which a distance is found: its name, its key, and the name of its metric."""
    names = [record.name, record.key]
    # The name of the metric of dna-emd, DNAEMD, is found by its key.
    if record.name == "dna-fd":
        names.append("DNAFrechet")
    return names


_POOLED_FEATURES = Protocol("inception_fid", "block_3")

_DNA_EMD = Distance(
    name="dna-emd",
    key="dna_emd",
    unit="bins",
    sentence="how far each neuron's histogram of A must be moved to become that of B",
    granularity="neuron",
    kinds=("histogram",),
    least=1,
    between=of_dnas,
    folded=_lazy("dna.folded:folded_emd"),
    power=2,
    pairwise=_lazy("dna.histogram:pairwise_emd"),
)
_DNA_FD = Distance(
    name="dna-fd",
    key="dna_fd",
    unit="squared activations",
    sentence="Fréchet distance of each neuron's spatial means",
    granularity="neuron",
    kinds=("gaussian", "layer-gaussian"),
    least=2,
    between=of_dnas,
    folded=_lazy("dna.folded:folded_frechet"),
)
_FD = Distance(
    name="fd",
    key="fd",
    unit="squared activations",
    sentence="multivariate Fréchet distance of each layer, as FID is of one",
    granularity="layer",
    kinds=("layer-gaussian",),
    least=2,
    between=of_dnas,
    folded=_lazy("dna.folded:folded_layer_frechet"),
    by_image=True,
)
_KID = Distance(
    name="kid",
    key="kid",
    unit="",
    sentence="kernel distance of the last layer's spatial means",
    granularity="set",
    kinds=(),
    least=2,
    between=_lazy("functional.features:kernel_distance"),
    folded=_lazy("dna.folded:folded_kernel"),
    subsets=True,
)
_MIND = Distance(
    name="mind",
    key="mind",
    unit="squared activations",
    sentence="sliced Wasserstein distance of the last layer's spatial means",
    granularity="set",
    kinds=(),
    least=1,
    between=_lazy("functional.features:mind"),
)
_INCEPTION_SCORE = Distance(
    name="is",
    key="inception_score",
    unit="of B",
    sentence="inception score of B's images, the mean over ten splits",
    granularity="set",
    kinds=(),
    least=10,
    between=score_of_b,
    subsets=True,
    higher_is_better=True,
    protocol=Protocol("inception_fid", "logits"),
)
_CMMD = Distance(
    name="cmmd",
    key="cmmd",
    unit="",
    sentence="maximum mean discrepancy of the directions of the last layer's spatial means",
    granularity="set",
    kinds=(),
    least=1,
    between=_lazy("functional.features:cmmd"),
    folded=_lazy("dna.folded:folded_cmmd"),
)


def _by_neighbours(name: str, sentence: str) -> Distance:
    """Return a score by the 5 nearest neighbours of each image. It takes at least 6 images."""
    return Distance(
        name=name,
        key=name.replace("-", "_"),
        unit="",
        sentence=sentence,
        granularity="set",
        kinds=(),
        least=6,
        between=_lazy("functional.features:prdc"),
        higher_is_better=True,
    )


def _published_fd(name: str, protocol: Protocol, sentence: str) -> Distance:
    """Return a published metric that is the fd of one layer."""
    return replace(_FD, name=name, key=name.replace("-", "_"), protocol=protocol, sentence=sentence)


def _with_published(record: Distance, protocol: Protocol, sentence: str, **fields: Any) -> Distance:
    """Return a distance of any network that refers to the published metric of the same name.

    Args:
        record: The distance.
        protocol: Network and layer of the published metric.
        sentence: Explanation of the published metric.
        fields: Further fields in which the published metric differs from the distance.

    """
    published_record = replace(record, protocol=protocol, sentence=sentence, **fields)
    return replace(record, published=published_record)


# Distances in the order of tables.
_ALL = (
    _DNA_EMD,
    _DNA_FD,
    _FD,
    _with_published(_KID, _POOLED_FEATURES, "KID: kernel distance of Inception's pooled features"),
    _MIND,
    _with_published(
        _by_neighbours("precision", "share of B's images that lie among those of A, by the last layer's spatial means"),
        _POOLED_FEATURES,
        "share of B's images that lie among those of A, by 3 nearest neighbours in Inception's pooled features",
        least=4,
        between=prdc_of_adm,
    ),
    _with_published(
        _by_neighbours("recall", "share of A's images that lie among those of B, likewise"),
        _POOLED_FEATURES,
        "share of A's images that lie among those of B, by 3 nearest neighbours in Inception's pooled features",
        least=4,
        between=prdc_of_adm,
    ),
    _by_neighbours("clipped-density", "share of good images in B, by how densely they lie among A's, likewise"),
    _by_neighbours("clipped-coverage", "share of good images in B, by how well they cover A's, likewise"),
    _by_neighbours("density", "how densely A's images lie where those of B are, likewise"),
    _by_neighbours("coverage", "share of A's images with one of B near, likewise"),
    _published_fd("fid", _POOLED_FEATURES, "FID: fd of Inception's pooled features"),
    _INCEPTION_SCORE,
    _published_fd(
        "sfid",
        Protocol("inception_fid", "spatial"),
        "sFID: fd of seven channels of Inception at all positions",
    ),
    _published_fd(
        "fd-dinov2",
        Protocol("dinov2_dgm_eval", "class_token"),
        "fd of the class token of DINOv2 ViT-L/14, resized as in dgm-eval",
    ),
    _published_fd(
        "fd-dinov2-edm2",
        Protocol("dinov2_edm2", "class_token"),
        "fd of the class token of DINOv2 ViT-L/14, resized as in EDM2",
    ),
    _with_published(
        _CMMD,
        Protocol("clip_vit_large_336", "projected", "center"),
        "CMMD: maximum mean discrepancy of CLIP's embeddings",
    ),
)
DISTANCES = Registry("distance", _ALL, names_of, plain_name)
_DEFAULT = ("dna-emd", "dna-fd")


def of_any_network() -> dict[str, Distance]:
    """Return the distances of any network by name. Published metrics, which bring their own network, are left out."""
    return {name: record for name, record in DISTANCES.items() if record.protocol is None}


def all_published() -> dict[str, Distance]:
    """Return the published metrics by name. Each has its own network."""
    return {name: record.as_published for name, record in DISTANCES.items() if record.as_published is not None}


def record_of(metric: str | Distance) -> Distance | None:
    """Return the distance that a name refers to if a network is given; None if there is none."""
    if isinstance(metric, Distance):
        return metric
    return DISTANCES.find(metric)


def published(metric: str | Distance) -> Distance | None:
    """Return the published metric that a name refers to if no network is given; None if there is none."""
    if isinstance(metric, Distance):
        return None if metric.protocol is None else metric
    record = DISTANCES.find(metric)
    return None if record is None else record.as_published


def find_distances(metrics: str | Sequence[str | Distance], *, with_published: bool = False) -> list[Distance]:
    """Look up distances of any network.

    Args:
        metrics: Names or distances. Several names may be one text, separated by commas.
        with_published: If True, published metrics are found, too. A name that a distance and a published metric share
            then refers to the metric.

    Raises:
        ValueError: If a name is unknown, or if there is no name.

    Example:
        >>> [record.name for record in find_distances(["dna-emd", "dna_emd", "DNAFrechet"])]
        ['dna-emd', 'dna-emd', 'dna-fd']

    """
    allowed = DISTANCES if with_published else of_any_network()
    records: list[Distance] = []
    unknown: list[str] = []
    if isinstance(metrics, str):
        metrics = names_in(metrics)
    for metric in metrics:
        record = _find_distance(metric, with_published)
        if record is None:
            unknown.append(str(metric))
        else:
            records.append(record)
    if unknown or not records:
        raise ValueError(unknown_metrics(unknown, allowed))
    return records


def _find_distance(metric: str | Distance, with_published: bool) -> Distance | None:
    """Return the distance or the published metric that a name refers to; None if there is none.

    If published metrics are not included, their names refer to nothing. A :class:`Distance` is returned even if it is
    a published metric.
    """
    record = record_of(metric)
    if record is None:
        return None
    if with_published:
        return published(metric) or record
    if isinstance(metric, str) and record.protocol is not None:
        return None
    return record


def networks_of(
    records: Sequence[Distance], network: dict[str, Any], with_others: bool = False
) -> list[tuple[dict[str, Any], list[Distance]]]:
    """Group published metrics by their networks.

    Args:
        records: The published metrics.
        network: Arguments of an extractor. Their weights and their device are used for all networks.
        with_others: True if there are also metrics of another network.

    Returns:
        For each network, the arguments of its extractor, with the layers that its metrics need, and its metrics.

    Raises:
        ValueError: If one file is given as the weights of several networks.

    """
    by_network: dict[tuple[str, Crop], list[Distance]] = {}
    for record in records:
        assert record.protocol is not None
        key = (record.protocol.feature, record.protocol.crop)
        by_network.setdefault(key, []).append(record)
    num_networks = len(by_network)
    if with_others:
        num_networks += 1
    weights_path = network.get("weights_path")
    if num_networks > 1:
        _check_folder_of_weights(weights_path)
    networks = []
    for (feature, crop), metrics in by_network.items():
        # A dictionary keeps each layer once, in order.
        layers = dict.fromkeys(record.layer for record in metrics if record.layer)
        arguments = {
            "feature": feature,
            "weights_path": weights_path,
            "crop": None if crop == "none" else crop,
            "layers": list(layers),
            "device": network.get("device"),
        }
        networks.append((arguments, metrics))
    return networks


def _check_folder_of_weights(weights_path: Any) -> None:
    """Raise ValueError if the weights of several networks are given by a path that is no folder."""
    if weights_path is not None and not Path(weights_path).is_dir():
        raise ValueError(
            f"{argument('weights_path')} expected to be a folder with the weights of each network, but got"
            f" {str(weights_path)!r}"
        )


def in_order(records: Iterable[Distance]) -> tuple[Distance, ...]:
    """Return each distance once, in the order of the registry. Distances that are not registered come last."""
    places = {name: place for place, name in enumerate(DISTANCES)}

    def place_of(record: Distance) -> int:
        return places.get(record.name, len(places))

    return tuple(sorted(dict.fromkeys(records), key=place_of))


def resolve_distances(metrics: Sequence[str | Distance] | None, dnas: Sequence[DNA]) -> tuple[Distance, ...]:
    """Return the distances of an argument ``metrics``. By default, these are all distances that the DNAs support.

    Args:
        metrics: Names or distances; None for the default.
        dnas: DNAs that are compared; empty if only images are compared.

    Raises:
        ValueError: If a name is unknown, if two distances have the same name, or if a DNA does not support a distance.

    """
    if metrics is None:
        return _default_distances(dnas)
    chosen = in_order(find_distances(metrics))
    names = [record.name for record in chosen]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{argument('metrics')} has several distances of the name {name!r}")
    for record in chosen:
        for dna in dnas:
            _check_supported(record, dna)
    return chosen


def _default_distances(dnas: Sequence[DNA]) -> tuple[Distance, ...]:
    """Return all distances that the DNAs support. Without DNAs, these are dna-emd and dna-fd."""
    if not dnas:
        return tuple(DISTANCES[name] for name in _DEFAULT)
    supported = [record for record in of_any_network().values() if all(dna.kind in record.kinds for dna in dnas)]
    if not supported:
        raise ValueError(f"Can't compare a {dnas[0].kind} DNA with a {dnas[-1].kind} DNA; make both of one kind")
    return tuple(supported)


def _check_supported(distance: Distance, dna: DNA) -> None:
    """Raise ValueError unless a distance can be computed from a DNA."""
    if dna.kind in distance.kinds:
        return
    dna_in_words = f"{dna.kind} DNA"
    if dna.kind == "layer-gaussian":
        dna_in_words += " (mean and covariance, as of FID)"
    if distance.kinds:
        kinds = " or ".join(map(repr, distance.kinds))
        remedy = f"a DNA that was made with {written('kind')} {kinds}"
    else:
        # No kind of DNA is enough for this distance.
        remedy = "images on both sides"
    supported = [name for name, other in of_any_network().items() if dna.kind in other.kinds]
    raise ValueError(
        f"{distance.name} can't be computed from a {dna_in_words}; pass {remedy}, or choose from the"
        f" {written('metrics')} of this DNA: {', '.join(supported)}"
    )


def check_distances(metrics: Sequence[str | Distance] | None, what: str) -> None:
    """Raise ValueError if all metrics are scores.

    Args:
        metrics: Names or distances; None for the default.
        what: Subject of the error's sentence, which requires a distance, such as "A comparison of several sets".

    """
    if isinstance(metrics, str):
        metrics = [metrics]
    records = [record_of(metric) for metric in metrics or ()]
    scores = [record.name for record in records if record is not None and record.higher_is_better]
    if scores and len(scores) == len(records):
        raise ValueError(f"{what} takes a distance, but got {', '.join(scores)} alone; add one, such as dna-emd")


def kinds_for(distances: Sequence[Distance]) -> list[Kind]:
    """Return the fewest representations that together support all distances."""
    chosen: list[Kind] = []
    # Representations that contain others come first.
    for kind in ("histogram", "layer-gaussian", "gaussian"):
        for record in distances:
            is_supported = any(supported in chosen for supported in record.kinds)
            takes_this_kind = bool(record.kinds) and record.kinds[0] == kind
            if takes_this_kind and not is_supported:
                chosen.append(kind)
    # Distances of features need no DNA. A Gaussian is measured anyway, since it names the extractor and the neurons.
    return chosen or ["gaussian"]


def flat_figures(
    prefix: str, whole: Mapping[str, float | None], layers: Mapping[str, Mapping[str, float | None]]
) -> dict[str, float]:
    """Flatten figures over all neurons and figures of layers into one dictionary for loggers. None is left out.

    Args:
        prefix: Prefix of all keys.
        whole: Figures over all neurons, by key.
        layers: Figures of each layer, by key.

    Example:
        >>> flat_figures("dna/", {"dna_emd": 2.0, "fd": None}, {"block_0": {"dna_emd": 3.0}})
        {'dna/dna_emd': 2.0, 'dna/block_0/dna_emd': 3.0}

    """
    flat = {f"{prefix}{key}": value for key, value in whole.items() if value is not None}
    for layer, figures in layers.items():
        for key, value in figures.items():
            if value is not None:
                flat[f"{prefix}{layer}/{key}"] = value
    return flat
