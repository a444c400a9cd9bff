"""Networks and arguments that are refused: in one line, before anything changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
import timm
import torch
from networks import Convolutions, Outputs, Pixels
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor

NUMBERS = torch.randint(-24, 24, (11, 5, 6), generator=torch.Generator().manual_seed(0)) / 8
ANY: dict[str, Any] = {"inputs": "any", "example": NUMBERS}


def of(network: Any, message: str, example: Tensor | None = NUMBERS, **options: Any) -> tuple[Any, dict[str, Any], str]:
    """A row of the tables: a network of images, or of inputs like an example."""
    return network, options | ({} if example is None else {"inputs": "any", "example": example}), message


def by(outputs: Any, message: str, *example: Any, **options: Any) -> tuple[Any, dict[str, Any], str]:
    """A row of a network that computes a function."""
    return of(Outputs(outputs), message, *example, **options)


class Counts(nn.Module):
    """A buffer that counts calls, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.scale = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * 0.5


class Remembers(Counts):
    """A moving mean that is no buffer."""

    def forward(self, x: Tensor) -> Tensor:
        self.scale += float(x.abs().mean())
        return x * self.scale


class Runs(nn.Module):
    """Layers that run twice, never, and in a thread of the module's own."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.unused, self.apart, self.once = nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.ReLU()

    def forward(self, imgs: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as threads:
            return self.once(threads.submit(self.apart, self.twice(self.twice(imgs.float()))).result())


BESIDE = "^Expected activations that do not depend on the other inputs of a batch, but those of layer 'output' do; pass"
EACH_TIME = "^Layer 'output' returns other activations for the same input in a second pass; pass a module without"
DEPENDENT = {
    "less the mean": by(lambda x: x - x.mean(0), BESIDE),
    "less the mean, zeros": by(lambda x: x - x.mean(0), BESIDE, torch.zeros(1, 5, 6)),
    "less the mean, equal": by(lambda x: x - x.amax(0), BESIDE, torch.arange(5).expand(2, 5)),
    "less the mean, images": by(lambda x: x.float() - x.float().mean(0), BESIDE, None),
    "statistics of a batch": of(nn.BatchNorm1d(5, track_running_stats=False), BESIDE),
    "statistics of images": of(nn.BatchNorm2d(3, track_running_stats=False), BESIDE, None),
    "a deviation beside others": by(
        lambda x: torch.cat([x, x.std(0, correction=0).mean().expand(len(x), 1, 6)], 1), BESIDE
    ),
    "attention over the batch": of(nn.TransformerEncoderLayer(6, 2, 8), BESIDE),
    "recurrence over the batch": of(nn.Sequential(nn.GRU(6, 4), Outputs(itemgetter(0))), BESIDE),
    "the one before": by(lambda x: x - x[[0, *range(len(x) - 1)]], BESIDE),
    "the one after": by(lambda x: x - torch.cat([x[1:], x[-1:]]), BESIDE),
    "padding": by(lambda x: x[..., : int((x > 0).sum(2).max())], BESIDE, torch.tensor([[[1.0, 2, 0]], [[1, 2, 3]]])),
    "noise": by(lambda x: x + torch.rand_like(x), EACH_TIME),
    "dropout": by(lambda x: nn.functional.dropout(x), EACH_TIME),
    "a memory": of(Remembers(), EACH_TIME),
    "a counter": of(Counts(), "^The module writes to its buffer 'calls' in evaluation mode, .* a plain attribute"),
}
NO_ACTIVATIONS = {
    "bool": by(lambda x: x > 0, "real numbers in a dense tensor, but its output is bool; pass"),
    "eight bits": by(lambda x: x.to(torch.float8_e5m2), "but its output is float8_e5m2; pass a"),
    "nested": by(lambda x: torch.nested.nested_tensor([*x], layout=torch.jagged), "is jagged;"),
    "complex": by(lambda x: torch.fft.fft2(x.float()), "expected to return real numbers.* is complex64;", None),
    "sparse": by(lambda x: x.float().to_sparse(), "in a dense tensor, but its output is sparse_coo;", None),
    "text": by(lambda x: "x", "dict, list or tuple of tensors, but got str", None),
    "lists": by(lambda x: [x.float(), [x.float()]], "but 'output_1' is of type list; name submodules", None),
    "empty": by(lambda _: {}, "but got an empty dict$", None),
    "no neurons": by(lambda x: x.float()[:, :0], r"^Layer 'output' has no neurons: .*\(1, 0", None, input_size=8),
    "a number": by(lambda x: x.float().mean(), "; pass a row for each image$", None),
    "five axes": by(
        lambda x: x.float()[..., None],
        r"\(1, 3, 224, 224, 1\); expected \(B, n\), .*; pass `inputs='any'`, for which it may have more",
        None,
    ),
    "properties": by(
        lambda x: {"properties": x.float()},
        "output 'properties' has the name of the layer of image properties; rename it, or choose others by `layers`",
        None,
    ),
    "names": by(lambda x: {1: x, "1": x}, "several of its names are equal as text: 1, '1'"),
    "lazy": of(nn.Sequential(nn.LazyConv2d(3, 1)), "'0.weight' has no shape before its first call; call", None),
    "meta": of(nn.Conv2d(3, 4, 3, device="meta"), "on the meta device, so it has no weights; load them", None),
    "division": by(lambda _: 1 / 0, "^The network fails on images of shape .*: division by zero$", None),
    "volumes": of(nn.Conv3d(3, 4, 3), "fails on images of shape .1, 3, 224, 224.: .* channels instead$", None),
    "sizes": of(nn.Linear(64, 2), "can't take an image of 224 x 224 pixels.*with `input_size`$", None),
    "bands": of(nn.Conv2d(5, 4, 3), r"fails on images of shape \(1, 3, 224, 224\): .* to have 5 channels", None),
}
LAYERS = {
    "name": of("efficientnet_lite00", "did you mean 'efficientnet_lite0'", None),
    "no name": of("no such thing at all", "Argument `feature` expected to be a preset", None),
    "block": of("efficientnet_lite0", "Unknown layer 'block_9'; the layers of efficientnet", None, layers=["block_9"]),
    "none": of("efficientnet_lite0", "`layers` expected to be a list of layer names", None, layers=[]),
    "a text": of("efficientnet_lite0", r"layer names, but got 'head'; pass \['head'\]", None, layers="head"),
    "twice": of("efficientnet_lite0", "expected to name each layer once", None, layers=["head", "head"]),
    "submodule": of(Convolutions(), "'bod'; did you mean 'body'.*: stem, body", None, layers=["stem", "bod"]),
    "many": of(
        timm.create_model("resnet10t"),
        "'layer9'.* are: conv1, bn1, act1, maxpool, layer1, .* within them",
        None,
        layers=["layer1", "layer9"],
    ),
    "output": of(
        Pixels(),
        "Unknown layer 'edges'; the network's outputs are: colours, contrast, mean; its submodules: none",
        None,
        layers=["edges"],
    ),
    "runs twice": of(Runs(), "'twice' runs 2 times in a forward pass; choose", None, layers=["twice"]),
    "runs twice on an example": of(Runs(), "^Layer 'twice' runs 2 times", torch.rand(2, 3, 8, 8), layers=["twice"]),
    "never runs": of(Runs(), "'unused' runs 0 times in a forward pass; choose", None, layers=["unused"]),
    "in a thread": of(Runs(), "^Layer 'apart' runs in another thread than the module", None, layers=["once", "apart"]),
    "weights": of(Convolutions(), "load the weights into the module", None, weights_path="x"),
}
OPTIONS = {
    "crop": of("efficientnet_lite0", "'none' or 'center', but got 'random'", None, crop="random"),
    "crop of none": of(Pixels(), "`crop` requires an `input_size`", None, crop="center"),
    "one mean": of(Pixels(), r"`mean` expected to have 3 numbers, but got \(0.5,\)", None, mean=[0.5]),
    "means": of(Pixels(), "`mean` expected to have 3 numbers, but got ", None, mean=torch.zeros(3, 2)),
    "words": of(Pixels(), "`mean` expected to have 3 numbers, but got 'abc'", None, mean="abc"),
    "NaN": of(Pixels(), "`mean` expected to have 3 numbers, but got ", None, mean=(0.5, 0.5, np.nan)),
    "std": of(Pixels(), "`std` expected to have 3 positive numbers, but got ", None, std=np.zeros(3)),
    **{
        f"size {size}": of(Pixels(), "^Argument `input_size` expected to be a height and width", None, input_size=size)
        for size in ((8, 8, 8), 0, 8.5)
    },
    **{
        f"dtype {dtype}": of(Pixels(), "`dtype` expected to be 'float16', 'bfloat16' or None, but", None, dtype=dtype)
        for dtype in ("float64", torch.float32, "double", 16)
    },
    "bands": of(
        "efficientnet_lite0",
        "`channels` expected to be 1 or 3 for efficientnet_lite0, which takes RGB, but got 4; pass",
        None,
        channels=4,
    ),
    "no channels": of(Pixels(), "`channels` expected to be a positive integer, but got 0", None, channels=0),
    "properties": of(
        nn.Conv2d(2, 3, 1), "`properties` is for grey and RGB images, but", None, channels=2, properties=True
    ),
    "two means": of(nn.Conv2d(2, 3, 1), "`mean` expected to have 2 numbers, but", None, channels=2, mean=[1.0]),
}
TABLES = DEPENDENT, NO_ACTIVATIONS, LAYERS, OPTIONS
ROWS = [pytest.param(*row, id=name) for table in TABLES for name, row in table.items()]


@pytest.mark.parametrize(("network", "options", "message"), ROWS)
def test_it_is_refused_in_one_line_before_anything_changes(network: Any, options: dict[str, Any], message: str) -> None:
    held = vars(network) if isinstance(network, nn.Module) else {}
    torch.manual_seed(0)  # of modules that draw random numbers
    before = torch.get_rng_state(), {key: str(value) for key, value in held.items()}
    with pytest.raises(ValueError, match=message) as refused:
        DNAExtractor(network, **options)
    assert "\n" not in str(refused.value)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert {key: str(value) for key, value in held.items()} == before[1]


def test_other_types_than_networks() -> None:
    with pytest.raises(TypeError, match="Got unknown input to argument `feature`"):
        DNAExtractor(2048)  # type: ignore[arg-type]


def test_what_is_only_near_is_taken() -> None:
    """A layer beside one in a thread; few positions that rounding changes."""

    def codes(x: Tensor) -> Tensor:
        values = x.clone()
        values[..., 0] += len(x)
        return values

    assert DNAExtractor(Runs(), layers=["once"]).neurons.total == 3
    assert DNAExtractor(Outputs(codes), **ANY).neurons.total == 5
