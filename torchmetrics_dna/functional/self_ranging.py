"""Earth Mover's Distance between self-ranging histograms, whose bins may differ.

The share of activations below a position is known exactly at the edges of a histogram's own bins, up to its smallest
activation (0), and above its largest one (1). Bin widths are powers of two, so the edges of the coarser of two
histograms are edges of the finer one, too: both shares are known there. Between two such points, only the finer
histogram shows where activations lie. If the finer histogram has activations there, those of the coarser one are
assumed to lie in the same places. Otherwise, the share of the coarser one is taken as linear.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from torchmetrics_dna.binning.self_ranging import Grid, bounds_of, dyadic_grid
from torchmetrics_dna.functional.emd import compiled_for, cumulative_share
from torchmetrics_dna.functional.reduction import blocks

# Number of values at a time: 2 MiB of float64.
_CELLS = 1 << 18
# Resolution of the part of a gap's activations that lie below a position.
_STEPS = 1 << 12
# Sum of the counts of a histogram that was moved to other bins.
_COUNTS = 1 << 40
_TINY = torch.finfo(torch.float64).tiny


class RangedCounts(NamedTuple):
    """Self-ranging histograms: counts, and the range of each neuron, which determines its bins."""

    counts: Tensor  # int64, (N, num_bins), or those of folds in the same bins, (K, N, num_bins)
    minimum: Tensor  # float64, (N,)
    maximum: Tensor  # float64, (N,)

    @property
    def num_bins(self) -> int:
        """Number of bins of each histogram."""
        return self.counts.shape[-1]

    @property
    def grid(self) -> Grid:
        """Bins of the histograms."""
        return dyadic_grid(self.minimum, self.maximum, self.num_bins)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the bounds between which distances from these histograms are taken, ``(N,)`` each."""
        return bounds_of(self.minimum, self.maximum)

    def take(self, rows: slice) -> RangedCounts:
        """Select some neurons."""
        return RangedCounts(self.counts[..., rows, :], self.minimum[rows], self.maximum[rows])

    def where(self, mask: Tensor, other: RangedCounts) -> RangedCounts:
        """Select the neurons for which ``mask``, bool, ``(N,)``, is true here, and the others from ``other``."""
        return RangedCounts(
            torch.where(mask[:, None], self.counts, other.counts),
            torch.where(mask, self.minimum, other.minimum),
            torch.where(mask, self.maximum, other.maximum),
        )

    def knots(self) -> Tensor:
        """Return the edges of the bins, moved into the range, ``(N, num_bins + 1)``; the share is linear between."""
        grid = self.grid
        numbers = torch.arange(self.num_bins + 1, dtype=torch.float64, device=self.counts.device)
        edges = (grid.start[:, None] + numbers) * grid.width[:, None]
        return edges.clamp(self.minimum[:, None], self.maximum[:, None])

    def shares(self) -> Tensor:
        """Return the share of activations below each knot, ``(N, num_bins + 1)``; NaN without activations."""
        return pad(cumulative_share(self.counts), (1, 0))

    def places(self) -> Tensor:
        """Return the number of the first bin of each neuron, the width of its bins, its minimum and its maximum."""
        grid = self.grid
        return torch.stack([grid.start.double(), grid.width, self.minimum, self.maximum], 1)

    def numbers(self, positions: Tensor) -> Tensor:
        """Return the bin of each position, float64, ``(N, P)``. Beyond the first and last bin, numbers continue."""
        grid = self.grid
        return (positions / grid.width[:, None]).floor() - grid.start[:, None]

    def share_below(self, positions: Tensor) -> Tensor:
        """Return the share of activations below each position, ``(N, P)``."""
        knots, shares = self.knots(), self.shares()
        number = self.numbers(positions).clamp(0, self.num_bins - 1).long()
        left = knots.gather(1, number)
        right = knots.gather(1, number + 1)
        before = shares.gather(1, number)
        after = shares.gather(1, number + 1)
        return before + (after - before) * _part(positions, left, right)


class _Gaps(NamedTuple):
    """Gaps between neighbouring points at which the shares of two histograms are both known; P points per neuron."""

    a_is_finer: Tensor  # bool, (N,)
    fine: RangedCounts  # the finer histogram of each neuron
    coarse: RangedCounts  # the coarser one
    points: Tensor  # ascending positions, float64, (N, P); the first and last are beyond all activations and bounds
    fine_knots: Tensor  # number of the finer histogram's knot at each point, int64, (N, P)
    coarse_knots: Tensor  # number of the coarser one's

    @classmethod
    def between(cls, a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> _Gaps:
        """Find the gaps between histograms of shape ``(N, num_bins)``, within bounds ``(N,)`` and beyond."""
        a_is_finer = a.grid.exponent <= b.grid.exponent
        fine, coarse = a.where(a_is_finer, b), b.where(a_is_finer, a)
        knots = coarse.knots()
        begin = torch.minimum(low, torch.minimum(a.minimum, b.minimum))
        end = torch.maximum(high, torch.maximum(a.maximum, b.maximum))
        own_knots = torch.arange(a.num_bins + 1, device=knots.device).expand_as(knots)
        return cls(
            a_is_finer,
            fine,
            coarse,
            torch.cat([begin[:, None], knots, end[:, None]], 1),
            _with_ends(_fine_knots(knots, fine, coarse), a.num_bins),
            _with_ends(own_knots, a.num_bins),
        )


def _fine_knots(knots: Tensor, fine: RangedCounts, coarse: RangedCounts) -> Tensor:
    """Return the number of bins of the finer histogram below each knot of the coarser one, int64.

    A bin of the finer histogram that holds the minimum or maximum of the coarser one counts as inside its range.
    """
    below = fine.numbers(knots)
    is_maximum = torch.arange(fine.num_bins + 1, device=knots.device) > coarse.numbers(coarse.maximum[:, None])
    below = torch.where(is_maximum, below + 1, below)
    below = torch.where((coarse.minimum > fine.maximum)[:, None], fine.num_bins, below)
    below = torch.where((coarse.maximum < fine.minimum)[:, None], 0, below)
    return below.clamp(0, fine.num_bins).long()


def _with_ends(knots: Tensor, last: int) -> Tensor:
    """Add the knots of the points beyond all activations."""
    return pad(pad(knots, (1, 0)), (0, 1), value=last)


def self_ranging_emd(a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> Tensor:
    r"""Compute the EMD of each neuron between self-ranging histograms, in bins of fixed bounds ``(N,)``.

    It equals the distance under fixed bounds up to binning: :math:`\int |F_A - F_B|` over the bounds, in units of a
    ``num_bins``-th of the bounds, float64, ``(N,)``; NaN where a neuron has no counts, or more than 2^53.
    """
    compiled = compiled_for(a.counts, b.counts)
    if compiled:
        bounds = torch.stack([low, high], 1)
        areas: Tensor = compiled.areas_of_rows(a.counts, b.counts, a.places(), b.places(), bounds)
    else:
        chunks = blocks(len(a.counts), a.num_bins, _CELLS)
        areas = torch.cat([area_of_rows(a.take(rows), b.take(rows), low[rows], high[rows]) for rows in chunks])
    return areas * (a.num_bins / (high - low))


def area_of_rows(a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> Tensor:
    """Integrate the absolute difference of the cumulative shares of each neuron between bounds, ``(N,)``."""
    gaps = _Gaps.between(a, b, low, high)
    fine_shares = gaps.fine.shares()
    fine_knots = gaps.fine.knots()
    fine_at_points = fine_shares.gather(1, gaps.fine_knots)
    difference = fine_at_points - gaps.coarse.shares().gather(1, gaps.coarse_knots)
    fine_rise = fine_at_points.diff()
    is_followed = fine_rise > 0
    begin = gaps.points[:, :-1]
    end = gaps.points[:, 1:]
    before = difference[:, :-1]
    after = difference[:, 1:]

    # In a gap with activations of the finer histogram, shares rise between its first knot there and its last one only.
    first = fine_knots.gather(1, gaps.fine_knots[:, :-1])
    last = fine_knots.gather(1, gaps.fine_knots[:, 1:])
    first = torch.where(is_followed, first.clamp(begin, end), begin)
    last = torch.where(is_followed, last.clamp(begin, end), begin)
    areas = _areas_of_lines(begin, first, before, before, low, high)
    areas += _areas_of_lines(last, end, torch.where(is_followed, after, before), after, low, high)

    # Between these knots, the difference rises with the share of the finer histogram.
    bins = torch.arange(a.num_bins, device=low.device).expand(len(low), -1).contiguous()
    gap = torch.searchsorted(gaps.fine_knots[:, 1:-1].contiguous(), bins, right=True)
    slope = torch.where(is_followed, (after - before) / fine_rise, 0).gather(1, gap)
    at_knots = before.gather(1, gap) + (fine_shares[:, :-1] - fine_at_points.gather(1, gap)) * slope
    at_next_knots = at_knots + fine_shares.diff() * slope
    gap_begin = begin.gather(1, gap)
    gap_end = end.gather(1, gap)
    left = fine_knots[:, :-1].clamp(gap_begin, gap_end)
    right = fine_knots[:, 1:].clamp(gap_begin, gap_end)
    within = _areas_of_lines(left, right, at_knots, at_next_knots, low, high)
    return areas.sum(1) + torch.where(is_followed.gather(1, gap), within, 0).sum(1)


def _areas_of_lines(begin: Tensor, end: Tensor, before: Tensor, after: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Integrate the absolute values of straight lines, ``(N, lines)``, within bounds ``(N,)``."""
    first = begin.clamp(low[:, None], high[:, None])
    last = end.clamp(low[:, None], high[:, None])
    left = before + (after - before) * _part(first, begin, end)
    right = before + (after - before) * _part(last, begin, end)
    absolute_sum = left.abs() + right.abs()
    # A line that crosses 0 bounds two triangles.
    crossing = (left.square() + right.square()) / absolute_sum.clamp(min=_TINY)
    return torch.where(left * right < 0, crossing, absolute_sum) * ((last - first) / 2)


def _part(positions: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Return the part of an interval that is below each position, from 0 to 1. An empty interval is a step."""
    return ((positions - begin) / (end - begin).clamp(min=_TINY)).clamp(0, 1)


def counts_in_nodes(a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cumulative counts of folds in the middle of equal parts of bounds ``(N,)``.

    The folds of A share their bins, as do those of B. All folds are treated alike: their counts are known at the same
    points, and the activations between two points lie in the places that the finer of the two sets shows. So the folds
    can be exchanged.

    Args:
        a: Counts of the folds of A, ``(K, N, num_bins)``.
        b: Counts of the folds of B.
        low: Lower bounds, of which each neuron's parts are as many as bins.
        high: Upper bounds.

    Returns:
        The counts of A and of B, each ``(K, N, num_bins)``, float64. They are integers or dyadic fractions, so that
        their sums are exact.

    """
    num_bins = a.num_bins
    middles = (torch.arange(num_bins, dtype=torch.float64, device=low.device) + 0.5) / num_bins
    nodes = torch.lerp(low[:, None], high[:, None], middles)
    counts_a = torch.empty(a.counts.shape, dtype=torch.float64, device=low.device)
    counts_b = torch.empty(b.counts.shape, dtype=torch.float64, device=low.device)
    for rows in blocks(len(low), (len(counts_a) + len(counts_b)) * num_bins, _CELLS):
        folds_a = a.take(rows)
        folds_b = b.take(rows)
        whole_a = folds_a._replace(counts=folds_a.counts.sum(0))
        whole_b = folds_b._replace(counts=folds_b.counts.sum(0))
        gaps = _Gaps.between(whole_a, whole_b, low[rows], high[rows])
        gap = torch.searchsorted(gaps.points[:, 1:-1].contiguous(), nodes[rows])
        part = _part_of_gap(gaps, gap, nodes[rows])
        a_is_finer = gaps.a_is_finer[:, None]
        knots_a = torch.where(a_is_finer, gaps.fine_knots, gaps.coarse_knots)
        knots_b = torch.where(a_is_finer, gaps.coarse_knots, gaps.fine_knots)
        counts_a[:, rows] = _counts_in_gaps(folds_a.counts, knots_a, gap, part)
        counts_b[:, rows] = _counts_in_gaps(folds_b.counts, knots_b, gap, part)
    return counts_a, counts_b


def _counts_in_gaps(counts: Tensor, knots: Tensor, gap: Tensor, part: Tensor) -> Tensor:
    """Return the cumulative counts of folds, ``(K, N, num_bins)``, up to a part of a gap between two knots."""
    cumulative = pad(counts.cumsum(2), (1, 0)).double()
    begin = knots.gather(1, gap).expand(len(counts), -1, -1)
    end = knots.gather(1, gap + 1).expand(len(counts), -1, -1)
    before = cumulative.gather(2, begin)
    after = cumulative.gather(2, end)
    return before + (after - before) * part


def _part_of_gap(gaps: _Gaps, gap: Tensor, nodes: Tensor) -> Tensor:
    """Return the part of the activations in a gap that lie below each node, a multiple of a power of two."""
    begin = gaps.points.gather(1, gap)
    end = gaps.points.gather(1, gap + 1)
    shares = gaps.fine.shares().gather(1, gaps.fine_knots)
    before = shares.gather(1, gap)
    after = shares.gather(1, gap + 1)
    followed = _part(gaps.fine.share_below(nodes), before, after)
    part = torch.where(after > before, followed, _part(nodes, begin, end))
    return (part * _STEPS).round() / _STEPS


def counts_within(histograms: RangedCounts, low: Tensor, high: Tensor) -> Tensor:
    """Move histograms to equal bins between bounds ``(N,)``, int64. Activations beyond the bounds are in the end bins.

    The counts of each neuron add up to 2^40, whatever the number of activations.
    """
    edges = torch.arange(1, histograms.num_bins, dtype=torch.float64, device=low.device) / histograms.num_bins
    shares = histograms.share_below(torch.lerp(low[:, None], high[:, None], edges))
    cumulative = (shares * _COUNTS).round().long()
    with_ends = pad(pad(cumulative, (1, 0)), (0, 1), value=_COUNTS)
    return with_ends.diff()
