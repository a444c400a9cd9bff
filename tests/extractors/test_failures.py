"""A call that fails leaves the network where it was, and every metric that shares the network goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from accelerator import Accelerator
from networks import random_images
from torch import Tensor, nn

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet

IMAGES = random_images(4, 0, size=(32, 40))

#: Batches that no metric takes, by what is wrong with them.
WRONG: dict[str, Callable[[], Tensor]] = {
    "meta": lambda: IMAGES.to("meta"),
    "meta, floats": lambda: IMAGES.float().to("meta"),
    "shape": lambda: IMAGES[:, :2],
    "axes": lambda: IMAGES[0],
    "empty": lambda: IMAGES[:0],
    "dtype": lambda: IMAGES.int(),
    "NaN": lambda: torch.full((2, 3, 32, 40), torch.nan),
}


@pytest.fixture
def extractor() -> DNAExtractor:
    return DNAExtractor(layers=["block_0"])


def devices_of(network: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*network.parameters(), *network.buffers())}


def value_of(metric: DNAEMD | DNAFrechet) -> Tensor:
    metric.reset()
    metric.update(IMAGES, real=True)
    metric.update(255 - IMAGES, real=False)
    return metric.compute()


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_batch_moves_nothing(name: str, extractor: DNAExtractor) -> None:
    metrics = [DNAEMD(extractor), DNAFrechet(extractor)]
    before = [value_of(metric) for metric in metrics]
    for call in (extractor, extractor.pooled("block_0"), lambda imgs: metrics[0].update(imgs, real=True)):
        with pytest.raises((ValueError, TypeError)):
            call(WRONG[name]())
        assert devices_of(extractor.network) == {"cpu"}
    assert [value_of(metric) for metric in metrics] == before


def test_the_meta_device_takes_no_network(extractor: DNAExtractor) -> None:
    before = value_of(DNAEMD(extractor))
    with pytest.raises(ValueError, match="can't be moved to the meta device"):
        extractor.to("meta")
    assert value_of(DNAEMD(extractor)) == before


class OfOneSize(nn.Module):
    """A network for images of one size, which it does not tell."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2 * (side - 2) ** 2, 5)

    def forward(self, imgs: Tensor) -> Tensor:
        return self.head(self.conv(imgs).flatten(1))


def test_a_network_of_one_size_asks_for_it() -> None:
    extractor = DNAExtractor(OfOneSize(224), layers=["conv"], mean=0.5, std=0.5)
    for call in (extractor, lambda imgs: DNAEMD(extractor).update(imgs, real=True)):
        with pytest.raises(ValueError, match="OfOneSize can't take images of 32 x 40 pixels .*; pass `input_size=224`"):
            call(IMAGES)
    assert DNAExtractor(OfOneSize(224), layers=["conv"], mean=0.5, std=0.5, input_size=224)(IMAGES)["conv"].ndim == 4
    with pytest.raises(ValueError, match="an image of 224 x 224 pixels .*; say which size it takes with `input_size`"):
        DNAExtractor(OfOneSize(32), layers=["conv"])
    assert DNAExtractor(OfOneSize(32), layers=["conv"], mean=0.5, std=0.5, input_size=32)(IMAGES)["conv"].ndim == 4


def vision_transformer() -> nn.Module:
    import timm

    return timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, depth=1, embed_dim=12)


def vision_transformer_of_hugging_face() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        image_size=32, patch_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return ViTModel(config)


@pytest.mark.parametrize("make", [vision_transformer, vision_transformer_of_hugging_face])
@pytest.mark.parametrize("input_size", [None, 224])
def test_the_size_that_a_transformer_was_built_for_is_named(
    make: Callable[[], nn.Module], input_size: int | None
) -> None:
    network = make().eval()
    with pytest.raises(ValueError, match=r"can't take an image of 224 x 224 pixels .*; pass `input_size=32`$"):
        DNAExtractor(network, mean=0.5, std=0.5, input_size=input_size)
    extractor = DNAExtractor(network, mean=0.5, std=0.5, input_size=32)
    assert all(len(activations) == len(IMAGES) for activations in extractor(IMAGES).values())


@pytest.fixture
def device() -> Iterator[Accelerator]:
    """The stand-in for a GPU, to which torch moves a network by replacing its parameters."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with Accelerator() as accelerator:
            yield accelerator
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("no"), KeyboardInterrupt("stopped")])
def test_a_network_that_fails_on_a_device_goes_back(
    error: BaseException, extractor: DNAExtractor, device: Accelerator
) -> None:
    before = value_of(DNAFrechet(extractor))
    reached = []

    def fail(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        reached.append(args[0].device.type)
        if args[0].device.type == "cuda":
            raise error

    extractor.network.bn1.register_forward_pre_hook(fail)
    with pytest.raises(type(error), match=str(error)):
        extractor(IMAGES.to("cuda"))
    assert reached == ["cuda"]
    assert devices_of(extractor.network) == {"cpu"}
    assert value_of(DNAFrechet(extractor)) == before


def test_a_subclass_of_a_metric_has_methods_of_its_own(extractor: DNAExtractor) -> None:
    class Scaled(DNAEMD):
        def helper(self, scale: int) -> float:
            return 2 * scale

    assert Scaled(extractor).helper(2.5) == 5.0
