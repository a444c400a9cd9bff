"""Inception score of one image set."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from torchmetrics_dna.functional.features import check_finite_rows

SPLITS = 10  # as published
_SEED = 2020  # of the order of images, as in torch-fidelity


def inception_score(logits: Tensor, splits: int = SPLITS) -> tuple[float, float]:
    r"""Compute the inception score (`Salimans et al., 2016 <https://arxiv.org/abs/1606.03498>`_) from logits.

    The score of a split is :math:`\exp(\overline{KL(p(y|x) \,\|\, p(y))})`, the mean over its images. Images are
    shuffled with a fixed seed, as torch-fidelity does, so that the score does not depend on how they are sorted.

    Args:
        logits: Logits of the images, shape ``(images, classes)``, floating point.
        splits: Number of parts of the set; the score depends on their size.

    Returns:
        Mean and standard deviation (divided by the number of splits) of the scores of the splits; 1 or more, and higher
        is better.

    Raises:
        ValueError: If a logit is not finite.
        RuntimeError: If there are fewer images than splits.

    Example:
        >>> inception_score(torch.eye(10).mul(100))[0], inception_score(100 * torch.eye(2).repeat(20, 1))[0] > 1.5
        (1.0, True)

    """
    if len(logits) < splits:
        raise RuntimeError(f"At least {splits} images are required to compute is, but got {len(logits)}")
    check_finite_rows(logits, "is")
    order = torch.from_numpy(np.random.RandomState(_SEED).permutation(len(logits)))
    logs = logits[order.to(logits.device)].double().log_softmax(1)
    ends = [k * len(logs) // splits for k in range(splits + 1)]
    scores = torch.stack([_score(logs[start:end]) for start, end in pairwise(ends)])
    return float(scores.mean()), float(scores.std(correction=0))


def _score(logs: Tensor) -> Tensor:
    p = logs.exp()
    score: Tensor = (p * (logs - p.mean(0).log())).nan_to_num(0).sum(1).mean().exp()
    return score
