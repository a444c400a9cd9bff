"""The default network is timm's, and shapes without values are those of real passes."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import Any

import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.extractors.cpu import rounding_alike
from torchmetrics_dna.extractors.efficientnet import EfficientNetLite0
from torchmetrics_dna.extractors.probing import probe


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_network_equals_timms_to_the_last_bit(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    ours = EfficientNetLite0().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())  # the order too, by which official tensors are matched
    ours.load_state_dict(theirs.state_dict())
    outputs: dict[str, list[Tensor]] = defaultdict(list)
    for network in (ours, theirs):
        network.to(memory_format=layout)
        for name in (*(f"blocks.{i}" for i in range(7)), "bn2"):
            module = network.get_submodule(name)
            module.register_forward_hook(lambda _module, _args, output, name=name: outputs[name].append(output.clone()))
    for height, width in ((224, 224), (97, 64), (33, 50)):  # padding depends on the remainder by the stride
        outputs.clear()
        images = torch.randn(2, 3, height, width).contiguous(memory_format=layout)
        with torch.inference_mode():
            ours(images)
            theirs(images)
        assert len(outputs) == 8
        for own, other in outputs.values():
            assert torch.equal(own, other)
            assert own.stride() == other.stride()


def test_the_output_of_a_convolution_is_captured_as_it_was_before_its_normalization() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    layers = ["conv_stem", "blocks.1.0.conv_pw"]
    images = torch.rand(2, 3, 64, 64)
    activations = DNAExtractor(network, layers=layers)(images)
    outputs = {}
    for name in layers:
        # A copy, because the normalization may write to the output.
        network.get_submodule(name).register_forward_hook(
            lambda _module, _args, output, name=name: outputs.update({name: output.clone()})
        )
    with torch.inference_mode():
        network(images)
    for name in layers:
        assert outputs[name].min() < 0
        assert torch.equal(activations[name].reshape(outputs[name].shape), outputs[name])


class Residual(nn.Module):
    """A convolution, added to its input in one of the ways that networks use."""

    def __init__(self, convolution: nn.Conv2d, way: str) -> None:
        super().__init__()
        self.convolution, self.way = convolution, way

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = self.convolution(images)
        if self.way == "alone":
            return values
        if self.way == "in place":
            values += images
            return values
        return values + images


SIDES = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=40)
@given(
    kernel=SIDES, stride=SIDES, padding=st.one_of(SIDES, st.just("same")), dilation=SIDES,
    groups=st.sampled_from([1, 3]), size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    way=st.sampled_from(["alone", "sum", "in place"]), channels=st.sampled_from([1, 3, 6]),
)  # fmt: skip
def test_shapes_without_values_are_those_of_real_passes(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int] | str, dilation: tuple[int, int],
    groups: int, size: tuple[int, int], way: str, channels: int,
) -> None:  # fmt: skip
    assume(padding != "same" or (stride == (1, 1) and kernel[0] % 2 and kernel[1] % 2))
    assume(channels % groups == 0)
    convolution = nn.Conv2d(3, 6, kernel, stride, padding, dilation, groups)
    network = nn.Sequential(Residual(convolution, way))
    try:
        expected = network(torch.zeros(1, channels, *size)).shape
    except RuntimeError:
        with pytest.raises(ValueError, match="can't take an image|fails on images"):
            probe(network, {"0": "0"}, size, channels)
        return
    assert probe(network, {"0": "0"}, size, channels).shapes == {"0": expected}


CPU = torch.device("cpu")


_FORMS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "plain": ([], {}),
    "bias": (["bias"], {}),
    "stride": (["bias", 2], {}),
    "by keyword": ([], {"bias": "bias", "padding": 1}),
    "padding": (["bias", 1, 2], {}),
    "dilation": (["bias", 1, 0, 2], {}),
    "groups": ([None, 1, 1, 1, 2], {}),
    "groups by keyword": ([], {"groups": 2, "stride": 2}),
    "in words": ([], {"padding": "same"}),
    "in words, without any": (["bias", 2, "valid"], {}),
    "in words, an odd number": ([None, 1, "same", 1], {"kernel": 4}),
    "in words, dilated": (["bias", 1, "same", 2], {}),
    "in words, with a stride of one": (["bias"], {"padding": "same", "stride": "ones"}),
}


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_in_each_form_are_those_of_float64(dims: int, form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    positional, options = _FORMS[form]
    groups = positional[4] if len(positional) > 4 else options.get("groups", 1)
    images = torch.randn(2, 4, *([9] * dims), generator=generator)
    kernel = options.get("kernel", 3)
    weight = torch.randn(6, 4 // groups, *([kernel] * dims), generator=generator)
    bias = torch.randn(12, generator=generator)[::2]  # not contiguous
    convolve = getattr(nn.functional, f"conv{dims}d")

    def given(dtype: torch.dtype) -> tuple[list[Any], dict[str, Any]]:
        by_name = {"bias": bias.to(dtype) if dtype == torch.float64 else bias, "ones": (1,) * dims}
        return [by_name.get(each, each) for each in positional], {
            name: by_name.get(value, value) for name, value in options.items() if name != "kernel"
        }

    arguments, keywords = given(torch.float64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same' with even kernel lengths")
        expected = convolve(images.double(), weight.double(), *arguments, **keywords)
    arguments, keywords = given(torch.float32)
    with rounding_alike(CPU):
        outputs = convolve(images, weight, *arguments, **keywords)
        alone = convolve(images[:1], weight, *arguments, **keywords)
    torch.testing.assert_close(outputs.double(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(outputs[:1], alone)
