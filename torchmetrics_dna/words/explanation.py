"""Differences between two sets: properties of images, and what caused it; verdict.py says it in words."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.dna.gaussian import GaussianDNA, LayerGaussianDNA
from torchmetrics_dna.dna.histogram import HistogramDNA
from torchmetrics_dna.functional.permutation import SIGNIFICANT, PermutationTest
from torchmetrics_dna.images.changes import CHANGES, Causes
from torchmetrics_dna.images.properties import BANDS, LAYER, RECORDS, neuron_name
from torchmetrics_dna.words.verdict import Explanation, PropertyDifference

if TYPE_CHECKING:
    from torchmetrics_dna.dna.base import DNA
    from torchmetrics_dna.neurons.index import Neurons

_MAX_PROPERTIES = 6  # that are named
_MIN_EFFECT = 0.5  # standard deviations between means, for a property to be named without a test
_CLEAREST = 2  # of the properties that changes move, of which one must fit for a guess
_LEAST_UNTESTED = 10  # images on a side, for words without a test
_NOT_MEASURED = "What differs was not measured: use `DNAExtractor(..., properties=True)`"
_NO_PICTURES = "`top_neurons()` of compare names the neurons that differ"


def explain(
    a: DNA,
    b: DNA,
    test: PermutationTest | None = None,
    names: tuple[str, str] = ("A", "B"),
    properties: list[PropertyDifference] | None = None,
    causes: Causes | None = None,
    lacks: str = "",
    p_value: float | None = None,
) -> Explanation:
    """Explain how two DNAs of the same extractor differ.

    Nothing is named where the test finds no difference or, without a test, for fewer than 10 images on a side.

    Args:
        a: DNA of A, of any kind.
        b: DNA of B.
        test: Test of a per-neuron distance between them.
        names: Names of A and B.
        properties: Properties of images that differ, if they were not measured as neurons of these DNAs.
        causes: Changes of A's images that were searched.
        p_value: P-value that the sets differ; by default that of the test.
        lacks: What a test lacks, in words; empty if there is one, or none was wanted.

    """
    p_value = test.p_value if p_value is None and test is not None else p_value
    plain = Explanation(p_value, [], names=names, lacks=lacks)
    if properties is None and LAYER not in a.neurons:
        preparation = a.preparation or {}
        plain = replace(plain, unmeasured=_NO_PICTURES if {"inputs", "channels"} & {*preparation} else _NOT_MEASURED)
    is_small = any(not dna.has_unknown_size and dna.num_images < _LEAST_UNTESTED for dna in (a, b))
    if not (has_means(a) and has_means(b)) or (p_value is None and (is_small or lacks)):
        return plain
    if p_value is not None and p_value > SIGNIFICANT:
        return plain
    if properties is None:
        properties = property_differences(a, b, test)
    moved = {each.name: each.direction for each in properties}

    def signs(change: str) -> int:
        """Return 1 if a property was measured as a change moves it, -1 if the other way round, else 0."""
        move = CHANGES[change].moves
        return moved.get(move[:-2], 0) * (-1 if move.endswith("-") else 1)

    named = causes if causes is not None and causes.names and min(map(signs, causes.names)) >= 0 else None
    guess, is_rejected = None, causes is None or bool(causes.names) or causes.is_rejected
    if causes is not None and not is_rejected and causes.likeliest is not None and signs(causes.likeliest[0]) > 0:
        by_changes = {change.moves[:-2] for change in CHANGES.values()}
        clearest = [name for name in moved if name in by_changes][:_CLEAREST]
        if CHANGES[causes.likeliest[0]].moves[:-2] in clearest:
            guess = replace(causes, names=causes.likeliest[:1], amounts=causes.likeliest[1:])
    return replace(
        plain, properties=properties, causes=named, is_searched=causes is not None, is_rejected=is_rejected, guess=guess
    )


def has_means(dna: DNA) -> bool:
    """True if the means of neurons are known, which they are not for histograms of unknown ranges."""
    return not (isinstance(dna, HistogramDNA) and dna.ranges is None)


def as_gaussian(dna: DNA) -> GaussianDNA:
    """Return the mean and variance of each neuron: of all activations for histograms, else of spatial means."""
    if isinstance(dna, GaussianDNA):
        return dna
    assert isinstance(dna, (HistogramDNA, LayerGaussianDNA))
    return dna.to_gaussian()


def shared_neurons(*dnas: DNA) -> Neurons:
    """Return the neurons of DNAs without properties of files, unless each has files, and not images in memory alone."""
    neurons = dnas[0].neurons
    numbers = [i for i, record in enumerate(RECORDS.values()) if record.needs == "file"]
    places = [neurons.index(LAYER, i) for i in numbers if LAYER in neurons and i in neurons.numbers(LAYER)]
    for dna in dnas if places else ():
        facts = dna.select(neurons=places)
        above = (
            facts.counts[facts.bin_edges()[:, :-1] > 0] if isinstance(facts, HistogramDNA) else as_gaussian(facts).mean
        )
        if not above.any():
            return neurons.take(torch.tensor([i for i in range(neurons.total) if i not in places]))
    return neurons


def property_differences(a: DNA, b: DNA, test: PermutationTest | None) -> list[PropertyDifference]:
    """Return the properties of images, or the numbers of bands, that differ, by a test or else by effect size.

    The clearest comes first. If the test finds a difference of all together, but of none by itself, the clearest stands
    for it.
    """
    layer = next((layer for layer in (LAYER, BANDS) if layer in a.neurons), None)
    if layer is None:
        return []
    columns, shared = a.neurons.slices[layer], shared_neurons(a, b).numbers(layer)
    gaussian_a, gaussian_b = (as_gaussian(dna.select([layer]).to("cpu")) for dna in (a, b))
    differences, others = [], []
    for i, column in enumerate(gaussian_a.neurons.numbers(layer)):
        if column not in shared:
            continue
        of_property = PropertyDifference(
            neuron_name(layer, column),
            float(gaussian_a.mean[i]),
            float(gaussian_b.mean[i]),
            math.sqrt(gaussian_a.var[i]),
            math.sqrt(gaussian_b.var[i]),
            None if test is None else float(test.q[columns][i]),
        )
        clear = abs(of_property.effect) if test is None else float(test.z[columns][i])
        if clear >= _MIN_EFFECT if of_property.q is None else of_property.q <= SIGNIFICANT:
            differences.append((clear, of_property))
        else:
            others.append((clear, of_property))
    if not differences and test is not None and test.p_value <= SIGNIFICANT:
        differences = [max(others, key=lambda pair: pair[0])]
    return [of_property for _, of_property in sorted(differences, key=lambda pair: -pair[0])[:_MAX_PROPERTIES]]
