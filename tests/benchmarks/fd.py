"""Time of fd from features, beside torch-fidelity's and torchmetrics' FID, and agreement of the three.

    python tests/benchmarks/fd.py [--images 500 3000 10000] [--rounds 3]

Each gets the same two sets of features, float32, 2048 wide, with a spectrum that falls off as an Inception network's
does: in one go for torch-fidelity, in batches of 100 for the others. Times are medians, in turns, in one run; "sums" is
from features to mean and covariance of both sides, "distance" the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from timing import in_turns
from torch import Tensor, nn
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance, _compute_fid

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.dna import LayerGaussianDNA
from torchmetrics_dna.statistics import CrossMomentStatistic

WIDTH, BATCH = 2048, 100


class Features(nn.Module):
    """Features in the place of images."""

    num_features = WIDTH

    def forward(self, imgs: Tensor) -> Tensor:
        return imgs if imgs.ndim == 2 else imgs.float().mean((2, 3)).repeat(1, WIDTH)[:, :WIDTH]


def features(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(WIDTH, WIDTH, generator=generator) * torch.logspace(0, -1.5, WIDTH)[:, None] / WIDTH**0.5
    return (torch.randn(count, WIDTH, generator=generator.manual_seed(seed)) @ mix + 0.02 * seed).relu()


def ours(statistic: CrossMomentStatistic, sets: tuple[Tensor, Tensor]) -> list[LayerGaussianDNA]:
    dnas = []
    for values in sets:
        side = statistic.empty("cpu")
        for batch in values.split(BATCH):
            statistic.add_(side, [{"output": batch}], len(batch))
        dnas.append(statistic.value(side))
    return dnas


def upstream(sets: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    fid = FrechetInceptionDistance(Features())
    for values, real in zip(sets, (True, False), strict=True):
        for batch in values.split(BATCH):
            fid.update(batch, real=real)
    moments: list[Tensor] = []
    for sums, products, count in (
        (fid.real_features_sum, fid.real_features_cov_sum, fid.real_features_num_samples),
        (fid.fake_features_sum, fid.fake_features_cov_sum, fid.fake_features_num_samples),
    ):
        mean = sums / count
        moments += [mean, (products - count * torch.outer(mean, mean)) / (count - 1)]
    return tuple(moments)


def report(count: int, rounds: int) -> None:
    sets = features(count, 1), features(count, 2)
    statistic = CrossMomentStatistic(DNAExtractor(Features()))
    sums: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(statistic, sets),
        "torchmetrics": lambda: upstream(sets),
        "torch-fidelity": lambda: [fid_features_to_statistics(values) for values in sets],
    }
    a, b = ours(statistic, sets)
    moments, statistics = upstream(sets), [fid_features_to_statistics(values) for values in sets]
    distances: dict[str, Callable[[], float]] = {
        "ours": lambda: float(a.distances(b)),
        "torchmetrics": lambda: float(_compute_fid(*moments)),
        "torch-fidelity": lambda: fid_statistics_to_metric(*statistics, False)[KEY_METRIC_FID],
    }
    exact, values = from_samples(*sets), dict.fromkeys(distances, 0.0)

    def keeping(name: str) -> None:
        values[name] = distances[name]()

    adding = in_turns(rounds, **sums)
    comparing = in_turns(rounds, **{name: partial(keeping, name) for name in distances})
    for name, value in values.items():
        seconds = [median(turns[name]) for turns in (adding, comparing)]
        times = median(t / o for t, o in zip(comparing[name], comparing["ours"], strict=True))
        error = abs(value / exact - 1)
        print(f"{count:>7}  {name:14}  {seconds[0]:7.2f}  {seconds[1]:10.2f}  {times:5.1f}  {error:9.0e}", flush=True)


def from_samples(a: Tensor, b: Tensor) -> float:
    """fd without covariances, from singular values of the samples; the exact value to compare with."""
    x, y = (values.double() for values in (a, b))
    a_centred, b_centred = ((values - values.mean(0)) / (len(values) - 1) ** 0.5 for values in (x, y))
    if len(x) > WIDTH:
        a_centred, b_centred = torch.linalg.qr(a_centred).R, torch.linalg.qr(b_centred).R
    roots = torch.linalg.svdvals(a_centred @ b_centred.T).sum()
    spread = a_centred.square().sum() + b_centred.square().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + spread - 2 * roots)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, nargs="+", default=[500, 3_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {WIDTH} features, seconds\n")
    print(f"{'images':>7}  {'':14}  {'sums':>7}  {'distance':>10}  {'ratio':>5}  {'error':>9}")
    for count in arguments.images:
        report(count, arguments.rounds)


if __name__ == "__main__":
    main()
