"""Arguments shared by the functions and commands that measure and compare image sets.

This module does not import torch, so that commands start quickly.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from inspect import Parameter, Signature, signature
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
    """Arguments of a :class:`DNAExtractor` that are options of commands.

    Commands pass them to functions as a dict, the argument ``feature``.
    """

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
        "Also measure properties of the images, such as sharpness, noise and size. By default, they are measured if"
        " compare gets two sets.",
    )
    device: str | None = option(
        None, "Machine", "Device of the network, such as cpu or cuda:1. Default: CUDA if available."
    )


@dataclass(frozen=True, eq=False)
class Arguments:
    """Keyword arguments that functions and commands share. The signature of each function shows which ones it takes.

    The metadata of a field has the help text of its option, and the group of options that it belongs to.

    Args:
        feature: A :class:`DNAExtractor`, or its ``feature``. A network that is given by name runs on CUDA if there is a
            GPU. The default is the extractor of the given DNAs, else ``"efficientnet_lite0"``.
        metrics: Any of ``"dna-emd"``, ``"dna-fd"``, ``"fd"``, ``"kid"``, ``"mind"``, ``"cmmd"``,
            ``"precision"``, ``"recall"``, ``"clipped-density"``, ``"clipped-coverage"``, ``"density"`` and
            ``"coverage"``. All are computed in one pass over the images. :func:`compare` also accepts published
            metrics. The default is the first two, or those that the given DNAs support. The metrics from ``"kid"`` on
            compare the spatial means of the last layer. These are kept for every image, ``(images, n)`` in float32.
            The evidence for fd keeps the spatial means of all layers.
        layers: Names of the layers, if ``feature`` is not an extractor. The same layers are selected from a DNA.
        num_bins: Number of bins per histogram. The default is that of the given DNAs, else 1000.
        ranges: Activation ranges, the path of a file of activation ranges, or ``"auto"`` for histograms that determine
            their own. The default is the ranges of the given DNAs, else the ranges packaged with the extractor, else
            ``"auto"``.
        neuron_weights: Weights of Eq. (5): :class:`NeuronWeights`, the path of their file, or a tensor of shape
            ``(N,)``. The default is the mean over neurons.
        causes: Whether to search for a change that explains the difference of two sets. If the test finds a
            difference, some images of A are blurred, compressed, darkened and changed in other ways, and the changes
            that bring them closest to B are reported. The search needs at least 10 images in each set, and runs the
            network on at most 240 more images.
        confidence: Level of the confidence intervals.
        num_folds: Number of folds of images, at least 5, or None for none. Debiased distances, intervals and tests
            need folds. The fold of an image depends on its pixels, as in :class:`DNAEMD`, and tests need images in at
            least 5 folds. A DNA has the folds of its file, unless this is None. A DNA without folds is taken as exact,
            and there is no test.
        groups: Images that belong together (frames of a clip, crops of a picture) and share a fold. Pass ``"folder"``,
            ``"prefix:REGEX"`` or a function of an image's name, see :func:`group_names`. For one set, you can also pass
            a sequence with the group of each image. For several sets, pass a tuple with such a sequence for each set.
        pairs: Whether images of the sets correspond, as originals and their compressed, upscaled, denoised or
            translated versions do. True pairs them by their order. ``"name"`` pairs them by their name below the
            source, without the suffix. A function of an image's name must return the same value for both images. The
            common content of a pair adds no sampling noise. So 10 pairs can show a difference for which hundreds of
            independent images would be needed.
        copies: Whether to search for near-duplicates, in the other set and within each set. If more than a tenth of
            the images of B are near-duplicates of images of A, the sets are not independent samples, and no distance is
            debiased. Pass False if images that look alike are different pictures.
        reading: Options for reading the images.
        distributed: Whether to share the images among the processes of torch.distributed. All processes must make the
            same call, and get the same result.
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
        "Groups of images that share a fold. With folder, each folder is a group. With prefix:REGEX, images whose names"
        " begin with the same match are a group. Default: equal images.",
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
        if metrics is not None:
            _check_metrics(metrics)
        object.__setattr__(self, "metrics", metrics)
        for name in ("causes", "copies", "distributed"):
            check_bool(name, getattr(self, name))

    def skipping_unreadable(self) -> Arguments:
        """Return a copy that skips unreadable images, unless the reading options decide otherwise."""
        from torchmetrics_dna.images.reading import Reading

        return replace(self, reading=(self.reading or Reading()).skipping())

    @property
    def averaging(self) -> dict[str, Any]:
        """Keyword arguments of ``averaging_of``; empty for the plain mean over neurons."""
        return {} if self.neuron_weights is None else {"neuron_weights": self.neuron_weights}


def _check_metrics(metrics: object) -> None:
    """Raise TypeError unless the metrics are names or distances."""
    listed = metrics if isinstance(metrics, Iterable) else [metrics]
    for metric in listed:
        if not isinstance(metric, (str, Distance, NoneType)):
            raise TypeError(f"Argument `metrics` expected to be names, as ['dna-emd', 'fid'], but got {brief(metric)}")


# Names of all arguments except `feature`, which is a separate parameter of each function.
ALL = tuple(field.name for field in fields(Arguments)[1:])


def taking(*names: str, **defaults: Any) -> Callable[[_F], _F]:
    """Replace ``**options`` in the signature of a function by some shared arguments.

    The function then raises a TypeError for other keyword arguments.

    Args:
        names: Names of arguments of :class:`Arguments`.
        defaults: Arguments whose default differs from that in :class:`Arguments`.

    """
    shared_parameters = _parameters_of(names, defaults)

    def with_arguments(function: _F) -> _F:
        own_signature = signature(function)
        # The last parameter is `**options`.
        *own_parameters, _ = own_signature.parameters.values()
        full_signature = own_signature.replace(parameters=[*own_parameters, *shared_parameters])

        @wraps(function)
        def checked(*args: Any, **options: Any) -> Any:
            if options.get("distributed") is True:
                # This module imports torch.
                from torchmetrics_dna.jobs.processes import in_step

                # A wrong call in one process raises an error in all processes.
                with in_step():
                    _check_call(function.__qualname__, full_signature, args, options)
            else:
                _check_call(function.__qualname__, full_signature, args, options)
            return function(*args, **(defaults | options))

        checked.__signature__ = full_signature  # type: ignore[attr-defined]
        return cast("_F", checked)

    return with_arguments


def _check_call(name: str, expected: Signature, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Raise TypeError if the arguments of a call do not fit a signature.

    Args:
        name: Name of the function, for the message.
        expected: The signature.
        args: Positional arguments.
        options: Keyword arguments.

    """
    try:
        expected.bind(*args, **options)
    except TypeError as err:
        raise TypeError(f"{name}() {err}") from None


def _parameters_of(names: Sequence[str], defaults: Mapping[str, Any]) -> list[Parameter]:
    """Return keyword-only parameters for the named fields of :class:`Arguments`."""
    parameters = []
    for field in fields(Arguments):
        if field.name in names or field.name in defaults:
            default = defaults.get(field.name, field.default)
            parameters.append(Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=field.type))
    return parameters


# Arguments that published metrics do not use, since they do not compare single neurons.
_OF_NEURONS = ("num_bins", "ranges", "neuron_weights")


def by_network(arguments: Arguments, sides: Sequence[Any]) -> list[Arguments]:
    """Split the arguments of a comparison by the network of each metric.

    If neither a network nor layers are given, published metrics use the networks of their publications. All other
    metrics use the default network, which comes first in the result. If a network or layers are given, all metrics use
    the same network.

    Args:
        arguments: The arguments.
        sides: The sets that are compared, before they are opened.

    Returns:
        The arguments for each network, with the metrics that use it.

    Raises:
        ValueError: If a metric can't use the given network, or an argument deviates from a publication. Also if an
            argument would be ignored, or an iterator would be read several times.

    """
    network_options = _options_without_network(arguments)
    if network_options is None:
        _check_can_use_any_network(arguments.metrics)
        return [arguments]
    published_metrics, other_metrics = _split_metrics(arguments.metrics or ())
    if not published_metrics:
        return [arguments]
    _check_published(published_metrics[0].name, arguments, network_options, is_alone=not other_metrics)
    split = []
    if other_metrics:
        # The given weights are those of the published networks, so the default network does not use them.
        default_network = network_options | {"weights_path": None}
        split.append(replace(arguments, feature=default_network, metrics=other_metrics))
    none_of_neurons: dict[str, Any] = dict.fromkeys(_OF_NEURONS)
    for own_network, metrics in networks_of(published_metrics, network_options, bool(other_metrics)):
        split.append(replace(arguments, feature=own_network, metrics=metrics, **none_of_neurons))
    if len(split) > 1:
        _check_can_be_read_again(sides)
    return split


def _options_without_network(arguments: Arguments) -> dict[str, Any] | None:
    """Return the options of the network, such as its device. None if the network itself or layers are given."""
    if arguments.layers is not None:
        return None
    if arguments.feature is None:
        return {}
    if isinstance(arguments.feature, dict) and arguments.feature.get("feature") is None:
        return arguments.feature
    return None


def _split_metrics(metrics: Sequence[str | Distance]) -> tuple[list[Distance], list[str | Distance]]:
    """Return the published metrics, in the order of their records, and the other metrics, each once."""
    published_metrics: list[Distance] = []
    other_metrics: list[str | Distance] = []
    # A dictionary keeps each metric once, in order.
    for metric in dict.fromkeys(metrics):
        record = published(metric)
        if record is None:
            other_metrics.append(metric)
        else:
            published_metrics.append(record)
    return list(in_order(published_metrics)), other_metrics


def _check_can_use_any_network(metrics: Sequence[str | Distance] | None) -> None:
    """Raise ValueError if a metric can only use the network of its publication."""
    names_and_networks = only_published(metrics)
    if names_and_networks:
        name, network = names_and_networks[0]
        raise ValueError(
            f"Metric {name!r} brings its own network, {network!r}, but {written('feature')} or {written('layers')} is"
            " given, too"
        )


def _check_can_be_read_again(sides: Sequence[Any]) -> None:
    """Raise ValueError if a set is an iterator."""
    if any(isinstance(side, Iterator) for side in sides):
        raise ValueError(
            "Metrics of several networks read a side several times, but got an iterator; pass a list, or a function"
            " that returns a new iterator"
        )


def _check_published(name: str, arguments: Arguments, network: Mapping[str, Any], *, is_alone: bool) -> None:
    """Raise ValueError if an argument deviates from a publication, or would be ignored.

    Args:
        name: Name of the first published metric.
        arguments: The arguments.
        network: Arguments of the network.
        is_alone: Whether all metrics are published. Otherwise the other metrics use the arguments.

    """
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
    """Return the name and network of each metric that can only use the network of its publication."""
    names_and_networks = []
    for metric in metrics or ():
        record = record_of(metric)
        if record is not None and record.protocol is not None:
            names_and_networks.append((record.name, record.protocol.feature))
    return names_and_networks
