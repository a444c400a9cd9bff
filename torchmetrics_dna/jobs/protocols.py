"""Published metrics bring their networks: the arguments of a comparison are split by network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna.distances import DISTANCES, Distance, in_order, networks_of, published

if TYPE_CHECKING:
    from torchmetrics_dna.jobs.arguments import Arguments

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
                f"Metric {name!r} brings its own network, {feature!r}, but another or layers are given; leave out"
                " `feature` and `layers`"
            )
        return [arguments]
    by_metric = {metric: published(metric) for metric in arguments.metrics or ()}
    if not any(by_metric.values()):
        return [arguments]
    records = in_order(filter(None, by_metric.values()))
    others = [metric for metric, record in by_metric.items() if record is None]
    first_name, crop = records[0].name, network.get("crop")
    if crop not in (None, "none"):
        raise ValueError(
            f"Argument `crop` is {crop!r}, but {first_name} brings the crop of its publication; leave it out, or give"
            " `feature` for a metric of your own"
        )
    settings = {name: getattr(arguments, name) for name in _OF_NEURONS} | {"properties": network.get("properties")}
    unused = [name for name, value in settings.items() if value is not None]
    if unused and not others:
        raise ValueError(f"Argument `{unused[0]}` is not for {first_name}; leave it out, or add dna-emd to `metrics`")
    split = networks_of(records, network, bool(others))
    if len(split) + bool(others) > 1 and any(isinstance(side, Iterator) for side in sides):
        raise ValueError(
            "Metrics of several networks read images several times, but a side is an iterator; give a list, or a"
            " function that makes it anew"
        )
    of_neurons: dict[str, Any] = dict.fromkeys(_OF_NEURONS)
    first = [replace(arguments, feature=network | {"weights_path": None}, metrics=others)] if others else []
    return first + [replace(arguments, feature=own, metrics=of_network, **of_neurons) for own, of_network in split]


def only_published(metrics: Sequence[str | Distance] | None) -> list[tuple[str, str]]:
    """Return name and network of the metrics that are published, and no distances of other networks, too."""
    records = (metric if isinstance(metric, Distance) else DISTANCES.find(metric) for metric in metrics or ())
    return [(record.name, record.protocol.feature) for record in records if record is not None and record.protocol]
