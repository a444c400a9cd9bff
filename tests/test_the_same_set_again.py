"""A set against itself, or a part or copy of itself, however it is named: what is said is that of the same images."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, make_archive
from typing import Any

import numpy as np
import pytest
import torch
from commands import Command
from networks import Pixels
from PIL import Image

from torchmetrics_dna import ActivationRanges, DNAExtractor, compare, make_dna, monitor, rank
from torchmetrics_dna.comparisons import diff, matrix
from torchmetrics_dna.comparisons.classes import by_class
from torchmetrics_dna.images import ImageSource, ImageStream, Reading, open_source
from torchmetrics_dna.images.sets import are_same
from torchmetrics_dna.singles import Ranking

EXTRACTOR = DNAExtractor(Pixels(), input_size=8)
READING = Reading(num_workers=0, skip_unreadable=True)
OPTIONS: dict[str, Any] = {"ranges": "auto", "num_bins": 40, "reading": READING}
COUNT, ODD, BROKEN = 13, 4, 9


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of smooth pictures, one of noise, and one file that is no image."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("sets") / "photos"
    for i in range(COUNT):
        ramp = np.linspace(60, 60 + 80 * random.random(), 16)[:, None, None] + random.normal(0, 9, (16, 16, 3))
        pixels = random.uniform(0, 255, ramp.shape) if i == ODD else ramp
        path = folder / "xy"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (folder / "xy"[BROKEN % 2] / f"{BROKEN:02}.png").write_bytes(b"no image")
    return folder


def linked(folder: Path) -> Path:
    link = folder.parent / "link"
    if not link.exists():
        link.symlink_to(folder)
    return link


def copied(folder: Path) -> Path:
    copy = folder.parent / "copy"
    return copy if copy.exists() else copytree(folder, copy)


def zipped(folder: Path) -> Path:
    """An archive with a top folder, as most tools make one."""
    return Path(make_archive(str(folder.parent / "zipped"), "zip", folder.parent, folder.name))


# how a set is named again, and whether it is then known to be one, so that it is measured and told once
AGAIN: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "path": (lambda folder: folder, True),
    "text": (lambda folder: f"{folder.parent}//{folder.name}/", True),
    "link": (linked, True),
    "opened before": (open_source, True),
    "part": (lambda folder: open_source(folder).take(range(COUNT)), False),
    "list": (files, False),
    "copy": (copied, False),
    "archive": (zipped, False),
}
each_again = pytest.mark.parametrize("again", AGAIN)


@each_again
def test_compared_with_itself(again: str, folder: Path) -> None:
    make, is_one = AGAIN[again]
    a, b = (folder, make(folder)) if is_one else (make(folder), folder)
    result = compare(a, b, EXTRACTOR, **OPTIONS)
    assert (result.same_images, result["dna-emd"].value, result.num_images) == (True, 0, {"a": 12, "b": 12})
    assert len(result.unreadable) == 2 - is_one
    several = compare(a, {"it": b, "again": b, "half": files(folder)[:6]}, EXTRACTOR, **OPTIONS)
    assert re.match("it, again and .* have the same images", several.verdict)
    assert len(several.unreadable) == 2 - is_one
    both = matrix({"a": a, "b": b, "c": b}, EXTRACTOR, **OPTIONS)
    assert not both.distances["dna-emd"].any()
    assert len(both.unreadable) == 2 - is_one
    if again != "list":  # whose folder of all files is another
        versions = diff(a, b, EXTRACTOR, **OPTIONS)
        assert versions.rows() == []
        assert len(versions.unreadable) == 2 - is_one
    classes = compare(a, b, EXTRACTOR, by="folder", **OPTIONS)
    assert {name: result.num_images["a"] for name, result in classes.items()} == {"x": 7, "y": 5}
    assert len(classes.unreadable) == 2 - is_one
    with pytest.warns(UserWarning, match="it is left out") as warnings:
        list(monitor(a, b, EXTRACTOR, window=3, learn=2, **OPTIONS))
    assert len(warnings) == 2 - is_one


@pytest.mark.parametrize(
    ("count_a", "count_b", "shares"), [(120, 20, True), (20, 120, False), (20, 50, False), (50, 20, True)]
)
def test_what_is_shared_is_a_share_of_b(count_a: int, count_b: int, shares: bool) -> None:
    """Of sides that differ in size, with five images in common."""
    random = np.random.default_rng(0)
    images = [np.repeat(np.repeat(random.integers(0, 256, (8, 8, 3)), 4, 0), 4, 1).astype(np.uint8) for _ in range(170)]
    result = compare(images[:count_a], images[count_a - 5 :][:count_b], EXTRACTOR, **OPTIONS)
    assert (result.copies, result.num_images) == (5, {"a": count_a, "b": count_b})
    assert (
        result.shares_images
        == shares
        == (f"5 of {count_b} images in B are near-duplicates of images in A" in result.verdict)
    )
    assert any("5 images in B are near-duplicates of images in A" in notice for notice in result.notices)


def test_what_is_nearly_alike_within_a_set_is_told_where_it_has_folds() -> None:
    random = np.random.default_rng(0)
    images = np.repeat(np.repeat(random.integers(0, 256, (40, 8, 8, 3)), 4, 1), 4, 2).astype(np.uint8)
    images[39] = images[25] ^ 1
    for options, told in (({}, True), ({"num_folds": None}, False), ({"copies": False}, False)):
        notices = compare(images[:20], images[20:], EXTRACTOR, **OPTIONS | options).notices
        assert any("2 images in B are near-duplicates of others there" in notice for notice in notices) is told


def by_name(ranking: Ranking) -> dict[str, tuple[float, bool]]:
    own = [False] * len(ranking.names) if ranking.own is None else ranking.own.tolist()
    return {Path(name).name: each for name, *each in zip(ranking.names, ranking.scores.tolist(), own, strict=True)}


def readable(folder: Path) -> list[Path]:
    return [path for path in files(folder) if path.name != f"{BROKEN:02}.png"]


def left_out(folder: Path, score: Any, **options: Any) -> dict[str, float]:
    """Rank each image of the folder against the others, in as many calls."""
    paths, alone = readable(folder), {}
    for path in paths:
        others = [other for other in paths if other != path]
        alone[path.name] = float(rank([path], others, EXTRACTOR, score=score, **options).scores[0])
    return alone


@pytest.mark.parametrize("score", ["outlier", "distance"])
def test_ranked_against_itself(score: Any, folder: Path) -> None:
    """However the reference is given, its images are scored against its others, and are no evidence in the test."""
    learned = make_dna(readable(folder), EXTRACTOR, ranges="auto", num_bins=40).known_ranges
    ranges = ActivationRanges(learned.minimum, learned.maximum, learned.neurons)
    options: dict[str, Any] = {} if score == "outlier" else {"ranges": ranges, "num_bins": 40}
    if score == "distance":
        expected = left_out(folder, score, **options)
    else:
        expected = {name: score for name, (score, _) in by_name(rank(readable(folder), feature=EXTRACTOR)).items()}
    foreign = np.random.default_rng(5).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    for again, (make, is_one) in AGAIN.items():
        ranking = rank(folder, make(folder), EXTRACTOR, score=score, reading=READING, **options)
        scores = {name: score for name, (score, _) in by_name(ranking).items()}
        assert scores == pytest.approx(expected, rel=1e-6), again
        assert all(own for _, own in by_name(ranking).values())
        assert Path(ranking.names[0 if score == "outlier" else -1]).name == f"{ODD:02}.png"
        assert len(ranking.unreadable) == 2 - is_one
        assert (ranking.outlier_test, ranking.flagged_names) == (None, [])
        if score == "outlier":  # which judges each beside the others, of which there are too few here
            assert "15 images" in ranking.verdict
        else:
            assert ranking.verdict == ""
            assert ranking.notices[0].startswith("12 of 12 images belong")
        some = [*files(folder)[:3], foreign]
        given = [np.asarray(Image.open(some[0])), *some[1:]]
        mixed = rank(given, make(folder), EXTRACTOR, score=score, reading=READING, **options)
        alone = rank([foreign], make(folder), EXTRACTOR, score=score, reading=READING, **options)
        scores = dict(zip(mixed.numbers, mixed.scores.tolist(), strict=True))
        assert [scores[i] for i in range(3)] == pytest.approx([expected[path.name] for path in some[:3]], rel=1e-6)
        assert scores[3] == pytest.approx(float(alone.scores[0]))
        assert [mixed.numbers[i] for i in (~mixed.own).nonzero()[:, 0]] == [3]
        assert mixed.notices[0].startswith("3 of 4 images belong")
        if score == "outlier":
            assert (mixed.outlier_test, mixed.outliers.numbers) == (alone.outlier_test, [3])
            assert mixed.to_dict()["notices"] == mixed.notices
    of_dna = rank(folder, make_dna(readable(folder), EXTRACTOR, kind="layer-gaussian"), EXTRACTOR, reading=READING)
    assert of_dna.own is None


def test_what_can_not_leave_itself_out_is_told(folder: Path) -> None:
    some = files(folder)[:2]
    for score, reference, is_told in (("local", folder, True), ("distance", some[:1], False)):
        notices = rank(some, reference, EXTRACTOR, score=score, reading=READING).notices
        assert [notice[:6] for notice in notices] == ["2 of 2"] * is_told
    with pytest.raises(RuntimeError, match="More than two images are required in the reference"):
        rank(some, some, EXTRACTOR, reading=READING)


@pytest.mark.outer
@each_again
def test_no_image_is_a_copy_of_itself(again: str, folder: Path, tmp_path: Path, cli: Command) -> None:
    """Where the index is known to be of these images; in a copy of the folder each image has one."""
    make, is_one = AGAIN[again]
    is_in_it = is_one or again == "part"
    for images, nearest in ((folder, make(folder)), (make(folder), folder)):
        if isinstance(nearest, ImageSource) and nearest.whole is not None:
            continue  # an index of a part of the images
        ranking = rank(images, files(folder)[:4], EXTRACTOR, nearest=nearest, reading=READING)
        itself = [Path(a).name == Path(b).name for a, b in zip(ranking.names, ranking.nearest.names, strict=True)]
        assert any(itself) == all(itself) == (not is_in_it)
        assert len(ranking.unreadable) == 2 - is_one


def test_an_image_that_is_named_twice(folder: Path, tmp_path: Path) -> None:
    """It counts twice in a list, has one partner at most, and one class."""
    paths = files(folder)[:3]
    assert compare([*paths, paths[0]], paths, EXTRACTOR, **OPTIONS).num_images == {"a": 4, "b": 3}
    versions = diff(paths, [*paths, paths[0]], EXTRACTOR, **OPTIONS)
    assert versions.added == [str(paths[0])]
    with pytest.raises(ValueError, match=r"`pairs` gives '00' to 2 images of .*"):
        compare([*paths, paths[0]], [*paths, paths[1]], EXTRACTOR, pairs="name", **OPTIONS)
    labels = tmp_path / "labels.csv"
    rows = [f"{path.name},{path.parent.name}" for path in paths]
    labels.write_text("\n".join([*rows, rows[0]]))  # which says nothing else
    assert by_class(open_source(paths), str(labels)) == {"x": [0, 1, 2]}
    labels.write_text("\n".join([*rows, f"./{paths[0].name},bird"]))
    with pytest.raises(ValueError, match=r"has '00.png' twice, as 'x' and as 'bird'$"):
        by_class(open_source(paths), str(labels))


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("top", ["", "t", "deep/er"])
def test_names_in_an_archive_are_below_the_folder_that_all_share(
    kind: str, top: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "root" / top).parent.mkdir(parents=True, exist_ok=True)
    copytree(folder, tmp_path / "root" / top, dirs_exist_ok=True)
    path = Path(make_archive(str(tmp_path / "made"), kind, tmp_path / "root"))
    names = open_source(folder).relative_names
    assert open_source(path).relative_names == names
    assert by_class(open_source(path), "folder") == by_class(open_source(folder), "folder")
    versions = diff(folder, path, EXTRACTOR, **OPTIONS)
    assert (versions.added, versions.removed, versions.renamed, versions.edited) == ([], [], [], [])
    partners = compare(folder, path, EXTRACTOR, pairs="name", **OPTIONS)
    assert partners.num_images == {"a": 12, "b": 12}


def test_an_archive_of_one_class_has_that_class(folder: Path, tmp_path: Path) -> None:
    for name, members in {"x": ["x/{}"], "deep": ["a/b/x/{}"], "both": ["x/{}", "y/{}"]}.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for member in members:
                for path in files(folder / "x"):
                    archive.write(path, member.format(path.name))
        assert list(by_class(open_source(tmp_path / f"{name}.zip"), "folder")) == ["x", "y"][: len(members)]
    assert list(by_class(open_source(tmp_path / "*.zip"), "folder")) == ["x", "y"]
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as archive:
        archive.write(files(folder)[0], "00.png")
    with pytest.raises(ValueError, match=r"'00.png' lies in no folder of its class below '.*flat.zip'"):
        by_class(open_source(tmp_path / "flat.zip"), "folder")


@each_again
def test_a_part_has_what_the_whole_has(again: str, folder: Path) -> None:
    whole = open_source(AGAIN[again][0](folder))
    numbers = [4, 0, 6]
    for part in (whole.take(numbers), whole.take([1, 6, 0, 4]).take([3, 2, 1]), whole.split(0, 1).take(numbers)):
        assert part.relative_names == [whole.relative_names[i] for i in numbers]
        assert [part.names[i] for i in range(3)] == [whole.names[i] for i in numbers]
        assert [part.stamp(i) for i in range(3)] == [whole.stamp(i) for i in numbers]
        assert (part.options, part.arrays, part.label, part.example) == (whole.options, whole.arrays, whole.label, None)
        assert all(np.array_equal(part[i], whole[number]) for i, number in enumerate(numbers))
        assert part.numbers_in(whole) == numbers
        assert whole.numbers_in(part) is None


@pytest.mark.outer
def test_a_ranking_of_which_nothing_is_kept(folder: Path, tmp_path: Path) -> None:
    paths = files(folder)
    far = np.full((16, 16, 3), 255, np.uint8)
    far[:8] = 0
    ranking = rank([far], paths, EXTRACTOR, nearest=paths, reading=READING)
    kept = ranking.filter(0.5)
    assert (kept.names, kept.scores.shape, kept.outliers, kept.verdict, kept.flagged_names) == ([], (0,), None, "", [])
    assert repr(kept) == "Ranking(0 images, outlier)"
    assert "0 images by how unusual" in kept._repr_html_()
    assert (kept.rows(), kept.table.rows, kept.to_dict()["images"], len(kept.tables)) == ([], [], [], 1)
    assert kept.table.header == ranking.table.header
    kept.save(tmp_path / "x.ranking.npz")
    assert repr(Ranking.load(tmp_path / "x.ranking.npz")) == repr(kept)
    assert kept.filter(0.5).names == []
    assert torch.equal(kept.percentiles, torch.empty(0, dtype=torch.float64))
    with pytest.raises(ValueError, match="none is left in this ranking"):
        kept.plot()


@pytest.mark.outer
@pytest.mark.parametrize("kind", ["folder", "zip", "shards"])
def test_what_a_path_holds_now_is_another_set(kind: str, folder: Path, tmp_path: Path) -> None:
    held, new = tmp_path / "held", tmp_path / "held" / ("new.png" if kind == "folder" else "new.tar")
    if kind == "zip":
        held = Path(make_archive(str(held), "zip", folder))
    elif kind == "folder":
        copytree(folder, held)
    else:
        for name in ("first", "second"):  # one alone would be indexed
            make_archive(str(held / name), "tar", folder)
    path = held / "*.tar" if kind == "shards" else held
    before, again = open_source(path), open_source(path)
    assert isinstance(before, ImageStream) == (kind == "shards")
    assert are_same(before, again)
    if kind == "zip":
        with zipfile.ZipFile(held, "a") as archive:
            archive.write(files(folder)[0], "new.png")
    else:
        new.write_bytes(files(folder)[0].read_bytes() if kind == "folder" else (held / "first.tar").read_bytes())
    assert not are_same(before, open_source(path))
    assert not are_same(before, open_source(folder))
