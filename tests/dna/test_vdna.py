"""Files of the official implementation, read and written."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dnas
import numpy as np
import pytest
import torch
from dnas import are_alike
from golden import GOLDEN, load

from torchmetrics_dna import ActivationRanges, compare, load_dna
from torchmetrics_dna.dna import GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.load import is_dna_path
from torchmetrics_dna.dna.vdna import load_vdna, save_vdna
from torchmetrics_dna.neurons import Neurons

FILES = GOLDEN / "official_files"
EXPECTED = load("official_files/expected.npz")
LAYERS = {"conv1": 6, "conv2": 12, "embed": 16}
RANGES = FILES / "activation_ranges.json"


def expected(name: str) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([EXPECTED[f"{name}-{layer}"] for layer in LAYERS]))


def test_histograms() -> None:
    dna = load_dna(FILES / "hist50", ranges=RANGES)
    assert isinstance(dna, HistogramDNA)
    assert torch.equal(dna.counts, expected("hist50_file"))
    assert (dna.num_images, dna.extractor, dict(dna.neurons), dna.num_bins) == (7, "tiny_conv", LAYERS, 50)
    assert dna.known_ranges.digest == ActivationRanges.load(RANGES).digest
    assert dna.preparation == {"resize": "clean", "crop": "none"}
    assert load_dna(FILES / "hist50").ranges is None
    # the file is by the path that counts values at bin edges wrongly: a dead neuron, in 2 cells
    assert int((dna.counts != expected("hist50_histc")).sum()) == 2


def test_histograms_without_ranges_are_compared(tmp_path: Path, cli: Callable[..., Any]) -> None:
    counts = torch.randint(1, 50, (2, 5, 20), generator=torch.Generator().manual_seed(0))
    for name, part in zip("xy", counts, strict=True):
        save_vdna(HistogramDNA(part, Neurons({"a": 3, "b": 2}), None, 7, "x"), tmp_path / name)
    x, y = (load_dna(tmp_path / name) for name in "xy")
    comparison = compare(x, y)
    shares = counts.double() / counts.sum(2, keepdim=True)
    expected = (shares[0].cumsum(1) - shares[1].cumsum(1)).abs().sum(1)
    assert comparison.to_dict()["dna_emd"] == pytest.approx(float(expected.mean()), rel=1e-9)
    assert [neuron["shift"] for neuron in comparison.top_neurons()] == [None] * 5
    assert comparison.explain().properties == []
    assert any("ranges of a file of vdna are unknown" in notice for notice in comparison.notices)
    with pytest.raises(ValueError, match="ranges of this DNA are unknown.* pass them as `ranges` when loading"):
        _ = comparison.mean_shift
    assert cli("compare", tmp_path / "x", tmp_path / "y", "--format", "json").out


def test_gaussians_and_ranges() -> None:
    dna = load_dna(FILES / "gauss")
    assert isinstance(dna, GaussianDNA)
    assert torch.equal(dna.mean, expected("mu").double())
    assert torch.equal(dna.var, expected("var").double())
    assert dna.num_images == 7
    dna = load_dna(FILES / "layer_gauss")
    assert isinstance(dna, LayerGaussianDNA)
    assert torch.equal(dna.mean, expected("lg_mu"))
    for layer in LAYERS:
        # which are symmetric to the last bits only
        np.testing.assert_allclose(dna.cov[layer], EXPECTED[f"lg_sigma-{layer}"], rtol=1e-12, atol=1e-18)
    assert are_alike(dna.to_gaussian(), load_dna(FILES / "gauss"), rtol=1e-4, atol=1e-7)
    ranges = load_vdna(FILES / "act_ranges", ranges=None)
    assert isinstance(ranges, ActivationRanges)
    assert torch.equal(ranges.minimum, expected("min").double())
    assert torch.equal(ranges.maximum, expected("max").double())
    assert ranges.digest == ActivationRanges.load(RANGES).digest
    with pytest.raises(ValueError, match="holds activation ranges, not a DNA; load_vdna reads them"):
        load_dna(FILES / "act_ranges")


@pytest.mark.parametrize("stem", ["hist50", "gauss", "layer_gauss", "act_ranges"])
def test_written_files_hold_what_the_official_ones_do(stem: str, tmp_path: Path) -> None:
    save_vdna(load_vdna(FILES / stem, ranges=None), tmp_path / stem)
    with np.load(FILES / f"{stem}.npz") as theirs, np.load(tmp_path / f"{stem}.npz") as ours:
        # theirs hold a pickled {} for each layer too, which nobody reads
        keys = [key for key in theirs.files if stem == "hist50" or key not in LAYERS]
        assert ours.files == keys if stem == "hist50" else sorted(ours.files) == sorted(keys)
        for key in keys:
            assert ours[key].dtype == theirs[key].dtype
            if key.startswith("sigma"):
                np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-12, atol=1e-18)
            else:
                assert np.array_equal(ours[key], theirs[key]), key
    theirs, ours = (json.loads((folder / f"{stem}.json").read_text()) for folder in (FILES, tmp_path))
    assert set(ours) == set(theirs)
    for key in ("type", "name", "distribution", "vdna_version", "feature_extractor_name", "neurons_list", "num_images"):
        if stem != "act_ranges" or key not in ("num_images", "feature_extractor_name"):  # which ranges don't keep
            assert ours[key] == theirs[key], key
    assert list(ours["neurons_list"]) == list(theirs["neurons_list"])
    for settings in ("data_settings", "extraction_settings"):
        # any other key there would be an error in vdna
        assert set(ours[settings]) <= set(theirs[settings])
        for key, value in ours[settings].items():
            if key != "source":
                assert value == theirs[settings][key], key


def test_what_official_files_can_not_hold(tmp_path: Path) -> None:
    neurons = Neurons({"a": 1, "b": 2, "c": 1, "d": 2, "e": 3})
    with pytest.raises(
        ValueError, match=r"Files of vdna hold counts up to 2\^31 - 1, but the largest count is 2147483648"
    ):
        save_vdna(dnas.histogram(neurons, largest=2**31), tmp_path / "x")
    with pytest.raises(
        ValueError, match="Files of vdna hold whole layers, but this DNA has only some of their neurons"
    ):
        save_vdna(dnas.gaussian(), tmp_path / "x")
    with pytest.raises(ValueError, match=r"a name without a dot for files of vdna.*but got 'm_v1.0'"):
        save_vdna(dnas.gaussian(neurons), tmp_path / "m_v1.0")
    assert list(tmp_path.iterdir()) == []


def test_only_the_stem_and_the_two_files_mean_a_pair(tmp_path: Path) -> None:
    copies(tmp_path, "gauss")
    for name in ("x", "x.json", "x.npz"):
        assert is_dna_path(tmp_path / name), name
        assert load_dna(tmp_path / name).num_images == 7
    for name in ("x.zip", "x.jpg", "x.txt", "x.0"):
        for exists in (False, True):
            if exists:
                (tmp_path / name).write_bytes(b"anything")
            assert not is_dna_path(tmp_path / name), name
            with pytest.raises(ValueError if exists else FileNotFoundError, match=name):
                load_dna(tmp_path / name)
    (tmp_path / "x").mkdir()
    assert not is_dna_path(tmp_path / "x")  # where it may be images, a folder is
    (tmp_path / "folder.npz").mkdir()
    assert not is_dna_path(tmp_path / "folder.npz")  # a folder is images, whatever its name
    assert load_dna(tmp_path / "x").num_images == 7
    with pytest.raises(FileNotFoundError, match="There are no files of vdna .*other': expected a .json and an .npz"):
        load_vdna(tmp_path / "other", ranges=None)
    ActivationRanges.load(RANGES).save(tmp_path / "y.json")  # ranges beside a file of ours
    dnas.gaussian().save(tmp_path / "y.npz")
    assert load_dna(tmp_path / "y.npz").digest == dnas.gaussian().digest
    with pytest.raises(FileNotFoundError, match="There is no DNA file"):
        load_dna(tmp_path / "y")


@pytest.mark.parametrize(
    ("stem", "name", "value", "message"),
    [
        ("gauss", "mu-conv1", np.nan, "Argument `mean` expected to be finite"),
        ("gauss", "var-conv2", -1e-9, "Argument `var` expected to be 0 or more, but got -9.99"),
        ("layer_gauss", "sigma-conv1", np.nan, "Argument `cov` expected to be symmetric and finite, but layer 'conv1'"),
        ("layer_gauss", "sigma-conv1", -1e-9, "its array 'sigma-conv1' has a negative variance"),
    ],
)
def test_numbers_that_no_images_give(stem: str, name: str, value: float, message: str, tmp_path: Path) -> None:
    description, npz = copies(tmp_path, stem)
    with np.load(npz) as file:
        arrays = {key: file[key] for key in file.files if "-" in key}
    arrays[name].flat[0] = value
    np.savez_compressed(npz, **arrays)
    with pytest.raises(ValueError, match=f"Can't read '{npz}' as a file of vdna: {message}"):
        load_dna(description)


def test_a_variance_that_rounding_took_below_0_is_0_in_official_files(tmp_path: Path) -> None:
    neurons, cov = Neurons({"a": 2}), torch.tensor([[-1e-20, 0.0], [0.0, 1.0]], dtype=torch.float64)
    save_vdna(LayerGaussianDNA(torch.zeros(2), {"a": cov}, neurons, 5, "tiny"), tmp_path / "x")
    assert load_dna(tmp_path / "x").cov["a"].tolist() == [[0, 0], [0, 1]]


def copies(folder: Path, stem: str) -> tuple[Path, Path]:
    return tuple(Path(shutil.copy(FILES / f"{stem}.{suffix}", folder / f"x.{suffix}")) for suffix in ("json", "npz"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "other"}, "is of kind 'other', expected one of histogram, gaussian"),
        ({"neurons_list": {"conv1": 7}}, r"its array 'conv1' is <i4 of shape \(6, 50\), expected <i4 of \(7, 50\)"),
        ({"neurons_list": {"conv9": 7}}, "it has no member 'conv9.npy'"),
        ({"neurons_list": None}, "as a file of vdna: its neurons_list is None, expected dict"),
        ({"neurons_list": {"conv1": 10**400}}, "as a file of vdna: Neuron numbers of layer 'conv1' must be"),
        ({"num_images": 10**30}, r"Argument `num_images` expected to be from 0 to 2\^63 - 1, but got 10{29}"),
        ({"num_images": True}, "its num_images is True, expected int"),
        ({"distribution": {"hist_nb_bins": 10**12}}, "its array 'conv1' is <i4 of shape"),
    ],
)
def test_changed_descriptions(change: dict[str, object], message: str, tmp_path: Path) -> None:
    description, _ = copies(tmp_path, "hist50")
    description.write_text(json.dumps(json.loads(description.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        load_dna(tmp_path / "x")


def test_damaged_and_wrapped_files(tmp_path: Path) -> None:
    description, npz = copies(tmp_path, "hist50")
    content = npz.read_bytes()
    with np.load(npz) as file:
        wrapped = {layer: file[layer] - 5 for layer in file.files}
    np.savez_compressed(npz, **wrapped)
    with pytest.raises(ValueError, match=r"has negative counts: more than 2\^31 - 1 were written to it, and wrapped"):
        load_dna(description)
    npz.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="it is damaged"):
        load_dna(description)
    description.write_text("{")
    with pytest.raises(ValueError, match="as a file of vdna: it is damaged .JSONDecodeError"):
        load_dna(description)


def test_pickles_are_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    description, npz = copies(tmp_path, "gauss")
    with zipfile.ZipFile(npz) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    evil = b"cos\nsystem\n(S'touch executed'\ntR."

    def replaced(member: str) -> Path:
        with zipfile.ZipFile(npz, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, evil if name == member else content)
        return description

    assert load_dna(replaced("conv1.npy")).num_images == 7  # beside the arrays that are wanted
    with pytest.raises(ValueError, match="as a file of vdna"):
        load_dna(replaced("mu-conv1.npy"))
    assert not Path("executed").exists()


def test_ranges_are_attached_only_where_they_are_right(tmp_path: Path) -> None:
    dna = load_dna(FILES / "hist50", ranges=RANGES)
    dna.save(tmp_path / "x.dna.npz")
    assert load_dna(tmp_path / "x.dna.npz", ranges=RANGES).digest == dna.digest
    other = ActivationRanges(dna.ranges.minimum - 1, dna.ranges.maximum, dna.neurons, "scale")
    with pytest.raises(ValueError, match=r"was counted within the ranges \w{16} \(\w{16}\), but `ranges` is"):
        load_dna(tmp_path / "x.dna.npz", ranges=other)
    load_dna(FILES / "hist50").save(tmp_path / "bare.dna.npz")
    assert load_dna(tmp_path / "bare.dna.npz").ranges is None
    assert load_dna(tmp_path / "bare.dna.npz", ranges=RANGES).digest == dna.digest
