"""Views of layers: the class token, the mean over positions, unit vectors; wherever a layer's name goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
from networks import Outputs, Pixels, random_images
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from torchmetrics_dna import DNAExtractor

IMAGES = random_images(6, 0, (30, 40))


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=2)


def outputs_of(network: nn.Module, extractor: DNAExtractor, path: str) -> Tensor:
    """Output of a submodule for the images, by torch's own hook."""
    outputs: list[Tensor] = []
    handle = network.get_submodule(path).register_forward_hook(lambda _m, _a, out: outputs.append(out.clone()))
    extractor(IMAGES[:2])
    handle.remove()
    return outputs[0]


def test_views_of_tokens(vit: nn.Module) -> None:
    layers = ["norm:class", "blocks.0", "norm:mean", "norm", "norm:unit", "norm:class:unit", "head"]
    extractor = DNAExtractor(vit, layers=layers)
    assert dict(extractor.neurons) == dict.fromkeys(layers, 192) | {"head": 1000}
    tokens = outputs_of(vit, extractor, "norm")
    activations = extractor(IMAGES[:2])
    assert list(activations) == layers
    assert torch.equal(activations["norm"], tokens.movedim(2, 1))
    assert torch.equal(activations["norm:class"], tokens[:, 0])
    assert activations["norm:class"].untyped_storage().nbytes() == 2 * 192 * 4, "no other token stays in memory"
    expected = tokens.double().numpy()
    np.testing.assert_allclose(activations["norm:mean"], expected.mean(1), rtol=1e-4, atol=1e-6)
    unit = expected / np.linalg.norm(expected, axis=2, keepdims=True)
    np.testing.assert_allclose(activations["norm:unit"], unit.transpose(0, 2, 1), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(activations["norm:class:unit"], unit[:, 0], rtol=1e-4, atol=1e-7)


def vit_of_torchvision() -> nn.Module:
    return VisionTransformer(32, 16, 1, 2, 24, 48)


def dinov2_of_transformers() -> nn.Module:
    # transformers takes seconds to import its models, so only the process that needs them does so.
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=2, image_size=32, patch_size=16
    )
    return Dinov2Model(config)


@pytest.mark.parametrize(
    ("make_network", "layer"), [(vit_of_torchvision, "encoder"), (dinov2_of_transformers, "layernorm")]
)
def test_class_tokens_of_other_libraries(make_network: Callable[[], nn.Module], layer: str) -> None:
    network = make_network().eval()
    extractor = DNAExtractor(network, layers=[f"{layer}:class"], input_size=32)
    assert torch.equal(extractor(IMAGES[:2])[f"{layer}:class"], outputs_of(network, extractor, layer)[:, 0])


def test_views_of_maps_and_of_a_modules_own_outputs() -> None:
    extractor = DNAExtractor(Pixels(), layers=["mean", "colours:mean", "colours:unit"])
    activations = extractor(IMAGES)
    torch.testing.assert_close(activations["colours:mean"], activations["mean"], rtol=1e-6, atol=0)
    torch.testing.assert_close(activations["colours:unit"].norm(dim=1), torch.ones(6, 30, 40), rtol=1e-5, atol=0)
    head = DNAExtractor(layers=["head", "head:mean"])(IMAGES[:2])
    torch.testing.assert_close(head["head:mean"], head["head"].mean((2, 3)), rtol=1e-5, atol=1e-6)
    dark = DNAExtractor(Outputs(lambda x: x.float() * 0), layers=["output:unit"])(IMAGES)
    assert not dark["output:unit"].any(), "what has no direction stays zero"


def test_half_precision_is_averaged_in_more() -> None:
    values = torch.full((1, 3, 64, 64), 300.0, dtype=torch.float16)  # whose sum float16 can't hold
    extractor = DNAExtractor(Outputs(lambda x: values.to(x.device).expand(len(x), -1, -1, -1)), layers=["output:mean"])
    assert extractor(IMAGES[:1])["output:mean"].tolist() == [[300.0] * 3]


@pytest.mark.parametrize(
    ("network", "layer", "message"),
    [
        ("vit", "norm:cls", "Unknown view 'cls' of layer 'norm'; the views are: class, mean, unit"),
        ("vit", "nrm:class", "Unknown layer 'nrm'"),
        ("vit", "head:class", r"'head:class' expected tokens \(B, tokens, n\), but 'head' gives shape \(1, 1000\)"),
        ("vit", "norm:class:class", r"'norm:class:class' expected tokens"),
        ("resnet10t", "layer1:class", r"expected tokens .* gives shape \(1, 64, .*\); take the view 'mean'"),
        ("mixer_s32_224", "norm:class", "expected a class token, but MlpMixer has no parameter cls_token, class_token"),
        ("cait_xxs24_224", "blocks.0:class", "expected a class token, but 'blocks.0' has only the tokens of patches"),
    ],
)
def test_what_a_layer_does_not_have(network: str, layer: str, message: str, vit: nn.Module) -> None:
    small = {"depth": 2, "embed_dim": 48} if network == "cait_xxs24_224" else {}
    module = vit if network == "vit" else timm.create_model(network, pretrained=False, **small)
    with pytest.raises(ValueError, match=message):
        DNAExtractor(module, layers=[layer])
    if network == "cait_xxs24_224":
        assert DNAExtractor(module, layers=["norm:class"]).neurons["norm:class"] == 48
