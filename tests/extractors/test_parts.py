"""A batch is the sum of its inputs, whatever a network of the user's does between one part of it and the next.

The oracle runs each input alone through the module, and counts in float64 numpy, one neuron after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest
import slowly
import torch
from torch import Tensor, nn

from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
    SharedCollection,
    compare,
    make_dna,
)
from torchmetrics_dna.images.inputs import count_of, mapped
from torchmetrics_dna.statistics.folds import group_folds

COUNT, AT_ONCE, BINS = 11, 4, 40
GROUPS = [f"group {i % 7}" for i in range(COUNT)]


class Cuts(nn.Module):
    """Tokens without the padding that all in a batch have."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.arange(36).view(12, 3) % 7 / 4 - 0.5)

    def forward(self, tokens: Tensor, length: Tensor) -> Tensor:
        return self.table(tokens[:, : int(length.max())])


class Changes(nn.Module):
    """Activations in memory that is not the same for all batches: it is changed where their mean is positive."""

    def __init__(self, change: Callable[[Tensor], Tensor], context: Callable[[], Any] = nullcontext) -> None:
        super().__init__()
        self.weight, self.change, self.context = nn.Parameter(torch.tensor(0.5)), change, context

    def forward(self, x: Tensor) -> Tensor:
        with self.context():
            values = x * self.weight - 0.25
            return self.change(values) if x.mean() > 0 else values


class Reuses(nn.Module):
    """One tensor for the output of all batches, as ONNX Runtime, TensorRT and CUDA graphs bind it."""

    def __init__(self, write: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.memory, self.write = torch.empty(COUNT, 5, 6), write

    def forward(self, x: Tensor) -> Tensor:
        output = self.memory[: len(x)]
        self.write(output, x * 0.5 - 0.25)
        return output


class Halves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0.5


class Edits(nn.Module):
    """A layer whose output is written to later, for some batches only."""

    def __init__(self, edit: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.first, self.second, self.edit = Halves(), Halves(), edit

    def forward(self, x: Tensor) -> Tensor:
        values = self.first(x)
        output = self.second(values)
        if x.mean() > 0:
            self.edit(values)
        return output + values


class Caches(nn.Module):
    """A buffer that the first call makes."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "shift"):
            self.register_buffer("shift", torch.full((6,), 0.25), persistent=False)
        return x * 0.5 - self.shift


def misaligned(values: Tensor) -> Tensor:
    memory = bytearray(1 + values.nbytes)
    return torch.frombuffer(memory, dtype=values.dtype, offset=1).view(values.shape).copy_(values.detach())


def of_numbers(seed: int) -> Tensor:
    """Multiples of an eighth, so that no sum depends on its order; of parts, some have a positive mean."""
    numbers = torch.randint(-24, 24, (COUNT, 5, 6), generator=torch.Generator().manual_seed(seed)) / 8
    return numbers + torch.tensor([-1, 1, -1.5]).repeat_interleave(AT_ONCE)[:COUNT, None, None] * (1 + seed / 4)


def of_tokens(seed: int) -> tuple[Tensor, Tensor]:
    """Tokens of one length in each part, which is not the same for all."""
    tokens = torch.randint(0, 12 - seed, (COUNT, 9), generator=torch.Generator().manual_seed(seed))
    return tokens, torch.tensor([2, 9, 5]).repeat_interleave(AT_ONCE)[:COUNT]


class Form(NamedTuple):
    build: Callable[[], nn.Module]
    inputs: Callable[[int], Any] = of_numbers
    layers: tuple[str, ...] | None = None
    channels_last: bool = False


LAYERS = ("first", "second")
FORMS = {
    "positions": Form(Cuts, of_tokens, channels_last=True),
    "positions of neurons first": Form(lambda: Changes(lambda values: values[..., :2].repeat(1, 1, 5))),
    "double and half": Form(lambda: Changes(lambda values: values.double() if values.mean() > 0.2 else values.half())),
    "half": Form(lambda: Changes(lambda values: values.half())),
    "integers": Form(lambda: Changes(lambda values: (values * 16).long())),
    "layout": Form(lambda: Changes(lambda values: values.mT.contiguous().mT)),
    "alignment": Form(lambda: Changes(misaligned)),
    "a window": Form(lambda: Changes(lambda values: torch.cat([values, values], 2)[:, :, 3:9])),
    "expanded": Form(lambda: Changes(lambda values: values[..., :1].expand(-1, -1, 6))),
    "negated later": Form(lambda: Changes(lambda values: torch.complex(values, values).conj().imag)),
    "gradients": Form(lambda: Changes(lambda values: values, torch.enable_grad)),
    "inference mode": Form(lambda: Changes(lambda values: values, torch.inference_mode)),
    "reused": Form(lambda: Reuses(lambda output, values: output.copy_(values))),
    "reused, uncounted": Form(lambda: Reuses(lambda output, values: np.copyto(output.numpy(), values.numpy()))),
    "cache": Form(Caches),
    "edited": Form(lambda: Edits(torch.relu_), layers=LAYERS),
    "edited, uncounted": Form(lambda: Edits(lambda values: values.numpy().fill(3)), layers=LAYERS),
}
# a row for each neuron, of the values of each input
Neurons = list[list[np.ndarray]]


def alone(form: Form, inputs: Any) -> Neurons:
    """Run a module on each input alone."""
    module, rows = form.build().eval(), []
    for i in range(count_of(inputs)):
        outputs: list[Tensor] = []
        hooks = [
            module.get_submodule(layer).register_forward_hook(lambda *call: outputs.append(call[2].clone()))  # noqa: B023
            for layer in form.layers or ()
        ]
        single = mapped(lambda tensor: tensor[i : i + 1].clone(), inputs)  # noqa: B023
        with torch.no_grad():
            output = module(*single) if isinstance(single, tuple) else module(single)
        for hook in hooks:
            hook.remove()
        layers = [(values.mT if form.channels_last else values)[0].detach() for values in outputs or [output]]
        rows.append([neuron.double().numpy().copy() for layer in layers for neuron in layer])
    return [list(values) for values in zip(*rows, strict=True)]


def extractor_of(form: Form) -> DNAExtractor:
    extractor = DNAExtractor(
        form.build(),
        inputs="any",
        example=mapped(lambda tensor: tensor[-1:], form.inputs(0)),
        layers=form.layers,
        channels_last=form.channels_last,
    )
    extractor.images_at_once = AT_ONCE
    return extractor


def counted(values: Sequence[np.ndarray], low: float, high: float) -> list[int]:
    return slowly.counted(np.concatenate(values), *slowly.bounds(low, high), BINS).tolist()


WAYS = [(name, False) for name in FORMS] + [(name, True) for name in ("positions", "double and half", "layout")]


@pytest.mark.parametrize(("name", "by_torch"), WAYS)
def test_a_batch_is_the_sum_of_its_inputs(name: str, by_torch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchmetrics_dna.dna.evidence.NUM_RELABELINGS", 99)
    if by_torch:
        monkeypatch.setattr("torchmetrics_dna.binning.activations.optional", lambda _: None)
    form = FORMS[name]
    inputs = form.inputs(0), form.inputs(1)
    extractor, (real, fake) = extractor_of(form), (alone(form, each) for each in inputs)
    ranges = ActivationRange(extractor)
    ranges.update(inputs[0])
    ends = [(np.concatenate(values).min(), np.concatenate(values).max()) for values in real]
    given = ranges.to_ranges()
    assert list(zip(given.minimum.tolist(), given.maximum.tolist(), strict=True)) == ends

    options: dict[str, Any] = {"num_bins": BINS, "ranges": given}
    metrics = {
        "auto": DNAEMD(extractor, num_bins=BINS),
        "emd": DNAEMD(extractor, **options),
        "means": DNAFrechet(extractor),
        "activations": DNAFrechet(extractor, statistics="activations", **options),
        "layers": LayerFrechetDistance(extractor, reduction="layer"),
    }
    in_folds = DNAEMD(extractor, num_folds=5, **options)
    shared = SharedCollection({"emd": metrics["emd"].clone(), "means": metrics["means"].clone()})
    for batch, is_real in zip(inputs, (True, False), strict=True):
        for metric in (*metrics.values(), shared):
            metric.update(batch, real=is_real)
        in_folds.update(batch, real=is_real, groups=GROUPS)
    ours = {key: metric.compute() for key, metric in metrics.items()}
    ours |= ours.pop("layers") | {f"shared {key}": value for key, value in shared.compute().items()}
    ours |= {"folds": in_folds.compute(), "compare": compare(*inputs, extractor, **options)["dna-emd"].value}

    theirs: dict[str, list[float]] = {"auto": [], "emd": [], "means": [], "activations": []}
    for a, b, bounds in zip(real, fake, ends, strict=True):
        x, y, within = np.concatenate(a), np.concatenate(b), slowly.bounds(*bounds)
        theirs["auto"].append(slowly.emd_of_any_range(x, y, BINS, *bounds))
        theirs["emd"].append(slowly.emd_within(x, y, *bounds, BINS))
        means = [np.array([values.mean() for values in side]) for side in (a, b)]
        theirs["means"].append(slowly.frechet(*(m for side in means for m in (side.mean(), side.var(ddof=1)))))
        edges = np.linspace(*slowly.within(*within), BINS + 1)
        binned = (slowly.moments_of_bins(side, edges, slowly.counted(side, *within, BINS)) for side in (x, y))
        theirs["activations"].append(slowly.frechet(*(m for side in binned for m in side)))
    expected = {key: np.mean(values) for key, values in theirs.items()}
    expected |= dict.fromkeys(("shared emd", "folds", "compare"), expected["emd"])
    expected["shared means"] = expected["means"]
    begin = 0
    for layer, width in extractor.neurons.items():
        means = [np.array([[v.mean() for v in n] for n in side[begin : begin + width]]).T for side in (real, fake)]
        expected[layer] = slowly.layer_frechet(*means)
        begin += width
    assert {key: float(value) for key, value in ours.items()} == pytest.approx(expected, rel=1e-6, abs=1e-9)

    counts = [counted(values, *bounds) for values, bounds in zip(real, ends, strict=True)]
    assert make_dna(inputs[0], extractor, **options).counts.tolist() == counts
    assert metrics["emd"].to_dna(True).counts.tolist() == counts
    fold_of = group_folds(GROUPS, 5).tolist()
    for k, fold in enumerate(in_folds.to_dna(True).folds):
        of_fold = [[values[i] for i in range(COUNT) if fold_of[i] == k] for values in real]
        assert fold.counts.tolist() == [
            counted(values, *bounds) if values else [0] * BINS for values, bounds in zip(of_fold, ends, strict=True)
        ]
    check_single_inputs(extractor, inputs, (real, fake), ends, options)


def check_single_inputs(extractor: DNAExtractor, inputs: Any, sides: Any, ends: Any, options: dict[str, Any]) -> None:
    real, fake = sides
    scores = DNARealism(extractor, reference=make_dna(inputs[0], extractor, **options))
    contrast = DNARealism(
        extractor,
        reference=make_dna(inputs[0], extractor, **options),
        contrast=make_dna(inputs[1], extractor, **options),
    )
    outliers = DNARealism(extractor, reference=make_dna(inputs[0], extractor, kind="layer-gaussian"))
    for metric in (scores, contrast, outliers):
        metric.update(inputs[1])
    by_side = [
        [
            np.mean(
                [
                    slowly.emd(*(np.array(counted(values, *bounds)) for values in (b[i : i + 1], side)))
                    for side, b, bounds in zip(reference, fake, ends, strict=True)
                ]
            )
            for i in range(COUNT)
        ]
        for reference in sides
    ]
    assert scores.compute().tolist() == pytest.approx(by_side[0], rel=1e-9)
    assert contrast.compute().tolist() == pytest.approx(np.subtract(*by_side).tolist(), rel=1e-9, abs=1e-9)
    means = [torch.tensor([[v.mean() for v in n] for n in side]).T for side in (fake, real)]
    layers = [dict(zip(extractor.neurons, x.split(list(extractor.neurons.values()), 1), strict=True)) for x in means]
    assert outliers.compute().tolist() == pytest.approx(slowly.outliers(*layers).tolist(), rel=1e-6)


NUMBERS = of_numbers(0)


LIKE = {"inputs": "any", "example": NUMBERS}
NOT_DENSE: dict[str, Callable[[Tensor], Tensor]] = {
    "sparse_coo": lambda x: x.to_sparse(),
    "sparse_csr": lambda x: x[:, :, 0].to_sparse_csr(),
    "nested": lambda x: torch.nested.nested_tensor([*x]),
    "jagged": lambda x: torch.nested.nested_tensor([*x], layout=torch.jagged),
}


@pytest.mark.filterwarnings("ignore:.*(nested|[Ss]parse)")  # prototypes and beta, says torch
@pytest.mark.parametrize("layout", NOT_DENSE)
def test_inputs_that_are_not_dense(layout: str) -> None:
    inputs = NOT_DENSE[layout](NUMBERS)
    message = f" expected to be a dense tensor, but got layout {layout}; convert it by `torch.*(dense|padded_tensor)`$"
    with pytest.raises(ValueError, match=f"^Argument `example`{message}"):
        DNAExtractor(Halves(), inputs="any", example=inputs)
    with pytest.raises(ValueError, match=f"^Argument `imgs`{message}"):
        DNAEMD(DNAExtractor(Halves(), **LIKE)).update(inputs, real=True)
    with pytest.raises(ValueError, match=f"^Argument `imgs`{message}"):
        make_dna(inputs, DNAExtractor(Halves(), **LIKE))
    if layout == "sparse_coo":
        with pytest.raises(ValueError, match=f"^Argument `imgs`{message}"):
            DNAEMD(DNAExtractor(Halves())).update(torch.zeros(2, 3, 4, 4, dtype=torch.uint8).to_sparse(), real=True)


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16, nn.Module.double])
def test_a_module_that_was_cast_meanwhile_names_both_dtypes(cast: Callable[[nn.Module], nn.Module]) -> None:
    network = nn.Sequential(nn.Linear(6, 4))
    extractor = DNAExtractor(network, **LIKE, channels_last=True)
    cast(network)
    dtype = network[0].weight.dtype
    message = f"^Sequential has {dtype} weights, but had torch.float32 ones when .*; make a new DNAExtractor of it$"
    with pytest.raises(ValueError, match=message):
        extractor(NUMBERS)


def test_positions_that_one_tensor_cannot_hold() -> None:
    extractor = extractor_of(FORMS["positions"])
    with pytest.raises(
        ValueError, match=r"^Layer 'output' has positions of shape \(2,\) and \(9,\) and \(5,\) in this"
    ):
        extractor(of_tokens(0))
    tokens, _ = of_tokens(0)
    with pytest.raises(
        ValueError, match=r"^Layer 'output' returned shape \(4, 0, 3\), which holds no activations; pass"
    ):
        DNAEMD(extractor).update((tokens, torch.zeros(COUNT, dtype=torch.int64)), real=True)
