"""A module that torch compiles has the activations of the module that it was made of, and stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import product

import pytest
import timm
import torch
from networks import random_images
from torch import Tensor, nn

from torchmetrics_dna import DNAEMD, DNAExtractor

BATCHES = [random_images(count, count, size=(24, 32)) for count in (12, 5)]


class Scaled(nn.Module):
    """Module of images that divides pixels by operators of tensors, which Dynamo confused with one another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, imgs: Tensor) -> Tensor:
        return self.inner((imgs.float() / 255 - 0.0) / 1.0)


class HeadOnMovedAxes(nn.Module):
    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.mid = nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, 8)

    def forward(self, imgs: Tensor) -> Tensor:
        maps = self.mid(torch.relu(self.norm(self.stem(imgs))))
        return self.head(maps.movedim(1, -1)).movedim(-1, 1)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, imgs: Tensor) -> Tensor:
        tokens = self.norm(self.patches(imgs).flatten(2).transpose(1, 2))
        return tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, imgs: Tensor) -> Tensor:
        maps = self.first(imgs)
        maps += self.second(maps.relu())
        return (maps - 1.0) * 2.0 + 0.5


class OfTransformers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        from transformers import ViTConfig, ViTModel

        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        self.model = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8), add_pooling_layer=False)

    def forward(self, imgs: Tensor) -> Tensor:
        return self.model(imgs, interpolate_pos_encoding=True).last_hidden_state


def in_place() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(), nn.Conv2d(8, 4, 3))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "without padding": lambda: nn.Conv2d(3, 8, 3),
    "padding": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 4, 5, padding="same")),
    "head on moved axes": lambda: HeadOnMovedAxes(norm=False),
    "batch norm": lambda: HeadOnMovedAxes(norm=True),
    "in-place ReLU": in_place,
    "transposed": lambda: nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ConvTranspose2d(8, 4, 2, 2)),
    "residual in place": Residual,
    "attention": Attention,
    "timm": lambda: nn.Sequential(timm.create_model("test_byobnet", num_classes=0, global_pool="")),
    "transformers": OfTransformers,
}


def module_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    module = Scaled(MODULES[name]())
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return module


@pytest.fixture(autouse=True)
def no_caches_of_others() -> None:
    """Dynamo compiles a function for a few kinds of arguments only, and counts those of all tests."""
    torch._dynamo.reset()


def check(module: nn.Module, compiled: nn.Module) -> None:
    """Activations agree at the first, second and third call, with batches of two sizes, and so do calls by hand."""
    expected = [DNAExtractor(module)(imgs)["output"] for imgs in BATCHES]
    extractor = DNAExtractor(compiled)
    for _, (imgs, plain) in product(range(3), zip(BATCHES, expected, strict=True)):
        gap = (extractor(imgs)["output"] - plain).abs().max()
        assert gap <= 1e-5 * plain.abs().max()
    with torch.no_grad():
        by_hand = compiled.eval()(BATCHES[0])
        original = module.eval()(BATCHES[0])
    assert (by_hand - original).abs().max() <= 1e-5 * original.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", MODULES)
def test_a_compiled_module_has_the_activations_of_its_original(name: str, backend: str, training: bool) -> None:
    module = module_of(name).train(training)
    check(module, torch.compile(deepcopy(module), backend=backend))


@pytest.mark.outer  # a C++ compiler takes seconds for each module
@pytest.mark.parametrize("name", MODULES)
def test_so_has_one_that_inductor_compiles(name: str) -> None:
    module = module_of(name).eval()
    compiled = torch.compile(deepcopy(module), backend="inductor")
    try:
        with torch.no_grad():
            compiled(BATCHES[0])
    except Exception as err:
        pytest.skip(f"inductor does not work here: {type(err).__name__}")
    check(module, compiled)


def in_place_compiled(module: nn.Module) -> nn.Module:
    module.compile(backend="eager")
    return module


def by_its_forward(module: nn.Module) -> nn.Module:
    module.forward = torch.compile(module.forward, backend="eager")
    return module


def a_part(module: nn.Module) -> nn.Module:
    module.inner = torch.compile(module.inner, backend="eager")
    return module


def a_part_in_place(module: nn.Module) -> nn.Module:
    module.inner.compile(backend="eager")
    return module


def a_function_with_graph_breaks(module: nn.Module) -> nn.Module:
    """Dynamo runs a loop with a graph break uncompiled, but compiles the functions that it calls."""
    plain = module.forward

    def steps(imgs: Tensor) -> Tensor:
        for _ in range(1):
            torch._dynamo.graph_break()
            maps = plain(imgs)
        return maps

    function = torch.compile(steps, backend="eager")
    module.forward = lambda imgs: function(imgs)
    return module


WAYS = [in_place_compiled, by_its_forward, a_part, a_part_in_place, a_function_with_graph_breaks]


@pytest.mark.slow
@pytest.mark.parametrize("compile_it", WAYS)
def test_however_it_is_compiled(compile_it: Callable[[nn.Module], nn.Module]) -> None:
    module = module_of("head on moved axes").eval()
    check(module, compile_it(deepcopy(module)))


@pytest.mark.slow
def test_an_extractor_within_a_compiled_function() -> None:
    module = module_of("residual in place").eval()
    extractor = DNAExtractor(module)
    expected = [extractor(imgs)["output"] for imgs in BATCHES]
    compiled = torch.compile(lambda imgs: extractor(imgs)["output"], backend="eager")
    for _, (imgs, plain) in product(range(3), zip(BATCHES, expected, strict=True)):
        assert (compiled(imgs) - plain).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("compile_it", [lambda module: torch.compile(module, backend="eager"), a_part])
def test_layers_within_a_compiled_module(compile_it: Callable[[nn.Module], nn.Module]) -> None:
    module = module_of("batch norm").eval()
    layers = ["inner.stem", "inner.mid"]
    expected = DNAExtractor(module, layers=layers)(BATCHES[0])
    compiled = compile_it(deepcopy(module))
    if compile_it is a_part:
        layers = [layer.replace("inner", "inner._orig_mod") for layer in layers]
    extractor = DNAExtractor(compiled, layers=layers)
    for _ in range(3):
        for layer, plain in zip(layers, expected.values(), strict=True):
            assert (extractor(BATCHES[0])[layer] - plain).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.slow
def test_trying_it_out_compiles_nothing() -> None:
    """What Dynamo compiles for a function is limited in number, so trying a module out must not use it up."""
    module, graphs = module_of("batch norm").eval(), list[object]()

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    extractor = DNAExtractor(torch.compile(module, backend=backend))
    assert not graphs
    extractor(BATCHES[0])
    assert graphs


@pytest.mark.slow
def test_it_is_the_same_network_as_its_original() -> None:
    module = module_of("batch norm").eval()
    compiled = DNAExtractor(torch.compile(module, backend="eager"))
    assert compiled.digest == DNAExtractor(module).digest
    metrics = [DNAEMD(DNAExtractor(module), ranges="auto"), DNAEMD(compiled, ranges="auto")]
    for metric in metrics:
        metric.update(BATCHES[0], real=True)
        metric.update(BATCHES[1], real=False)
    torch.testing.assert_close(metrics[0].compute(), metrics[1].compute(), rtol=1e-3, atol=0)
    metrics[0].merge_state(metrics[1])
