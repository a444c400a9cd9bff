"""Arguments of all that measures and compares image sets, by network; without torch, so that commands start at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from functools import wraps
from inspect import Parameter, signature
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from torchmetrics_dna.checks import brief, check_bool
from torchmetrics_dna.dna.distances import (
    Distance,
    all_published,
    in_order,
    networks_of,
    of_any_network,
    published,
    record_of,
)
from torchmetrics_dna.options import argument, names_in, option, written

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.dna.neuron_weights import NeuronWeights
    from torchmetrics_dna.images.reading import Reading
    from torchmetrics_dna.jobs.groups import Groups, Pairs
    from torchmetrics_dna.neurons.ranges import ActivationRanges
    from torchmetrics_dna.statistics.setup import Feature

_F = TypeVar("_F", bound="Callable[..., Any]")


@dataclass(frozen=True, eq=False)
class Network:
    """Arguments of a :class:`DNAExtractor` that commands take; functions take them as a dict, ``feature``."""

    feature: str | None = option(
        None,
        "Network",
        "Network: a preset or the name of a timm model. Default: efficientnet_lite0, or that of a given DNA.",
    )
    weights_path: str | None = option(
        None, "Network", "Local file with the weights of the network, or a folder of such files."
    )
    crop: str | None = option(None, "Images", "Crop images before they are resized. Default: none.")
    properties: bool | None = option(
        None,
        "Network",
        "Also measure properties of the images, such as sharpness, noise and size. Default: for two sets of compare.",
    )
    device: str | None = option(
        None, "Machine", "Device of the network, such as cpu or cuda:1. Default: CUDA if available."
    )


@dataclass(frozen=True, eq=False)
class Arguments:
    """Keyword arguments that functions and commands share; each takes those that its signature shows.

    Metadata of a field says what the command line says of it, and in which group of options.

    Args:
        feature: A :class:`DNAExtractor`, or its ``feature``; a name runs on CUDA if there is a GPU. By default that of
            the given DNAs, else ``"efficientnet_lite0"``.
        metrics: Any of ``"dna-emd"``, ``"dna-fd"``, ``"fd"``, ``"kid"``, ``"mind"``, ``"cmmd"``,
            ``"precision"``, ``"recall"``, ``"clipped-density"``, ``"clipped-coverage"``, ``"density"`` and
            ``"coverage"``, all from one pass over the images; for :func:`compare` also published ones. By default the
            first two, or those that the given DNAs support. Those from ``"kid"`` on are of the last layer's spatial
            means, which are kept for them, ``(images, n)`` in float32; for evidence of fd, those of all layers are.
        layers: Names of the layers, if ``feature`` is not an extractor; also selects from a DNA.
        num_bins: Bins of each neuron's histogram; by default those of the given DNAs, else 1000.
        ranges: Activation ranges, the path of a file of them, or ``"auto"`` for histograms that find their own; by
            default those of the given DNAs, else those packaged with the extractor, else ``"auto"``.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of a file of them, or shape ``(N,)``; by
            default the plain mean.
        causes: Whether to search what causes a difference of two sets: where the test finds one, some images of A are
            blurred, compressed, darkened and otherwise changed, and those changes named that bring them to B. It takes
            at most 1,250 more images through the network, and images on both sides, 10 at least.
        confidence: Level of the confidence intervals.
        num_folds: Number of folds of images, for debiased distances, intervals, and tests of whether distances are more
            than noise; at least 5, or None for none. An image's fold depends on its pixels, as in :class:`DNAEMD`;
            tests need images in at least 5 folds. A DNA has the folds of its file, unless this is None; without folds
            it is taken as exact, and there is no test.
        groups: Images that belong together (frames of a clip, crops of a picture) and share a fold: ``"folder"``,
            ``"prefix:REGEX"``, a function of an image's name, or a tuple with a sequence of groups for each side, of
            one side the sequence; see :func:`group_names`.
        pairs: Whether images of the sides correspond, as originals and their compressed, enlarged, denoised or
            translated versions do: True if they do in their order; ``"name"``: by their names below the source, without
            the ending; or a function of an image's name that gives the same for both. What a pair has in common then
            adds no noise, so that 10 pairs show what takes hundreds of independent images.
        copies: Whether to look for images that look nearly alike, of both sets or of one: copies, frames of a clip. If
            a tenth of B's are in A, the sets are no independent samples, and no noise is taken off. False says that all
            are different pictures, whatever they look like.
        reading: Options for reading the images.
        distributed: Share the images among the processes of torch.distributed; all must make the same call, and all
            get the same result.
        on: Ray cluster that measures the images, such as ``"ray"``, see :func:`finish_on_ray`.

    """

    feature: Feature | None = None
    metrics: Sequence[str | Distance] | None = option(
        None,
        "Statistics",
        f"Distances, separated by commas: {', '.join(of_any_network())}. Without --feature and --layers, the metrics"
        f" {', '.join(all_published())} use the networks of their publications. Default: dna-emd,dna-fd, or those that"
        " the given DNAs support.",
    )
    layers: Sequence[str] | None = option(
        None, "Network", "Layers, separated by commas. Default: those of the network."
    )
    num_bins: int | None = option(
        None, "Network", "Number of bins per histogram. Default: 1000, or that of a given DNA."
    )
    ranges: ActivationRanges | str | os.PathLike[str] | None = option(
        None,
        "Network",
        "File of activation ranges, or auto to derive them from the images. Default: those of the network, or auto.",
    )
    neuron_weights: NeuronWeights | Tensor | str | os.PathLike[str] | None = option(
        None, "Statistics", "File of neuron weights, written by NeuronWeights.save."
    )
    causes: bool = option(
        True, "Statistics", "Search for a change of A's images, such as a blur, that explains the difference from B."
    )
    confidence: float = option(0.95, "Statistics", "Level of the confidence intervals.")
    num_folds: int | None = option(
        20, "Statistics", "Number of folds of images, which intervals and tests need. 0 disables both."
    )
    groups: Groups | tuple[Groups, ...] | None = option(
        None,
        "Statistics",
        "Images that belong together and share a fold: folder, or prefix:REGEX of file names. Default: equal images.",
    )
    pairs: Pairs | None = option(
        None, "Statistics", "Compare the images of A and B as pairs, matched by their order or by name."
    )
    copies: bool = option(
        True,
        "Statistics",
        "Look for near-duplicates. Use --no-copies if images that look alike are different pictures.",
    )
    reading: Reading | None = None
    distributed: bool = False
    on: str | None = option(
        None,
        "Machine",
        "Measure the images on a Ray cluster: ray, or ray://HOST:PORT. Resources per task may follow: ?cpus=8&gpus=1.",
    )

    def __post_init__(self) -> None:
        metrics = names_in(self.metrics) if isinstance(self.metrics, str) else self.metrics
        for each in metrics if isinstance(metrics, Iterable) else [metrics]:
            if not isinstance(each, (str, Distance, NoneType)):
                raise TypeError(
                    f"Argument `metrics` expected to be names, as ['dna-emd', 'fid'], but got {brief(each)}"
                )
        object.__setattr__(self, "metrics", metrics)
        for name in ("causes", "copies", "distributed"):
            check_bool(name, getattr(self, name))

    def skipping_unreadable(self) -> Arguments:
        """Return the arguments of what compares images and keeps no file: it skips unreadable ones by default."""
        from torchmetrics_dna.images.reading import Reading

        return replace(self, reading=(self.reading or Reading()).skipping())

    @property
    def averaging(self) -> dict[str, Any]:
        """Arguments of ``averaging_of`` that were given."""
        return {} if self.neuron_weights is None else {"neuron_weights": self.neuron_weights}


ALL = tuple(field.name for field in fields(Arguments)[1:])


def taking(*names: str, **defaults: Any) -> Callable[[_F], _F]:
    """Replace ``**options`` in the signature of a function by these arguments; others are a TypeError.

    Args:
        names: Names of arguments of :class:`Arguments`.
        defaults: Arguments with other defaults.

    """
    usual = {field.name: field for field in fields(Arguments)}
    shared = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=usual[name].type)
        for name, default in ({name: usual[name].default for name in names} | defaults).items()
    ]

    def with_arguments(function: _F) -> _F:
        own = signature(function)
        shown = own.replace(parameters=[*list(own.parameters.values())[:-1], *shared])

        @wraps(function)
        def checked(*args: Any, **options: Any) -> Any:
            step: AbstractContextManager[None] = nullcontext()
            if options.get("distributed") is True:
                # This module imports torch.
                from torchmetrics_dna.jobs.processes import in_step

                step = in_step()
            with step:
                shown.bind(*args, **options)
            return function(*args, **{**defaults, **options})

        checked.__signature__ = shown  # type: ignore[attr-defined]
        return cast("_F", checked)

    return with_arguments


_OF_NEURONS = ("num_bins", "ranges", "neuron_weights")


def by_network(arguments: Arguments, sides: Sequence[Any]) -> list[Arguments]:
    """Split the arguments of a comparison by the network of each metric.

    Without a network and layers, published metrics bring theirs; other metrics are of the default network, which comes
    first. With one, all metrics are of that network. ValueError if an argument deviates from a publication, would be
    ignored, or an iterator would be read twice.
    """
    network = {} if arguments.feature is None else arguments.feature
    if not isinstance(network, dict) or network.get("feature") is not None or arguments.layers is not None:
        for name, feature in only_published(arguments.metrics):
            raise ValueError(
                f"Metric {name!r} brings its own network, {feature!r}, but {written('feature')} or"
                f" {written('layers')} is given, too"
            )
        return [arguments]
    by_metric = {metric: published(metric) for metric in arguments.metrics or ()}
    if not any(by_metric.values()):
        return [arguments]
    records = in_order(filter(None, by_metric.values()))
    others = [metric for metric, record in by_metric.items() if record is None]
    _check_published(records[0].name, arguments, network, is_alone=not others)
    split = []
    if others:
        split.append(replace(arguments, feature=network | {"weights_path": None}, metrics=others))
    no_neurons: dict[str, Any] = dict.fromkeys(_OF_NEURONS)
    for own_network, metrics in networks_of(records, network, bool(others)):
        split.append(replace(arguments, feature=own_network, metrics=metrics, **no_neurons))
    if len(split) > 1 and any(isinstance(side, Iterator) for side in sides):
        raise ValueError(
            "Metrics of several networks read a side several times, but got an iterator; pass a list, or a function"
            " that returns a new iterator"
        )
    return split


def _check_published(name: str, arguments: Arguments, network: Mapping[str, Any], *, is_alone: bool) -> None:
    """Raise ValueError for arguments that a published metric deviates from, or would ignore if it ``is_alone``."""
    crop = network.get("crop")
    if crop not in (None, "none"):
        raise ValueError(f"{argument('crop')} is {crop!r}, but {name} brings the crop of its publication")
    if not is_alone:
        return
    settings = {setting: getattr(arguments, setting) for setting in _OF_NEURONS}
    settings["properties"] = network.get("properties")
    for setting, value in settings.items():
        if value is not None:
            raise ValueError(f"{argument(setting)} is for metrics such as dna-emd, but got {name} alone")


def only_published(metrics: Sequence[str | Distance] | None) -> list[tuple[str, str]]:
    """Return name and network of the metrics that are published, and no distances of other networks, too."""
    records = map(record_of, metrics or ())
    return [(record.name, record.protocol.feature) for record in records if record is not None and record.protocol]
