"""Arrays in every memory layout, by every way of passing them: the numbers of the C-order array, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from networks import Outputs, Pixels
from torch import Tensor

from torchmetrics_dna import DNAEMD, DNAExtractor, compare, make_dna, rank

pytestmark = pytest.mark.usefixtures("few_relabelings")

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(24, 5)).astype(np.float32)
# The other set differs in size, type and memory layout.
OTHER_ROWS = np.asfortranarray(GENERATOR.normal(0.5, 2, size=(31, 5)))
IMAGES = GENERATOR.integers(0, 256, (11, 14, 9, 3), dtype=np.uint8)
OTHER_IMAGES = GENERATOR.integers(0, 200, (13, 10, 16, 3), dtype=np.uint8)[:, ::-1] / 255
DEEP_IMAGES = IMAGES.astype(np.uint16) * 251 + 17
FLOAT_IMAGES = DEEP_IMAGES / 65535


class Frame:
    """A DataFrame of pandas or polars, as far as it is used: rows by name, and an array on demand."""

    def __init__(self, values: np.ndarray) -> None:
        self.columns = [f"column {k}" for k in range(values.shape[1])]
        self._values = values

    def to_numpy(self) -> np.ndarray:
        return self._values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, column: str) -> np.ndarray:
        return self._values[:, self.columns.index(column)]


def every_third(values: np.ndarray) -> np.ndarray:
    """Return values whose last and first axes have gaps in memory."""
    wide = np.full((2 * values.shape[0], *values.shape[1:-1], 3 * values.shape[-1]), 9, values.dtype)
    wide[::2, ..., 1::3] = values
    return wide[::2, ..., 1::3]


def read_only(values: np.ndarray) -> np.ndarray:
    values = values.copy()
    values.flags.writeable = False
    return values


def mapped(values: np.ndarray, folder: Path, order: str) -> np.ndarray:
    file = folder / f"{order}.bin"
    written = np.memmap(file, values.dtype, "w+", 0, values.shape, order)
    written[...] = values
    written.flush()
    return np.memmap(file, values.dtype, "r", 0, values.shape, order)


Layout = Callable[[np.ndarray, Path], Any]
ARRAYS: dict[str, Layout] = {
    "Fortran": lambda values, _: np.asfortranarray(values),
    "gaps": lambda values, _: every_third(values),
    "negative stride of rows": lambda values, _: values[::-1].copy()[::-1],
    "negative stride of columns": lambda values, _: values[..., ::-1].copy()[..., ::-1],
    "big-endian": lambda values, _: values.astype(values.dtype.newbyteorder(">")),
    "little-endian": lambda values, _: values.astype(values.dtype.newbyteorder("<")),
    "big-endian, Fortran, reversed": lambda values, _: np.asfortranarray(
        values[::-1].astype(values.dtype.newbyteorder(">"))
    )[::-1],
    "read-only": lambda values, _: read_only(values),
    "memory-mapped": lambda values, folder: mapped(values, folder, "C"),
    "memory-mapped, Fortran": lambda values, folder: mapped(values, folder, "F"),
}
TENSORS: dict[str, Layout] = {
    "contiguous": lambda values, _: torch.tensor(values),
    "transposed": lambda values, _: torch.tensor(values.T.copy()).permute(*range(values.ndim)[::-1]),
    "gaps": lambda values, _: torch.tensor(np.repeat(values, 2, -1))[..., ::2],
    "window": lambda values, _: torch.tensor(np.pad(values, 1))[(slice(1, -1),) * values.ndim],
    "of a read-only array": lambda values, _: torch.tensor(read_only(values)),
}


def figures(compared: Any) -> list[Any]:
    of_properties = [] if compared.properties is None else figures(compared.properties)
    return [compared["dna-emd"].values.tolist(), compared["dna-fd"].value, compared.p_value, *of_properties]


def ranked(ranking: Any) -> list[Any]:
    return [ranking.names, ranking.scores.tolist()]


def saved(values: np.ndarray, folder: Path) -> str:
    np.save(folder / "values.npy", values)
    return str(folder / "values.npy")


def packed(values: np.ndarray, folder: Path) -> str:
    np.savez_compressed(folder / "values.npz", values)
    return str(folder / "values.npz")


@cache
def of_any_input() -> DNAExtractor:
    network = Outputs(lambda values: {"sums": values.cumsum(1), "squares": values * values})
    return DNAExtractor(network, inputs="any", example=torch.tensor(ROWS))


@cache
def of_images(input_size: int | None) -> DNAExtractor:
    return DNAExtractor(Pixels(), input_size=input_size, properties=True)


def updated(values: Tensor, others: Tensor, extractor: DNAExtractor, normalize: bool = False) -> list[Any]:
    metric = DNAEMD(extractor, ranges="auto", num_folds=5, normalize=normalize)
    metric.update(values, real=True)
    metric.update(others, real=False)
    return [float(metric.compute()), metric.to_dna(True).digest]


Way = Callable[[Any, Path], Any]
OF_ROWS: dict[str, Way] = {
    "compare, as A": lambda rows, _: figures(compare(rows, OTHER_ROWS, "identity:m")),
    "compare, as B": lambda rows, _: figures(compare(OTHER_ROWS, rows, "identity:m")),
    "make_dna": lambda rows, _: make_dna(rows, "identity:m", num_folds=5).digest,
    "rank": lambda rows, _: ranked(rank(rows, OTHER_ROWS, "identity:m")),
    "a network of any inputs": lambda rows, _: figures(compare(rows, torch.tensor(OTHER_ROWS).float(), of_any_input())),
}
IN_LISTS: dict[str, Way] = {
    "a list of rows": lambda rows, _: figures(compare([*rows], OTHER_ROWS, "identity:m")),
}
IN_FILES: dict[str, Way] = {
    ".npy": lambda rows, folder: figures(compare(saved(rows, folder), OTHER_ROWS, "identity:m")),
    ".npz": lambda rows, folder: figures(compare(packed(rows, folder), OTHER_ROWS, "identity:m")),
}
OF_ROWS_IN_UPDATE: dict[str, Way] = {
    "update": lambda rows, _: updated(rows, torch.tensor(OTHER_ROWS).float(), of_any_input()),
}
OF_IMAGES: dict[str, Way] = {
    "compare, as A": lambda images, _: figures(compare(images, OTHER_IMAGES, of_images(8), causes=False)),
    "compare, as B": lambda images, _: figures(compare(OTHER_IMAGES, images, of_images(8), causes=False)),
    "make_dna": lambda images, _: make_dna(images, of_images(8), num_folds=5).digest,
    "make_dna at full size": lambda images, _: make_dna(images, of_images(None), ranges="auto").digest,
    "rank": lambda images, _: ranked(rank(images, OTHER_IMAGES, of_images(8))),
    "a list": lambda images, _: make_dna([*images], of_images(8)).digest,
}
IMAGES_IN_FILES: dict[str, Way] = {
    ".npy": lambda images, folder: make_dna(saved(images, folder), of_images(8)).digest,
}
SETS = {"8 bits": IMAGES, "16 bits": DEEP_IMAGES, "floats": FLOAT_IMAGES}
# Ways of all kinds of images share what they do after decoding.
WAYS_OF_KINDS = [("8 bits", way) for way in (*OF_IMAGES, *IMAGES_IN_FILES)]
WAYS_OF_KINDS += [(kind, way) for kind in ("16 bits", "floats") for way in ("make_dna", ".npy")]


@cache
def expected(ways: str, way: str, values: str = "") -> Any:
    """Return the numbers of the array in C order, in memory."""
    in_memory = {"rows": OF_ROWS, "images": OF_IMAGES}[ways]
    source = ROWS if ways == "rows" else SETS[values]
    return in_memory[way](np.ascontiguousarray(source), Path())


AS_IF = {"a list of rows": "compare, as A", ".npy": "compare, as A", ".npz": "compare, as A", "a list": "make_dna"}


@pytest.mark.outer
@pytest.mark.parametrize("layout", ARRAYS)
@pytest.mark.parametrize("way", [*OF_ROWS, *IN_LISTS, *IN_FILES])
def test_arrays_of_rows(way: str, layout: str, tmp_path: Path) -> None:
    rows = ARRAYS[layout](ROWS, tmp_path)
    assert np.array_equal(rows, ROWS)
    assert (OF_ROWS | IN_LISTS | IN_FILES)[way](rows, tmp_path) == expected("rows", AS_IF.get(way, way))


@pytest.mark.outer
@pytest.mark.parametrize("layout", ["C", "Fortran", "big-endian"])
@pytest.mark.parametrize("way", OF_ROWS)
def test_tables_of_rows(way: str, layout: str, tmp_path: Path) -> None:
    rows = ROWS if layout == "C" else ARRAYS[layout](ROWS, tmp_path)
    assert OF_ROWS[way](Frame(rows), tmp_path) == expected("rows", way)


@pytest.mark.outer
@pytest.mark.parametrize("layout", TENSORS)
@pytest.mark.parametrize("way", [*OF_ROWS, *IN_LISTS])
def test_tensors_of_rows(way: str, layout: str, tmp_path: Path) -> None:
    rows = TENSORS[layout](ROWS, tmp_path)
    assert (OF_ROWS | IN_LISTS)[way](rows, tmp_path) == expected("rows", AS_IF.get(way, way))


@pytest.mark.parametrize("layout", TENSORS)
def test_tensors_of_rows_in_update(layout: str, tmp_path: Path) -> None:
    update = OF_ROWS_IN_UPDATE["update"]
    assert update(TENSORS[layout](ROWS, tmp_path), tmp_path) == update(torch.tensor(ROWS), tmp_path)


@pytest.mark.parametrize("layout", ARRAYS)
@pytest.mark.parametrize(("kind", "way"), WAYS_OF_KINDS)
def test_arrays_of_images(kind: str, way: str, layout: str, tmp_path: Path) -> None:
    images = ARRAYS[layout](SETS[kind], tmp_path)
    in_memory = "make_dna" if way in ("a list", ".npy") else way
    assert (OF_IMAGES | IMAGES_IN_FILES)[way](images, tmp_path) == expected("images", in_memory, kind)


@pytest.mark.parametrize("layout", TENSORS)
@pytest.mark.parametrize("way", OF_IMAGES)
def test_tensors_of_images(way: str, layout: str, tmp_path: Path) -> None:
    images = TENSORS[layout](IMAGES.transpose(0, 3, 1, 2), tmp_path)
    assert OF_IMAGES[way](images, tmp_path) == expected("images", "make_dna" if way == "a list" else way, "8 bits")


@pytest.mark.parametrize("layout", TENSORS)
@pytest.mark.parametrize("kind", ["8 bits", "floats"])
def test_tensors_of_images_in_update(kind: str, layout: str, tmp_path: Path) -> None:
    imgs = SETS[kind].transpose(0, 3, 1, 2)
    others = torch.tensor(OTHER_IMAGES.transpose(0, 3, 1, 2))
    if kind == "8 bits":
        others = (others * 255).round().to(torch.uint8)
    is_float = kind == "floats"
    plain = updated(torch.tensor(imgs.copy()), others, of_images(8), is_float)
    assert updated(TENSORS[layout](imgs, tmp_path), others, of_images(8), is_float) == plain


MASKED = "expected to be a plain array, but got a masked one"
REFUSED_ROWS: dict[str, tuple[Callable[[], Any], str]] = {
    "masked": (lambda: np.ma.masked_array(ROWS, ROWS > 0), MASKED),
    "sparse matrix": (lambda: scipy.sparse.csr_matrix(ROWS), r"got a sparse csr_matrix; pass its `toarray\(\)`"),
    "sparse array": (lambda: scipy.sparse.coo_array(ROWS), r"got a sparse coo_array; pass its `toarray\(\)`"),
    "sparse tensor": (lambda: torch.tensor(ROWS).to_sparse(), "got layout sparse_coo; convert it by"),
    "int64": (lambda: ROWS.astype(np.int64), "but got int64"),
    "table of int64": (lambda: Frame(ROWS.astype(np.int64)), "but got int64"),
    "complex": (lambda: ROWS.astype(np.complex64), "but got complex64"),
    "text": (lambda: ROWS.astype(str), "but got text"),
    "Python objects": (lambda: ROWS.astype(object), "but got Python objects"),
    "table of text": (lambda: Frame(ROWS.astype(object)), "but got Python objects"),
    "one row": (lambda: ROWS[0], r"got shape \(5,\)"),
    "0 axes": (lambda: np.array(1.5, np.float32), r"got shape \(\)"),
}


@pytest.mark.parametrize("held", REFUSED_ROWS)
@pytest.mark.parametrize("way", OF_ROWS)
def test_what_are_no_rows_is_refused_by_name(way: str, held: str, tmp_path: Path) -> None:
    make, message = REFUSED_ROWS[held]
    with pytest.raises((TypeError, ValueError), match=message) as refused:
        OF_ROWS[way](make(), tmp_path)
    assert "\n" not in str(refused.value)


REFUSED_FILES: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "int64": (lambda: ROWS.astype(np.int64), r"it holds int64 of shape \(24, 5\), .*save `rows.astype\('float32'\)`$"),
    "complex": (lambda: ROWS.astype(complex), r"it holds complex128 of shape \(24, 5\), expected"),
    "text": (lambda: ROWS.astype(str), "text"),
    "Python objects": (lambda: ROWS.astype(object), "Python objects"),
    "records": (lambda: np.zeros(3, [("a", "f4")]), "records"),
    "no rows": (lambda: ROWS[:0], r"it holds float32 of shape \(0, 5\)"),
    "one row": (lambda: ROWS[0], r"(it holds float32|arr_0) of shape \(5,\)"),
    "0 axes": (lambda: np.array(1.5), r"(it holds float64|arr_0) of shape \(\)"),
}


@pytest.mark.parametrize("held", REFUSED_FILES)
@pytest.mark.parametrize("write", [saved, packed])
def test_files_of_other_arrays_are_refused_by_name(
    write: Callable[[np.ndarray, Path], str], held: str, tmp_path: Path
) -> None:
    make, message = REFUSED_FILES[held]
    path = write(make(), tmp_path)
    with pytest.raises(ValueError, match=rf"^Can't read '{path}' as rows: .*{message}") as refused:
        make_dna(path, "identity:m")
    assert "pickle" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: b"12345", "it does not begin as a .npy array does$"),
        (lambda content: content[:-7], "it has been cut off; copy it anew$"),
        (lambda content: content.replace(b"shape", b"shade"), "the header of its array is damaged$"),
    ],
)
@pytest.mark.parametrize("feature", ["identity:m", "properties"])
def test_damaged_arrays_are_refused_by_name(
    feature: str, change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = Path(saved(ROWS if feature == "identity:m" else IMAGES, tmp_path))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=f"^Can't read '{path}' as (rows|an array of images): {message}"):
        make_dna(path, feature)


def test_parquet_without_lists_of_floats_is_refused_by_name(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "table.parquet"
    parquet.write_table(pa.table({"label": [1, 2], "name": ["a", "b"]}), path)
    held = r"it has no column of lists of floats, but label \(int64\), name \(string\)"
    with pytest.raises(ValueError, match=f"^Can't read '{path}' as rows: {held}$"):
        make_dna(path, "identity:m")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ma.masked_array(IMAGES, IMAGES > 9), MASKED),
        ([np.ma.masked_array(IMAGES[0], IMAGES[0] > 9)], f"Can't read image 'image 0': it {MASKED}"),
        (scipy.sparse.csr_matrix(ROWS), "got a sparse csr_matrix"),
        (Frame(ROWS), "got a DataFrame; pass the column that has them"),
        (IMAGES.astype(str), "and type text"),
        (np.array(7, np.uint8), r"got shape \(\)"),
    ],
)
def test_what_are_no_images_is_refused_by_name(source: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make_dna(source, of_images(8))
