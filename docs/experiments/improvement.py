"""Does training still improve? Sequences of checkpoints that improve, stop and get worse, by simulation.

    pip install "torchmetrics-dna[demo]" scikit-learn
    python docs/experiments/improvement.py

A real image is a random texture of 16 pixels: a smooth part and fine detail. A checkpoint generates textures whose
detail has too little contrast, by a share, its error. So its distance from real images is 0 at an error of 0, and grows
with it. The network is a small one with random weights. A draw takes one set of real images and one set for each
checkpoint, all of 200 images in 20 folds, which are new in each draw. All rules get the same p-values, of the paired
test of :func:`compare` for two sets. The size of the errors was chosen by the p-values of single pairs, without the
rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import results
import torch
from torch import Tensor, nn

from torchmetrics_dna import ActivationRanges
from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.averaging import PLAIN
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.evidence import Evidence, paired_p_value, weigh_evidence
from torchmetrics_dna.functional.improvement import last_improvement
from torchmetrics_dna.functional.permutation import SIGNIFICANT, holm

IMAGES, SIDE, FOLDS, BINS, DRAWS = 200, 16, 20, 100, 100
RECORD = DISTANCES["dna-emd"]
PValues = Callable[[int, int], float]


@dataclass(frozen=True)
class Sequence:
    """Errors of checkpoints, in their order."""

    name: str
    errors: tuple[float, ...]
    # Number of checkpoints until the last that is closer than all before.
    stop: int


FALL = (0.6, 0.5, 0.4, 0.3)
STOPS = (
    Sequence("stops at 0.3, 8 more", (*FALL, *[0.3] * 8), 4),
    Sequence("stops at 0.3, 20 more", (*FALL, *[0.3] * 20), 4),
    Sequence("stops at real, 8 more", (0.6, 0.4, 0.2, 0.0, *[0.0] * 8), 4),
    Sequence("never improves, 12", (0.3,) * 12, 1),
    Sequence("stops, then gets worse", (*FALL, 0.3, 0.3, 0.3, 0.32, 0.34, 0.38, 0.42, 0.5), 4),
    Sequence("falls, rises, comes back", (*FALL, 0.35, 0.4, 0.45, 0.4, 0.35, 0.3, 0.3, 0.3), 4),
)
STEPS = tuple(
    Sequence(f"6 at 0.3, then one better by {size}", (0.3,) * 6 + (round(0.3 - size, 3),), 7)
    for size in (0.04, 0.08, 0.12, 0.2, 0.3)
)
SLOW = tuple(
    Sequence(f"12, each better by {size}", tuple(round(0.5 - size * i, 3) for i in range(12)), 12)
    for size in (0.01, 0.02, 0.03, 0.04)
)


def images(error: float, generator: torch.Generator, count: int = IMAGES) -> Tensor:
    """Textures whose detail has too little contrast, by this share."""
    smooth = torch.randn(count, 3, SIDE // 4, SIDE // 4, generator=generator)
    smooth = nn.functional.interpolate(smooth, size=SIDE, mode="bilinear")
    detail = torch.randn(count, 1, SIDE, SIDE, generator=generator)
    pixels = 128 + 35 * smooth + 25 * (1 - error) * detail
    return pixels.round().clamp(0, 255).to(torch.uint8)


class Measure:
    """A small network with random weights, whose activations are counted within the range of those of real images."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
        self.ranges = ActivationRanges.observe(self.activations(images(0, torch.Generator().manual_seed(0))))

    @torch.no_grad()
    def activations(self, textures: Tensor) -> dict[str, Tensor]:
        first = self.first(textures / 255)
        return {"first": first, "second": self.second(first)}

    def __call__(self, error: float, generator: torch.Generator) -> HistogramDNA:
        """Return the DNA of a new set of images in folds."""
        low, high = (bounds.float() for bounds in self.ranges.bounds())
        layers = self.activations(images(error, generator)).items()
        counts = torch.zeros(FOLDS, self.ranges.neurons.total, BINS, dtype=torch.int64)
        for layer, values in layers:
            rows = self.ranges.neurons.slices[layer]
            by_fold = values.view(FOLDS, -1, values.shape[1], values[0, 0].numel())
            low_of_layer, high_of_layer = low[rows, None], high[rows, None]
            bins = ((by_fold - low_of_layer) / (high_of_layer - low_of_layer) * BINS).long().clamp(0, BINS - 1)
            fold = torch.arange(FOLDS)[:, None, None, None]
            neuron = torch.arange(values.shape[1])[:, None]
            cells = (fold * values.shape[1] + neuron) * BINS + bins
            found = cells.flatten().bincount(minlength=FOLDS * values.shape[1] * BINS)
            counts[:, rows] = found.view(FOLDS, values.shape[1], BINS)
        folds = tuple(self._dna(fold, IMAGES // FOLDS) for fold in counts)
        return replace(self._dna(counts.sum(0), IMAGES), folds=folds)

    def _dna(self, counts: Tensor, size: int) -> HistogramDNA:
        return HistogramDNA(counts, self.ranges.neurons, self.ranges, size, "textures")


def evidence_of(real: HistogramDNA, error: float, measure: Measure, generator: torch.Generator) -> Evidence:
    """Return the evidence for the distance of a new set of this error."""
    generated = measure(error, generator)
    folded = replace(RECORD.folded(real, generated), num_relabelings=0)  # The paired test uses the jackknife alone.
    distances = real.distances(generated)
    found = weigh_evidence(distances, folded, RECORD.power, averaging=PLAIN, confidence=0.95)
    assert found is not None
    return found


def closer(of: list[Evidence]) -> PValues:
    """P-values that the later of two checkpoints is no closer, as in Comparisons."""

    def p_value(earlier: int, later: int) -> float:
        if of[later].jackknife.left > of[earlier].jackknife.left:
            return 1.0
        p = paired_p_value(of[later], of[earlier])
        assert p is not None
        return p

    return p_value


# The rules. Each returns which checkpoints are improvements.


def spending(p: PValues, count: int) -> list[int]:
    """What the package does, for each length, so that a claim that is taken back would count."""
    found = {last_improvement(p, length).step for length in range(1, count + 1)}
    return sorted(found - {0})


def against_last(is_corrected: bool) -> Callable[[PValues, int], list[int]]:
    """Against the last improvement; perhaps corrected for the number of steps by Bonferroni."""

    def rule(p: PValues, count: int) -> list[int]:
        found = [0]
        level = SIGNIFICANT / (count - 1) if is_corrected else SIGNIFICANT
        for step in range(1, count):
            if p(found[-1], step) <= level:
                found.append(step)
        return found[1:]

    return rule


def all_before(is_corrected: bool) -> Callable[[PValues, int], list[int]]:
    """Against each checkpoint before, by the largest p-value; perhaps corrected for the number of steps by Holm."""

    def rule(p: PValues, count: int) -> list[int]:
        largest = {str(step): max(p(before, step) for before in range(step)) for step in range(1, count)}
        p_values = holm(largest) if is_corrected else largest
        return [int(step) for step, value in p_values.items() if value is not None and value <= SIGNIFICANT]

    return rule


def best_before(of: list[Evidence]) -> Callable[[PValues, int], list[int]]:
    """Against the closest checkpoint before, corrected for the number of steps by Holm."""

    def rule(p: PValues, count: int) -> list[int]:
        left = [each.jackknife.left for each in of]
        p_values = holm({str(step): p(int(np.argmin(left[:step])), step) for step in range(1, count)})
        return [int(step) for step, value in p_values.items() if value is not None and value <= SIGNIFICANT]

    return rule


RULES = ("all before", "all before, Holm", "best before, Holm", "last", "last, Bonferroni", "last, spending")
CHOSEN = RULES[-1]


def found_by(of: list[Evidence]) -> dict[str, list[int]]:
    """Return the improvements by each rule."""
    p_values = closer(of)
    rules = (
        all_before(is_corrected=False),
        all_before(is_corrected=True),
        best_before(of),
        against_last(is_corrected=False),
        against_last(is_corrected=True),
        spending,
    )
    return {name: rule(p_values, len(of)) for name, rule in zip(RULES, rules, strict=True)}


def draws_of(sequence: Sequence, seed: int, draws: int, measure: Measure) -> list[dict[str, list[int]]]:
    """Improvements of all draws, by rule."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        real = measure(0, generator)
        found.append(found_by([evidence_of(real, error, measure, generator) for error in sequence.errors]))
    return found


def shares(found: list[dict[str, list[int]]], is_so: Callable[[list[int]], bool]) -> dict[str, float]:
    """Share of draws in which improvements are so, by rule."""
    return {rule: float(np.mean([is_so(draw[rule]) for draw in found])) for rule in RULES}


def false_share(sequence: Sequence, found: list[dict[str, list[int]]]) -> dict[str, float]:
    """Share of draws in which a checkpoint is reported that is no closer than those it was compared with, by rule."""
    errors = sequence.errors

    def is_false(rule: str, steps: list[int]) -> bool:
        if rule.startswith("last"):
            return any(errors[step] >= errors[before] for before, step in pairwise([0, *steps]))
        return any(errors[step] >= min(errors[:step]) for step in steps)

    return {rule: float(np.mean([is_false(rule, draw[rule]) for draw in found])) for rule in RULES}


def row(name: str, of_rules: dict[str, float]) -> list[str]:
    return [name, *(f"{of_rules[rule]:.2f}" for rule in RULES)]


def main() -> None:
    arguments = results.parser(__doc__).parse_args()
    folder, quick = results.begin(arguments), arguments.quick
    measure = Measure()
    draws = 2 if quick else DRAWS
    chosen = [group[:1] if quick else group for group in (STOPS, STEPS, SLOW)]
    seed = 0
    found: dict[str, list[dict[str, list[int]]]] = {}
    for sequence in (sequence for group in chosen for sequence in group):
        seed += 1
        found[sequence.name] = draws_of(sequence, seed, draws, measure)
        print(sequence.name, shares(found[sequence.name], lambda steps: bool(steps)), flush=True)

    sequences = {sequence.name: sequence for group in chosen for sequence in group}
    false = {sequence.name: false_share(sequence, found[sequence.name]) for sequence in (*chosen[0], *chosen[1])}
    late = {
        sequence.name: shares(found[sequence.name], lambda steps, stop=sequence.stop: any(s >= stop for s in steps))
        for sequence in chosen[0]
    }
    by_step = {sequence.name: shares(found[sequence.name], lambda steps: 6 in steps) for sequence in chosen[1]}
    half = {
        sequence.name: shares(found[sequence.name], lambda steps: any(s >= 6 for s in steps)) for sequence in chosen[2]
    }
    at_stop = {
        name: shares(found[name], lambda steps, stop=sequences[name].stop: stop - 1 in steps)
        for name in late
        if sequences[name].stop > 1
    }
    tables = [
        results.table(
            ["a checkpoint is reported that is no improvement", *RULES], [row(*each) for each in false.items()]
        ),
        results.table(["the last better checkpoint is found", *RULES], [row(*each) for each in by_step.items()]),
        results.table(["an improvement in the second half is found", *RULES], [row(*each) for each in half.items()]),
        results.table(["a checkpoint after the stop is reported", *RULES], [row(*each) for each in late.items()]),
        results.table(["the stop itself is found", *RULES], [row(*each) for each in at_stop.items()]),
    ]

    def span(of_rules: dict[str, dict[str, float]], rule: str = CHOSEN) -> str:
        return results.percents([by_rule[rule] for by_rule in of_rules.values()])

    here = (
        f"A checkpoint that is no improvement is reported in {span(false)} of draws, depending on the sequence. Without"
        f" correction, this share is {span(false, 'last')}. One better checkpoint after six equal ones is found in"
        f" {span(by_step)} of draws, depending on the size of the step. If each of 12 checkpoints is"
        f" slightly better than the one before it, an improvement in the second half is found in {span(half)} of draws."
        f" If a checkpoint must be closer than all before it, this share is {span(half, 'all before')}. If the test"
        " misses the checkpoint at which a training stops improving, it can report a later one. This happens in"
        f" {span(late)} of draws. If a checkpoint must be closer than all before it, this happens in"
        f" {span(late, 'all before')}."
    )
    results.write(
        folder,
        "improvement",
        here=here,
        tables=tables,
        seeds=f"1 to {seed}, of the draws of each sequence; 0 of the network; {draws} draws of each row",
        data=["simulated textures"],
    )


if __name__ == "__main__":
    main()
