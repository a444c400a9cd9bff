"""Contract of every metric, in every class and form: all that torchmetrics asks, and more."""

from __future__ import annotations

import copy
import io
import pickle
import weakref
from collections.abc import Callable

import matplotlib as mpl
import pytest
import torch
from forms import FORMS, grouped, plainly, tensors, values
from makers import CLASSES, EXTRACTOR, FAKE, MAKERS, RANGES, REAL, fed, with_reference
from networks import Pixels, random_images
from torch import nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.wrappers import MetricTracker, Running

from torchmetrics_dna import (
    DNAEMD,
    ActivationRange,
    DNAExtractor,
    DNAFrechet,
    DNARealism,
)
from torchmetrics_dna.metrics import MIND, PRDC

Make = Callable[..., Metric]
more = random_images(7, 5)


@pytest.fixture(params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


every_form = pytest.mark.parametrize("form", FORMS)
each_class = pytest.mark.parametrize("form", [*CLASSES, "realism", "activation_range", "mind", "cmmd", "prdc"])
two_sided = pytest.mark.parametrize("form", [form for form in FORMS if FORMS[form].arguments in (plainly, grouped)])


def ready(form: str, **kwargs: object) -> Metric:
    """Return a metric that was fed both sides, as far as it takes them."""
    metric = FORMS[form].make(**kwargs)
    for images, real in ((REAL, True), (FAKE, False)):
        FORMS[form].feed(metric, images, real)
    return metric


def takes_real(form: str) -> bool:
    return FORMS[form].arguments in (plainly, grouped)


@each_class
def test_constants(form: str) -> None:
    metric = FORMS[form].make()
    ranges, scores = isinstance(metric, ActivationRange), isinstance(metric, DNARealism)
    assert metric.higher_is_better is (None if ranges else isinstance(metric, PRDC))
    assert metric.plot_lower_bound == (None if ranges or scores or hasattr(metric, "distance") else 0)
    assert (metric.is_differentiable, metric.full_state_update) == (False, False)


@each_class
def test_arguments_are_checked(form: str) -> None:
    with pytest.raises(ValueError, match="Argument `normalize` expected to be a bool"):
        FORMS[form].make(normalize="yes")
    for name in ("foo", "weights", "statistic", "extractor", "sides"):
        with pytest.raises(
            ValueError, match=f"Unexpected keyword arguments: `{name}`|unexpected keyword argument '{name}'"
        ):
            FORMS[form].make(**{name: 1})
    if takes_real(form):
        with pytest.raises(ValueError, match="Argument `reset_real_features` expected to be a bool"):
            FORMS[form].make(reset_real_features=1)


@two_sided
def test_an_empty_side_is_an_error(form: str) -> None:
    metric = FORMS[form].make()
    FORMS[form].feed(metric, REAL, True)
    with pytest.raises(RuntimeError, match="required for both sides .* but got 6 and 0"):
        metric.compute()


@every_form
def test_forward_is_update_and_the_value_of_the_batch(form: str) -> None:
    metric, total, batch_metric = ready(form), ready(form), FORMS[form].make()
    of_batch = tensors(metric(more, **FORMS[form].arguments(metric, more, False)))
    if takes_real(form):
        FORMS[form].feed(batch_metric, REAL, True)
    FORMS[form].feed(batch_metric, more, False)
    FORMS[form].feed(total, more, False)
    torch.testing.assert_close(of_batch, values(batch_metric), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(values(metric), values(total), rtol=1e-9, atol=1e-12)
    assert metric.update_count == 3


@two_sided
def test_forward_gives_nan_while_the_other_side_is_empty(form: str) -> None:
    metric = FORMS[form].make()
    value = metric(REAL, **FORMS[form].arguments(metric, REAL, True))
    assert all(part.isnan().all() for part in tensors(value))
    FORMS[form].feed(metric, FAKE, False)
    assert alike(values(metric), values(ready(form))), "the batch was added"


BAD = [
    (REAL / 255, ValueError, r"uint8, but got torch.float32; for floats in \[0, 1\] set `normalize=True`"),
    (REAL[:, :2], ValueError, r"shape \(B, 3, H, W\), but got \(6, 2, 12, 10\)"),
    (REAL[0], ValueError, r"but got \(3, 12, 10\)"),
    (REAL[:0], ValueError, "expected to hold images"),
    (REAL.numpy(), TypeError, "Argument `imgs` expected to be a Tensor, but got ndarray; pass `torch.from_numpy"),
    (torch.full_like(REAL, 13), ValueError, "gives activations that are NaN or infinite"),
]


@every_form
def test_bad_batches_change_nothing(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = ready(form)
    value = metric.compute()
    before = copy.deepcopy(metric.metric_state)

    def broken(imgs: torch.Tensor, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Give infinite activations for some images, which go through the network later than others."""
        is_bad = len(imgs) == 2 and bool((imgs == 13).all())
        return {layer: values / 0 if is_bad else values for layer, values in outputs.items()}

    monkeypatch.setattr(EXTRACTOR.network, "each_pass", broken)
    monkeypatch.setattr(EXTRACTOR, "images_at_once", 4)
    for take in (metric.update, metric):
        for imgs, error, message in BAD:
            with pytest.raises(error, match=message):
                take(imgs, **FORMS[form].arguments(metric, imgs, False))
        for real in ("no", 1) if takes_real(form) else ():
            with pytest.raises(ValueError, match=f"Argument `real` expected to be a bool, but got {real!r}"):
                take(REAL, **FORMS[form].arguments(metric, REAL, True) | {"real": real})
    torch.testing.assert_close(metric.metric_state, before, rtol=0, atol=0)
    metric._computed = None
    assert alike(values(metric), tensors(value))


@every_form
def test_a_batch_of_any_size_takes_the_memory_of_one_part_or_of_four_states(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric, alive = FORMS[form].make(), []
    of_states = sum(held.nbytes for held in metric.metric_state.values() if isinstance(held, torch.Tensor))

    def watched(_: torch.Tensor, outputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert sum(array.nbytes for part in alive if (array := part()) is not None) <= 4 * of_states
        # an array lives as long as the memory of a tensor made from it, however many views there are
        arrays = {layer: values.numpy().copy() for layer, values in outputs.items()}
        alive.extend(map(weakref.ref, arrays.values()))
        return {layer: torch.from_numpy(array) for layer, array in arrays.items()}

    monkeypatch.setattr(EXTRACTOR.network, "each_pass", watched)
    monkeypatch.setattr(EXTRACTOR, "images_at_once", 3)
    FORMS[form].feed(metric, more, False)
    assert len(alive) == 4 * len(EXTRACTOR.neurons)  # of the fingerprint, and of 3, 2 and 2 images


@each_class
def test_floats_outside_0_to_1_change_nothing(form: str) -> None:
    metric = FORMS[form].make(normalize=True)
    for number in (1.01, -0.01, float("nan")):
        with pytest.raises(ValueError, match=r"expected to lie in \[0, 1\] with `normalize=True`, but got values from"):
            FORMS[form].feed(metric, torch.full((3, 3, 12, 10), number), False)
    with pytest.raises(ValueError, match="expected to be floating point with `normalize=True`, but got torch.uint8"):
        FORMS[form].feed(metric, REAL, False)
    untouched = FORMS[form].make(normalize=True)
    torch.testing.assert_close(metric.metric_state, untouched.metric_state, rtol=0, atol=0)


@each_class
@pytest.mark.parametrize("beyond", [1e-7, 1e-3])
def test_floats_a_little_beyond_0_to_1_are_clamped(form: str, beyond: float) -> None:
    """Rounding and resizing leave such values; those within [0, 1] stay as they are, to the last bit."""
    generator = torch.Generator().manual_seed(0)
    imgs = torch.rand(5, 3, 12, 10, generator=generator)
    imgs[:, :, ::3] = (imgs[:, :, ::3] > 0.5).float()
    moved = torch.where(imgs == 1, 1 + beyond, torch.where(imgs == 0, -beyond, imgs))
    assert float(moved.max()) > 1
    assert float(moved.min()) < 0
    metric, expected = FORMS[form].make(normalize=True), FORMS[form].make(normalize=True)
    FORMS[form].feed(metric, moved, False)
    FORMS[form].feed(expected, imgs, False)
    torch.testing.assert_close(metric.metric_state, expected.metric_state, rtol=0, atol=0)


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"realism with indices"}))  # whose indices would be equal
def test_merging_states_is_updating_with_both(form: str) -> None:
    feed, half = FORMS[form].feed, ready(form)
    half.compute()  # which is stale then
    other, total = FORMS[form].make(), half.clone()
    for metric in (other, total):
        feed(metric, more, True)
        feed(metric, FAKE[2:], False)
    for incoming in (other, other.metric_state):
        merged = half.clone()
        merged.merge_state(incoming)
        torch.testing.assert_close(values(merged), values(total), rtol=1e-9, atol=1e-12)


@every_form
def test_states_of_other_metrics_are_not_merged(form: str) -> None:
    metric = ready(form)
    before = values(metric)
    net = DNAExtractor(Pixels(), layers=["mean", "contrast", "colours"])
    others = [DNAEMD(net, num_bins=41), DNAFrechet(net), FORMS[form].make(normalize=True)]
    if takes_real(form) and form in MAKERS:
        others.append(with_reference(form))
    for other in others:
        with pytest.raises(ValueError, match=r"Can't merge the states of these metrics, their .* differ: .* and "):
            metric.merge_state(other)
        if other.normalize:
            FORMS[form].feed(other, FAKE / 255, False)
        else:
            other.update(FAKE, real=False)
        with pytest.raises(ValueError, match="Can't merge the states of these metrics|to be present in incoming state"):
            metric.merge_state(other.metric_state)
    with pytest.raises(ValueError, match="Expected incoming state to be a dict or an instance of"):
        metric.merge_state([1])
    assert alike(values(metric), before)


@every_form
def test_reset_forgets_what_it_should(form: str) -> None:
    expected = values(ready(form))
    for keeps in (False, True) if takes_real(form) else (None,):
        metric = ready(form, **{} if keeps is None else {"reset_real_features": not keeps})
        FORMS[form].feed(metric, more, False)
        metric.reset()
        assert metric.update_count == 0
        for images, real in ((REAL, True), (FAKE, False)):
            if not (keeps and real):
                FORMS[form].feed(metric, images, real)
        assert alike(values(metric), expected)


@pytest.mark.parametrize("form", [form for form in FORMS if takes_real(form)])
def test_real_images_that_are_added_to_kept_ones_are_warned_of_once(form: str) -> None:
    metric = ready(form, reset_real_features=False)
    metric.reset()
    FORMS[form].feed(metric, FAKE, False)
    with pytest.warns(UserWarning, match="`reset_real_features`"):
        FORMS[form].feed(metric, REAL, True)
    FORMS[form].feed(metric, REAL, True)


@each_class
def test_plots(form: str) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    metric, own = ready(form), plt.subplots()[1]
    figure, axes = metric.plot()
    assert figure is not None
    squared = "squared activations"
    labels = {"emd": "dna-emd (bins)", "frechet": f"dna-fd ({squared})", "layer_frechet": f"fd ({squared})"}
    assert axes.get_ylabel() == labels.get(form, type(metric).__name__)
    assert metric.plot([metric.compute(), metric.compute()])[0] is not None
    assert metric.plot(metric.compute(), ax=own)[1] is own
    assert float(metric.plot(torch.tensor(0.0))[1].lines[0].get_ydata()[0]) == 0  # which KID of torchmetrics leaves out
    plt.close("all")


def alike(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


@every_form
def test_a_state_dict_is_empty_unless_persistent_and_loads_as_a_whole(form: str) -> None:
    metric, restored = ready(form), FORMS[form].make()
    assert metric.state_dict() == {}
    assert not list(metric.parameters())
    for each in (metric, restored):
        each.persistent(True)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for name in saved:
        with pytest.raises(RuntimeError, match=f"Missing key.*{name}"):
            restored.load_state_dict({key: value for key, value in saved.items() if key != name})
    with pytest.raises(RuntimeError, match="Missing key"):
        restored.load_state_dict({})
    assert restored.update_count == 0, "nothing was loaded"
    restored.load_state_dict(restored.state_dict())  # of no images
    restored.load_state_dict(saved)
    assert alike(values(restored), values(metric))


@pytest.mark.parametrize(
    ("form", "setting"),
    [
        ("emd", {"ranges": RANGES.union(RANGES), "num_bins": 41}),
        ("activation_range", {"margin": "scale"}),
        ("mind", {"layer": "colours"}),
        ("cmmd", {"layer": "colours"}),
    ],
)
def test_the_state_of_another_metric_is_not_loaded(form: str, setting: dict[str, object]) -> None:
    metric, other = ready(form), FORMS[form].make(**setting)
    before = values(metric)
    FORMS[form].feed(other, REAL, True)
    for each in (metric, other):
        each.persistent(True)
    with pytest.raises(RuntimeError, match="is of another metric: "):
        metric.load_state_dict(other.state_dict())
    assert alike(values(metric), before)


def test_an_idle_metric_holds_each_state_once(name: str) -> None:
    is_of_histograms = any(state.endswith("counts") for state in MAKERS[name]().metric_state)
    metric = MAKERS[name](**{"num_bins": 1000} if is_of_histograms else {})
    numbers = 1000 if is_of_histograms else {"layer_frechet": 5}.get(name, 4)  # of layers of three, with the shift
    held_tensors = [*metric.metric_state.values(), *metric._defaults.values()]
    storages = [each.untyped_storage() for each in held_tensors if isinstance(each, torch.Tensor)]
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    # counts or sums of each neuron, and at the end what layers refused and how many images there are
    side = metric.neurons.total * numbers + len(metric.neurons) + 1
    assert held <= 1.2 * (2 * side * 8) + 4096  # identities and their defaults


def test_a_reference_takes_the_place_of_the_real_side(name: str) -> None:
    metric = with_reference(name)
    assert not any(state.startswith("real") for state in metric.metric_state)
    with pytest.raises(ValueError, match="real side is the given `reference`.* with `real=False`"):
        metric.update(REAL, real=True)
    with pytest.raises(ValueError, match="real side is the given `reference`"):
        metric(REAL, real=True)
    expected = fed(MAKERS[name]()).compute()
    metric.update(FAKE, real=False)
    assert metric.compute() == expected
    metric.reset()
    assert metric(FAKE, real=False) == expected
    assert metric.to_dna(True) is metric.reference
    assert pickle.loads(pickle.dumps(metric)).compute() == expected
    assert metric.clone().reference is metric.reference


@pytest.mark.parametrize("make", CLASSES.values())
def test_a_tracker_of_epochs_holds_one_network(make: Make) -> None:
    tracker = MetricTracker(make(), maximize=False)
    for epoch in range(5):
        tracker.increment()
        tracker.update(REAL, real=True)
        tracker.update(more if epoch == 3 else FAKE, real=False)
    networks = {id(metric.extractor) for metric in tracker}
    assert len(networks) == 1
    near, far = (float(fed(make(), REAL, fake).compute()) for fake in (more, FAKE))
    assert tracker.compute_all().tolist() == [far, far, far, near, far]
    assert tracker.best_metric(return_step=True) == (near, 3)
    assert near < far


@pytest.mark.parametrize("form", ["self_ranging_emd", *CLASSES, "realism", "activation_range", "mind", "prdc"])
def test_a_running_window_is_its_batches(form: str) -> None:
    make, batches = FORMS[form].make, [random_images(3, seed) // (1 + seed % 2) for seed in range(7)]
    window = Running(make(), window=4)

    def sorted_values(metric: Metric) -> list[torch.Tensor]:
        return [part.sort().values if form == "realism" else part for part in values(metric)]  # scores are in no order

    def expected(numbers: range) -> list[torch.Tensor]:
        metric = make()
        for number in numbers:
            FORMS[form].feed(metric, batches[number], number % 2 == 0)
        return sorted_values(metric)

    for number, batch in enumerate(batches):
        take = window if number % 3 else window.update
        take(batch, **FORMS[form].arguments(window, batch, number % 2 == 0))
        if number == 1:
            torch.testing.assert_close(sorted_values(window), expected(range(2)))
    for _ in range(2):
        torch.testing.assert_close(sorted_values(window), expected(range(3, 7)))
    if takes_real(form):
        with pytest.raises(ValueError, match="pass `reset_real_features=True`, or the real side as `reference`"):
            fed(Running(make(reset_real_features=False), window=2)).compute()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda holder: torch.optim.swa_utils.AveragedModel(holder).module])
def test_a_copy_of_a_module_and_its_metrics_measures_the_copy(copied: Callable[[nn.Module], nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    extractor = DNAExtractor(network)
    metrics = MetricCollection([DNAEMD(extractor, num_bins=20), MIND(extractor), DNAFrechet(network[0])])
    fid = FrechetInceptionDistance(extractor.pooled("output"))
    holder = nn.ModuleDict({"network": network, "metrics": metrics, "fid": fid})
    other = copied(holder)
    with torch.no_grad():
        other["network"][0].weight.mul_(2)
    for images in (REAL / 255, FAKE / 255):
        for mine, theirs in zip(metrics.values(), other["metrics"].values(), strict=True):
            expected, twice = mine.extractor(images)["output"], theirs.extractor(images)["output"]
            torch.testing.assert_close(
                twice - expected, expected - network[0].bias[:, None, None], rtol=1e-4, atol=1e-5
            )
            assert mine.extractor.weights_digest != theirs.extractor.weights_digest
    assert other["fid"].inception.extractor is other["metrics"]["DNAEMD"].extractor
    assert other["metrics"]["DNAEMD"].extractor is other["metrics"]["MIND"].extractor
    assert metrics["DNAEMD"].clone().extractor is extractor


def test_a_pickle_carries_the_network_once() -> None:
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_6"])
    single_size = len(pickle.dumps(DNAEMD(extractor, num_bins=2)))
    collection_size = len(pickle.dumps(MetricCollection({str(i): DNAEMD(extractor, num_bins=2 + i) for i in range(5)})))
    assert collection_size < 1.1 * single_size
