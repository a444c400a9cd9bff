"""Images in a column of Parquet files, read by row groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.damage import check_unpacked, refusing
from torchmetrics_dna.images.objects import check_column, find_column
from torchmetrics_dna.images.paths import is_address, open_file, public
from torchmetrics_dna.images.pixels import is_file
from torchmetrics_dna.images.sets import ImageStream, stream_of

if TYPE_CHECKING:
    from torchmetrics_dna.images.reading import Reading

# Names of Arrow's types of lists of floats.
_LIST_OF_FLOATS = re.compile(r"(large_|fixed_size_)?list<[^<]*: (halffloat|float|double)\b")
# Largest number of rows, and of their bytes, that are read at a time.
_MOST_ROWS_AT_ONCE = 32
_MOST_BYTES_AT_ONCE = 64_000_000


def open_parquet(files: Sequence[str], label: str, reading: Reading) -> ImageStream:
    """Open the images of Parquet files; the first is checked at once."""
    parquet = require("pyarrow.parquet", "parquet")
    with refusing(public(files[0]), "Parquet"), _opened(files[0]) as table:
        _column(table, files[0], reading, tells=True)
    count = None
    if not any(is_address(file) for file in files):
        count = sum(parquet.read_metadata(file).num_rows for file in files)
    return stream_of(files, label, reading, _read, count=count)


def read_lists(path: str, column: str | None) -> dict[str, Any]:
    """Read the columns of lists of floats, or one of them, as arrays ``(N, D)`` by name."""
    arrays = dict[str, Any]()
    with _opened(path) as table:
        types = {field.name: str(field.type) for field in table.schema_arrow}
        columns_of_lists = [name for name, type_ in types.items() if _LIST_OF_FLOATS.match(type_)]
        if not columns_of_lists or (column in types and column not in columns_of_lists):
            listed = ", ".join(f"{name} ({type_})" for name, type_ in types.items() if column in (None, name))
            raise ValueError(f"it has no column of lists of floats, but {listed or 'none'}")
        for name in columns_of_lists:
            if column in (None, name):
                arrays[name] = _read_column_of_lists(table, name)
    return arrays


def _read_column_of_lists(table: Any, name: str) -> Any:
    """Read a column of lists of floats as an array ``(N, D)``; ValueError if their lengths differ."""
    for group in range(table.num_row_groups):
        _unpacked(table, group, name)
    values = table.read([name], use_threads=False)[0].combine_chunks()
    flat = values.flatten()
    lengths = {*values.value_lengths().to_pylist()}
    if len(lengths) != 1 or None in lengths or flat.null_count:
        raise ValueError(f"its rows in {name!r} have values that are missing, or several lengths")
    return flat.to_numpy(zero_copy_only=False).reshape(len(values), -1)


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the images of a file with their numbers."""
    with _opened(path) as table:
        column = _column(table, path, reading)
        if column is None:
            return
        for number, value in enumerate(_values(table, column)):
            # Paths and addresses are only read if the user named their column.
            is_named_text = isinstance(value, str) and reading.column is not None
            yield str(number), value if is_named_text else _content(value)


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a file without Arrow's threads, which do not survive a fork: workers would deadlock."""
    parquet = require("pyarrow.parquet", "parquet")
    with open_file(path) as file:
        yield parquet.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)


def _values(table: Any, column: str) -> Iterator[Any]:
    """Yield the values of a column."""
    for group in range(table.num_row_groups):
        largest_value = _unpacked(table, group, column)
        num_rows = max(1, min(_MOST_ROWS_AT_ONCE, _MOST_BYTES_AT_ONCE // (largest_value + 1)))
        for batch in table.iter_batches(num_rows, [group], [column], use_threads=False):
            yield from batch.column(0).to_pylist()


def _unpacked(table: Any, group: int, column: str | None) -> int:
    """Return the uncompressed size of a column of a row group, or of all columns: an upper bound for each value.

    Raises:
        ValueError: If the size is implausible for the size in the file.

    """
    group_metadata = table.metadata.row_group(group)
    total = 0
    for i in range(group_metadata.num_columns):
        chunk = group_metadata.column(i)
        # The path of a nested column begins with the name of the column.
        if column is None or f"{chunk.path_in_schema}.".startswith(f"{column}."):
            check_unpacked(chunk.total_compressed_size, chunk.total_uncompressed_size)
            total += chunk.total_uncompressed_size
    return total


def _content(value: Any) -> Any:
    """Return the image in a value, or an error object if it has no bytes.

    Only bytes are read, since paths and addresses in a file are not trusted.
    """
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping) and is_file(value) and value.get("bytes") is None:
        value = value.get("path")
    if isinstance(value, str):
        return ValueError(
            f"its row has no bytes, but the path {shorten(value, 200)!r}, which is not read; write the bytes into the"
            " file, or give a list of paths or addresses"
        )
    return value


def _column(table: Any, path: str, reading: Reading, tells: bool = False) -> str | None:
    """Return the column of images, detected by the first row; None without rows."""
    column = reading.column
    for group in range(table.num_row_groups):
        if column is not None:
            check_column(table.schema_arrow.names, column, path)
            return column
        _unpacked(table, group, None)
        for batch in table.iter_batches(1, [group], use_threads=False):
            if not batch.num_rows:
                continue
            row = {}
            for name, values in zip(batch.schema.names, batch.columns, strict=True):
                value = values.to_pylist()[0]
                # Texts are hidden, because a column of paths or addresses must be named by the user.
                row[name] = "" if isinstance(value, str) else value
            return find_column(row, None, path, tells)
    return None


def labels_of(stream: ImageStream, column: str) -> dict[str, str]:
    """Read the labels of images in another column, by the image's name; ValueError if a file has none."""
    labels: dict[str, str] = {}
    # There is one string per label, however many images have it.
    interned: dict[str, str] = {}
    for label_of_file, _, path in stream.shards:
        if not path.endswith(".parquet"):
            raise ValueError(
                f"Labels in a column are of Parquet files, but {public(path)!r} is another; give a .csv of labels"
            )
        with refusing(public(path), "Parquet"), _opened(path) as table:
            check_column(table.schema_arrow.names, column, path)
            for number, value in enumerate(_values(table, column)):
                label = str(value)
                labels[f"{label_of_file}/{number}"] = interned.setdefault(label, label)
    return labels
