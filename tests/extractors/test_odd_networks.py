"""Networks that give no activations, or other ones for some images: one line that says why, and no state changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
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
    make_dna,
)
from torchmetrics_dna.metrics import CMMD, MIND

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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("options", [{}, {"input_size": 8}, {"mean": (0.5,) * 3, "std": (0.5,) * 3}])
def test_networks_of_other_precisions(dtype: torch.dtype, options: dict[str, object]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).to(dtype)
    extractor = DNAExtractor(network, **options)
    assert dict(extractor.neurons) == {"output": 4}
    images = IMAGES / 255
    values = extractor(images)["output"]
    assert values.dtype == dtype
    if not options:
        with torch.no_grad():
            torch.testing.assert_close(values, network(images.to(dtype)), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("network", "options", "reason"),
    [
        (nn.Conv3d(3, 4, 3), {}, "fails on images of shape .1, 3, 224, 224.: Given groups=1.* channels instead$"),
        (Outputs(lambda x: [x.float(), [x.float()]]), {}, "but 'output_1' is of type list; name submodules"),
        (Outputs(lambda _: {}), {}, "but got an empty dict$"),
        (Outputs(lambda x: torch.fft.fft2(x.float())), {}, "expected to give real numbers.* its output is complex64;"),
        (Outputs(lambda x: x.float().to_sparse()), {}, r"in a dense tensor, but its output is sparse_coo;"),
        (
            Outputs(lambda x: x.float()[:, :0]),
            {"input_size": 8},
            r"^Layer 'output' has no neurons: it gives shape \(1, 0",
        ),
        (nn.Conv2d(3, 4, 3, device="meta"), {}, "on the meta device, so it has no weights; load them"),
        (Outputs(lambda _: 1 / 0), {}, "^The network fails on images of shape .*: division by zero$"),
        (nn.Linear(64, 2), {}, "can't take an image of 224 x 224 pixels.*with `input_size`$"),
        (
            nn.Conv2d(5, 4, 3),
            {},
            r"fails on images of shape \(1, 3, 224, 224\): .*expected input\[.*\] to have 5 channels",
        ),
    ],
)
def test_the_reason_is_said_in_one_line(network: nn.Module, options: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        DNAExtractor(network, **options)
    assert "\n" not in str(refused.value)
    assert ("input_size" in str(refused.value)) == ("pixels" in reason)


@pytest.mark.parametrize("rows", [lambda x: x[1:], lambda x: torch.cat([x, x[:1]]), lambda x: x[0], lambda x: x[:0]])
@pytest.mark.parametrize("make", [DNAEMD, DNAFrechet, LayerFrechetDistance, CMMD])
def test_rows_that_are_not_those_of_the_images(make: Callable[..., DNAEMD], rows: Callable[[Tensor], Tensor]) -> None:
    def output(imgs: Tensor) -> Tensor:
        means = imgs.float().mean((2, 3))
        return rows(means) if len(imgs) > 1 else means

    metric = make(DNAExtractor(Outputs(output)))
    before = {name: str(state) for name, state in metric.metric_state.items()}
    with pytest.raises(
        ValueError, match=r"^Layer 'output' gave shape .* for 6 images, but \(1, 3\) for one; give a module"
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
