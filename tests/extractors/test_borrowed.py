"""A module of the user's is borrowed: it ends up as if it had run by itself, whatever happened meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from copy import deepcopy
from pathlib import Path
from threading import Lock

import pytest
import timm
import torch
from accelerator import Accelerator
from networks import random_images
from torch import Tensor, nn

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet
from torchmetrics_dna.extractors.fixed_inputs import fixed_images

IMAGES = random_images(4, 0) / 255


class Borrowed(nn.Module):
    """Network that caches a constant on its first call, keeps a flag while it runs, and can fail half-way."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, dtype=dtype)
        self.norm = nn.BatchNorm2d(4, dtype=dtype)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 3, dtype=dtype)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.scale: Tensor | None = None
        self.running, self.failure = False, ""
        self.calls: list[str] = []
        self.register_forward_pre_hook(lambda module, _: module.calls.append("fetch weights"))
        self.register_forward_hook(lambda module, *_: module.calls.append("put weights back"))

    def forward(self, imgs: Tensor) -> Tensor:
        self.running = True
        if self.scale is None:
            self.scale = torch.linspace(0.5, 1, 4, dtype=imgs.dtype, device=imgs.device)
        values = self.relu(self.norm(self.stem(imgs))).mean((2, 3))
        if self.failure == "error":
            raise RuntimeError("out of memory")
        if self.failure == "interrupt":
            raise KeyboardInterrupt
        values = self.head(self.drop(values) * self.scale)
        self.running = False
        if self.failure == "NaN":
            return values * torch.nan
        return values[1:] if self.failure == "rows" else values


def alone(network: nn.Module, imgs: Tensor, sizes: int = 1) -> None:
    """Run a network as its owner would, to look at what it gives."""
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            fixed = [fixed_images(3, size, imgs.dtype) for size in ((64, 64), (224, 224))]
            for inputs in (*fixed[:sizes], imgs):  # of the fingerprint, in another size if it fails, and of the user
                with suppress(RuntimeError, ValueError):
                    network.eval()(inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode


def everything(network: Borrowed) -> list[object]:
    """What its owner could see."""
    tensors = [*network.parameters(), *network.buffers(), network.scale]
    return [
        [
            tensor is not None
            and (tensor.dtype, tensor.device, tensor.requires_grad, tensor.is_inference(), tensor.tolist())
            for tensor in tensors
        ],
        [parameter.grad for parameter in network.parameters()],
        [(module.training, len(module._forward_hooks), len(module._forward_pre_hooks)) for module in network.modules()],
        [tensor._version for tensor in network.parameters()],
        (network.running, network.calls),
        (torch.get_rng_state().tolist(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    ]


def trained(network: nn.Module, imgs: Tensor) -> list[list[float]]:
    """The weights after a step of training."""
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(network.train().parameters(), 0.1)
    network(imgs).square().sum().backward()
    optimizer.step()
    return [tensor.tolist() for tensor in network.state_dict().values()]


@pytest.mark.parametrize("layers", [None, ["norm"]])
@pytest.mark.parametrize(
    ("failure", "dtype"),
    [
        ("", torch.float32), ("", torch.float64), ("", torch.bfloat16), ("error", torch.float32),
        ("interrupt", torch.float64), ("NaN", torch.float32), ("rows", torch.bfloat16),
    ],
)  # fmt: skip
def test_a_module_is_given_back_as_if_it_had_run_by_itself(
    failure: str, dtype: torch.dtype, layers: list[str] | None
) -> None:
    network, twin, imgs = Borrowed(dtype), Borrowed(dtype), IMAGES.to(dtype)
    for each in (network, twin):
        each.norm.eval()  # frozen, as in fine-tuning
        each.stem.weight.requires_grad_(False)
    metric = DNAFrechet(DNAExtractor(network, layers=layers), normalize=True)
    network.calls.clear()  # of trying it out
    sizes = 2 if failure == "error" or (failure in ("rows", "NaN") and layers is None) else 1
    for each, run in ((network, lambda: metric.update(IMAGES, real=True)), (twin, lambda: alone(twin, imgs, sizes))):
        each.failure = failure
        with suppress(RuntimeError, KeyboardInterrupt, ValueError):
            run()
        each.failure = ""
    assert everything(network) == everything(twin)
    # a layer may be fine where what follows is not
    is_counted = not failure or (failure in ("NaN", "rows") and layers is not None)
    assert metric.to_dna(True).num_images == is_counted * len(IMAGES)
    assert trained(network, imgs) == trained(twin, imgs)


@pytest.mark.parametrize(
    "use",
    [
        lambda extractor: DNAEMD(extractor, normalize=True)(IMAGES, real=True),
        lambda extractor: extractor(IMAGES),
        lambda extractor: extractor.pooled("output")(IMAGES),
        lambda extractor: extractor(IMAGES.clone().requires_grad_()),
    ],
)
@pytest.mark.parametrize("context", [nullcontext, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_it_learns_on_within_whatever_context_it_was_looked_at(
    context: Callable[[], object], use: Callable[[DNAExtractor], object]
) -> None:
    network = Borrowed()
    twin = deepcopy(network)
    extractor = DNAExtractor(network)
    autocast = torch.autocast("cpu", torch.bfloat16) if "lambda" in str(context) else nullcontext()
    with context():
        use(extractor)
    with autocast:  # torch caches weights in bfloat16 within one such context
        use(extractor)
        after = trained(network, IMAGES)
    alone(twin, IMAGES)
    with autocast:
        assert after == trained(twin, IMAGES)


@pytest.mark.parametrize("options", [{"input_size": 8}, {"inputs": "any", "example": IMAGES}])
@pytest.mark.parametrize("is_copyable", [True, False])
def test_trying_it_out_leaves_no_trace_but_its_own(is_copyable: bool, options: dict[str, object]) -> None:
    network, twin = Borrowed(), Borrowed()
    for each in (network, twin):  # which no network without numbers can
        each.head.register_forward_pre_hook(lambda _, args: (args[0] * float(args[0].detach().mean() * 0 + 1),))
        each.lock = None if is_copyable else Lock()
    DNAExtractor(network, layers=["relu"], **options)
    if not is_copyable:
        with torch.no_grad():
            twin.eval()(torch.zeros(1, 3, 8, 8))
        twin.train()
    assert everything(network) == everything(twin)
    assert trained(network, IMAGES) == trained(twin, IMAGES)


def test_nothing_moves_it_but_its_owner() -> None:
    network = Borrowed()
    metric = DNAFrechet(network, normalize=True)
    with Accelerator():
        message = (
            r"^The images are on cuda:0, but the network is on cpu; move either: `imgs.to\('cpu'\)`, or .*'cuda:0'"
        )
        with pytest.raises(ValueError, match=message):
            metric.update(IMAGES.to("cuda"), real=True)
        assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
        metric.to("cuda")  # an order
        assert {parameter.device.type for parameter in network.parameters()} == {"cuda"}
        with pytest.raises(ValueError, match="images are on cpu, but the network is on cuda:0"):
            metric.extractor(IMAGES)
        assert not any(parameter.is_inference() for parameter in network.parameters())


@pytest.mark.parametrize("named", [False, True])
def test_nothing_casts_it_but_its_owner(named: bool) -> None:
    extractor = DNAExtractor(layers=["block_0"]) if named else DNAExtractor(Borrowed(), input_size=16)
    images, digest, metric = random_images(2, 0), extractor.weights_digest, DNAFrechet(extractor)
    expected = extractor(images)
    for cast in (
        nn.ModuleList([metric]).half,
        lambda: nn.ModuleList([metric]).to(torch.bfloat16),
        lambda: metric.set_dtype(torch.float16),
        metric.double,
        extractor.half,
        nn.ModuleList([extractor.pooled(next(iter(extractor.neurons)))]).half,
    ):
        cast()
        assert {parameter.dtype for parameter in extractor.network.parameters()} == {torch.float32}
        assert extractor.weights_digest == digest
    for layer, values in extractor(images).items():
        assert torch.equal(values, expected[layer])


def test_the_images_are_the_callers() -> None:
    class Editor(nn.Module):
        def forward(self, imgs: Tensor) -> Tensor:
            return imgs.mul_(0.5)

    for options in ({}, {"input_size": (12, 10), "resize": "torch"}):
        images = IMAGES.clone()
        extractor = DNAExtractor(Editor(), properties=True, **options)
        assert torch.equal(extractor(images)["output"], IMAGES / 2)
        assert torch.equal(images, IMAGES)


def test_a_layer_of_a_named_network_is_what_it_gave_and_not_what_was_made_of_it(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t", pretrained=False).eval()  # `act1` writes to what `bn1` gives
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    layers = ["bn1", "layer1"]  # or the pass ends before
    named = DNAExtractor("resnet10t", weights_path=tmp_path / "weights.pth", layers=layers)(IMAGES)["bn1"]
    borrowed = DNAExtractor(network, layers=layers)(IMAGES)["bn1"]
    assert named.min() < 0
    torch.testing.assert_close(named, borrowed, rtol=1e-4, atol=1e-5)
