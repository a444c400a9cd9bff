"""Inputs that are no images: a module of the user's gets what it takes, and all that counts images counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slowly
import torch
from packaging.version import Version
from processes import run
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, IterableDataset

from torchmetrics_dna import (
    DNAEMD,
    Checkpoints,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
    Reading,
    SharedCollection,
    compare,
    make_dna,
    monitor,
    rank,
    report,
)
from torchmetrics_dna.dna import HistogramDNA


class Mixed(nn.Module):
    """Positional arguments or keywords of several ranks and dtypes; exact arithmetic, so that no batch changes it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, points: Tensor, step: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        moved = points * 0.5 + (step % 5)[:, None, None] * 0.25
        return {"points": moved, "means": moved.amax(1)}


class Volumes(nn.Module):
    """Neurons first, three axes of positions."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x * 0.5, 0.25 - x * x], 1)


def inputs(kind: str, count: int = 24, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randint(-40, 40, (count, 6, 3), generator=generator) / 8 + seed * torch.tensor([3.0, 0, -1.25])
    step = torch.randint(0, 1000, (count,), generator=generator)
    volumes = torch.randint(-1000, 3000, (count, 1, 2, 3, 4), generator=generator) / 16 * (1 + seed)
    return {"tuple": (points, step), "dict": {"points": points, "step": step}, "tensor": volumes}[kind]


def some(batch: Any, chosen: Any) -> Any:
    return tree_map(itemgetter(chosen), batch)


def extractor(kind: str) -> DNAExtractor:
    if kind == "tensor":
        return DNAExtractor(Volumes(), inputs="any", example=inputs(kind, 3))
    return DNAExtractor(Mixed(), inputs="any", example=inputs(kind, 3), channels_last=("points",))


def activations(kind: str, batch: Any) -> dict[str, Tensor]:
    if kind == "tensor":
        return {"output": Volumes()(batch)}
    outputs = Mixed()(*(batch.values() if isinstance(batch, dict) else batch))
    return {"points": outputs["points"].movedim(-1, 1), "means": outputs["means"]}


whole = pytest.mark.parametrize("kind", ["tensor", "tuple", "dict"])


@pytest.fixture(autouse=True)
def few_relabelings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 200)


class Rows(IterableDataset):  # type: ignore[type-arg]
    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Any]:
        return (some(self.batch, i) for i in range(24))


def saved(batch: Any, folder: Path) -> Any:
    """Arrays that are mapped into memory, read-only."""

    def as_file(tensor: Tensor) -> np.ndarray:
        path = folder / f"{tensor.ndim}.npy"
        np.save(path, tensor.numpy())
        return np.load(path, mmap_mode="r")

    return tree_map(as_file, batch)


def named(row: Any) -> dict[str, Any]:
    return {"label": 0, **(row if isinstance(row, dict) else {"image": row})}


SOURCES: dict[str, Callable[[Any, Path], Any]] = {
    "batch": lambda batch, _: batch,
    "arrays on disk": saved,
    "list": lambda batch, _: [some(batch, i) for i in range(24)],
    "data set with labels": lambda batch, _: [(some(batch, i), "label") for i in range(24)],
    "loader of rows": lambda batch, _: DataLoader(Rows(batch), batch_size=5),
    "loader of batches with labels": lambda batch, _: DataLoader(
        [(some(batch, i), 0) for i in range(24)], batch_size=5
    ),
    "dicts with labels": lambda batch, _: [named(some(batch, i)) for i in range(24)],
    "loader of dicts": lambda batch, _: DataLoader([named(some(batch, i)) for i in range(24)], batch_size=5),
    "generator of batches": lambda batch, _: (some(batch, slice(i, i + 7)) for i in range(0, 24, 7)),
    "function": lambda batch, _: partial(next, iter([some(batch, slice(0, 20)), some(batch, slice(20, 24)), None])),
}


@whole
def test_all_sources_and_the_metric_give_one_dna(kind: str, tmp_path: Path) -> None:
    batch, taken = inputs(kind), extractor(kind)
    metric = DNAEMD(taken, num_folds=5)
    for part in (slice(10, 24), slice(0, 10)):
        metric.update(some(batch, part), real=True)
    expected = metric.to_dna(real=True)
    for name, source in SOURCES.items():
        dna = make_dna(source(batch, tmp_path), taken, num_folds=5, reading=Reading(batch_size=9))
        assert isinstance(dna, HistogramDNA)
        assert dna.num_images == 24
        for ours, theirs in zip((dna, *dna.folds), (expected, *expected.folds), strict=True):
            assert torch.equal(ours.counts, theirs.counts), name


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_comparisons_rankings_windows_and_checkpoints(kind: str, tmp_path: Path) -> None:
    real, fake, taken = inputs(kind, 40), inputs(kind, 40, seed=1), extractor(kind)
    comparison = compare(real, fake, taken)
    metric = DNAEMD(taken)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    assert comparison["dna-emd"].value == pytest.approx(metric.compute().item())
    assert comparison.explain().differs
    assert sum("neither grey nor RGB" in notice for notice in comparison.notices) == 1
    assert compare(real, {"model": fake, "again": real}, taken).best == "again"
    ranking = rank(fake, real, taken)
    scores = dict(zip(ranking.numbers, ranking.scores.tolist(), strict=True))
    oracle = slowly.outliers(activations(kind, fake), activations(kind, real))
    assert [scores[i] for i in range(40)] == pytest.approx(oracle.tolist(), rel=1e-6)
    realism = DNARealism(taken, reference=make_dna(real, taken, kind="layer-gaussian"))
    realism.update(fake)
    assert realism.compute().tolist() == pytest.approx(oracle.tolist(), rel=1e-6)
    with pytest.raises(ValueError, match="A contact sheet takes .* but the network takes no pictures"):
        ranking.plot()
    stream = (some(real, slice(i, i + 5)) for i in range(0, 40, 5))
    assert len(list(monitor(stream, real, taken, window=10, learn=2))) == 4
    checkpoints = Checkpoints(real, tmp_path / "run", taken)
    checkpoints.add(1, fake)
    assert [len(checkpoints.comparisons), len(Checkpoints(real, tmp_path / "run", taken).comparisons)] == [1, 1]


@pytest.mark.parametrize("channels", [None, 5])
def test_pairs_and_groups_need_no_pictures(channels: int | None) -> None:
    batch = torch.rand(40, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"channels": channels} if channels else {"inputs": "any", "example": batch}
    taken = DNAExtractor(nn.Conv2d(5, 4, 1), **options)
    paired = compare(batch, batch * 0.9, taken, pairs=True)
    assert paired.p_value is not None
    assert paired.p_value <= 0.01
    apart = compare(batch[:20], batch[20:], taken, groups=([i // 2 for i in range(20)],) * 2)
    assert apart.p_value is not None
    assert not any("pairs" in notice for notice in apart.notices)  # numbers are no names


def test_a_report_has_no_pictures(tmp_path: Path) -> None:
    report(inputs("tensor", 40), inputs("tensor", 40, seed=1), tmp_path / "x.html", extractor("tensor"))
    page = (tmp_path / "x.html").read_text()
    assert "the network takes no pictures" in page
    assert "data:image/jpeg" not in page


def test_a_collection_runs_the_module_once() -> None:
    taken, batch = extractor("dict"), inputs("dict", 8)
    metrics = SharedCollection({"emd": DNAEMD(taken), "fd": DNAFrechet(taken), "lf": LayerFrechetDistance(taken)})
    taken.network.calls = 0
    metrics.update(batch, real=True)
    assert taken.network.calls == 2  # the first time with the input of a fingerprint
    taken.network.calls = 1
    batch["step"] += 1
    metrics.update(batch, real=True)
    assert taken.network.calls == 2


def of_a_process(rank: int, world: int) -> None:
    real, fake, taken = inputs("dict"), inputs("dict", seed=1), extractor("dict")
    alone, shared = DNAEMD(taken, num_folds=5), DNAEMD(taken, num_folds=5)
    for batch, is_real in ((real, True), (fake, False)):
        alone.update(batch, real=is_real)
        shared.update(some(batch, slice(rank, None, world)), real=is_real)
    alone.dist_sync_fn, alone._to_sync = None, False
    assert shared.compute() == alone.compute()
    dna = make_dna(real, taken, distributed=True, num_folds=5)
    assert torch.equal(dna.counts, make_dna(real, taken, num_folds=5).counts)  # type: ignore[attr-defined]


@pytest.mark.outer  # the states that are shared are those of images
def test_processes_share_inputs() -> None:
    run(2, of_a_process)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(3, 32, 1), nn.ReLU(), nn.Conv1d(32, 64, 5, padding=2)), (3, 50)),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(1, 8, 3), nn.ReLU(), nn.Conv3d(8, 16, 3)), (1, 9, 9, 9)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose1d(4, 8, 3), nn.ConvTranspose1d(8, 8, 3, 2)), (4, 20)),
    "transposed, 2 axes": (lambda: nn.ConvTranspose2d(4, 8, 3, stride=2), (4, 8, 8)),
    "linear": (lambda: nn.Sequential(nn.Linear(30, 64), nn.Tanh(), nn.Linear(64, 50)), (30,)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (17, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_other_input_changes_an_activation(name: str) -> None:
    if name == "linear" and Version(torch.__version__) < Version("2.13"):
        pytest.skip("oneDNN of torch 2.10 rounds by the number of rows, as docs/numbers.md says")
    if name == "attention" and Version(torch.__version__) < Version("2.10"):
        pytest.skip("attention of old versions of torch rounds by the number of rows")
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    batch, threads = torch.randn(17, *shape), torch.get_num_threads()
    taken = DNAExtractor(build(), inputs="any", example=batch[:1])
    expected = taken(batch)
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            for size in (1, 2, 3, 8, 17):
                first, last = taken(batch[:size]), taken(batch[-size:])
                for layer, values in expected.items():
                    assert torch.equal(first[layer], values[:size]), (count, size)
                    assert torch.equal(last[layer], values[-size:]), (count, size)
    finally:
        torch.set_num_threads(threads)


X = torch.zeros(2, 3, 5)
ANY: dict[str, Any] = {"inputs": "any", "example": X}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature": "resnet50", **ANY}, "`inputs` is 'any', so `feature` expected to be a module, but got 'resnet50'"),
        ({"inputs": "any"}, "`inputs` is 'any', so `example` expected to be a batch of inputs, but got None"),
        ({"inputs": "all"}, "`inputs` expected to be .*all"),
        ({"example": X}, "`example` requires `inputs='any'`; omit it, or pass both"),
        ({"channels_last": True}, "`channels_last` requires `inputs='any'`; omit it, or pass both"),
        ({**ANY, "input_size": 8}, "`input_size` is for pictures, but `inputs` is 'any'"),
        ({**ANY, "channels": 1}, "`channels` is for pictures, but `inputs` is 'any'"),
        ({**ANY, "mean": [0.0]}, "`mean` is for pictures, but `inputs` is 'any'"),
        ({**ANY, "layers": ["properties"]}, "`layers` has 'properties', which are for pictures, but `inputs` is 'any'"),
        ({**ANY, "example": torch.tensor(1.0)}, r"`example` expected to be batch first, but got a number"),
        ({**ANY, "example": {}}, "expected to be a tensor, or a tuple or dict of tensors, but got a dict with"),
        ({**ANY, "example": np.zeros((2, 3))}, "`example` expected to be a tensor, or .*, but got a ndarray"),
        ({**ANY, "example": (X, X[:1])}, r"to have parts of one length, but got shapes \(2, 3, 5\), "),
        ({**ANY, "example": X[:0]}, r"`example` expected to hold inputs, but got shape \(0, 3, 5\)"),
        ({**ANY, "example": X[..., :4]}, r"fails on the example, of shape \(2, 3, 4\) and torch.float32: .*cannot be"),
        ({**ANY, "channels_last": ["x"]}, "Unknown layer 'x' in `channels_last`; the outputs are: output"),
        ({**ANY, "layers": ["output:class"]}, r"'output:class' expected tokens \(B, tokens, n\)"),
        ({**ANY, "feature": nn.Flatten(0)}, r"gives shape \(30,\) for 2 inputs; expected \(B, n, \*positions\)"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        DNAExtractor(**{"feature": nn.Linear(5, 4), **arguments})


WRONG = [
    ("tensor", lambda x: x[0], r"`imgs` expected to have 5 axes, batch first, .* pass `imgs\[None\]`"),
    ("tensor", lambda x: x[0, 0], r"expected to have 5 axes, batch first, .* but got shape \(2, 3, 4\)$"),
    ("tensor", lambda x: x.double(), r"expected to be float32, as in the example, but got float64; convert it, or"),
    ("tensor", lambda x: x[:0], r"`imgs` expected to hold inputs, but got shape \(0, 1, 2, 3, 4\)"),
    ("tensor", lambda x: (x, x), "`imgs` expected to be a Tensor, as in the example, but got a tuple of 2"),
    ("tuple", lambda x: x[0], "`imgs` expected to be a tuple of 2, as in the example, but got a Tensor"),
    ("tuple", lambda x: (x[0], x[1][:2]), r"parts of one length, but got shapes \(24, 6, 3\), \(2,\)"),
    ("tuple", lambda x: (x[0], x[1].int()), r"`imgs\[1\]` expected to be int64, .*, but got int32; convert"),
    ("dict", lambda x: {"points": x["points"]}, "a dict with 'points', 'step', as in the example, .* with 'points'$"),
    ("dict", lambda x: x | {"step": x["step"][0]}, r"`imgs\['step'\]` expected to have 1 axes, .* but got shape \(\)"),
    ("tensor", lambda x: x * torch.nan, "Layer 'output' gives activations that are NaN or infinite"),
]


@pytest.mark.parametrize(("kind", "spoil", "message"), WRONG)
def test_wrong_inputs_change_no_state(kind: str, spoil: Callable[[Any], Any], message: str) -> None:
    metric = DNAEMD(extractor(kind))
    metric.update(inputs(kind), real=True)
    before = {name: state.clone() for name, state in metric.metric_state.items() if isinstance(state, Tensor)}
    with pytest.raises((TypeError, ValueError), match=message):
        metric.update(spoil(inputs(kind)), real=True)
    assert all(torch.equal(getattr(metric, name), state) for name, state in before.items())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda x: "latents.png", r"takes inputs, but 'latents.png' is no file of them; pass .npy, .npz, .parquet, "),
        (lambda x: 3, "Expected inputs like the example of the network: .* but got int"),
        (lambda x: x[0], r"expected to have 5 axes, batch first, .* but got shape \(1, 2, 3, 4\); pass"),
        (lambda x: [x[0, 0]], r"input 'input 0': it expected to have 4 axes, as in the example, .* \(2, 3, 4\)"),
        (lambda x: [x[:2]], "expected one input, but got a batch of 2; pass a list of single inputs"),
        (lambda x: [x[0], x[1].double()], "input 'input 1': it expected to be float32, .*, but got float64"),
        (lambda x: [x[0], x[1, :, :1]], r"Inputs differ in shape \(\(1, 1, 3, 4\) and \(1, 2, 3, 4\)\); pass"),
        (lambda x: [x[0], x[1] * torch.inf], "Can't read input 'input 1': it has values that are NaN or infinite"),
        (lambda x: iter(()), "There are no inputs in"),
    ],
)
def test_wrong_sources(source: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make_dna(source(inputs("tensor")), extractor("tensor"))


def test_other_dtypes_are_other_networks() -> None:
    single, double = (
        DNAExtractor(Volumes(), inputs="any", example=inputs("tensor").to(to)) for to in (torch.float32, torch.float64)
    )
    reference = make_dna(inputs("tensor"), single)
    with pytest.raises(ValueError, match=r"their preparations \(inputs\) differ: 'float32' and 'float64'"):
        compare(reference, inputs("tensor").double(), double)
    with pytest.raises(ValueError, match="`normalize` is for images, but the extractor's `inputs` are 'any'"):
        DNAEMD(single, normalize=True)
