"""Networks that give no activations, or other ones for some images: one line that says why, and no state changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import Outputs, random_images
from torch import Tensor, nn

from torchmetrics_dna import DNAEMD, DNAExtractor, DNAFrechet, LayerFrechetDistance
from torchmetrics_dna.metrics import CMMD

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


def test_means_of_autocast_activations_are_those_of_float32() -> None:
    extractor = DNAExtractor(nn.Conv2d(3, 8, 3), mean=(0.5,) * 3, std=(0.5,) * 3, dtype="bfloat16")
    images = random_images(3, 1, (40, 40))
    activations, means = extractor(images)["output"], extractor.pooled("output")(images)
    assert activations.dtype == torch.bfloat16
    assert means.dtype == torch.float32
    torch.testing.assert_close(means.double(), activations.double().mean((2, 3)), rtol=1e-5, atol=1e-6)
