"""Published metrics by name: values of other implementations, several networks in one table, refused deviations."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from commands import Command
from golden import GOLDEN
from official import inception_of_fid
from small_protocols import make_small
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from torchmetrics_dna import DNAExtractor, compare, make_dna
from torchmetrics_dna.demo import blur, photographs
from torchmetrics_dna.dna.distances import Distance, all_published
from torchmetrics_dna.dna.fid_statistics import save_fid_statistics
from torchmetrics_dna.extractors import PRESETS
from torchmetrics_dna.jobs.arguments import Arguments, by_network
from torchmetrics_dna.reporting.two_sets import described_value

INCEPTION = ["fid", "kid", "is", "sfid", "precision", "recall"]
PHOTOS = [np.ascontiguousarray(photo[:64, :64]) for photo in photographs(24)]
SETS = {"a": PHOTOS[:12], "b": [blur(photo, strength=3) for photo in PHOTOS[12:]]}


class Features(NamedTuple):
    pooled: Tensor
    logits: Tensor
    spatial: np.ndarray


def features_of(network: FeatureExtractorInceptionV3, images: list[np.ndarray]) -> Features:
    """torch-fidelity's features, and the ones that ADM's evaluator takes for sFID."""
    spatial: list[Tensor] = []
    handle = network.Mixed_6d.branch1x1.register_forward_hook(lambda _m, _args, out: spatial.append(out[:, :7]))
    with torch.inference_mode():
        batches = [
            network(torch.from_numpy(np.stack(images[i : i + 8])).movedim(3, 1)) for i in range(0, len(images), 8)
        ]
    handle.remove()
    pooled, logits = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Features(pooled, logits, torch.cat(spatial).movedim(1, 3).flatten(1).double().numpy())


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of Gaussians; the trace of the root is the nuclear norm of the product of centred samples."""
    x, y = ((side - side.mean(0)) / (len(side) - 1) ** 0.5 for side in (a, b))
    root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.square(x).sum() + np.square(y).sum() - 2 * root)


def test_a_network_that_cannot_be_fetched_is_not_the_only_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(OSError, match=r"`feature='efficientnet_lite0'` with `metrics='dna-emd,kid'`$"):
        compare(*SETS.values(), metrics=["dna-emd", "kid"])


def share_inside(points: np.ndarray, balls: np.ndarray) -> float:
    """ADM's evaluator: share of points within the distance of a ball's third neighbour; the first one is itself."""
    radii = np.sort(np.linalg.norm(balls[:, None] - balls[None], axis=2), 1)[:, 3]
    return float((np.linalg.norm(points[:, None] - balls[None], axis=2) <= radii).any(1).mean())


@pytest.mark.outer
@pytest.mark.parametrize("count", [12, 100])
def test_values_are_those_of_torch_fidelity_and_adm(count: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    photos = [np.ascontiguousarray(photo[:96, :96]) for photo in photographs(2 * count)]
    sets = photos[:count], [blur(photo, strength=2) for photo in photos[count:]]
    network = inception_of_fid(tmp_path, photos[:16])
    torch.save(network.state_dict(), tmp_path / "inception_fid.pth")
    result = compare(*sets, {"weights_path": tmp_path}, metrics=INCEPTION, num_folds=None)
    a, b = (features_of(network, images) for images in sets)
    pooled = [side.pooled.double().numpy() for side in (a, b)]
    expected = {
        "fid": frechet(*pooled),
        "kid": kid_features_to_metric(a.pooled.double(), b.pooled.double(), kid_subset_size=count, verbose=False)[
            "kernel_inception_distance_mean"
        ],
        "is": isc_features_to_metric(b.logits)["inception_score_mean"],
        "sfid": frechet(a.spatial, b.spatial),
        "precision": share_inside(pooled[1], pooled[0]),
        "recall": share_inside(pooled[0], pooled[1]),
    }
    assert {name: figure.value for name, figure in result.items()} == pytest.approx(expected, rel=1e-4)
    assert expected["is"] > 1.05
    fidelity = prc_features_to_metric(b.pooled, a.pooled, prc_neighborhood=3, verbose=False)
    assert (fidelity["precision"], fidelity["recall"]) == pytest.approx((expected["precision"], expected["recall"]))
    if count == 100:  # the root of a matrix of 2,048 columns takes minutes
        statistics = [fid_features_to_statistics(side.pooled) for side in (a, b)]
        assert fid_statistics_to_metric(*statistics, False)[KEY_METRIC_FID] == pytest.approx(expected["fid"], rel=1e-4)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def test_all_records_name_layers_of_presets() -> None:
    for record in all_published().values():
        assert record.protocol.layer in PRESETS[record.protocol.feature].submodules
    assert [name for name, record in all_published().items() if record.protocol.crop == "center"] == ["cmmd"]


@pytest.mark.outer
@pytest.mark.usefixtures("small")
def test_each_metric_is_that_of_its_network_and_layer() -> None:
    metrics = ["fid", "kid", "is", "cmmd", "dna-emd"]
    result = compare(SETS["a"], SETS["b"], metrics=metrics)
    assert list(result) == ["dna-emd", "kid", "fid", "is", "cmmd"]  # of the registry, however they were given
    assert result["dna-emd"].value == compare(SETS["a"], SETS["b"])["dna-emd"].value
    of_layer = compare(SETS["a"], SETS["b"], layers=["block_1"], metrics=["fd", "kid"])
    for name, plain in (("fid", "fd"), ("kid", "kid")):
        assert result[name].value == pytest.approx(of_layer[plain].value, rel=1e-9)
        assert result[name].p_value == of_layer[plain].p_value
    cropped = DNAExtractor(layers=["block_2"], crop="center")
    assert result["cmmd"].value == compare(SETS["a"], SETS["b"], cropped, metrics=["cmmd"])["cmmd"].value
    assert result["FID"] is result["fid"]
    assert result["inception_score"] is result["is"]
    about = ["of B", "of layer head of efficientnet_lite0", "higher is better"]
    assert described_value(result, result["is"]).split(", ") == [*about, f"± {result['is'].spread:.3g} over subsets"]
    assert any(notice.startswith("fid has no value") for notice in result.notices)
    record = result.to_dict()
    assert record["fid"] == result["fid"].value
    assert record["inception_score_std"] == result["is"].spread
    assert [row["layer"] for row in result.rows() if row["distance"] == "fid"] == [None]
    assert set(result.layers) == set(result.neurons)


@pytest.mark.usefixtures("small")
def test_published_statistics_are_a_side(tmp_path: Path) -> None:
    dna = make_dna(SETS["a"], layers=["block_1"], kind="layer-gaussian", num_folds=None)
    save_fid_statistics(dna, tmp_path / "a.npz")
    of_images = compare(SETS["a"], SETS["b"], metrics="fid", num_folds=None)
    assert "of layer block_1 of efficientnet_lite0" in described_value(of_images, of_images["fid"])
    expected = of_images["fid"].value
    assert compare(tmp_path / "a.npz", SETS["b"], metrics="fid", num_folds=None)["fid"].value == pytest.approx(
        expected, rel=1e-6
    )
    with pytest.raises(ValueError, match="kid can.t be computed from a"):
        compare(tmp_path / "a.npz", SETS["b"], metrics=["fid", "kid"])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"feature": "efficientnet_lite0", "metrics": ["fid"]}, "Metric 'fid' brings its own network"),
        ({"layers": ["head"], "metrics": ["sfid", "kid"]}, "Metric 'sfid' brings its own network"),
        ({"feature": {"weights_path": "x.pth"}, "metrics": ["fid", "cmmd"]}, "a folder with the weights of each"),
        ({"metrics": ["fid", "nonsense"]}, "Argument `metrics` expected to be any of .*but got 'nonsense'"),
    ],
)
def test_deviations_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(SETS["a"], SETS["b"], **arguments)


@pytest.mark.usefixtures("small")
def test_an_iterator_is_not_read_twice() -> None:
    with pytest.raises(ValueError, match="read a side several times, but got an iterator"):
        compare(SETS["a"], iter(SETS["b"]), metrics=["fid", "cmmd"])
    with pytest.raises(ValueError, match="read a side several times, but got an iterator"):
        compare(SETS["a"], iter(SETS["b"]), metrics=["dna-emd", "fid"])
    assert "fid" in compare(SETS["a"], iter(SETS["b"]), metrics=["fid"], num_folds=None)


def test_a_network_that_can_not_be_fetched_names_what_any_network_gives(
    monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    def no_network(_: object, arguments: Arguments, **__: object) -> None:
        if all(isinstance(metric, Distance) for metric in arguments.metrics):  # the default network is there
            raise OSError("no connection")

    monkeypatch.setattr("torchmetrics_dna.comparisons.compare.plan_sides", no_network)
    images = np.zeros((3, 8, 8, 3), np.uint8)
    for metrics, instead in (
        (["kid", "fid", "sfid"], "kid,fd"),
        (["fid", "dna-emd", "is"], "fd,dna-emd"),
        (["sfid"], "fd"),
        ("precision,recall,dna-fd", "precision,recall,dna-fd"),
        (["is", "cmmd"], "cmmd"),
        (["is"], ""),
    ):
        remedy = f"; for the default network instead, pass `feature='efficientnet_lite0'` with `metrics='{instead}'`"
        with pytest.raises(OSError, match=f"^no connection{remedy * bool(instead)}$"):
            compare(images, images, metrics=metrics)
        if instead:  # can be followed: no metric brings a network
            assert len(by_network(Arguments("efficientnet_lite0", metrics=instead), [images, images])) == 1
    folder = GOLDEN / "endtoend" / "a"
    refused = cli("compare", folder, folder, "--metrics", "dna-emd,fid,kid", code=2).err
    assert "instead, pass --feature efficientnet_lite0 with --metrics dna-emd,fd,kid" in refused
