"""DNA files: bit-exact, readable by numpy alone, and refused when anything in them was changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY
from urllib.parse import quote

import dnas
import numpy as np
import pytest
import torch
from address_space import at_most
from damage import damaged, npy, unzipped, zipped
from dnas import are_alike, every_kind, tensors

from torchmetrics_dna import ActivationRanges, load_dna
from torchmetrics_dna.dna import DNA, GaussianDNA, HistogramDNA, LayerGaussianDNA
from torchmetrics_dna.dna.distances import DISTANCES
from torchmetrics_dna.dna.features import Features
from torchmetrics_dna.dna.load import merge_files
from torchmetrics_dna.files.atomic import replacing
from torchmetrics_dna.files.container import content_digest, is_container, read_container, write_container
from torchmetrics_dna.neurons import Neurons

KINDS = every_kind()
NAMES = ["histogram", "self-ranging", "gaussian", "layer-gaussian"]
OLD_FILES = [Path(__file__).parents[1] / "data" / "format_1" / f"{name}.dna.npz" for name in NAMES]


@pytest.mark.parametrize("dna", [*KINDS, *dnas.in_folds()], ids=[*NAMES, *(f"{name} in folds" for name in NAMES)])
def test_equal_content_gives_equal_bytes_and_comes_back(dna: DNA, tmp_path: Path) -> None:
    path = tmp_path / "x.dna.npz"
    for name in (path, tmp_path / "equal"):
        dna.save(name)
    assert path.read_bytes() == (tmp_path / "equal").read_bytes()
    members = zipfile.ZipFile(path).infolist()
    assert {(each.create_system, each.external_attr >> 16) for each in members} == {(3, 0o644)}  # as unzip makes files
    assert json.loads(np.load(path)["dna.json"])["format_version"] == 1 + bool(dna.folds)
    loaded = load_dna(str(path))
    assert (type(loaded), repr(loaded), loaded.digest) == (type(dna), repr(dna), dna.digest)
    assert are_alike(loaded, dna)
    for part, expected in zip((loaded, *loaded.folds), (dna, *dna.folds), strict=True):
        assert all(torch.equal(tensors(part)[name], values) for name, values in tensors(expected).items())


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link", tmp_path / "far" / "x.dna.npz"
    link.symlink_to("far/x.dna.npz")
    for dna in KINDS[2:]:  # first it dangles
        dna.save(link)
        assert link.is_symlink()
        assert load_dna(target).digest == load_dna(link).digest == dna.digest
        assert list(target.parent.iterdir()) == [target]
    link.unlink()
    link.symlink_to("nowhere/x.dna.npz")
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere' to write 'x.dna.npz' to"):
        dna.save(link)
    link.unlink()
    link.symlink_to("link")
    for output in (link, target.parent, Path(os.devnull)):
        with pytest.raises(FileExistsError, match=f"{output.name}' is a folder or a device, expected a file"):
            dna.save(output)


def test_files_are_on_the_disk_before_they_take_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as a process can tell: what it asks the system to flush, and when."""
    path, flushed = tmp_path / "x", []
    dnas.gaussian().save(path)
    old = path.read_bytes()

    def fsync(handle: int) -> None:
        inode = os.fstat(handle).st_ino
        name = next(p.name for p in (tmp_path, *tmp_path.iterdir()) if p.stat().st_ino == inode)
        content = b"" if inode == tmp_path.stat().st_ino else os.pread(handle, 10**6, 0)
        flushed.append((name, content, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    dnas.histogram().save(path)
    new = path.read_bytes()
    assert flushed == [(ANY, new, old), (tmp_path.name, b"", new)]
    assert flushed[0][0].startswith(".x.")

    def fails_for_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fails_for_folders)
    dnas.gaussian().save(path)
    assert path.read_bytes() == old


def test_threads_write_one_path_at_once(tmp_path: Path) -> None:
    barrier = threading.Barrier(6)

    def write(number: int) -> None:
        with replacing(tmp_path / "x") as temporary:
            barrier.wait()
            temporary.write_text(str(number))
            barrier.wait()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    with pytest.raises(OSError, match=r"^no number$"), replacing(tmp_path / "x"):
        raise OSError("no number")


def test_numpy_alone_reads_it(tmp_path: Path) -> None:
    """As docs/format.md says how to."""
    dna, path = dnas.histogram(), tmp_path / "x.npz"
    dna.save(path)
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(file["dna.json"])
        for layer, numbers in header["dna"]["layers"]:
            planes = file[f"counts/{quote(layer, safe='')}"] if layer != "x.npy" else file["counts/x.npy.npy"]
            counts = np.tensordot(256 ** np.arange(len(planes)), planes, 1)
            assert np.array_equal(counts, dna.by_layer()[layer]), layer
            assert counts.sum(1).tolist() == [header["dna"]["num_values"][layer]] * len(counts)
            assert numbers == ([1, 4, 5] if layer == dnas.LAYERS[-1] else dna.neurons[layer])
    content = path.read_bytes()
    assert content[-71:-64] == b"sha256:"
    assert content[-64:].decode() == hashlib.sha256(content[:-64]).hexdigest()


def test_the_largest_counts(tmp_path: Path) -> None:
    for largest in (2**31, 2**32 + 1, 2**63 - 1):
        neurons = dnas.Neurons({"a": 1, "b": 2, "c": 1, "d": 2, "e": 3})
        dna = dnas.histogram(neurons, 2, largest)
        dna = HistogramDNA(dna.counts.clamp(max=largest), neurons, dna.ranges, 1, "tiny")
        dna.counts[-3:, 0], dna.counts[-3:, 1] = largest, 0
        dna.save(tmp_path / "x")
        assert torch.equal(HistogramDNA.load(tmp_path / "x").counts, dna.counts)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    dnas.gaussian().save(tmp_path / "x")
    with pytest.raises(ValueError, match=r"holds 'gaussian', expected 'histogram'"):
        HistogramDNA.load(tmp_path / "x")


@pytest.mark.parametrize("path", OLD_FILES, ids=lambda path: path.name)
def test_files_of_version_1_are_read_for_ever(path: Path) -> None:
    dna = load_dna(path)
    with np.load(path.with_name(path.name.replace(".dna.npz", ".expected.npz"))) as expected:
        described = json.loads(str(expected["about"]))
        for i, (name, values) in enumerate(tensors(dna).items()):
            assert np.array_equal(values.numpy(), expected[f"value_{i}"]), name
    assert described == dnas.about(dna)


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_writing_ends_whole_or_not_at_all(tmp_path: Path) -> None:
    """A disk that is full, as far as a process can tell: it may not write files beyond some size."""
    import resource

    path = tmp_path / "x.dna.npz"
    dnas.gaussian().save(path)
    before = path.read_bytes()
    big = GaussianDNA(torch.rand(9000), torch.rand(9000), Neurons({"a": 9000}), 2, "x")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            big.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere' to write 'x' to"):
        dnas.gaussian().save(tmp_path / "nowhere" / "x")


@pytest.mark.parametrize(
    ("error", "filename"),
    [
        (lambda _: OSError(28, "No space left"), "x"),
        (lambda temporary: OSError(28, "No space left", str(temporary)), "x"),
        (lambda _: FileNotFoundError(2, "No such file", "other"), "other"),
        (lambda _: OSError("it is told in words"), None),
    ],
)
def test_an_error_of_writing_names_the_file_that_was_asked_for(
    error: Callable[[Path], OSError], filename: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="No s|in words") as caught, replacing("x") as temporary:
        raise error(temporary)
    assert caught.value.filename == (str(tmp_path / "x") if filename == "x" else filename)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such modes")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    path.chmod(mode)
    for content in ("a", "b"):
        with replacing(path) as temporary:
            assert temporary.stat().st_mode & 0o777 == 0o600  # nobody else reads what is not yet complete
            temporary.write_text(content)
        assert (path.read_text(), path.stat().st_mode & 0o777) == (content, mode)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such permission")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    code = (
        "import os\nfrom pathlib import Path\nfrom torchmetrics_dna.files.atomic import check_folder\n"
        "os.geteuid() or os.setuid(65534)\n"  # root may write anywhere
        "check_folder(Path('x'))\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "The folder '.' may" in process.stderr


# --- files that were changed ------------------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[dict[str, bytes], dict], None]) -> bytes:
    """The file with its members and header changed, and a checksum that fits: as by someone who means to deceive."""
    members = unzipped(path.read_bytes())
    header = json.loads(members["dna.json"])
    change(members, header)
    if "dna.json" in members:
        members["dna.json"] = json.dumps(header).encode()
    return zipped(members)


class Evil:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("import pathlib; pathlib.Path('executed').touch()",)


def lie(shape: list[int], payload: int) -> Callable[[dict[str, bytes], dict], None]:
    """Counts that are declared large, consistently, over zeros."""

    def change(members: dict[str, bytes], header: dict) -> None:
        name = next(name for name in header["arrays"] if name.startswith("counts/"))
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)})
        members[f"{name}.npy"] = head.getvalue() + bytes(payload)
        header["arrays"][name][1] = shape
        header["dna"]["num_bins"] = shape[-1]

    return change


def swap(members: dict[str, bytes], header: dict) -> None:
    """Of two arrays of one shape where there are such."""
    *_, first, second = sorted(header["arrays"], key=lambda name: (header["arrays"][name][1], name))
    members[f"{first}.npy"], members[f"{second}.npy"] = members[f"{second}.npy"], members[f"{first}.npy"]


def set_array(content: Callable[[np.ndarray], bytes]) -> Callable[[dict[str, bytes], dict], None]:
    def change(members: dict[str, bytes], header: dict) -> None:
        name = list(header["arrays"])[-1]
        array = np.lib.format.read_array(io.BytesIO(members[f"{name}.npy"]))
        members[f"{name}.npy"] = content(array)

    return change


def set_header(**changes: object) -> Callable[[dict[str, bytes], dict], None]:
    def change(members: dict[str, bytes], header: dict) -> None:
        for key, value in changes.items():
            target = header["dna"] if key in header["dna"] else header
            target[key] = value

    return change


def forge(**changes: object) -> Callable[[dict[str, bytes], dict], None]:
    """Change the description and its digest, so that the values themselves have to tell."""

    def change(members: dict[str, bytes], header: dict) -> None:
        header["dna"].update(changes)
        arrays = {name: np.lib.format.read_array(io.BytesIO(members[f"{name}.npy"])) for name in header["arrays"]}
        header["digest"] = content_digest(header["dna"], arrays)

    return change


DECEITS: dict[str, tuple[Callable[[dict[str, bytes], dict], None], str]] = {
    "swapped arrays": (swap, ""),
    "a member left out": (lambda members, header: members.pop(list(members)[-1]), ""),
    "a member too many": (lambda members, header: members.update({"more.npy": npy(np.zeros(3))}), ""),
    "no header": (lambda members, header: members.pop("dna.json"), ""),
    "declared larger than memory": (lie([1, 10**6, 10**9], 1000), "does not have uint8 of shape"),
    "negative shape": (lie([1, -1, 6], 6), ""),
    "a bomb of 75 MB": (lie([1, 75_000, 1000], 75_000_000), "would unpack from"),
    "a bomb in the header": (lambda members, header: header["dna"].update(more=[[]] * 1_000_000), ""),
    "a header that is too long": (lambda members, header: header.update(notes="x" * 2**22), "more than 4194304"),
    "float32": (set_array(lambda array: npy(array.astype(np.float32))), ""),
    "a pickle": (set_array(lambda array: npy(np.array([Evil()] * array.size, object).reshape(array.shape))), ""),
    "more numbers": (set_array(lambda array: npy(np.append(array, 0))), ""),
    "trailing bytes": (set_array(lambda array: npy(array) + b"\0" * 8), ""),
    "an npy header that does not end": (set_array(lambda array: b"\x93NUMPY\x01\x00\x03\x00(((" + array.tobytes()), ""),
    "garbage for npy": (set_array(lambda array: b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 9999), ""),
    "more images": (set_header(num_images=13), "its content is not what its digest says"),
    "another kind": (set_header(kind="unknown"), ""),
    "layers missing": (set_header(layers=[]), ""),
    "deep json": (lambda members, header: header.update(dna=json.loads("[" * 900 + "]" * 900)), ""),
    "a newer format": (set_header(format_version=3), "this release reads versions 1 and 2; upgrade torchmetrics-dna"),
    "a digest of nonsense": (set_header(digest=None), ""),
}


def refused(path: Path) -> str:
    """The message that a file is refused with; whatever it does, nothing is executed."""
    with pytest.raises(ValueError, match=r".") as caught:
        load_dna(path)
    message = str(caught.value)
    assert repr(str(path)) in message
    return message


# what a file declares, and bombs, are of the first kind
FOR_FIRST = [name for name in DECEITS if "bomb" in name or "declared" in name or "negative" in name]


@pytest.mark.parametrize(
    ("name", "kind"), [(name, NAMES[0 if name in FOR_FIRST else i % len(NAMES)]) for i, name in enumerate(DECEITS)]
)
def test_deceits_are_refused(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good, bad = tmp_path / "good", tmp_path / "bad"
    KINDS[NAMES.index(kind)].save(good)
    change, said = DECEITS[name]
    bad.write_bytes(rewritten(good, change))
    with at_most(200) if "bomb" in name or "declared" in name else nullcontext():
        assert said in refused(bad)
    assert not Path("executed").exists()


@pytest.mark.parametrize("folds", [[{}, {}], [{"num_images": 12}], {}, [1], [{"layers": []}], [{"kind": "x"}]])
def test_forged_folds_are_refused(folds: object, tmp_path: Path) -> None:
    dnas.in_folds()[0].save(tmp_path / "good")
    (tmp_path / "bad").write_bytes(rewritten(tmp_path / "good", forge(folds=folds)))
    refused(tmp_path / "bad")


@pytest.mark.parametrize("kind", NAMES)
def test_a_file_without_layers_is_refused(kind: str, tmp_path: Path) -> None:
    KINDS[NAMES.index(kind)].save(tmp_path / "good")
    (tmp_path / "bad").write_bytes(rewritten(tmp_path / "good", forge(layers=[])))
    assert refused(tmp_path / "bad").endswith("as a DNA file: its header lists no layers")


def test_features_of_another_number_of_images_are_refused(tmp_path: Path) -> None:
    Features(torch.rand(5, 3), dnas.Neurons({"head": 3}), "tiny").save(tmp_path / "good")
    (tmp_path / "bad").write_bytes(rewritten(tmp_path / "good", forge(num_images=6)))
    with pytest.raises(ValueError, match="bad' as a DNA file: it has features of 5 images, but is of 6"):
        Features.load(tmp_path / "bad")


def test_the_deceiver_can_write_a_file_that_is_read(tmp_path: Path) -> None:
    """So that the tests above are refused for what they change, not for how they write."""
    good, same = tmp_path / "good", tmp_path / "same"
    for dna in KINDS:
        dna.save(good)
        same.write_bytes(rewritten(good, lambda members, header: None))
        assert load_dna(same).digest == dna.digest


@pytest.mark.parametrize("dna", KINDS, ids=NAMES)
def test_damaged_files_are_refused(dna: DNA, tmp_path: Path) -> None:
    path, rng = tmp_path / "x.dna.npz", random.Random(0)
    dna.save(path)
    content = path.read_bytes()
    for _ in range(50):
        path.write_bytes(damaged(content, rng))
        if path.read_bytes() != content:
            assert "\n" not in refused(path)


@pytest.mark.parametrize("huge", [1e200, -1e200])
def test_numbers_whose_distances_would_not_be_finite_are_refused(huge: float) -> None:
    neurons, cov = Neurons({"a": 1}), torch.tensor([[[abs(huge)] * 2] * 2], dtype=torch.float64)
    value = torch.tensor([huge], dtype=torch.float64)
    for make in (
        lambda: GaussianDNA(value, torch.zeros(1), neurons, 2, "x"),
        lambda: GaussianDNA(torch.zeros(1), value.abs(), neurons, 2, "x"),
        lambda: LayerGaussianDNA(torch.zeros(2), {"a": cov[0]}, Neurons({"a": 2}), 2, "x"),
        lambda: ActivationRanges(-value.abs(), value.abs(), neurons),
    ):
        with pytest.raises(ValueError, match="1e.200"):
            make()
    large = GaussianDNA(torch.tensor([3.4e38]), torch.tensor([1.1e77], dtype=torch.float64), neurons, 2, "x")
    assert DISTANCES["dna-fd"].result(large, large).values.tolist() == [0]  # as float32 activations may be


def test_notes_that_no_reader_would_take_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than 4194304 bytes, .*; shorten the notes"):
        replace(dnas.gaussian(), notes="x" * 2**22).save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_shrinks_too_well_to_be_believed_is_stored_as_it_is(tmp_path: Path) -> None:
    """A writer never makes what its reader takes for a bomb."""
    empty = {"counts/a": np.zeros((1, 75_000, 1000), np.uint8)}
    write_container(tmp_path / "x", {}, empty)
    assert (tmp_path / "x").stat().st_size > 75_000_000
    assert read_container(tmp_path / "x", "a file")[1]["counts/a"].shape == (1, 75_000, 1000)


def test_what_is_merged_twice_is_named(tmp_path: Path) -> None:
    first, second = (dnas.histogram(largest=largest) for largest in (2**40, 2**39))
    files = [tmp_path / name for name in ("a", "b", "copy of a")]
    for file, dna in zip(files, (first, second, replace(first, notes="not the same file")), strict=True):
        dna.save(file)
    assert merge_files(files[:2]).digest == (first + second).digest
    with pytest.warns(UserWarning, match=r"copy of a' and '.*a' hold equal DNAs: are their 12 images the"):
        assert merge_files(files).num_images == 36
    replace(first, counts=first.counts * 0, num_images=0).save(files[0])
    assert merge_files([files[0], files[1], files[0]]).num_images == 12  # nothing is nothing


def test_other_files_are_no_dnas(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "plain.npz", a=np.zeros(3))
    KINDS[0].save(tmp_path / "cut.npz")
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-1])
    (tmp_path / "x.npz").write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # which unpack bombs as a whole
        (tmp_path / f"{method}.npz").write_bytes(zipped(unzipped(content), method))
    for name, error, message in (
        *((name, ValueError, "does not end in a checksum") for name in ("plain.npz", "cut.npz")),
        ("text.npz", ValueError, "no .npz file of this package"),
        ("x.npz", ValueError, "its checksum is wrong"),
        *((f"{method}.npz", ValueError, "neither stored nor deflated") for method in (12, 14)),
        ("x", FileNotFoundError, "There is no DNA file .*, nor x.json with x.npz of vdna"),
        (".", FileNotFoundError, "is a folder, not a DNA file"),
    ):
        with pytest.raises(error, match=message):
            load_dna(tmp_path / name)
    assert [is_container(tmp_path / f"{name}.npz") for name in ("text", "plain", "cut")] == [False, False, True]
