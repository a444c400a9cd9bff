"""Select neurons that respond to an attribute, and learn weights that ignore it (section 5.3 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from torchmetrics_dna.functional.reduction import check_weights, mean_over_neurons, sum_over_neurons

# Learning rate of the first step. It applies to weights that are multiplied by the number of neurons N.
_LEARNING_RATE = 0.02
# Number of steps after which the loss on held-out images is computed again.
_STEPS_PER_VALIDATION = 10


def select_neurons(distances: Tensor, k: int | None = None, *, quantile: float | None = None) -> Tensor:
    """Select the neurons that differ most between two sets, or most consistently between several pairs of sets.

    For several pairs, neurons are compared by their mean rank among neurons. Pairs with larger distances thus do not
    count more.

    Args:
        distances: Distances of neurons, shape ``(N,)``, or for several pairs of sets ``(pairs, N)``.
        k: Number of neurons to select.
        quantile: Quantile in [0, 1) at or above which neurons are selected; an alternative to ``k``.

    Returns:
        Indices of the neurons, int64, the most sensitive neuron first. Neurons with equal ranks keep their order.

    Raises:
        ValueError: If not exactly one of ``k`` and ``quantile`` is passed, if it is out of range, or if a distance is
            not finite.

    Example:
        >>> select_neurons(torch.tensor([[1.0, 5.0, 3.0], [10.0, 30.0, 50.0]]), k=2)
        tensor([1, 2])

    """
    if distances.ndim not in (1, 2) or not distances.numel() or not distances.isfinite().all():
        raise ValueError(f"Expected finite distances (N,) or (pairs, N), but got {tuple(distances.shape)}")
    pairs = distances if distances.ndim == 2 else distances[None]
    k = _number_to_select(k, quantile, pairs.shape[1])
    ranks = _ranks(pairs).mean(0)
    return ranks.argsort(descending=True, stable=True)[:k]


def _number_to_select(k: int | None, quantile: float | None, neurons: int) -> int:
    """Return how many of ``neurons`` neurons the arguments ``k`` and ``quantile`` of :func:`select_neurons` select."""
    if (k is None) == (quantile is None):
        raise ValueError(f"Expected either `k` or `quantile`, but got k={k} and quantile={quantile}")
    if quantile is not None:
        if not 0 <= quantile < 1:
            raise ValueError(f"Argument `quantile` expected to be in [0, 1), but got {quantile}")
        k = max(1, neurons - int(quantile * neurons))
    if k is None or not 1 <= k <= neurons:
        raise ValueError(f"Argument `k` expected to be from 1 to {neurons}, the number of neurons, but got {k}")
    return k


def _ranks(pairs: Tensor) -> Tensor:
    """Return the rank of each value in its row, float64, from 0. Equal values get their mean rank."""
    ordered = pairs.sort(1).values
    num_smaller = torch.searchsorted(ordered, pairs.contiguous())
    num_not_larger = torch.searchsorted(ordered, pairs.contiguous(), right=True)
    return (num_smaller + num_not_larger - 1).double() / 2


def sensitivity_deviation(distances: Tensor, weights: Tensor) -> Tensor:
    r"""Compute the share of a distance that weights remove (Eq. 6 of the paper).

    .. math::
        \Delta = 1 - \frac{\mathrm{EMD}_W}{\mathrm{EMD}_\mathrm{avg}}

    The share is 1 if the weighted distance is 0. It is 0 if the weighted distance equals the mean with equal weights.
    The distances may be of any type, and may also be those of layers.

    Args:
        distances: Distances of neurons, shape ``(..., N)``.
        weights: Weights :math:`W^n` of Eq. (5), shape ``(N,)``.

    Returns:
        Deviations, float64, shape ``(...)``.

    Raises:
        ValueError: If weights have another shape or are not finite.

    Example:
        >>> sensitivity_deviation(torch.tensor([[2.0, 4.0], [6.0, 0.0]]), torch.tensor([0.0, 0.5]))
        tensor([0.3333, 1.0000], dtype=torch.float64)

    """
    weights = check_weights(weights, distances.shape[-1]).to(distances.device)
    distances = distances.double()
    return 1 - sum_over_neurons(distances * weights) / mean_over_neurons(distances)


def learn_neuron_weights(
    target: Tensor,
    others: Tensor,
    *,
    held_out: tuple[Tensor, Tensor] | None = None,
    nonnegative: bool = False,
    steps: int = 2000,
    seed: int = 0,
) -> Tensor:
    r"""Learn weights with which a distance ignores one attribute and keeps the others (Eq. 7 of the paper).

    .. math::
        \min_W \; |1 - \Delta_a| + \frac{1}{|A| - 1} \sum_{b \ne a} |\Delta_b|

    The loss is minimised by Adam, on all attributes in each step. The weights are equal at the beginning. The learning
    rate is annealed to 0.

    Args:
        target: Distance of each neuron between images with and without the attribute to ignore, shape ``(N,)``. For
            several draws of images, the shape is ``(draws, N)``, and each step uses one draw. Draws of about a quarter
            of the images generalize best. Weights that were learned from all images at once remove much less from other
            images.
        others: Distances for the attributes to keep, ``(others, N)`` or ``(others, draws, N)``.
        held_out: Target and others of held-out images. The weights with the lowest loss on them are returned. If None,
            the weights of the last step are returned.
        nonnegative: Whether to constrain weights to 0 or more.
        steps: Number of steps.
        seed: Seed of the draws.

    Returns:
        Weights :math:`W^n`, float64, shape ``(N,)``, on the device of ``target``.

    Raises:
        ValueError: If shapes do not match, or the distances for an attribute are 0 for all neurons.

    Example:
        >>> target, others = torch.tensor([0.0, 4.0, 1.0]), torch.tensor([[3.0, 3.0, 1.0], [1.0, 0.0, 2.0]])
        >>> weights = learn_neuron_weights(target, others)
        >>> sensitivity_deviation(target, weights) > 0.99, sensitivity_deviation(others, weights).abs().max() < 0.02
        (tensor(True), tensor(True))

    """
    training = _relative(target, others)
    validation = None if held_out is None else _relative(*held_out)
    # The weighted distance should be 0 for the target, and keep its mean for all other attributes.
    goal = torch.ones(len(training), dtype=torch.float64, device=training.device)
    goal[0] = 0
    draws = torch.randint(training.shape[1], (steps,), generator=torch.Generator().manual_seed(seed)).tolist()
    # Optimise the weights times N, which are about 1.
    scaled = torch.ones(training.shape[-1], dtype=torch.float64, device=training.device, requires_grad=True)
    best = scaled.detach().clone()
    lowest_loss = torch.inf
    for step in _optimise_(scaled, training, goal, draws, nonnegative=nonnegative):
        is_validated = step % _STEPS_PER_VALIDATION == 0 or step == steps
        if validation is not None and is_validated:
            loss = _mean_loss(validation, scaled.detach(), goal)
            if loss < lowest_loss:
                best = scaled.detach().clone()
                lowest_loss = loss
    final = scaled.detach() if validation is None else best
    return final / len(final)


def _optimise_(
    scaled: Tensor, training: Tensor, goal: Tensor, draws: Sequence[int], *, nonnegative: bool
) -> Iterator[int]:
    """Minimise :func:`_loss` by Adam, and yield the number of each step, from 1, after the weights were updated.

    Args:
        scaled: Weights times N, ``(N,)``, which are updated in place.
        training: Distances relative to their mean over neurons, ``(attributes, draws, N)``, the target first.
        goal: Weighted distance of each attribute that has no loss.
        draws: Number of the draw of each step.
        nonnegative: Whether to constrain weights to 0 or more.

    """
    optimizer = torch.optim.Adam([scaled], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(draws))
    for step, draw in enumerate(draws, 1):
        optimizer.zero_grad()
        _loss(training[:, draw], scaled, goal).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if nonnegative:
            with torch.no_grad():
                scaled.clamp_(min=0)
        yield step


def _mean_loss(relative: Tensor, scaled: Tensor, goal: Tensor) -> float:
    """Compute the mean of :func:`_loss` over draws, for distances ``(attributes, draws, N)``."""
    losses = [_loss(relative[:, draw], scaled, goal) for draw in range(relative.shape[1])]
    return float(torch.stack(losses).mean())


def _loss(relative: Tensor, scaled: Tensor, goal: Tensor) -> Tensor:
    """Compute the loss of Eq. (7).

    Args:
        relative: Distances relative to their mean over neurons, ``(attributes, N)``, the target first.
        scaled: Weights times N, ``(N,)``.
        goal: Weighted distance of each attribute that has no loss: 0 for the target, and 1 for the others.

    """
    errors = (relative @ scaled / len(scaled) - goal).abs()
    return errors[0] + errors[1:].mean()


def _relative(target: Tensor, others: Tensor) -> Tensor:
    """Return the distances of all attributes, each relative to its mean over neurons.

    Returns:
        Distances, float64, ``(attributes, draws, N)``. The target comes first.

    Raises:
        ValueError: If shapes do not match, a distance is not finite, or all distances of an attribute are 0.

    """
    target_in_draws, others_in_draws = _with_draws(target, others)
    distances = torch.cat([target_in_draws[None], others_in_draws.to(target.device)]).double()
    means = distances.mean(-1, keepdim=True)
    if not (distances.isfinite().all() and (means > 0).all()):
        raise ValueError("Expected finite distances, and each attribute to change a neuron; omit those that don't")
    return distances / means


def _with_draws(target: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances ``(draws, N)`` and ``(others, draws, N)``. Distances without draws get an axis of length 1.

    Raises:
        ValueError: If shapes do not match.

    """
    target_in_draws = target if target.ndim == 2 else target[None]
    others_in_draws = others if others.ndim == 3 else others[:, None]
    if others_in_draws.ndim != 3 or len(others) == 0 or others_in_draws.shape[1:] != target_in_draws.shape:
        raise ValueError(
            "Expected `target` of shape (N,) and `others` of shape (others, N), or both with draws, (draws, N) and"
            f" (others, draws, N), but got {tuple(target.shape)} and {tuple(others.shape)}"
        )
    return target_in_draws, others_in_draws
