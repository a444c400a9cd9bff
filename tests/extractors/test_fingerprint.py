"""What computes something else is never compared as the same, however equal its weights; what rounds is the same."""

from __future__ import annotations

import json
import warnings
from base64 import b64encode
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_images
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

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


def of_output(change: Callable[[Tensor], Tensor]) -> Callable[[Net], object]:
    return lambda net: net.register_forward_hook(lambda module, args, output: change(output))


def of_images(change: Callable[[Tensor], Tensor]) -> Callable[[Net], object]:
    return lambda net: net.register_forward_pre_hook(lambda module, args: change(args[0].float()))


def resized(images: Tensor) -> Tensor:
    there = functional.interpolate(images, scale_factor=0.9, mode="bilinear")
    return functional.interpolate(there, images.shape[2:], mode="bilinear")


SMALL_CHANGES = {
    "gain 1.002": of_output(lambda values: values * 1.002),
    "dropout": of_output(lambda values: functional.dropout(values, 0.1)),
    "noise": of_output(lambda values: values + 0.03 * torch.randn_like(values)),
    "rounded output": of_output(lambda values: (values * 8).round() / 8),
    "one neuron moved": of_output(lambda values: values + torch.eye(4)[2][:, None, None] * 0.03),
    "neurons turned": of_output(lambda values: values.roll(1, 1)),
    "BGR": of_images(lambda images: images.flip(1)),
    "mirrored": of_images(lambda images: images.flip(3)),
    "brighter": of_images(lambda images: images + 2),
    "contrast": of_images(lambda images: images * 1.01),
    "bright values clamped": of_images(lambda images: images.clamp(max=220)),
    "resized inside": of_images(resized),
    "leaky": lambda net: setattr(net, "act", nn.LeakyReLU(0.03)),
    "circular padding": lambda net: setattr(net.stem, "padding_mode", "circular"),
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


@pytest.mark.usefixtures("few_relabelings")
@pytest.mark.parametrize("use", USES)
def test_what_computes_something_else_is_never_compared_as_the_same(use: Callable[..., None], tmp_path: Path) -> None:
    """Every use detects some changes, and one use detects each of them: all uses compare the same fingerprints."""
    use(DNAExtractor(Net()), lambda: None, tmp_path)
    names = CHANGES if use is between_sides else ("hook", "class")
    for name in names:
        change = CHANGES[name]
        (folder := tmp_path / name).mkdir()
        extractor, before = DNAExtractor(net := Net()), Net().eval()(REAL)
        with pytest.raises(
            ValueError, match=r"equal weights, but compute other activations.*'output'|weights .* differ"
        ):
            use(extractor, lambda net=net, change=change: change(net), folder)
        assert (net.eval()(REAL) - before).abs().max() > TOLERANCE


@pytest.mark.parametrize(
    "dtype", [None, *[pytest.param(half, marks=pytest.mark.outer) for half in ("bfloat16", "float16")]]
)
@pytest.mark.parametrize("use", [between_sides, of_dnas_of_other_sizes])
def test_neither_autocast_nor_sizes_hide_a_change(use: Callable[..., None], dtype: str | None, tmp_path: Path) -> None:
    """Fingerprints are taken without autocast, where weights are float32."""
    use(DNAExtractor(Net(), dtype=dtype), lambda: None, tmp_path)
    for change in (SMALL_CHANGES if dtype is None else CHANGES | SMALL_CHANGES).values():
        extractor = DNAExtractor(net := Net(), dtype=dtype)
        with pytest.raises(ValueError, match="equal weights, but compute other activations|weights .* differ"):
            use(extractor, lambda net=net, change=change: change(net), tmp_path)


class Latents(nn.Module):
    """Network of latents, whose activations of some inputs are not finite."""

    def __init__(self, before: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.maps, self.before, self.after = nn.Conv2d(4, 8, 3, bias=False), before, nn.ReLU()

    def forward(self, latents: Tensor) -> Tensor:
        return self.after(self.maps(self.before(latents)))


OF_LATENTS: dict[str, Callable[[Latents], object]] = {
    "padding": lambda net: setattr(net.maps, "padding", (1, 1)),
    "gain": lambda net: net.register_forward_hook(double),
    "activation function": lambda net: setattr(net, "after", nn.GELU()),
    "gain before": lambda net: setattr(net, "before", lambda latents: latents * 1.001 + 0.001),
}


@pytest.mark.parametrize(
    ("before", "example", "dtype"),
    [
        ("as they are", "zeros", None),
        ("as they are", "ones", "bfloat16"),
        ("logarithm", "zeros", "bfloat16"),
        ("logarithm", "noise", None),
    ],
)
def test_an_example_that_only_says_a_shape_hides_no_change(before: str, example: str, dtype: str | None) -> None:
    takes = {"as they are": torch.clone, "logarithm": lambda latents: (latents + 1e-3).log()}[before]
    given = {"zeros": torch.zeros, "ones": torch.ones, "noise": torch.rand}[example](2, 4, 8, 8)
    real, fake = torch.rand(8, 4, 8, 8), torch.rand(5, 4, 12, 10)
    for name, change in {"nothing": lambda net: None, **OF_LATENTS}.items():
        for use in ("sides", "values", "merge", "reference") if name == "gain" else ("sides",):
            extractor = DNAExtractor(net := Latents(takes), inputs="any", example=given, dtype=dtype)
            metric, other = DNAFrechet(extractor), DNAFrechet(extractor)
            metric.update(real, real=True)
            dna = make_dna([*real], extractor, kind="gaussian")
            change(net)
            with pytest.raises(ValueError, match="compute other") if name != "nothing" else nullcontext():
                if use == "sides":
                    metric.update(fake, real=False)
                    metric.compute()
                elif use == "values":
                    dna.distances(make_dna([*fake], extractor, kind="gaussian"))
                elif use == "merge":
                    other.update(fake, real=True)
                    metric.merge_state(other)
                else:
                    DNAFrechet(extractor, reference=dna).update(fake, real=False)


def raises(*_: object) -> None:
    raise RuntimeError("no such input")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("sizes", [{64}, {64, 224}])
@pytest.mark.parametrize("use", [between_sides, of_dnas, by_merging_states, with_a_reference_before])
def test_one_that_fails_on_such_an_image_at_one_time_is_another(
    use: Callable[..., None], sizes: set[int], first: bool, tmp_path: Path
) -> None:
    extractor, refused = DNAExtractor(net := Net()), set[int]()
    net.register_forward_pre_hook(lambda module, args: raises() if args[0].shape[2] in refused else None)
    refused.update(sizes if first else ())
    use(extractor, lambda: None, tmp_path)
    message = r"compute other activations of one fixed input \(one of them fails on it\)"
    # the input of a reference is taken again, and both networks take that of 224 pixels, with equal activations
    is_alike = use is with_a_reference_before and first and sizes == {64}
    with nullcontext() if is_alike else pytest.raises(ValueError, match=message):
        use(extractor, lambda: refused.symmetric_difference_update(sizes), tmp_path)


def test_a_comparison_has_no_order() -> None:
    """Whatever the precisions of two, and whatever one of them has none of."""
    extractor = DNAExtractor(Net())
    fine = extractor.take_fingerprint(["uint8", 64, 64])
    coarse = {**fine, "tolerance": 5e-2}
    extractor.network.factor = 1.01
    moved = extractor.take_fingerprint(["uint8", 64, 64])
    for a, b, agree in (
        (fine, moved, False), (coarse, moved, True), ({**fine, "layers": {}}, fine, False),
        ({**fine, "input": ["uint8", 224, 224]}, fine, False), ({**fine, "input": ["float32", 64, 64]}, moved, True),
    ):  # fmt: skip
        assert (furthest_layer(a, b) is None) == (furthest_layer(b, a) is None) == agree


def test_a_difference_is_relative_to_the_larger_size() -> None:
    def taken(*numbers: float) -> dict[str, object]:
        layer = b64encode(np.array(numbers, "<f4").tobytes()).decode()
        return {"input": ["uint8", 64, 64], "layers": {"x": layer}, "tolerance": 1e-4}

    small, large = taken(1, 3, 0.25, 2), taken(8, 3.5, 0.25, 2)
    for pair in ((small, large), (large, small)):
        assert furthest_layer(*pair) == ("x", pytest.approx(7 / 8))


def compiled(net: Net) -> nn.Module:
    return torch.compile(net, backend="eager")


def traced(net: Net) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it
        return torch.jit.trace(net.eval(), REAL)


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel, lambda net: nn.DataParallel(compiled(net)), traced])
def test_a_wrapper_is_what_it_wraps(wrap: Callable[[Net], nn.Module], tmp_path: Path) -> None:
    net, layers = Net(), None if wrap is traced else ["stem", "head"]
    plain, wrapped = (DNAExtractor(each, layers=layers) for each in (net, wrap(net)))
    assert (wrapped.name, wrapped.digest, wrapped.neurons) == ("Net", plain.digest, plain.neurons)
    for a, b in ((plain, wrapped), (wrapped, plain)):
        make_dna(REAL, a).save(tmp_path / "real.dna.npz")
        metric = DNAEMD(b, reference=tmp_path / "real.dna.npz")
        metric.update(REAL, real=False)
        assert metric.compute() == 0
        metrics = [DNAFrechet(each) for each in (a, b)]
        for metric in metrics:
            metric.update(REAL, real=True)
        metrics[0].merge_state(metrics[1])
    net.act = nn.Identity()
    if wrap is not traced:  # of which attributes are part
        with pytest.raises(ValueError, match="The network changed"):
            metrics[0].to_dna(real=True)


def test_layers_of_a_traced_module_are_refused_before_it_runs() -> None:
    with pytest.raises(ValueError, match=r"can't be read within a ScriptModule, but got \['stem'\]; omit it, or"):
        DNAExtractor(traced(Net()), layers=["stem"])


@pytest.mark.parametrize("change", ["weight norm", "pruning", "pruning removed"])
def test_tensors_of_other_names_are_told(change: str) -> None:
    net = Net()
    if change == "pruning removed":
        prune.identity(net.stem, "weight")
    metric = DNAFrechet(DNAExtractor(net))
    metric.update(REAL, real=True)
    if change == "weight norm":
        nn.utils.parametrizations.weight_norm(net.stem)
    else:
        (prune.identity if change == "pruning" else prune.remove)(net.stem, "weight")
    metric.update(FAKE, real=False)
    with pytest.raises(ValueError, match=r"weights \(digest\) differ: .* \(of tensors with other names, as by weight"):
        metric.compute()
    set_weight(net)
    metric.reset()
    metric.update(FAKE, real=True)
    net.head.weight.data[0] += 1
    metric.update(FAKE, real=False)
    with pytest.raises(ValueError, match=r"weights \(digest\) differ: '\w+' and '\w+'; call"):
        metric.compute()


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
    "compiled in place": lambda net: net.compile(backend="eager"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.outer] * (name == "two threads")) for name in HARMLESS]
)
def test_what_rounds_is_the_same(name: str, tmp_path: Path) -> None:
    extractor, threads = DNAExtractor(net := Net()), torch.get_num_threads()
    try:
        for use in (between_sides, of_dnas_of_other_sizes, with_a_reference):
            use(extractor, lambda: HARMLESS[name](net), tmp_path)
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
