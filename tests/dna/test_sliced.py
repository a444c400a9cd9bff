"""SlicedDNA: histograms along random directions: what they are of, how they merge, their files and distances."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run
from networks import Pixels, random_images
from PIL import Image
from torch import Tensor

from torchmetrics_dna import DNAEMD, DNAMIND, DNAExtractor, Neurons, SlicedDNA, compare, compare_all, load_dna, make_dna
from torchmetrics_dna.files.container import read_container, write_container
from torchmetrics_dna.functional import mind
from torchmetrics_dna.sets.demo import blur, photographs

EXTRACTOR = DNAExtractor(Pixels(), layers=["mean", "contrast"])
A, B = random_images(30, 0), random_images(30, 1) // 2


def sliced(images: Tensor, num_bins: int = 100) -> SlicedDNA:
    dna = make_dna(images, EXTRACTOR, kind="sliced", num_bins=num_bins)
    assert isinstance(dna, SlicedDNA)
    return dna


def means(layer: str, images: Tensor) -> Tensor:
    return EXTRACTOR(images)[layer].flatten(2).mean(2) if layer != "mean" else EXTRACTOR(images)[layer]


def test_histograms_are_of_the_published_directions() -> None:
    dna = sliced(A)
    directions = torch.randn(1000, 3, generator=torch.Generator().manual_seed(2020))
    directions = (directions / directions.norm(dim=1, keepdim=True)).double()
    for layer, counts in dna.projections.by_layer().items():
        points = means(layer, A).double() @ directions.T
        edges = dna.projections.bin_edges()[dna.projections.neurons.slices[layer]]
        for m in (0, 999):
            expected, _ = np.histogram(points[:, m].numpy(), edges[m].numpy())
            assert counts[m].tolist() == expected.tolist()


def test_photographs_are_as_far_as_by_their_features() -> None:
    photos = photographs(12)
    photos[6:] = [blur(photo, strength=2) for photo in photos[6:]]
    sides = torch.stack([torch.from_numpy(photo.copy()) for photo in photos]).permute(0, 3, 1, 2).split(6)
    layers = ["block_1", "head"]
    found = compare(*sides, layers=layers, metrics=["dna-mind", "mind"], num_folds=0)
    assert found.value("dna-mind", "head") == pytest.approx(found.mind, rel=0.01)
    assert found.dna_mind == pytest.approx(np.mean([found.value("dna-mind", layer) for layer in layers]), rel=1e-12)
    assert found.layers["head"]["dna_mind"] == found.value("dna-mind", "head")
    assert found.to_dict()["dna_mind"] == found.dna_mind
    assert found.about(found.records("layer")[0]) == "squared activations, mean over layers"


def test_merging_is_exact_and_needs_no_order() -> None:
    whole, parts = sliced(torch.cat([A, B])), [sliced(B[20:]), sliced(A), sliced(B[:20])]
    merged = parts[0].merge(*parts[1:])
    assert merged.digest == whole.digest == (parts[2] + parts[1] + parts[0]).digest
    assert merged.allclose(whole)
    assert not merged.allclose(parts[1])
    assert merged.num_images == 60
    assert parts[0].num_images == 10, "parts stay as they are"
    with pytest.raises(ValueError, match="numbers of bins differ: 100 and 50"):
        parts[0].merge(sliced(A, 50))


def test_layers_can_be_selected_and_neurons_can_not() -> None:
    dna = sliced(A)
    one = dna.select(["contrast"])
    assert (dict(one.neurons), dict(one.projections.neurons)) == ({"contrast": 3}, {"contrast": 1000})
    assert torch.equal(one.distances(sliced(B).select(["contrast"])), dna.distances(sliced(B))[1:])
    turned = dna.restrict(Neurons({"contrast": 3, "mean": 3}))
    assert torch.equal(turned.distances(turned), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="2 of the 3 of layer 'mean' were asked for; select layers"):
        dna.select(neurons=[0, 2])


def test_files_and_metrics_go_together(tmp_path: Path) -> None:
    dna = sliced(A)
    dna.save(tmp_path / "a.dna.npz")
    back = load_dna(tmp_path / "a.dna.npz")
    assert isinstance(back, SlicedDNA)
    assert (back.digest, repr(back)) == (dna.digest, repr(dna))
    expected = compare(A, B, EXTRACTOR, metrics=["dna-mind"], num_bins=100)
    assert expected.dna_mind == pytest.approx(
        np.mean([float(mind(means(layer, A), means(layer, B))) for layer in EXTRACTOR.neurons]), rel=0.05
    )
    metric = DNAMIND(EXTRACTOR, reference=tmp_path / "a.dna.npz", reduction="layer")
    for some in B.split(7):
        metric.update(some, real=False)
    assert metric.num_bins == 100
    values = {layer: float(value) for layer, value in metric.compute().items()}
    assert values == {layer: figures["dna_mind"] for layer, figures in expected.layers.items()}
    for sides in ((tmp_path / "a.dna.npz", B), (dna, metric.to_dna(False))):
        found = compare(*sides, *([EXTRACTOR] if isinstance(sides[1], Tensor) else []))
        assert (list(found.found), found.dna_mind) == (["dna-mind"], expected.dna_mind)
        assert found.top_neurons() == found.to_dict()["words"] == []
    with pytest.raises(ValueError, match="does not have the means of neurons"):
        found.means  # noqa: B018
    table = compare_all({"a": A, "b": B}, EXTRACTOR, metrics=["dna-mind"], num_bins=100)
    assert table.found["dna-mind"][0, 1] == pytest.approx(expected.dna_mind, rel=1e-12)
    with pytest.raises(TypeError, match="expected to be a HistogramDNA or the path of one, but got SlicedDNA"):
        DNAEMD(EXTRACTOR, reference=dna)


def test_the_commands_make_and_compare_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for side, images in (("a", A), ("b", B)):
        (tmp_path / side).mkdir()
        for i, image in enumerate(images[:6].permute(0, 2, 3, 1).numpy()):
            Image.fromarray(image).save(tmp_path / side / f"{i}.png")
    sides, made = [str(tmp_path / side) for side in "ab"], tmp_path / "x.dna.npz"
    kinds = ["--kind", "sliced,histogram", "--layers", "block_0", "--num-bins", "50"]
    assert run(monkeypatch, "make", sides[0], "-o", made, *kinds, "--batch-size", "4") == 0
    file = tmp_path / "x.sliced.dna.npz"
    assert run(monkeypatch, "info", file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["num_bins"], told["layers"]["block_0"]["values"]) == ("sliced", 50, 6)
    assert told["digest"] == load_dna(file).digest
    assert run(monkeypatch, "compare", file, sides[1], "--json") == 0
    from_file = json.loads(capsys.readouterr().out)["dna_mind"]
    assert run(monkeypatch, "compare", *sides, *kinds[2:], "--metrics", "dna-mind", "--json") == 0
    assert json.loads(capsys.readouterr().out)["dna_mind"] == from_file > 0
    assert run(monkeypatch, "make", sides[0], "-o", made, *kinds, "--folds", "5") == 2
    assert "DNAs of kind 'sliced' have no folds" in capsys.readouterr().err
    assert run(monkeypatch, "convert", file, tmp_path / "official") == 2
    assert "sliced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda dna, _: dna.update(directions={"count": 1000, "seed": 1}), "its directions are .*'seed': 1"),
        (lambda dna, _: dna.update(num_images=29), "not every direction counts every image once"),
        (lambda dna, _: dna.update(num_bins=50), "as a DNA file"),
        (lambda dna, _: dna.pop("ranges"), "as a DNA file"),
        (lambda dna, _: dna["ranges"].update(margin="widen"), "as a DNA file"),
        (lambda dna, _: dna.update(layers=[["mean", [0, 2]], ["contrast", 3]], folds=[{}]), "as a DNA file"),
        (lambda _, arrays: arrays.pop("counts/mean"), "as a DNA file"),
    ],
)
def test_forged_files_are_refused(
    change: Callable[[dict[str, Any], dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.dna.npz"
    sliced(A).save(path)
    header, arrays = read_container(path)
    described, arrays = dict(header["dna"]), dict(arrays)
    change(described, arrays)
    write_container(path, described, arrays, written_by="a forger")
    with pytest.raises(ValueError, match=message):
        load_dna(path)


def test_what_has_no_sense_is_refused() -> None:
    dna = sliced(A)
    fewer = dna.select(["mean"])
    for wrong in ({"num_images": 3}, {"neurons": fewer.neurons}, {"projections": fewer.projections}):
        with pytest.raises(ValueError, match="`projections` expected to be self-ranging histograms of"):
            replace(dna, **wrong)
    with pytest.raises(ValueError, match="expected to have no folds"):
        replace(dna, folds=(dna,))
    with pytest.raises(ValueError, match="DNAs of kind 'sliced' have no folds"):
        make_dna(A, EXTRACTOR, kind="sliced", num_folds=5)
    with pytest.raises(ValueError, match="`num_bins`"):
        sliced(A, 1)
    with pytest.raises(ValueError, match="A sliced DNA does not have what dna-emd takes"):
        compare(dna, B, EXTRACTOR, metrics=["dna-emd"])
