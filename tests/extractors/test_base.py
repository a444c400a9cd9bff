"""DNAExtractor: its layers and activations, whatever the network, its precision, and the channels of images."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skimage.data
import timm
import torch
from networks import Outputs, random_images
from torch import Tensor, nn

from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    LayerFrechetDistance,
    compare,
    make_dna,
)
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.functional import dna_emd
from torchmetrics_dna.metrics import CMMD, MIND
from torchmetrics_dna.neurons import Neurons
from torchmetrics_dna.statistics.setup import extractor_of

SMALL = {"depths": (1, 1, 1, 1), "embed_dim": 24}
OFFICIAL = {f"block_{i}": n for i, n in enumerate((16, 24, 40, 80, 112, 192, 320))} | {"head": 1280}


def test_layers_are_those_of_the_preset_or_chosen_in_the_order_asked_for(default_extractor: DNAExtractor) -> None:
    assert default_extractor.name == "efficientnet_lite0"
    assert default_extractor.is_named
    assert default_extractor.neurons == Neurons(OFFICIAL)
    assert default_extractor.input_size == (224, 224)
    assert default_extractor.ranges is not None
    extractor = DNAExtractor(layers=["block_3", "block_0"])
    assert list(extractor.neurons.items()) == [("block_3", 80), ("block_0", 16)]
    assert extractor.ranges is not None
    assert extractor.ranges.neurons == extractor.neurons
    assert list(extractor(random_images(2, 0))) == ["block_3", "block_0"]


def test_the_network_runs_no_deeper_than_needed() -> None:
    extractor = DNAExtractor(layers=["block_1"])
    reached: list[str] = []
    for name in ("blocks.1", "blocks.2", "bn2"):
        extractor.network.get_submodule(name).register_forward_hook(lambda *_, name=name: reached.append(name))
    extractor(random_images(1, 0))
    assert reached == ["blocks.1"]


@pytest.mark.parametrize(
    ("name", "options", "layers", "axis"),
    [
        ("vit_tiny_patch16_224", {"depth": 2}, {"blocks.0": 192, "blocks.1": 192, "norm": 192}, 2),
        ("resnet10t", {}, {"act1": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}, 1),
        ("convnext_atto", {}, {"stages.0": 40, "stages.1": 80, "stages.2": 160, "stages.3": 320, "head.norm": 320}, 1),
        ("swin_tiny_patch4_window7_224", SMALL, {f"layers.{i}": 24 * 2**i for i in range(4)} | {"norm": 192}, 3),
    ],
)
def test_timm_models_of_every_layout(name: str, options: dict[str, Any], layers: dict[str, int], axis: int) -> None:
    """Layers are found, and images get the model's own size, mean and std."""
    network = timm.create_model(name, pretrained=False, **options)
    extractor = DNAExtractor(network)
    assert extractor.name == name
    assert dict(extractor.neurons) == layers
    assert extractor.ranges is None
    outputs, inputs = {}, []
    network.register_forward_pre_hook(lambda _m, args: inputs.append(args[0]))
    for layer in layers:
        network.get_submodule(layer).register_forward_hook(
            lambda _m, _a, out, layer=layer: outputs.__setitem__(layer, out)
        )
    images = torch.cat([torch.full((1, 3, 30, 40), 255, dtype=torch.uint8), random_images(1, 0, (30, 40))])
    activations = extractor(images)
    for layer in layers:
        assert torch.equal(activations[layer], outputs[layer].movedim(axis, 1))
    config = network.pretrained_cfg
    white = (1 - torch.tensor(config["mean"])) / torch.tensor(config["std"])
    torch.testing.assert_close(inputs[0][0], white[:, None, None].expand(config["input_size"]))


@pytest.mark.parametrize(
    ("outputs", "neurons"),
    [
        (lambda x: x.float().mean((2, 3)), {"output": 3}),
        (lambda x: x.float(), {"output": 3}),
        (lambda x: {"a": x.float(), "b": x.float().mean((2, 3)).repeat(1, 2)}, {"a": 3, "b": 6}),
        (lambda x: [x.float(), x.float().mean((2, 3))], {"output_0": 3, "output_1": 3}),
        (lambda x: (x.float(),), {"output_0": 3}),
        (lambda x: x.float().permute(0, 2, 3, 1), {"output": 3}),
    ],
)
def test_any_module_by_its_output(outputs: object, neurons: dict[str, int]) -> None:
    extractor = DNAExtractor(Outputs(outputs))
    assert dict(extractor.neurons) == neurons
    images = random_images(2, 1)
    assert {k: v.shape[:2] for k, v in extractor(images).items()} == {k: (2, n) for k, n in neurons.items()}
    for values in extractor(images).values():
        torch.testing.assert_close(values.double().mean(), images.double().mean(), rtol=1e-5, atol=0)


class ChannelsLast(nn.Module):
    """A layer of either layout, and one that has a single position."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.last = nn.Identity()
        self.mean = nn.AdaptiveAvgPool2d(1)

    def forward(self, imgs: Tensor) -> Tensor:
        values = self.first(imgs)
        return self.mean(self.last(values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [32, 12, (24, 40), (40, 24), (25, 39), (6, 12), (12, 6)])
def test_neurons_are_told_from_positions(size: int | tuple[int, int]) -> None:
    """At 12, and at 12 along one side, there are as many positions as neurons."""
    extractor = DNAExtractor(ChannelsLast(), layers=["first", "last", "mean"], input_size=size)
    assert dict(extractor.neurons) == {"first": 6, "last": 6, "mean": 6}
    images = torch.rand(1, 3, 20, 20)
    activations = extractor(images)
    assert torch.equal(activations["first"], activations["last"])
    torch.testing.assert_close(activations["first"].mean((2, 3)), activations["mean"].flatten(1))


def test_neurons_of_a_network_that_takes_one_size_are_told_by_proportion() -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, img_size=(224, 448), **SMALL)
    extractor = DNAExtractor(swin, layers=["layers.0", "layers.1"], input_size=(224, 448))
    assert dict(extractor.neurons) == {"layers.0": 24, "layers.1": 48}
    fixed = Outputs(lambda x: x.float()[:, :, :5, :3])  # might be 3 neurons, or 3 positions
    with pytest.raises(ValueError, match=r"\(1, 3, 5, 3\), in which neurons can't be told .* another `input_size`"):
        DNAExtractor(fixed, input_size=(30, 20))
    one_of_all = Outputs(lambda x: x.float()[:, :1, :1, :1])
    assert dict(DNAExtractor(one_of_all, input_size=(30, 20)).neurons.items()) == {"output": 1}


@pytest.mark.parametrize(
    "network",
    [
        nn.Conv2d(3, 4, 3),
        nn.LayerNorm(224),
        nn.AdaptiveAvgPool2d(1),
        Outputs(lambda x: nn.functional.linear(x.flatten(1)[:, :6], torch.ones(2, 6))),
    ],
    ids=lambda network: type(network).__name__,
)
def test_a_module_that_takes_floats_says_how_to_give_them(network: nn.Module) -> None:
    images = torch.zeros(2, 3, 224, 224, dtype=torch.uint8)
    extractor = DNAExtractor(network)
    with pytest.raises(
        ValueError, match=r"floats, but got uint8 images; pass `mean` and `std`, for both such as \[0\.5, 0"
    ):
        extractor(images)
    assert extractor(images / 255)
    assert DNAExtractor(network, mean=(0.5,) * 3, std=(0.5,) * 3)(images)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_activations_depend_neither_on_the_batch_nor_on_threads(
    default_extractor: DNAExtractor, photos: list[np.ndarray]
) -> None:
    images = torch.stack([torch.from_numpy(photo) for photo in photos[:3]]).permute(0, 3, 1, 2)
    expected = default_extractor(images)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        single, backwards = (default_extractor(batch) for batch in (images[:1], images[:2].flip(0)))
        for layer, values in expected.items():
            assert torch.equal(single[layer], values[:1])
            assert torch.equal(backwards[layer].flip(0), values[:2])


WEIGHT = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
MATRIX = torch.randn(7, 48, generator=torch.Generator().manual_seed(0))
conv2d, linear = nn.functional.conv2d, nn.functional.linear
OPERATORS = {
    "numbers": lambda x: conv2d(x.float(), WEIGHT, padding=1, stride=2),
    "same": lambda x: conv2d(input=x.float()[..., 2:, 1:], weight=WEIGHT, padding="same"),
    "one image": lambda x: conv2d(x.float()[0], WEIGHT)[None],
    "strided": lambda x: conv2d(x.float().transpose(2, 3), WEIGHT.transpose(2, 3), WEIGHT[:, 0, 0, 0]),
    "double": lambda x: conv2d(x.double(), WEIGHT.double(), WEIGHT[:, 0, 0, 0].double()),
    "one row": lambda x: linear(x.float().mean((2, 3))[0], MATRIX[:, :3])[None],
    "rows in double": lambda x: linear(x.double().mean((2, 3)), MATRIX[:, :3].double()),
    "transposed": lambda x: linear(x.float().mean((2, 3)), MATRIX[:3].T[::2], MATRIX[0, ::2]),
    "a vector of weights": lambda x: linear(x.float().mean((2, 3)), MATRIX[0, :3])[:, None],
}


@pytest.mark.parametrize("name", OPERATORS)
def test_any_convolution_and_linear_layer_of_a_network(name: str) -> None:
    network, image = Outputs(OPERATORS[name]), random_images(1, 0)
    torch.testing.assert_close(DNAExtractor(network)(image)["output"], network(image), rtol=1e-5, atol=1e-3)


def test_weights_that_change_are_followed() -> None:
    extractor, images = DNAExtractor(layers=["block_1"]), random_images(2, 0)
    before = extractor(images)["block_1"]
    copied = pickle.loads(pickle.dumps(extractor))
    assert torch.equal(copied(images)["block_1"], before)
    copied.network.to(torch.bfloat16).to(torch.float32)  # weights lose digits
    rounded = copied(images)["block_1"]
    assert not torch.equal(rounded, before)
    torch.testing.assert_close(rounded, before, rtol=0, atol=0.05 * float(before.abs().max()))


@pytest.mark.parametrize(
    ("derive", "has_properties"),
    [
        (lambda extractor: extractor.without_properties(), False),
        (lambda extractor: copy.copy(extractor.without_properties()), False),
        (copy.copy, True),
        (copy.deepcopy, True),
        (lambda extractor: pickle.loads(pickle.dumps(extractor)), True),
    ],
    ids=["without properties", "copy without properties", "copy", "deepcopy", "pickle"],
)
def test_what_is_derived_is_as_if_made_afresh(derive: Callable[..., DNAExtractor], has_properties: bool) -> None:
    """Also after everything that an extractor keeps was asked for."""

    def about(extractor: DNAExtractor) -> list[object]:
        known = [extractor.ranges.digest, extractor.ranges.bounds()[0].tolist(), extractor.weights_digest]
        known += [extractor.digest, extractor.preparation, extractor.neurons, extractor.has_properties]
        return [
            *known,
            extractor.name,
            extractor.bytes_per_image,
            {k: v.tolist() for k, v in extractor(images).items()},
        ]

    images = random_images(2, 0, (20, 20))
    extractor, fresh = (
        DNAExtractor(layers=["block_0"], input_size=16, properties=properties) for properties in (True, has_properties)
    )
    before = about(extractor)
    assert about(derive(extractor)) == about(fresh)
    assert about(extractor) == before


def test_centre_crop_comes_before_resizing() -> None:
    inputs: list[Tensor] = []
    extractor = DNAExtractor(Outputs(lambda x: inputs.append(x) or x), input_size=4, crop="center")
    images = torch.zeros(1, 3, 4, 10)
    images[..., :3] = images[..., -3:] = 1
    extractor(images)
    assert not inputs[-1].any()


def test_it_weighs_nothing_for_its_holder_and_never_trains() -> None:
    extractor = DNAExtractor(layers=["block_0"])
    holder = nn.Sequential(extractor, extractor.pooled("block_0")).train()
    assert not [*holder.parameters(), *holder.buffers()]
    assert holder.state_dict() == {}
    holder.load_state_dict({})
    assert not any(module.training for module in (extractor, *extractor.network.modules()))
    extractor.network.train()  # whoever else holds it
    assert not extractor(random_images(1, 0))["block_0"].requires_grad
    assert not any(module.training for module in extractor.network.modules())


def test_pooled_gives_spatial_means(default_extractor: DNAExtractor) -> None:
    pooled = default_extractor.pooled("block_2")
    images = random_images(2, 0)
    torch.testing.assert_close(pooled(images), default_extractor(images)["block_2"].mean((2, 3)))
    assert pooled.num_features == 40
    with pytest.raises(ValueError, match="Unknown layer 'x'"):
        default_extractor.pooled("x")


IMAGES = random_images(6, 0)


class Again(nn.Module):
    """A layer that runs again where an image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Identity(), nn.Identity()

    def forward(self, imgs: Tensor) -> Tensor:
        values = self.first(imgs.float())
        if not imgs.is_meta and imgs.max() > 254:
            values = self.first(values / 2)
        return self.last(values)


@pytest.mark.parametrize("rows", [lambda x: x[1:], lambda x: torch.cat([x, x[:1]]), lambda x: x[0], lambda x: x[:0]])
@pytest.mark.parametrize("make", [DNAEMD, DNAFrechet, LayerFrechetDistance, CMMD])
def test_rows_that_are_not_those_of_the_images(make: Callable[..., DNAEMD], rows: Callable[[Tensor], Tensor]) -> None:
    def output(imgs: Tensor) -> Tensor:
        means = imgs.float().mean((2, 3))
        return rows(means) if len(imgs) > 1 else means

    metric = make(DNAExtractor(Outputs(output)))
    before = {name: str(state) for name, state in metric.metric_state.items()}
    with pytest.raises(
        ValueError, match=r"^Layer 'output' returned shape .* for 6 images, but \(1, 3\) for one; pass a module"
    ):
        metric.update(IMAGES, real=True)
    assert {name: str(state) for name, state in metric.metric_state.items()} == before


def test_outputs_whose_names_change() -> None:
    network = Outputs(lambda x: {"one" if len(x) == 1 else "many": x.float().mean((2, 3))})
    with pytest.raises(ValueError, match="outputs are many, but for the image it was first tried with there was 'one'"):
        DNAExtractor(network)(IMAGES)


@pytest.mark.parametrize("layers", [["first"], ["last", "first"], ["first", "last"]])
def test_a_layer_that_runs_again_for_some_images_is_an_error_whatever_else_is_asked_for(layers: list[str]) -> None:
    extractor = DNAExtractor(Again(), layers=layers)
    dark = IMAGES // 2
    assert torch.equal(extractor(dark)["first"], dark.float())
    with pytest.raises(
        ValueError, match="^Layer 'first' runs 2 times in a forward pass; choose submodules that run once"
    ):
        extractor(IMAGES)


class MapsAndVectors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, imgs: Tensor) -> dict[str, Tensor]:
        maps = self.conv(imgs)
        return {"maps": maps, "vectors": maps[:, :, 0, 0] * 3}


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_what_is_made_of_half_precision_is_float32_or_float64(how: str) -> None:
    network = MapsAndVectors().bfloat16() if how == "weights" else MapsAndVectors()
    extractor = DNAExtractor(network, mean=(0.5,) * 3, std=(0.5,) * 3, dtype="bfloat16" if how == "autocast" else None)
    images = random_images(5, 1, (40, 40))
    for layer, activations in extractor(images).items():
        assert activations.dtype == torch.bfloat16
        expected = activations.double().flatten(2).mean(2) if activations.ndim == 4 else activations.double()
        metric = CMMD(extractor, layer=layer)
        metric.update(images, real=True)
        for means in (extractor.pooled(layer)(images), metric.features(True)):
            assert means.dtype == torch.float32
            torch.testing.assert_close(means.double(), expected, rtol=1e-5, atol=1e-6)
    reference = make_dna(images, extractor, kind="layer-gaussian")
    for make in (DNAEMD, DNAFrechet, LayerFrechetDistance, CMMD, MIND):
        metric = make(extractor)
        metric.update(images, real=True)
        metric.update(images // 2, real=False)
        assert metric.compute().dtype == torch.float64
    assert DNARealism(extractor, reference=reference)(images).dtype == torch.float64
    assert {values.dtype for values in ActivationRange(extractor)(images).values()} == {torch.float64}


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_half_precision_is_autocast(dtype: str | torch.dtype) -> None:
    photograph = torch.from_numpy(skimage.data.astronaut()).movedim(2, 0)[None]
    full, half = (DNAExtractor(layers=["block_0", "block_6"], dtype=each) for each in (None, dtype))
    activations = half(photograph)
    for layer, values in full(photograph).items():
        assert activations[layer].dtype == getattr(torch, str(dtype).removeprefix("torch."))
        assert 1e-5 < float((activations[layer].float() - values).norm() / values.norm()) < 0.05
    assert half.weights_digest == full.weights_digest
    assert half.digest != full.digest
    dna_full, dna_half = make_dna(photograph, full), make_dna(photograph, half)
    assert 0 < float(dna_emd(dna_full.counts, dna_half.counts)) < 10
    with pytest.raises(ValueError, match="preparation"):
        dna_full.distances(dna_half)
    assert extractor_of(dna_half).digest == half.digest


GREY = torch.from_numpy(photographs(8)[0]).permute(2, 0, 1)[:1].unfold(2, 64, 16).permute(2, 0, 1, 3)[:6].contiguous()


def test_grey_images_are_those_with_three_equal_channels() -> None:
    extractor, plain = (DNAExtractor(layers=["block_0"], input_size=64, **one) for one in ({"channels": 1}, {}))
    assert extractor.digest == plain.digest
    rgb = GREY.expand(-1, 3, -1, -1)
    expected = plain(rgb)["block_0"]
    assert torch.equal(extractor(GREY)["block_0"], expected)
    assert torch.equal(extractor(rgb)["block_0"], expected)  # as files are read
    with_properties = DNAExtractor(layers=["block_0"], input_size=64, channels=1, properties=True)
    assert torch.equal(with_properties(GREY)["properties"], with_properties(rgb)["properties"])
    grey, colour = DNAEMD(extractor), DNAEMD(plain)
    for metric, images in ((grey, GREY), (colour, rgb)):
        metric.update(images[:3], real=True)
        metric.update(images[3:], real=False)
    assert grey.compute() == colour.compute()
    assert (grey.to_dna(real=True) + colour.to_dna(real=True)).num_images
    scores = DNARealism(extractor, reference=colour.to_dna(real=True))
    scores.update(GREY)
    assert len(scores.compute()) == 6
    assert compare(rgb, colour.to_dna(real=True), extractor, metrics=["dna-emd"], num_folds=None).num_images["a"] == 6


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [None, 8])
def test_own_networks_get_what_they_take(channels: int, size: int | None) -> None:
    network = nn.Conv2d(channels, 4, 3, bias=False)
    of_each = {"mean": [0.5] * channels, "std": [2.0] * channels}
    extractor = DNAExtractor(network, channels=channels, input_size=size, **of_each)
    with_numbers = DNAExtractor(network, channels=channels, input_size=size, mean=0.5, std=2)
    assert with_numbers.preparation == extractor.preparation
    images = torch.rand(3, channels, 8, 8)
    (output,) = extractor(images).values()
    torch.testing.assert_close(output, network((images - 0.5) / 2).detach(), rtol=1e-5, atol=1e-6)
    metric = DNAEMD(extractor, normalize=True, ranges="auto")
    metric.update(images, real=True)
    metric.update(images, real=False)
    assert metric.compute() == 0
    assert extractor.preparation.get("channels", 3) == channels
    with pytest.raises(ValueError, match=rf"\(B, {channels}, H, W\), but got \(3, 7, 8, 8\)"):
        metric.update(torch.rand(3, 7, 8, 8), real=True)
