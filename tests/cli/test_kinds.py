"""Kinds of sources as a user of the commands meets them."""

from __future__ import annotations

import json
from pathlib import Path

import kinds
import pytest
from commands import Command, run
from kinds import COUNT, FILES, ON_DISK, tar
from PIL import Image

from torchmetrics_dna import load_dna

# servers, Arrow and fsspec have threads, which Python 3.12 and later warn of where workers are forked
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
FAST = ("--layers", "block_0")
CUT = "Can't read images of {cut!r}: Compressed file ended"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinds.folder(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, "make", folder, "-o", folder.parent / "x.dna.npz", *FAST) == 0
    return load_dna(folder.parent / "x.dna.npz").digest


@pytest.mark.parametrize("kind", ["list", "pattern", "packed npz", "packed tar", "shards by star", "parquet"])
def test_make_takes_them(kind: str, expected: str, tmp_path: Path, cli: Command) -> None:
    (tmp_path / "in").mkdir()
    output = tmp_path / "x.dna.npz"
    cli("make", ON_DISK[kind](tmp_path / "in"), "-o", output, *FAST)
    assert load_dna(output).digest == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.dna.npz"]


def test_a_column_and_frames_are_chosen(tmp_path: Path, cli: Command) -> None:
    source, other = kinds.shards(tmp_path, mask=True), kinds.npy(tmp_path)
    options = (*FAST, "--num-folds", "0", "--format", "json")
    assert json.loads(cli("compare", source, other, "--column", "mask.png", *options).out)["dna_emd"] > 0
    cli("make", kinds.video(tmp_path), "--fps", "2", "-o", tmp_path / "v.npz", *FAST)
    assert load_dna(tmp_path / "v.npz").num_images == -(-COUNT // 2)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("make {source} --column jpg -o x.npz", "There is no column 'jpg' in {source!r}, which has png"),
        (
            "make {folder} --column jpg -o x.npz",
            "Option --column is 'jpg', but there are no columns in {folder!r}; leave it out",
        ),
        ("make {source} --fps 0 -o x.npz", "Option --fps expected to be above 0, but got 0.0"),
        ("make {cut} -o x.npz --kind histogram,gaussian", CUT),
        ("compare {cut} {source}", CUT),
        ("rank {source} --reference {cut} --format=csv", CUT),
        ("ranges {cut} -o x.json", CUT),
        ("compare {source} {poor}", "There is no column that holds an image in {poor!r}, which has label; name it"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    command: str, message: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Command
) -> None:
    import pyarrow as pa
    from pyarrow import parquet as pq

    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    monkeypatch.setenv("COLUMNS", "1000")
    paths = {"source": tar(tmp_path / "x.tgz", FILES, "w:gz"), "folder": str(folder), "cut": str(tmp_path / "cut.tgz")}
    Path(paths["cut"]).write_bytes(Path(paths["source"]).read_bytes()[:-3000])
    paths["poor"] = str(tmp_path / "poor.parquet")
    pq.write_table(pa.table({"label": [1]}), paths["poor"])
    fast = ("--layers", "block_0")
    said = cli(*[word.format(**paths) for word in command.split()], *fast, code=2).err
    (line,) = [line for line in said.splitlines() if "torchmetrics-dna:" in line]
    assert message.format(**paths) in line
    assert list(Path().iterdir()) == []


def test_a_contact_sheet_of_a_tar(tmp_path: Path, cli: Command) -> None:
    source, sheet = tar(tmp_path / "x.tar", FILES), tmp_path / "x.png"
    cli("rank", source, "--reference", source, "--plot", sheet, *FAST)
    with Image.open(sheet) as image:
        assert image.width > 500
