"""What torchmetrics asks of every metric, and more: the same for every class and form of ours."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from forms import FORMS, values
from makers import CLASSES, EXTRACTOR, FAKE, MAKERS, ONE_SIDED, RANGES, REAL, fed, with_reference
from networks import Convolutions, Pixels, random_images
from torch import nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MetricTracker, Running

from torchmetrics_dna import CMMD, DNAEMD, MIND, PRDC, DNAExtractor, DNAFrechet, make_dna

Make = Callable[..., Metric]
more = random_images(7, 5)


@pytest.fixture(params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def make(name: str) -> Make:
    return MAKERS[name]


@pytest.fixture(params=CLASSES)
def make_class(request: pytest.FixtureRequest) -> Make:
    """Of each class once, where all depends on the class."""
    return CLASSES[request.param]


every_form = pytest.mark.parametrize("form", FORMS)


def ready(form: str) -> Metric:
    """A metric that has both sides, as far as it takes them."""
    make, feed = FORMS[form]
    metric = make()
    feed(metric, REAL, True)
    feed(metric, FAKE, False)
    return metric


def alike(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_constants_are_constant(make_class: Make) -> None:
    metric = make_class()
    assert metric.higher_is_better is False
    assert metric.is_differentiable is False
    assert metric.full_state_update is False
    assert metric.plot_lower_bound == 0
    for constant in ("higher_is_better", "is_differentiable", "full_state_update", "plot_lower_bound"):
        with pytest.raises(RuntimeError, match="Can't change const"):
            setattr(metric, constant, True)


@pytest.mark.parametrize(
    "duplicate",
    [lambda m: m.clone(), copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))],
    ids=["clone", "deepcopy", "pickle"],
)
@every_form
def test_copies_go_their_own_way(form: str, duplicate: Callable[[Metric], Metric]) -> None:
    metric, feed = ready(form), FORMS[form][1]
    expected = values(metric)
    other = duplicate(metric)
    assert alike(values(other), expected)
    feed(other, more[:5], False)
    assert alike(values(metric), expected)
    feed(metric, more[:5], False)
    assert alike(values(metric), values(other))
    assert not alike(values(metric), expected)


def test_hashes_differ(make_class: Make) -> None:
    assert len({make_class(), make_class()}) == 2


@pytest.mark.parametrize("make", [*CLASSES.values(), *ONE_SIDED.values()])
@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore:This property will be:DeprecationWarning")
def test_scripts_go_around_metrics(make: Make) -> None:
    """As torchmetrics' network metrics, none can be scripted; modules that leave it out can, and all can be traced."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.metric = make()

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values + 1

    class Scripted(Model):
        __jit_ignored_attributes__ = ("metric",)

    with pytest.raises(ValueError, match="Unknown type annotation"):
        torch.jit.script(Model())
    assert torch.jit.script(Scripted())(torch.ones(1)) == 2
    assert torch.jit.trace(Model(), torch.ones(1))(torch.ones(1)) == 2


@every_form
def test_the_state_dict_is_empty_unless_persistent(form: str) -> None:
    (make, feed), metric = FORMS[form], ready(form)
    assert metric.state_dict() == {}
    assert not list(metric.parameters())
    metric.persistent(True)
    expected, file = values(metric), io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    restored = make()
    restored.persistent(True)
    restored.load_state_dict(restored.state_dict())  # of no images
    restored.load_state_dict(saved)
    assert alike(values(restored), expected)
    feed(metric, more[:5], False)
    assert not alike(values(metric), expected)
    metric.load_state_dict(saved)
    assert alike(values(metric), expected), "counting went on in the checkpoint"


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
    metric, other = ready(form), FORMS[form][0](**setting)
    before = values(metric)
    for one in (metric, other):
        one.persistent(True)
    with pytest.raises(
        RuntimeError, match="is of a metric with another extractor, layers, bins, bounds or `normalize`"
    ):
        metric.load_state_dict(other.state_dict())
    assert alike(values(metric), before)


def test_results_are_detached_tensors_and_repeatable(make: Make) -> None:
    metric = fed(make(compute_with_cache=False))
    first = metric.compute()
    assert isinstance(first, torch.Tensor)
    assert not first.requires_grad
    assert metric.compute() == first
    assert metric.update_count == 2


def test_forward_is_update_and_the_distance_of_the_batch(make: Make) -> None:
    metric = make()
    assert metric(REAL, real=True).isnan(), "the fake side is empty"
    assert metric(FAKE, real=False) == fed(make()).compute()
    assert metric(more, real=False) == fed(make(), REAL, more).compute(), "the batch's own value"
    total = fed(make(), REAL, torch.cat([FAKE, more]))
    torch.testing.assert_close(metric.compute(), total.compute(), rtol=1e-12, atol=0)
    assert metric.to_dna(False).num_images == 12
    expected = fed(make(), REAL[:2], torch.cat([FAKE, more])).compute()
    torch.testing.assert_close(metric(REAL[:2], real=True), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reduction", ["layer", "none"])
def test_forward_gives_what_compute_gives(make: Make, reduction: str) -> None:
    metric = make(reduction=reduction)
    empty, full = metric(REAL, real=True), metric(FAKE, real=False)
    if reduction == "none":
        assert empty.shape == full.shape == (metric._terms.total,)
        assert empty.isnan().all()
    else:
        assert empty.keys() == full.keys() == metric.neurons.keys()
        assert all(value.isnan() for value in empty.values())


def test_merging_states_is_updating_with_both(make: Make) -> None:
    one, other = make(), make()
    one.update(REAL, real=True)
    one.update(FAKE[:2], real=False)
    stale = one.compute()
    other.update(FAKE[2:], real=False)
    other.update(more, real=True)
    expected = fed(make(), torch.cat([REAL, more]), FAKE).compute()
    for incoming in (other, other.metric_state):
        merged = one.clone()
        merged.merge_state(incoming)
        torch.testing.assert_close(merged.compute(), expected, rtol=1e-12, atol=0)
        assert merged.compute() != stale
    assert other.to_dna(False).num_images == 3, "the other metric is as it was"


def test_states_of_other_metrics_are_not_merged(make: Make) -> None:
    metric = fed(make())
    before = {name: state.clone() for name, state in metric.metric_state.items()}
    net = DNAExtractor(Pixels(), layers=["mean", "contrast", "colours"])
    others = [
        DNAEMD(net, num_bins=40),
        MAKERS["emd"](num_bins=41),
        DNAFrechet(net),
        make(normalize=True),
        MAKERS["emd"](reference=fed(MAKERS["emd"]()).to_dna(True)),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"Can't merge the states of these metrics, their .* differ: .* and "):
            metric.merge_state(other)
        with pytest.raises(ValueError, match="Can't merge the state of|to be present in incoming state"):
            metric.merge_state(other.metric_state)
    with pytest.raises(ValueError, match="Expected incoming state to be a dict or an instance of"):
        metric.merge_state([1])
    assert all(torch.equal(metric.metric_state[name], state) for name, state in before.items())


def test_set_dtype_leaves_counts_and_sums_alone(make: Make) -> None:
    metric = fed(make())
    expected, kinds = metric.compute(), {k: v.dtype for k, v in metric.metric_state.items()}
    metric.set_dtype(torch.float16)
    assert {k: v.dtype for k, v in metric.metric_state.items()} == kinds
    assert metric.compute() == expected
    assert metric.compute().dtype == torch.float64
    metric.reset()
    assert {k: v.dtype for k, v in metric.metric_state.items()} == kinds


def test_half_precision_reaches_the_network() -> None:
    extractor = DNAExtractor(Convolutions(), layers=["stem", "body"], input_size=16)
    metric = DNAEMD(extractor)
    metric.set_dtype(torch.bfloat16)
    assert next(extractor.network.parameters()).dtype == torch.bfloat16
    assert fed(metric).compute() > 0


def test_moves_between_devices(make: Make) -> None:
    metric = fed(make()).to("meta")
    for _ in range(2):
        assert all(state.is_meta for state in metric.metric_state.values())
        metric.reset()
    if torch.cuda.is_available():
        metric = fed(make())
        expected = metric.compute()
        metric = metric.to("cuda")
        assert all(state.is_cuda for state in metric.metric_state.values())
        assert metric.compute().cpu() == expected
        metric.reset()
        assert fed(metric, REAL.cuda(), FAKE.cuda()).compute().cpu() == pytest.approx(float(expected), rel=1e-9)


def test_an_idle_metric_holds_each_state_once(name: str) -> None:
    sums = {"frechet": 2, "layer_frechet": 5}  # per neuron; of layers of three, with the shift
    metric = MAKERS[name](**{} if name in sums else {"num_bins": 1000})
    storages = [t.untyped_storage() for t in [*metric.metric_state.values(), *metric._defaults.values()]]
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    # counts or sums of each neuron, and at the end what layers refused and how many images there are
    side = metric.neurons.total * sums.get(name, 1000) + len(metric.neurons) + 1
    assert held <= 1.2 * (2 * side * 8) + 1024  # the fingerprint and its default


def test_plots(make_class: Make) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    for reduction in ("mean", "layer", "none"):
        metric = fed(make_class(reduction=reduction))
        assert metric.plot()[0] is not None
        values = [metric(FAKE, real=False), metric.compute()]
        assert metric.plot(values)[0] is not None
        own = plt.subplots()[1]
        assert metric.plot(metric.compute(), ax=own)[1] is own
    metric = fed(make_class(), REAL, REAL)
    zero = metric.plot(torch.tensor(0.0))[1].lines[0].get_ydata()  # KID computes anew here
    assert [float(y) for y in zero] == [0]
    plt.close("all")


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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("emd", "histogram"),
        ("self_ranging_emd", "histogram"),
        ("frechet", "gaussian"),
        ("layer_frechet", "layer-gaussian"),
    ],
)
def test_a_reference_made_from_files_is_that_of_a_metric(name: str, kind: str) -> None:
    ranges = RANGES if name == "emd" else "auto"
    made = make_dna(REAL, EXTRACTOR, kind=kind, ranges=ranges, num_bins=40)
    metric = MAKERS[name](reference=made)
    metric.update(FAKE, real=False)
    torch.testing.assert_close(metric.compute(), fed(MAKERS[name]()).compute(), rtol=1e-12, atol=0)


def test_settings_come_from_the_reference() -> None:
    source = DNAEMD("efficientnet_lite0", layers=["block_0"], num_bins=20)
    source.update(REAL, real=True)
    metric = DNAEMD(reference=source.to_dna(True))
    assert (dict(metric.neurons), metric.num_bins) == ({"block_0": 16}, 20)
    with pytest.raises(ValueError, match="`num_bins` is 30, but the given DNA has 20 bins"):
        DNAEMD(reference=source.to_dna(True), num_bins=30)
    with pytest.raises(TypeError, match="expected to be a GaussianDNA or the path of one, but got HistogramDNA"):
        DNAFrechet(reference=source.to_dna(True))
    with pytest.raises(FileNotFoundError, match="There is no DNA file 'nowhere'"):
        DNAEMD(reference="nowhere")


def test_a_reference_may_be_a_file(tmp_path: Path) -> None:
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0"], crop="center")
    source = DNAEMD(extractor, num_bins=20)
    source.update(REAL, real=True)
    source.to_dna(True).save(tmp_path / "x.dna.npz")
    metric = DNAEMD(reference=tmp_path / "x.dna.npz")
    assert (dict(metric.neurons), metric.num_bins, metric.extractor.crop) == ({"block_0": 16}, 20, "center")
    for fed_one in (metric, source):
        fed_one.update(FAKE, real=False)
    assert metric.compute() == source.compute() > 0
    with pytest.raises(ValueError, match=r"their image preparations \(crop\) differ: 'center' and 'none'"):
        DNAEMD(DNAExtractor("efficientnet_lite0", layers=["block_0"]), reference=str(tmp_path / "x.dna.npz"))


@pytest.mark.filterwarnings("ignore:The default value for `maximize`:FutureWarning")  # torchmetrics 1.6, even if given
def test_a_tracker_of_epochs_holds_one_network(make_class: Make) -> None:
    tracker = MetricTracker(make_class(), maximize=False)
    for epoch in range(5):
        tracker.increment()
        tracker.update(REAL, real=True)
        tracker.update(more if epoch == 3 else FAKE, real=False)
    networks = {id(metric.extractor) for metric in tracker}
    assert len(networks) == 1
    near, far = (float(fed(make_class(), REAL, fake).compute()) for fake in (more, FAKE))
    assert tracker.compute_all().tolist() == [far, far, far, near, far]
    assert tracker.best_metric(return_step=True) == (near, 3)
    assert near < far


def test_a_bootstrapper_holds_one_network(make_class: Make) -> None:
    strapper = BootStrapper(make_class(), num_bootstraps=10, quantile=torch.tensor([0.05, 0.95]))
    strapper.update(REAL, real=True)
    strapper.update(FAKE, real=False)
    assert len({id(metric.extractor) for metric in strapper.metrics}) == 1
    drawn = [metric.to_dna(True).num_images for metric in strapper.metrics]
    assert sum(drawn) > 0
    assert len(set(drawn)) > 1  # each its own


@pytest.mark.parametrize("of_class", [*MAKERS, *ONE_SIDED, "mind", "cmmd", "prdc"])
def test_a_running_window_is_its_batches(of_class: str) -> None:
    others = {"mind": partial(MIND, EXTRACTOR), "cmmd": partial(CMMD, EXTRACTOR)}
    others["prdc"] = partial(PRDC, EXTRACTOR, nearest_k=2)
    make = (MAKERS | ONE_SIDED | others)[of_class]
    metric, expected = Running(make(), window=4), make()
    batches = [random_images(3, seed) // (1 + seed % 2) for seed in range(7)]
    calls = [(batch,) if of_class in ONE_SIDED else (batch, seed % 2 == 0) for seed, batch in enumerate(batches)]
    for number, call in enumerate(calls):
        (metric if number % 3 else metric.update)(*call)
        if number == 1:
            close(metric.compute(), fed_by(make(), calls[:2]).compute(), of_class)
    for call in calls[-4:]:
        expected.update(*call)
    for _ in range(2):
        close(metric.compute(), expected.compute(), of_class)
    if of_class not in ONE_SIDED:
        with pytest.raises(ValueError, match="give `reset_real_features=True`, or the real side as `reference`"):
            fed(Running(make(reset_real_features=False), window=2)).compute()


def fed_by(metric: Metric, calls: list[tuple[object, ...]]) -> Metric:
    for call in calls:
        metric.update(*call)
    return metric


def close(found: object, expected: object, name: str) -> None:
    if "realism" in name:  # scores, in no order
        found, expected = (scores.sort().values for scores in (found, expected))
    torch.testing.assert_close(found, expected)


def test_classwise_names_neurons(make_class: Make) -> None:
    metric = make_class(reduction="none")
    count = metric._terms.total
    wrapper = ClasswiseWrapper(metric, labels=[f"neuron{i}" for i in range(count)])
    wrapper.update(REAL, real=True)
    wrapper.update(FAKE, real=False)
    found = wrapper.compute()
    assert len(found) == count
    assert all(key.endswith(f"neuron{i}") for i, key in enumerate(found))


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.metrics = nn.ModuleList([make() for make in MAKERS.values()])
        self.default = DNAEMD("efficientnet_lite0", layers=["block_0"], num_bins=10)


def test_a_module_that_holds_metrics_is_itself_alone() -> None:
    holder = Holder()
    assert set(holder.state_dict()) == {"backbone.weight", "backbone.bias"}
    assert len(list(holder.parameters())) == 2
    assert not list(holder.buffers())
    holder.load_state_dict(nn.ModuleDict({"backbone": nn.Linear(2, 2)}).state_dict())
    averaged = torch.optim.swa_utils.AveragedModel(holder)
    assert len(list(averaged.parameters())) == 2
    averaged.update_parameters(holder)
    assert averaged.module.default.extractor is holder.default.extractor


def test_a_pickle_carries_the_network_once() -> None:
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_6"])
    one = len(pickle.dumps(DNAEMD(extractor, num_bins=2)))
    five = len(pickle.dumps(MetricCollection({str(i): DNAEMD(extractor, num_bins=2 + i) for i in range(5)})))
    assert five < 1.1 * one
