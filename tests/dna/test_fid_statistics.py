"""Statistics of FID as others publish them: references for fd, of whatever extractor they are compared by."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from address_space import at_most
from golden import GOLDEN
from hub_server import serving
from networks import Pixels, random_images
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from torchmetrics_dna import DNAExtractor, LayerFrechetDistance, compare, load_dna, make_dna
from torchmetrics_dna.dna import LayerGaussianDNA
from torchmetrics_dna.dna.fid_statistics import is_statistics, load_fid_statistics, save_fid_statistics
from torchmetrics_dna.dna.load import is_dna_path

REAL, FAKE = random_images(40, 0), random_images(30, 1) // 2
EXTRACTOR = DNAExtractor(Pixels(), layers=["mean"])


def features(images: torch.Tensor) -> torch.Tensor:
    return EXTRACTOR(images)["mean"].double()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """One set's statistics as others write them: pytorch-fid and clean-fid, ADM, and here."""
    statistics = fid_features_to_statistics(features(REAL))
    paths = {name: tmp_path / name for name in ("pytorch_fid.npz", "adm.npz", "ours.npz")}
    np.savez(paths["pytorch_fid.npz"], **statistics)
    images = {"arr_0": REAL.permute(0, 2, 3, 1).numpy(), "mu_s": np.zeros(7), "sigma_s": np.eye(7)}
    np.savez(paths["adm.npz"], **images, mu=statistics["mu"].astype(np.float32), sigma=statistics["sigma"])
    save_fid_statistics(make_dna(REAL, EXTRACTOR, kind="layer-gaussian"), paths["ours.npz"])
    return paths


def test_files_of_others_are_references(files: dict[str, Path]) -> None:
    sides = (fid_features_to_statistics(features(images)) for images in (REAL, FAKE))
    expected = fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    for name, path in files.items():
        assert load_dna(path).num_images == 0, "which no file says"
        metric = LayerFrechetDistance(EXTRACTOR, reference=path)
        for batch in FAKE.split(7):
            metric.update(batch, real=False)
        assert float(metric.compute()) == pytest.approx(expected, rel=1e-6), name
        assert metric.reference is not None
        assert dict(metric.reference.neurons) == {"mean": 3}
        if name != "adm.npz":
            comparison = compare(path, FAKE, EXTRACTOR, metrics=["fd"])
            assert (comparison["fd"].value, comparison.num_images) == (
                pytest.approx(expected, rel=1e-6),
                {"a": 0, "b": 30},
            )
    dna = make_dna(FAKE, EXTRACTOR, kind="layer-gaussian")
    for a, b in ((files["ours.npz"], dna), (dna, files["pytorch_fid.npz"])):
        assert compare(a, b, metrics=["fd"])["fd"].value == pytest.approx(expected, rel=1e-6)
    assert compare(files["adm.npz"], dna, EXTRACTOR, metrics=["fd"]).num_images["a"] == 40, "its images are measured"


@pytest.mark.slow  # starts a server
def test_they_are_read_at_addresses(files: dict[str, Path], tmp_path: Path) -> None:
    with serving({"plain": tmp_path}) as (server, requests):
        expected = compare(files["ours.npz"], FAKE, EXTRACTOR, metrics=["fd"])["fd"].value
        address = f"{server}/plain/pytorch_fid.npz"
        comparison = compare(address, FAKE, EXTRACTOR, metrics=["fd"])
        assert (comparison["fd"].value, comparison.num_images["a"]) == (pytest.approx(expected, rel=1e-6), 0)
        assert LayerFrechetDistance(EXTRACTOR, reference=address).reference is not None
        adm = LayerFrechetDistance(EXTRACTOR, reference=f"{server}/plain/adm.npz")
        assert adm.reference is not None, "it holds images, too, but a reference is statistics"
        assert not is_dna_path(f"{server}/plain/adm.npz")
        with pytest.raises(FileNotFoundError, match=r"There is nothing at .*nothing\.npz'"):
            is_dna_path(f"{server}/plain/nothing.npz")
        requests.clear()
        with pytest.raises(ValueError, match=r"/edm2.pkl\?x=1' is a pickle, .* of stats\['fid'\]"):
            compare(f"{server}/plain/edm2.pkl?x=1", FAKE, EXTRACTOR, metrics=["fd"])
        assert not requests, "it is not even fetched"


def test_they_are_known_at_addresses_by_their_first_array() -> None:
    for place, (names, expected) in enumerate(((("mu", "sigma"), True), (("sigma", "mu"), True), (("x", "mu"), False))):
        np.savez(content := io.BytesIO(), **dict.fromkeys(names, np.eye(2)))
        with fsspec.open(f"memory://statistics/{place}.npz", "wb") as file:
            file.write(content.getvalue())
        assert is_statistics(f"memory://statistics/{place}.npz") == expected
    with pytest.raises(FileNotFoundError, match="There is nothing at 'memory:.*none.npz'"):
        is_statistics("memory://statistics/none.npz")


def test_others_read_what_is_written(files: dict[str, Path]) -> None:
    with np.load(files["ours.npz"], allow_pickle=False) as written:
        assert sorted(written) == ["mu", "sigma"]
        np.testing.assert_allclose(written["mu"], features(REAL).mean(0), rtol=1e-12)
        np.testing.assert_allclose(written["sigma"], features(REAL).T.cov(), rtol=1e-9, atol=1e-9)
    several = make_dna(REAL, DNAExtractor(Pixels(), layers=["mean", "colours"]), kind="layer-gaussian")
    with pytest.raises(ValueError, match=r"of one layer, but got Neurons.6 in 2 layers"):
        save_fid_statistics(several, "x")


def test_the_command_takes_them(files: dict[str, Path], cli: Callable[..., Any], tmp_path: Path) -> None:
    a, b = (GOLDEN / "endtoend" / side for side in "ab")
    path, feature, layers = tmp_path / "stats.npz", ("--feature", "efficientnet_lite0"), ("--layers", "block_0")
    save_fid_statistics(make_dna(a, layers=["block_0"], kind="layer-gaussian"), path)
    assert "unknown and " in cli("compare", path, b, *feature, *layers, "--metrics", "fd").out
    said = cli("compare", path, b, *feature, "--metrics", "fd", code=2).err
    assert "one layer of 16 neurons" in said
    make_dna(FAKE, EXTRACTOR, kind="layer-gaussian").save(tmp_path / "fake.dna.npz")
    cli("convert", tmp_path / "fake.dna.npz", tmp_path / "fake.npz")
    assert load_fid_statistics(tmp_path / "fake.npz").mean.tolist() == pytest.approx(features(FAKE).mean(0).tolist())
    (tmp_path / "edm2.pkl").write_bytes(pickle.dumps({"fid": {}}))
    said = cli("compare", tmp_path / "edm2.pkl", b, "--metrics", "fd", code=2).err
    assert "is a pickle" in said


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('ran')",)


def test_what_is_wrong_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    torch.save({"mu": Evil()}, tmp_path / "evil.pt")
    np.savez(tmp_path / "shapes.npz", mu=np.zeros(3), sigma=np.eye(4))
    np.savez(tmp_path / "integers.npz", mu=np.zeros(3), sigma=np.eye(3, dtype=np.int64))
    np.savez(tmp_path / "nan.npz", mu=np.full(3, np.nan), sigma=np.eye(3))
    np.savez(tmp_path / "objects.npz", mu=np.array([Evil()], object), sigma=np.eye(1))
    np.savez(tmp_path / "wide.npz", mu=np.zeros(20_000), sigma=np.eye(1))
    (tmp_path / "cut.npz").write_bytes(files["ours.npz"].read_bytes()[:200])
    np.savez_compressed(tmp_path / "zeros.npz", mu=np.zeros(3400), sigma=np.zeros((3400, 3400)))
    for name, message in (
        ("evil.pt", r"evil.pt' is a pickle, which can run any code when it is read; .* of torch.load\('x.pt'"),
        ("shapes.npz", r"shapes \(3,\) and \(4, 4\), expected \(n,\) and \(n, n\)"),
        ("integers.npz", "as statistics of FID: its mu and sigma are not of floating point"),
        ("nan.npz", "as statistics of FID"),
        ("objects.npz", "as statistics of FID"),
        ("wide.npz", r"shapes \(20000,\) and \(1, 1\), expected"),
        ("zeros.npz", r"it would unpack from \d+ to 925\d+ bytes, as a zip bomb does"),
        ("cut.npz", "as statistics of FID: it is damaged"),
    ):
        with at_most(100), pytest.raises(ValueError, match=message):
            load_fid_statistics(tmp_path / name)
    dna = load_dna(files["ours.npz"])
    assert isinstance(dna, LayerGaussianDNA)
    with pytest.raises(ValueError, match="one does not say of how many images it is"):
        dna + dna
