"""Class by class: what each class gives by itself, in metrics, Python and the command, in any number of processes."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands import Command
from networks import Pixels
from PIL import Image
from typer import Exit

from torchmetrics_dna import DNAExtractor, compare
from torchmetrics_dna.cli.gates import end_by, gates_of
from torchmetrics_dna.comparisons.classes import ClassComparisons, by_class
from torchmetrics_dna.images import ImageSource, Reading

NAMES = ("cat", "dog", "emu", "fox")
SIZES = {"real": (20, 11, 7, 0), "fake": (14, 11, 1, 5)}


def sets() -> dict[str, tuple[np.ndarray, list[str]]]:
    """Return images and their classes, shuffled; foxes are only among the fakes."""
    generator = np.random.default_rng(0)
    by_side = {}
    for side, sizes in SIZES.items():
        classes = generator.permutation(np.repeat(NAMES, sizes)).tolist()
        shifts = [20 * NAMES.index(name) + (30 if (side, name) == ("fake", "dog") else 0) for name in classes]
        images = generator.normal(80, 30, (len(classes), 8, 8, 3)) + np.array(shifts)[:, None, None, None]
        by_side[side] = images.clip(0, 255).astype(np.uint8), classes
    return by_side


SETS = sets()
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 64}


def extractor() -> DNAExtractor:
    return DNAExtractor(Pixels())


def of_class(side: str, name: str) -> np.ndarray:
    images, classes = SETS[side]
    return images[[label == name for label in classes]]


def check(rank: int, world: int) -> None:
    """Assert that each class is as measured by itself, however many processes share the images."""
    by = tuple(classes for _, classes in SETS.values())
    images = [images for images, _ in SETS.values()]
    comparisons = compare(*images, extractor(), by=by, num_folds=None, distributed=world > 1, **OPTIONS)
    assert list(comparisons) == ["cat", "dog", "emu"]
    assert comparisons.alone == ([], ["fox"])
    for name in ("cat", "dog", "emu"):
        single = compare(of_class("real", name), of_class("fake", name), extractor(), num_folds=None, **OPTIONS)
        assert torch.equal(comparisons[name]["dna-emd"].values, single["dna-emd"].values)
        if name != "emu":  # of which one is no Gaussian
            assert comparisons[name]["dna-fd"].value == pytest.approx(single["dna-fd"].value, rel=1e-12)
    fakes = np.concatenate([of_class("fake", name) for name in NAMES[:3]])
    joined = compare(images[0], fakes, extractor(), num_folds=None, **OPTIONS)
    assert torch.equal(comparisons.total["dna-emd"].values, joined["dna-emd"].values)


def test_classes_are_as_measured_by_themselves() -> None:
    check(0, 1)


@pytest.mark.outer
def test_in_several_processes() -> None:
    processes.run(2, check)


@pytest.fixture(scope="module")
def tested() -> ClassComparisons:
    """With folds; dogs differ."""
    generator = np.random.default_rng(1)
    by = np.repeat(["a", "b", "c"], 40).tolist()
    sides = [generator.normal(90, 25, (120, 8, 8, 3)) for _ in range(2)]
    sides[1][40:80] += 40
    return compare(*(images.clip(0, 255).astype(np.uint8) for images in sides), extractor(), by=(by, by), **OPTIONS)


def test_which_classes_differ(tested: ClassComparisons, capsys: pytest.CaptureFixture[str]) -> None:
    assert tested.order[0] == "b"
    assert ["1 of 3 classes differs significantly" in tested.verdict, "is in b (" in tested.verdict] == [True, True]
    p = {name: comparison.p_value for name, comparison in tested.items()}
    order = sorted(p, key=p.__getitem__)
    expected = [p[name] * 3 / (i + 1) for i, name in enumerate(order)]
    assert [tested.q_values[name] for name in order] == pytest.approx([min(expected[i:]) for i in range(3)])
    expected = np.maximum.accumulate(np.minimum(1, [p[name] * (3 - i) for i, name in enumerate(order)])).tolist()
    assert [tested.p_holm[name] for name in order] == pytest.approx(expected)
    rows = tested.to_dict()["classes"]
    assert rows[0]["class"] == "b"
    assert {row["class"]: (row["dna_emd_p_value"], row["p_holm"]) for row in rows} == {
        name: (p[name], tested.p_holm[name]) for name in p
    }
    assert tested.table.header[-3:] == ["debiased", "p (Holm)", "q"]
    assert tested.table.rows[0][-2:] == ["0.003", "0.003"]
    without_b = {name: comparison for name, comparison in tested.items() if name != "b"}
    assert [gate.passed for gate in gates_of(without_b, 0.05, {"fail_if_different": 0.05})] == [True]
    with pytest.raises(Exit):
        end_by(gates_of(tested, 0.05, {"fail_if_different": 0.05}))
    assert capsys.readouterr().err.startswith("Failed: b differs significantly (p")


def save(folder: Path, side: str) -> Path:
    for name in NAMES[:2]:
        (folder / side / name).mkdir(parents=True)
        for i, image in enumerate(of_class(side, name)[:5]):
            Image.fromarray(image).resize((32, 32)).save(folder / side / name / f"{i}.png")
    return folder / side


def test_the_command(tmp_path: Path, cli: Command) -> None:
    real, fake = (save(tmp_path, side) for side in SETS)
    (fake / "yak").mkdir()
    Image.new("RGB", (32, 32)).save(fake / "yak" / "1.png")
    options = ["--layers", "block_0", "--num-folds", "0"]
    captured = cli("compare", real, fake, "--by", "folder", *options, "--fail-above", "0.01", code=1)
    assert all(part in captured.out for part in ("dog differs most", "all together"))
    assert all(part in captured.err for part in ("has (1): yak", "of dog is"))
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "file,class\n" + "".join(f"{c}/{i}.png,{c}\n" for c in NAMES[:2] for i in range(5)) + "yak/1.png,y\n"
    )
    printed = cli("compare", real, fake, "--by", labels, *options, "--format", "csv").out
    rows = {row["class"]: row for row in csv.DictReader(io.StringIO(printed))}
    alone = compare(real / "cat", fake / "cat", layers=["block_0"], num_folds=None)
    assert float(rows["cat"]["dna_emd"]) == alone["dna-emd"].value


def test_a_column_of_parquet(tmp_path: Path, cli: Command) -> None:
    for side, (images, classes) in SETS.items():
        files = [io.BytesIO() for _ in images]
        for file, image in zip(files, images, strict=True):
            Image.fromarray(image).save(file, "PNG")
        table = pa.table({"image": [file.getvalue() for file in files], "label": classes})
        pq.write_table(table, tmp_path / f"{side}.parquet", row_group_size=7)
    sides = tmp_path / "real.parquet", tmp_path / "fake.parquet"
    result = compare(*sides, extractor(), by="column:label", reading=Reading(batch_size=4), **OPTIONS)
    by = tuple(classes for _, classes in SETS.values())
    expected = compare(*(images for images, _ in SETS.values()), extractor(), by=by, **OPTIONS)
    for key in ("dna_emd", "dna_emd_debiased"):
        assert [row[key] for row in result.rows()] == [row[key] for row in expected.rows()]
    assert (result.alone, result.total["dna-emd"].value) == (expected.alone, expected.total["dna-emd"].value)
    assert "There is no column 'colour'" in cli("compare", *sides, "--by", "column:colour", code=2).err
    assert "pass 'column:NAME'" in cli("compare", *sides, "--by", "folder", code=2).err


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_labels_in_another_encoding_are_told_with_their_file(encoding: str, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    source = ImageSource(["x/a/1.png", "x/2.png"], str, "x")
    labels.write_text("image,class\na/1.png,Möwe\n2.png,gull\n", encoding=encoding)
    with pytest.raises(ValueError, match=rf"{re.escape(repr(str(labels)))} is not in UTF-8$"):
        by_class(source, str(labels))
    for spelled, saved in (("./a//1.png", "utf-8"), ("a/1.png", "utf-16")):
        labels.write_text(f"image,class\n{spelled},Möwe\n2.png,gull\n", encoding=saved)
        assert by_class(source, str(labels)) == {"gull": [1], "Möwe": [0]}
