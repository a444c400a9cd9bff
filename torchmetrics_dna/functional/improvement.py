"""Find the last significant improvement in a sequence of sets, such as the samples of a training's checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torchmetrics_dna.functional.permutation import SIGNIFICANT


class LastImprovement(NamedTuple):
    """The last significant improvement in a sequence of steps, which are numbered from 0.

    Attributes:
        step: Last step that is significantly closer to the reference than ``before``, or 0 if there is none.
        before: Last improvement before ``step``, or None if no step is an improvement.
        p_value: Corrected p-value of the null hypothesis that ``step`` is not closer to the reference than ``before``;
            None if no step is an improvement.
        least_p_value: Smallest corrected p-value of the null hypothesis that a later step is not closer than ``step``;
            None if no later step was tested.

    """

    step: int
    before: int | None
    p_value: float | None
    least_p_value: float | None


def last_improvement(p_value: Callable[[int, int], float | None], num_steps: int) -> LastImprovement:
    """Find the last step that is significantly closer to the reference than the last improvement before it.

    The first step counts as an improvement. Each later step is compared with the last improvement before it, so many
    slight improvements add up. The p-value of the k-th test against the same improvement is multiplied by k (k + 1).
    The levels of significance of all these tests then add up to at most 0.05, however many tests follow (alpha
    spending). So a later step never changes which earlier steps are improvements.

    Args:
        p_value: Function of an earlier and a later step. It returns the p-value of the null hypothesis that the later
            step is not closer to the reference, or None if there is no test.
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
            earlier_least = 1.0 if latest.least_p_value is None else latest.least_p_value
            latest = latest._replace(least_p_value=min(corrected, earlier_least))
    return latest


class Improvement(NamedTuple):
    """The last significant improvement of a training; see :func:`last_improvement`.

    Attributes:
        name: Name of the last checkpoint that is significantly closer to the reference than ``before``; name of the
            first checkpoint if there is none.
        position: Number of this checkpoint, such as a step or an epoch.
        before: Name of the last improvement before this checkpoint, or None if no checkpoint is an improvement.
        p_value: Corrected p-value of the null hypothesis that this checkpoint is not closer to the reference than
            ``before``, or None if no checkpoint is an improvement.
        least_p_value: Smallest corrected p-value of the null hypothesis that a later checkpoint is not closer than this
            one, or None if there is no later checkpoint.
        newest_p_value: p-value of the null hypothesis that the newest checkpoint is not closer than the closest
            checkpoint before it, or None for a single checkpoint. It is not corrected, because it is a single test.
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
        """Return the values ``dna/last_improvement`` and ``dna/newest_p_value`` for a logger.

        ``dna/last_improvement`` never falls during a training. Lightning's ``EarlyStopping`` can monitor it with
        ``mode="max"``. The training then stops when the last ``patience`` checkpoints are not significant improvements.

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
        positions: Number of each checkpoint, such as a step or an epoch, by name.
        p_value: Function of the names of two checkpoints. It returns the p-value of the null hypothesis that the first
            checkpoint is not closer to the reference than the second one, or None if there is no test.
        order: Function of the name of a checkpoint. It returns a number that is smaller for closer checkpoints.

    Returns:
        The improvement, or None if there are no checkpoints or no two checkpoints can be compared.

    """
    names = sorted(positions, key=positions.__getitem__)
    if not names:
        return None
    latest = last_improvement(lambda earlier, later: p_value(names[later], names[earlier]), len(names))
    if len(names) > 1 and latest.before is None and latest.least_p_value is None:
        return None
    *earlier_names, newest_name = names
    newest_p_value = None
    if earlier_names:
        closest_name = min(earlier_names, key=order)
        newest_p_value = p_value(newest_name, closest_name)
    name = names[latest.step]
    return Improvement(
        name=name,
        position=positions[name],
        before=None if latest.before is None else names[latest.before],
        p_value=latest.p_value,
        least_p_value=latest.least_p_value,
        newest_p_value=newest_p_value,
        num_checkpoints=len(names),
    )
