"""Does training still improve? The last of a sequence of sets that is significantly closer to the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torchmetrics_dna.functional.permutation import SIGNIFICANT


class LastImprovement(NamedTuple):
    """The last significant improvement in a sequence of steps, all by their place in it.

    Attributes:
        step: The last step that is significantly closer to the reference than ``before``; 0 if none is.
        before: The last improvement before it; None if no step is an improvement.
        p_value: Corrected p-value that ``step`` is no closer than ``before``; None if no step is an improvement.
        least_p_value: Smallest corrected p-value that a later step is no closer than ``step``; None if no later step
            was tested.

    """

    step: int
    before: int | None
    p_value: float | None
    least_p_value: float | None


def last_improvement(p_value: Callable[[int, int], float | None], num_steps: int) -> LastImprovement:
    """Find the last step that is significantly closer to the reference than the last improvement before it.

    The first step counts as an improvement. Each later step is compared with the last improvement before it, so that
    many slight improvements add up. The p-value of the k-th step after it is multiplied by k (k + 1). The levels of all
    these tests, however many follow, then add up to 0.05 (alpha spending). So a later step never changes which earlier
    steps are improvements.

    Args:
        p_value: Function of an earlier and a later step that returns the p-value that the later one is no closer; None
            without a test.
        num_steps: Number of steps, at least 1.

    Example:
        >>> distances = [9.0, 5.0, 5.0, 4.9, 5.1]
        >>> last_improvement(lambda i, j: 0.001 if distances[j] < distances[i] - 1 else 0.2, 5)
        LastImprovement(step=1, before=0, p_value=0.002, least_p_value=0.4)

    """
    latest = LastImprovement(0, None, None, None)
    num_tests = 0
    for step in range(1, num_steps):
        p = p_value(latest.step, step)
        if p is None:
            continue
        num_tests += 1
        corrected = min(1.0, p * num_tests * (num_tests + 1))
        if corrected <= SIGNIFICANT:
            latest = LastImprovement(step, latest.step, corrected, None)
            num_tests = 0
        else:
            least = corrected if latest.least_p_value is None else min(corrected, latest.least_p_value)
            latest = latest._replace(least_p_value=least)
    return latest


class Improvement(NamedTuple):
    """The last significant improvement of a training; see :func:`last_improvement`.

    Attributes:
        name: Name of the last checkpoint that is significantly closer to the reference than ``before``; the first
            checkpoint if none is.
        position: Its number, such as a step or an epoch.
        before: Name of the last improvement before it; None if no checkpoint is an improvement.
        p_value: Corrected p-value that it is no closer than ``before``; None if no checkpoint is an improvement.
        least_p_value: Smallest corrected p-value that a later checkpoint is no closer than it; None without a later
            one.
        newest_p_value: P-value that the newest checkpoint is no closer than the closest one before it; None if it is
            the only one. This is one test, so it is not corrected.
        num_checkpoints: Number of checkpoints.

    """

    name: str
    position: float
    before: str | None
    p_value: float | None
    least_p_value: float | None
    newest_p_value: float | None
    num_checkpoints: int

    def scalars(self, prefix: str = "dna/") -> dict[str, float]:
        """Return ``dna/last_improvement``, which never falls in a training, and ``dna/newest_p_value`` for a logger.

        With ``mode="max"``, ``EarlyStopping`` of Lightning can monitor ``dna/last_improvement``: it stops the training
        if so many checkpoints are no significant improvement as its ``patience`` says.

        Args:
            prefix: Prefix of the names.

        """
        newest = 1.0 if self.newest_p_value is None else self.newest_p_value
        return {f"{prefix}last_improvement": self.position, f"{prefix}newest_p_value": newest}


def improvement_of(
    positions: Mapping[str, float],
    p_value: Callable[[str, str], float | None],
    order: Callable[[str], float],
) -> Improvement | None:
    """Find the last significant improvement among checkpoints.

    Args:
        positions: Number of each checkpoint by name.
        p_value: Function of the names of a closer and a farther checkpoint that returns the p-value that the first is
            no closer; None without a test.
        order: Function of a name that returns a number that is smaller for a closer checkpoint.

    Returns:
        The improvement; None if there are no checkpoints, or no two of them can be compared.

    """
    names = sorted(positions, key=positions.__getitem__)
    if not names:
        return None
    latest = last_improvement(lambda earlier, later: p_value(names[later], names[earlier]), len(names))
    if len(names) > 1 and latest.before is None and latest.least_p_value is None:
        return None
    *earlier, newest = names
    return Improvement(
        names[latest.step],
        positions[names[latest.step]],
        None if latest.before is None else names[latest.before],
        latest.p_value,
        latest.least_p_value,
        p_value(newest, min(earlier, key=order)) if earlier else None,
        len(names),
    )
