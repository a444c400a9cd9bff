"""What computes something else is never compared as the same, however equal its weights; what rounds is the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from itertools import product
from pathlib import Path

import pytest
import torch
from networks import random_images
from torch import Tensor, nn

from torchmetrics_dna import (
    DNAEMD,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
    SharedCollection,
    compare,
    load_dna,
    make_dna,
    rank,
)
from torchmetrics_dna.dna.base import merged
from torchmetrics_dna.extractors.fingerprint import TOLERANCE, TOLERANCE_OF_HALF, furthest_layer
from torchmetrics_dna.files.container import write_container
from torchmetrics_dna.metrics import MIND

REAL, FAKE = random_images(6, 0, (20, 30)), random_images(5, 1, (20, 30))


class Net(nn.Module):
    """Network with whatever can change without its weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.head, self.adapter = nn.Conv2d(8, 4, 3), nn.Conv2d(8, 4, 3)
        self.adapts, self.factor, self.shift = True, 1.0, torch.zeros(4, 1, 1)

    def forward(self, imgs: Tensor) -> Tensor:
        maps = self.act(self.norm(self.stem(imgs.float() / 255)))
        values = self.head(maps) + self.adapter(maps) if self.adapts else self.head(maps)
        return values * self.factor + self.shift


class Other(Net):
    def forward(self, imgs: Tensor) -> Tensor:
        return super().forward(imgs).flip(1)


def set_weight(net: Net) -> None:
    net.head.weight.data[0, 0, 0, 1] = 5


CHANGES: dict[str, Callable[[Net], object]] = {
    "activation function": lambda net: setattr(net, "act", nn.GELU()),
    "no activation function": lambda net: setattr(net, "act", nn.Identity()),
    "padding": lambda net: setattr(net.stem, "padding_mode", "reflect"),
    "eps": lambda net: setattr(net.norm, "eps", 1e-3),
    "hook": lambda net: net.head.register_forward_hook(lambda module, args, output: output * 1.01),
    "adapter switched off": lambda net: setattr(net, "adapts", False),
    "plain number": lambda net: setattr(net, "factor", 1.01),
    "plain tensor": lambda net: net.shift[0].add_(0.1),
    "a write that torch does not count": set_weight,
    "class": lambda net: setattr(net, "__class__", Other),
    "method": lambda net: setattr(net, "forward", lambda imgs: Net.forward(net, imgs) * 1.01),
}


def between_sides(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metric = DNAEMD(extractor)
    metric.update(REAL, real=True)
    change()
    metric.update(FAKE, real=False)
    metric.compute()


def between_sides_of_other_sizes(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metric = DNAEMD(extractor)
    metric.update(REAL, real=True)
    change()
    metric.update(FAKE[:, :, :14, :17], real=False)
    metric.compute()


def of_dnas_of_other_sizes(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    dna = make_dna(REAL, extractor)
    change()
    dna.distances(make_dna(FAKE[:, :, :14, :17], extractor))


def before_compute(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metrics = SharedCollection([DNAEMD(extractor), DNAFrechet(extractor)])
    metrics.update(REAL, real=True)
    metrics.update(FAKE, real=False)
    change()
    metrics.compute()


def before_a_dna(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metric = DNAFrechet(extractor)
    metric.update(REAL, real=True)
    change()
    metric.to_dna(real=True)


def by_merging_states(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metrics = [DNAFrechet(extractor), DNAFrechet(extractor)]
    metrics[0].update(REAL, real=True)
    change()
    metrics[1].update(REAL, real=True)
    metrics[0].merge_state(metrics[1])


def by_loading(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metric, other = DNAFrechet(extractor), DNAFrechet(extractor)
    metric.persistent(True)
    metric.update(REAL, real=True)
    change()
    other.load_state_dict(metric.state_dict())
    other.update(FAKE, real=False)
    other.compute()


def with_a_reference(extractor: DNAExtractor, change: Callable[[], object], folder: Path) -> None:
    make_dna(REAL, extractor).save(folder / "real.dna.npz")
    change()
    DNAEMD(extractor, reference=folder / "real.dna.npz").update(FAKE, real=False)


def with_a_reference_before(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metric = DNARealism(extractor, reference=make_dna(REAL, extractor))
    change()
    metric.update(FAKE)


def with_features(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    metric = MIND(extractor)
    metric.update(REAL, real=True)
    features = metric.to_features(real=True)
    change()
    MIND(extractor, reference=features).update(FAKE, real=False)


def of_dnas(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    dna = make_dna(REAL, extractor)
    change()
    dna.distances(make_dna(FAKE, extractor))


def by_merging_dnas(extractor: DNAExtractor, change: Callable[[], object], folder: Path) -> None:
    make_dna(REAL, extractor).save(folder / "real.dna.npz")
    change()
    merged([load_dna(folder / "real.dna.npz"), make_dna(FAKE, extractor)])


def by_compare(extractor: DNAExtractor, change: Callable[[], object], _: Path) -> None:
    dna = make_dna(REAL, extractor)
    change()
    compare(dna, FAKE, extractor)


def by_nearest(extractor: DNAExtractor, change: Callable[[], object], folder: Path) -> None:
    rank(FAKE, REAL, extractor, nearest=REAL).index.save(folder / "real.features.npz")
    change()
    rank(FAKE, REAL, extractor, nearest=folder / "real.features.npz")


USES = [
    between_sides, between_sides_of_other_sizes, of_dnas_of_other_sizes, before_compute, before_a_dna,
    by_merging_states, by_loading, with_a_reference, with_a_reference_before, with_features, of_dnas,
    by_merging_dnas, by_compare, by_nearest,
]  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_what_computes_something_else_is_never_compared_as_the_same(use: Callable[..., None], tmp_path: Path) -> None:
    use(DNAExtractor(Net()), lambda: None, tmp_path)
    for name, change in CHANGES.items():
        (folder := tmp_path / name).mkdir()
        extractor, before = DNAExtractor(net := Net()), Net().eval()(REAL)
        with pytest.raises(
            ValueError, match=r"equal weights, but compute other activations.*'output'|weights .* differ"
        ):
            use(extractor, lambda net=net, change=change: change(net), folder)
        assert (net.eval()(REAL) - before).abs().max() > TOLERANCE


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast_hides_no_change(dtype: str) -> None:
    """Fingerprints are taken without it, where weights are float32."""
    between_sides(DNAExtractor(Net(), dtype=dtype), lambda: None, Path())
    for name in ("hook", "eps", "plain number"):
        extractor = DNAExtractor(net := Net(), dtype=dtype)
        with pytest.raises(ValueError, match="equal weights, but compute other activations"):
            between_sides(extractor, lambda net=net, name=name: CHANGES[name](net), Path())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_example_that_only_says_a_shape_hides_no_change(value: float) -> None:
    latents = torch.randn(8, 4, 8, 8)
    for change in (lambda net: setattr(net, "padding", (1, 1)), lambda net: net.register_forward_hook(double)):
        net = nn.Conv2d(4, 8, 3, bias=False)
        metric = DNAFrechet(DNAExtractor(net, inputs="any", example=torch.full((2, 4, 8, 8), value)))
        metric.update(latents, real=True)
        change(net)
        with pytest.raises(ValueError, match="equal weights, but compute other activations"):
            metric.update(latents, real=False) or metric.compute()


def test_a_side_that_is_not_the_first_is_compared_with_the_network_as_it_is() -> None:
    metric = DNAFrechet(DNAExtractor(net := Net()))
    metric.update(FAKE, real=False)
    net.factor = 2.0
    with pytest.raises(ValueError, match="The network changed after images were counted"):
        metric.to_dna(real=False)


def double(module: nn.Module, args: object, output: Tensor) -> Tensor:
    return output * 2


HARMLESS: dict[str, Callable[[Net], object]] = {
    "nothing": lambda net: None,
    "swapped and back": lambda net: [setattr(net, "act", act) for act in (nn.GELU(), nn.ReLU())],
    "memory format": lambda net: net.to(memory_format=torch.channels_last),
    "two threads": lambda net: torch.set_num_threads(2),
    "batches": lambda net: [net.eval()(images) for images in (REAL[:1], REAL.repeat(11, 1, 1, 1)[:64])],
    "training": lambda net: net.train(),
    "frozen": lambda net: net.requires_grad_(False),
    "random numbers": lambda net: torch.rand(3),
    "a hook that only looks": lambda net: net.head.register_forward_hook(lambda *_: None),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_rounds_is_the_same(name: str, tmp_path: Path) -> None:
    extractor, threads = DNAExtractor(net := Net()), torch.get_num_threads()
    try:
        for use in USES:
            (folder := tmp_path / use.__name__).mkdir()
            use(extractor, lambda: HARMLESS[name](net), folder)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_of_a_layer_are_those_of_its_activations(dtype: torch.dtype) -> None:
    net = Net().to(dtype) if dtype == torch.float32 else nn.Conv2d(3, 4, 3).to(dtype)
    extractor = DNAExtractor(net, input_size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    taken = extractor.take_fingerprint(extractor.input_form(REAL))
    assert json.loads(json.dumps(taken)) == taken
    assert taken["input"] == ["uint8", 16, 16]
    for far, apart in ((1.0, False), (1 + taken["tolerance"] / 2, False), (1 + 4 * taken["tolerance"], True)):
        scaled = deepcopy(extractor.network)
        scaled.register_forward_hook(lambda module, args, output, far=far: output.float() * far)
        other = DNAExtractor(scaled, input_size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
        furthest = furthest_layer(taken, other.take_fingerprint(taken["input"]))
        assert (furthest is not None) == apart
        assert furthest is None or furthest[0] == "output"


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.2])
def test_two_fingerprints_agree_in_both_orders_or_in_none(factor: float) -> None:
    """Those of two precisions are compared within the tolerance of the coarser one, whichever comes first."""
    torch.manual_seed(0)
    net, taken = nn.Conv2d(3, 4, 3), {}
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for scale in (1.0, factor):
            scaled = deepcopy(net).to(dtype)
            scaled.register_forward_hook(lambda module, args, output, scale=scale: output * scale)
            extractor = DNAExtractor(scaled, input_size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
            taken[dtype, scale] = extractor.take_fingerprint(extractor.input_form(REAL))
    for (a, ours), (b, theirs) in product(taken, repeat=2):
        tolerance = TOLERANCE_OF_HALF if torch.bfloat16 in (a, b) else TOLERANCE
        apart = furthest_layer(taken[a, ours], taken[b, theirs]) is not None
        assert apart == (abs(ours - theirs) > tolerance), (a, ours, b, theirs)


def test_networks_by_name_and_those_that_fail_on_such_an_image_have_none() -> None:
    assert DNAExtractor("properties").take_fingerprint(["uint8", 8, 8]) is None
    table = torch.rand(3, 5)

    class Lookup(nn.Module):
        def forward(self, imgs: Tensor) -> Tensor:
            return table[imgs[:, 0, 0, 0].long()]

    metric = DNAFrechet(DNAExtractor(Lookup()))
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 4, 4)
    metric.update(images, real=True)
    assert torch.equal(metric.to_dna(real=True).mean, table.double().mean(0))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: 3, "fingerprint is 3"),
        (lambda content: content | {"input": ["load", 8, 8]}, "dtype, height and width"),
        (lambda content: content | {"input": ["uint8", 8, 1 << 40]}, "dtype, height and width"),
        (lambda content: content | {"input": 5}, "input is 5"),
        (lambda content: content | {"tolerance": None}, "tolerance is None"),
        (lambda content: content | {"layers": {"output": "AAAA"}}, "of layer 'output'"),
    ],
)
def test_a_fingerprint_of_a_file_is_checked(
    damage: Callable[[dict[str, object]], object], message: str, tmp_path: Path
) -> None:
    dna = make_dna(REAL, DNAExtractor(Net()))
    described, arrays, remarks = dna._encode_all()
    for content, path in ((remarks["fingerprint"], "x.npz"), (damage(remarks["fingerprint"]), "bad.npz")):
        write_container(tmp_path / path, described, arrays, written_by="test", **remarks | {"fingerprint": content})
    assert load_dna(tmp_path / "x.npz").fingerprint == dna.fingerprint
    with pytest.raises(ValueError, match=message):
        load_dna(tmp_path / "bad.npz")
