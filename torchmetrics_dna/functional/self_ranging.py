"""Earth Mover's Distance between self-ranging histograms, whose bins may differ.

The share of activations below a value is known exactly at the edges of a histogram's bins. It is 0 up to the smallest
activation, and 1 above the largest one. Bin widths are powers of two, so the bin edges of the coarser of two histograms
are also edges of the finer one. The shares of both histograms are known at these points.

Between two such points, only the finer histogram shows where its activations are. If it has activations there, those of
the coarser histogram are assumed to be distributed in the same way. If not, the share of the coarser histogram is
assumed to be linear.

In this module, a position is a value on the axis of activations. A knot is a bin edge, limited to the observed range.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from torchmetrics_dna.binning.self_ranging import Grid, bounds_of, dyadic_grid
from torchmetrics_dna.functional.emd import compiled_for, cumulative_share
from torchmetrics_dna.functional.reduction import blocks

# Largest number of values that are processed at the same time: 2 MiB of float64.
_CELLS = 1 << 18
# Shares of the activations in a gap are rounded to multiples of 1 / _STEPS, so that sums of counts are exact.
_STEPS = 1 << 12
# Sum of the counts of a histogram that was moved to other bins.
_COUNTS = 1 << 40
# Smallest denominator, for intervals of length 0.
_TINY = torch.finfo(torch.float64).tiny


class RangedCounts(NamedTuple):
    """Self-ranging histograms: counts, and the range of each neuron, which determines its bins.

    Attributes:
        counts: Counts, int64, ``(N, num_bins)``. For folds with the same bins, the shape is ``(K, N, num_bins)``.
        minimum: Smallest activation of each neuron, float64, ``(N,)``.
        maximum: Largest activation of each neuron, float64, ``(N,)``.

    """

    counts: Tensor
    minimum: Tensor
    maximum: Tensor

    @property
    def num_bins(self) -> int:
        """Number of bins of each histogram."""
        return self.counts.shape[-1]

    @property
    def grid(self) -> Grid:
        """Bins of the histograms."""
        return dyadic_grid(self.minimum, self.maximum, self.num_bins)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the bounds that define the unit of distances from these histograms, ``(N,)`` each."""
        return bounds_of(self.minimum, self.maximum)

    def take(self, rows: slice) -> RangedCounts:
        """Return the histograms of some neurons."""
        return RangedCounts(self.counts[..., rows, :], self.minimum[rows], self.maximum[rows])

    def where(self, mask: Tensor, other: RangedCounts) -> RangedCounts:
        """Return these histograms where ``mask``, bool, ``(N,)``, is true, and those of ``other`` elsewhere."""
        return RangedCounts(
            torch.where(mask[:, None], self.counts, other.counts),
            torch.where(mask, self.minimum, other.minimum),
            torch.where(mask, self.maximum, other.maximum),
        )

    def knots(self) -> Tensor:
        """Return the edges of the bins, limited to the range, ``(N, num_bins + 1)``.

        The share of activations is assumed to be linear between two knots.
        """
        grid = self.grid
        numbers = torch.arange(self.num_bins + 1, dtype=torch.float64, device=self.counts.device)
        edges = (grid.start[:, None] + numbers) * grid.width[:, None]
        return edges.clamp(self.minimum[:, None], self.maximum[:, None])

    def shares(self) -> Tensor:
        """Return the share of activations below each knot, ``(N, num_bins + 1)``. Without activations, it is NaN."""
        return pad(cumulative_share(self.counts), (1, 0))

    def places(self) -> Tensor:
        """Return four numbers per neuron: number of the first bin, width of bins, minimum and maximum, ``(N, 4)``."""
        grid = self.grid
        return torch.stack([grid.start.double(), grid.width, self.minimum, self.maximum], 1)

    def numbers(self, positions: Tensor) -> Tensor:
        """Return the number of the bin of each position, float64, ``(N, P)``.

        Positions outside all bins get numbers below 0, or from ``num_bins``.
        """
        grid = self.grid
        return (positions / grid.width[:, None]).floor() - grid.start[:, None]

    def share_below(self, positions: Tensor) -> Tensor:
        """Return the share of activations below each position, ``(N, P)``."""
        knots = self.knots()
        shares = self.shares()
        number = self.numbers(positions).clamp(0, self.num_bins - 1).long()
        left = knots.gather(1, number)
        right = knots.gather(1, number + 1)
        before = shares.gather(1, number)
        after = shares.gather(1, number + 1)
        return before + (after - before) * _part(positions, left, right)


class _Gaps(NamedTuple):
    """Gaps between neighbouring points, at which the shares of both histograms are known; P points per neuron.

    Attributes:
        a_is_finer: Whether the histogram of A is the finer one, bool, ``(N,)``.
        fine: The finer histogram of each neuron.
        coarse: The coarser histogram of each neuron.
        points: Positions of the points in ascending order, float64, ``(N, P)``. All activations and bounds are between
            the first and the last point.
        fine_knots: Number of the knot of the finer histogram at each point, int64, ``(N, P)``.
        coarse_knots: Number of the knot of the coarser histogram at each point, int64, ``(N, P)``.

    """

    a_is_finer: Tensor
    fine: RangedCounts
    coarse: RangedCounts
    points: Tensor
    fine_knots: Tensor
    coarse_knots: Tensor

    @classmethod
    def between(cls, a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> _Gaps:
        """Find the gaps for two histograms per neuron.

        Args:
            a: Histograms of A, ``(N, num_bins)``.
            b: Histograms of B, ``(N, num_bins)``.
            low: Lower bounds, ``(N,)``.
            high: Upper bounds, ``(N,)``.

        """
        a_is_finer = a.grid.exponent <= b.grid.exponent
        fine = a.where(a_is_finer, b)
        coarse = b.where(a_is_finer, a)
        knots = coarse.knots()
        begin = torch.minimum(low, torch.minimum(a.minimum, b.minimum))
        end = torch.maximum(high, torch.maximum(a.maximum, b.maximum))
        coarse_knots = torch.arange(a.num_bins + 1, device=knots.device).expand_as(knots)
        fine_knots = _fine_knots(knots, fine, coarse)
        return cls(
            a_is_finer=a_is_finer,
            fine=fine,
            coarse=coarse,
            points=torch.cat([begin[:, None], knots, end[:, None]], 1),
            fine_knots=_with_ends(fine_knots, a.num_bins),
            coarse_knots=_with_ends(coarse_knots, a.num_bins),
        )


def _fine_knots(knots: Tensor, fine: RangedCounts, coarse: RangedCounts) -> Tensor:
    """Return the number of bins of the finer histogram below each knot of the coarser one, int64.

    The minimum and maximum of the coarser histogram may be inside a bin of the finer one. Such a bin counts as inside
    the range of the coarser histogram.
    """
    below = fine.numbers(knots)
    is_maximum = torch.arange(fine.num_bins + 1, device=knots.device) > coarse.numbers(coarse.maximum[:, None])
    below = torch.where(is_maximum, below + 1, below)
    below = torch.where((coarse.minimum > fine.maximum)[:, None], fine.num_bins, below)
    below = torch.where((coarse.maximum < fine.minimum)[:, None], 0, below)
    return below.clamp(0, fine.num_bins).long()


def _with_ends(knots: Tensor, last: int) -> Tensor:
    """Add the knots of the first and the last point, which are outside all activations: 0 and the last knot."""
    return pad(pad(knots, (1, 0)), (0, 1), value=last)


def self_ranging_emd(a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> Tensor:
    r"""Compute the EMD of each neuron between self-ranging histograms, in bins of fixed bounds.

    The distance is :math:`\int |F_A - F_B|` between the bounds, divided by the width of a bin. The bins divide the
    bounds into ``num_bins`` equal parts. The distance equals the EMD of histograms with these bounds up to binning.

    Args:
        a: Histograms of A.
        b: Histograms of B.
        low: Lower bounds, ``(N,)``.
        high: Upper bounds, ``(N,)``.

    Returns:
        Distances, float64, ``(N,)``. They are NaN for neurons without counts, or with more than 2^53.

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
    differences = _Differences.of(gaps)
    areas = _areas_outside_fine_bins(gaps, differences, low, high)
    areas_in_fine_bins = _areas_in_fine_bins(gaps, differences, low, high)
    return areas.sum(1) + areas_in_fine_bins.sum(1)


class _Differences(NamedTuple):
    """Differences between the shares of the finer and the coarser histogram at the ends of each gap, ``(N, gaps)``.

    Attributes:
        knots: Position of each knot of the finer histogram, ``(N, num_bins + 1)``.
        shares: Share of the finer histogram below each of its knots, ``(N, num_bins + 1)``.
        begin: Position of the beginning of each gap.
        end: Position of the end of each gap.
        before: Difference at the beginning.
        after: Difference at the end.
        fine_before: Share of the finer histogram at the beginning.
        fine_increase: Increase of the share of the finer histogram in the gap.
        has_fine: Whether the finer histogram has activations in the gap, bool.

    """

    knots: Tensor
    shares: Tensor
    begin: Tensor
    end: Tensor
    before: Tensor
    after: Tensor
    fine_before: Tensor
    fine_increase: Tensor
    has_fine: Tensor

    @classmethod
    def of(cls, gaps: _Gaps) -> _Differences:
        """Compute the differences at the ends of gaps."""
        shares = gaps.fine.shares()
        fine_at_points = shares.gather(1, gaps.fine_knots)
        coarse_at_points = gaps.coarse.shares().gather(1, gaps.coarse_knots)
        differences = fine_at_points - coarse_at_points
        fine_increase = fine_at_points.diff()
        return cls(
            knots=gaps.fine.knots(),
            shares=shares,
            begin=gaps.points[:, :-1],
            end=gaps.points[:, 1:],
            before=differences[:, :-1],
            after=differences[:, 1:],
            fine_before=fine_at_points[:, :-1],
            fine_increase=fine_increase,
            has_fine=fine_increase > 0,
        )


def _areas_outside_fine_bins(gaps: _Gaps, differences: _Differences, low: Tensor, high: Tensor) -> Tensor:
    """Integrate the absolute difference over the parts of each gap without bins of the finer histogram, ``(N, gaps)``.

    In a gap with activations of the finer histogram, these parts are before its first knot and after its last knot. The
    shares are constant there. In other gaps, the only part is the whole gap, where the difference is linear.
    """
    begin, end, before, after = differences.begin, differences.end, differences.before, differences.after
    has_fine = differences.has_fine
    first_knot = differences.knots.gather(1, gaps.fine_knots[:, :-1]).clamp(begin, end)
    last_knot = differences.knots.gather(1, gaps.fine_knots[:, 1:]).clamp(begin, end)
    # In a gap without activations of the finer histogram, the first part is empty, and the second one is the whole gap.
    end_of_first = torch.where(has_fine, first_knot, begin)
    begin_of_second = torch.where(has_fine, last_knot, begin)
    difference_at_second = torch.where(has_fine, after, before)
    areas = _areas_of_lines(begin, end_of_first, before, before, low, high)
    areas += _areas_of_lines(begin_of_second, end, difference_at_second, after, low, high)
    return areas


def _areas_in_fine_bins(gaps: _Gaps, differences: _Differences, low: Tensor, high: Tensor) -> Tensor:
    """Integrate the absolute difference over each bin of the finer histogram, ``(N, num_bins)``.

    In a gap, the difference is a linear function of the share of the finer histogram. The area is 0 for the bins of
    gaps without activations of the finer histogram.
    """
    bins = torch.arange(gaps.fine.num_bins, device=low.device).expand(len(low), -1).contiguous()
    gap_of_bin = torch.searchsorted(gaps.fine_knots[:, 1:-1].contiguous(), bins, right=True)
    # The slope is infinite or NaN in gaps without activations of the finer histogram. The last line masks these gaps.
    slope_of_gap = (differences.after - differences.before) / differences.fine_increase
    slope_of_bin = slope_of_gap.gather(1, gap_of_bin)
    # Increase of the finer histogram's share from the beginning of the gap to the left knot of the bin.
    increase_to_left = differences.shares[:, :-1] - differences.fine_before.gather(1, gap_of_bin)
    difference_at_left = differences.before.gather(1, gap_of_bin) + increase_to_left * slope_of_bin
    difference_at_right = difference_at_left + differences.shares.diff() * slope_of_bin
    # The minimum and the maximum of the coarser histogram may lie inside a bin of the finer histogram. Only the part of
    # this bin that is inside the gap counts.
    begin_of_gap = differences.begin.gather(1, gap_of_bin)
    end_of_gap = differences.end.gather(1, gap_of_bin)
    left = differences.knots[:, :-1].clamp(begin_of_gap, end_of_gap)
    right = differences.knots[:, 1:].clamp(begin_of_gap, end_of_gap)
    areas = _areas_of_lines(left, right, difference_at_left, difference_at_right, low, high)
    return torch.where(differences.has_fine.gather(1, gap_of_bin), areas, 0)


def _areas_of_lines(begin: Tensor, end: Tensor, before: Tensor, after: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Integrate the absolute values of straight lines between bounds.

    Args:
        begin: Position of the beginning of each line, ``(N, lines)``.
        end: Position of the end of each line, ``(N, lines)``.
        before: Value at the beginning of each line, ``(N, lines)``.
        after: Value at the end of each line, ``(N, lines)``.
        low: Lower bounds of the integral, ``(N,)``.
        high: Upper bounds of the integral, ``(N,)``.

    """
    first = begin.clamp(low[:, None], high[:, None])
    last = end.clamp(low[:, None], high[:, None])
    left = before + (after - before) * _part(first, begin, end)
    right = before + (after - before) * _part(last, begin, end)
    absolute_sum = left.abs() + right.abs()
    # If the sign changes, the area consists of two triangles.
    area_of_triangles = (left.square() + right.square()) / absolute_sum.clamp(min=_TINY)
    changes_sign = left * right < 0
    return torch.where(changes_sign, area_of_triangles, absolute_sum) * ((last - first) / 2)


def _part(positions: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """Return the fraction of an interval that is below each position, from 0 to 1.

    For an interval of length 0, the fraction is 0 up to its position, and 1 above it.
    """
    return ((positions - begin) / (end - begin).clamp(min=_TINY)).clamp(0, 1)


def counts_in_nodes(a: RangedCounts, b: RangedCounts, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cumulative counts of folds at nodes: the middles of ``num_bins`` equal parts of the bounds.

    All folds of A have the same bins, and so do all folds of B. The counts of all folds are known at the same points.
    Between two points, the activations of all folds are assumed to be distributed like those of the finer set. So the
    folds can be exchanged in a permutation test.

    Args:
        a: Counts of the folds of A, ``(K, N, num_bins)``.
        b: Counts of the folds of B, ``(L, N, num_bins)``.
        low: Lower bounds, ``(N,)``.
        high: Upper bounds, ``(N,)``.

    Returns:
        The cumulative counts of A, ``(K, N, num_bins)``, and of B, ``(L, N, num_bins)``, float64. They are integers or
        dyadic fractions, so that their sums are exact.

    """
    num_bins = a.num_bins
    middles = (torch.arange(num_bins, dtype=torch.float64, device=low.device) + 0.5) / num_bins
    nodes = torch.lerp(low[:, None], high[:, None], middles)
    counts_a = torch.empty(a.counts.shape, dtype=torch.float64, device=low.device)
    counts_b = torch.empty(b.counts.shape, dtype=torch.float64, device=low.device)
    for rows in blocks(len(low), (len(counts_a) + len(counts_b)) * num_bins, _CELLS):
        counts_a[:, rows], counts_b[:, rows] = _counts_in_block(
            a.take(rows), b.take(rows), nodes[rows], low[rows], high[rows]
        )
    return counts_a, counts_b


def _counts_in_block(
    a: RangedCounts, b: RangedCounts, nodes: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Return :func:`counts_in_nodes` for a block of neurons, given the position of each node, ``(N, num_bins)``."""
    whole_a = a._replace(counts=a.counts.sum(0))
    whole_b = b._replace(counts=b.counts.sum(0))
    gaps = _Gaps.between(whole_a, whole_b, low, high)
    gap_of_node = torch.searchsorted(gaps.points[:, 1:-1].contiguous(), nodes)
    part_below = _part_below(gaps, gap_of_node, nodes)
    a_is_finer = gaps.a_is_finer[:, None]
    knots_a = torch.where(a_is_finer, gaps.fine_knots, gaps.coarse_knots)
    knots_b = torch.where(a_is_finer, gaps.coarse_knots, gaps.fine_knots)
    counts_a = _counts_below(a.counts, knots_a, gap_of_node, part_below)
    counts_b = _counts_below(b.counts, knots_b, gap_of_node, part_below)
    return counts_a, counts_b


def _counts_below(counts: Tensor, knots: Tensor, gap_of_node: Tensor, part_below: Tensor) -> Tensor:
    """Return the cumulative counts of folds up to each node, ``(K, N, num_bins)``.

    Args:
        counts: Counts of the folds, ``(K, N, num_bins)``.
        knots: Number of the histograms' knot at each point, ``(N, P)``.
        gap_of_node: Number of the gap in which each node is, ``(N, num_bins)``.
        part_below: Fraction of the activations in this gap that is below each node, ``(N, num_bins)``.

    """
    cumulative = pad(counts.cumsum(2), (1, 0)).double()
    begin = knots.gather(1, gap_of_node).expand(len(counts), -1, -1)
    end = knots.gather(1, gap_of_node + 1).expand(len(counts), -1, -1)
    before = cumulative.gather(2, begin)
    after = cumulative.gather(2, end)
    return before + (after - before) * part_below


def _part_below(gaps: _Gaps, gap_of_node: Tensor, nodes: Tensor) -> Tensor:
    """Return the fraction of the activations in a gap that is below each node, ``(N, num_bins)``.

    The fraction is rounded to a multiple of a power of two.

    Args:
        gaps: The gaps.
        gap_of_node: Number of the gap in which each node is, ``(N, num_bins)``.
        nodes: Position of each node, ``(N, num_bins)``.

    """
    begin = gaps.points.gather(1, gap_of_node)
    end = gaps.points.gather(1, gap_of_node + 1)
    shares = gaps.fine.shares().gather(1, gaps.fine_knots)
    before = shares.gather(1, gap_of_node)
    after = shares.gather(1, gap_of_node + 1)
    part_of_fine = _part(gaps.fine.share_below(nodes), before, after)
    has_fine = after > before
    part = torch.where(has_fine, part_of_fine, _part(nodes, begin, end))
    return (part * _STEPS).round() / _STEPS


def counts_within(histograms: RangedCounts, low: Tensor, high: Tensor) -> Tensor:
    """Convert self-ranging histograms to histograms with equal bins between bounds.

    Activations outside the bounds are counted in the first or last bin. The counts of each neuron add up to 2^40, which
    is independent of the number of activations.

    Args:
        histograms: Self-ranging histograms.
        low: Lower bounds, ``(N,)``.
        high: Upper bounds, ``(N,)``.

    Returns:
        Counts, int64, ``(N, num_bins)``.

    """
    edges = torch.arange(1, histograms.num_bins, dtype=torch.float64, device=low.device) / histograms.num_bins
    shares = histograms.share_below(torch.lerp(low[:, None], high[:, None], edges))
    cumulative = (shares * _COUNTS).round().long()
    with_ends = pad(pad(cumulative, (1, 0)), (0, 1), value=_COUNTS)
    return with_ends.diff()
