"""Images in a column of Parquet files. The files are read in small batches of rows."""

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

# Names of Arrow's types for lists of floating point numbers.
_LIST_OF_FLOATS = re.compile(r"(large_|fixed_size_)?list<[^<]*: (halffloat|float|double)\b")
# Maximum number of rows that are read at a time, and of their bytes.
_MOST_ROWS_AT_ONCE = 32
_MOST_BYTES_AT_ONCE = 64_000_000


def open_parquet(files: Sequence[str], label: str, reading: Reading) -> ImageStream:
    """Open the images of Parquet files as one stream.

    Raises:
        ValueError: If the first file is damaged or has no column of images. The other files are checked when they are
            read.

    """
    parquet = require("pyarrow.parquet", "parquet")
    with refusing(public(files[0]), "Parquet"), _opened(files[0]) as table:
        _column(table, files[0], reading, warns=True)
    count = None
    if not any(is_address(file) for file in files):
        count = sum(parquet.read_metadata(file).num_rows for file in files)
    return stream_of(files, label, reading, _read, count=count)


def read_lists(path: str, column: str | None) -> dict[str, Any]:
    """Read columns of lists of floating point numbers as arrays ``(N, D)``.

    Args:
        path: Path or address of the file.
        column: Name of the column to read; None for all columns of lists.

    Returns:
        The arrays by the name of their column. The dict is empty if there is no such column.

    Raises:
        ValueError: If no column holds lists, or ``column`` holds other values.

    """
    with _opened(path) as table:
        types = {field.name: str(field.type) for field in table.schema_arrow}
        requested = [name for name in types if column in (None, name)]
        columns_of_lists = [name for name, type_ in types.items() if _LIST_OF_FLOATS.match(type_)]
        is_of_other_type = column in types and column not in columns_of_lists
        if not columns_of_lists or is_of_other_type:
            listed = ", ".join(f"{name} ({types[name]})" for name in requested) or "none"
            raise ValueError(f"it has no column of lists of floats, but {listed}")
        return {name: _read_column_of_lists(table, name) for name in requested if name in columns_of_lists}


def _read_column_of_lists(table: Any, name: str) -> Any:
    """Read a column of lists of floating point numbers as an array ``(N, D)``.

    Raises:
        ValueError: If the lists differ in length, or a value is missing. Also if the column would be unpacked to an
            implausible size.

    """
    # Raise an error for an implausible size before the column is unpacked.
    for group in range(table.num_row_groups):
        _unpacked_size(table, group, name)
    lists = table.read([name], use_threads=False)[0].combine_chunks()
    numbers = lists.flatten()
    # The length of a missing list is None.
    lengths = set(lists.value_lengths().to_pylist())
    is_incomplete = None in lengths or numbers.null_count > 0
    if is_incomplete or len(lengths) != 1:
        raise ValueError(f"its rows in {name!r} have values that are missing, or several lengths")
    return numbers.to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    """Yield the number and the content of each image of a file."""
    with _opened(path) as table:
        column = _column(table, path, reading)
        if column is None:
            return
        for number, value in enumerate(_values(table, column)):
            # Read paths and addresses only from a column that the user named, because a file is not trusted.
            is_named_text = isinstance(value, str) and reading.column is not None
            yield str(number), value if is_named_text else _content(value)


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a file without the threads of Arrow.

    The threads would not exist in a forked worker process, so that the worker would wait for them forever.
    """
    parquet = require("pyarrow.parquet", "parquet")
    with open_file(path) as file:
        yield parquet.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)


def _values(table: Any, column: str) -> Iterator[Any]:
    """Yield the values of a column."""
    for group in range(table.num_row_groups):
        # A single value can't have more bytes than all values of the column together.
        most_bytes_of_value = _unpacked_size(table, group, column)
        # Add 1, so that the number of bytes is not divided by 0 for an empty column.
        num_fitting_rows = _MOST_BYTES_AT_ONCE // (most_bytes_of_value + 1)
        num_rows = max(1, min(_MOST_ROWS_AT_ONCE, num_fitting_rows))
        for batch in table.iter_batches(num_rows, [group], [column], use_threads=False):
            yield from batch.column(0).to_pylist()


def _unpacked_size(table: Any, group: int, column: str | None) -> int:
    """Return the unpacked size of a column in a row group, in bytes. Without a column, return that of all columns.

    Raises:
        ValueError: If the unpacked size is implausible for the compressed size.

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
    """Return the image in a value. For a value without bytes, return an error, which is raised when it is decoded.

    Paths and addresses are not read, because a file is not trusted.
    """
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping) and is_file(value) and value.get("bytes") is None:
        value = value.get("path")
    if isinstance(value, str):
        return ValueError(
            f"its row has no bytes, but the path {shorten(value, 200)!r}, which is not read; write the bytes into the"
            " file, or pass a list of paths or addresses"
        )
    return value


def _column(table: Any, path: str, reading: Reading, *, warns: bool = False) -> str | None:
    """Return the name of the column of images.

    Args:
        table: The file.
        path: Path or address of the file, for errors.
        reading: Options with the name of the column. Without a name, the column is detected in the first row.
        warns: Whether to warn if other columns hold images, too.

    Returns:
        The name of the column. None if the file has no rows.

    """
    if not table.num_row_groups:
        return None
    if reading.column is not None:
        check_column(table.schema_arrow.names, reading.column, path)
        return reading.column
    row = _first_row(table)
    if row is None:
        return None
    # Replace texts by an empty text, because a column of paths or addresses must be named by the user.
    row_without_texts = {name: "" if isinstance(value, str) else value for name, value in row.items()}
    return find_column(row_without_texts, None, path, warns=warns)


def _first_row(table: Any) -> dict[str, Any] | None:
    """Return the values of the first row of a file by the name of their column; None if the file has no rows.

    Raises:
        ValueError: If the unpacked size of a row group is implausible.

    """
    for group in range(table.num_row_groups):
        # Raise an error for an implausible size before the row group is unpacked.
        _unpacked_size(table, group, None)
        for batch in table.iter_batches(1, [group], use_threads=False):
            if batch.num_rows:
                first_values = [values.to_pylist()[0] for values in batch.columns]
                return dict(zip(batch.schema.names, first_values, strict=True))
    return None


def labels_of(stream: ImageStream, column: str) -> dict[str, str]:
    """Read the labels of images from another column of their Parquet files.

    Args:
        stream: The images.
        column: Name of the column of labels.

    Returns:
        The label of each image, by the name of the image.

    Raises:
        ValueError: If a file is not a Parquet file, or has no such column.

    """
    labels: dict[str, str] = {}
    # Share one string among all images with the same label, to save memory.
    interned: dict[str, str] = {}
    for label_of_file, _, path in stream.shards:
        if not path.endswith(".parquet"):
            raise ValueError(
                f"Only Parquet files can have labels in a column, but got {public(path)!r}; pass a .csv of labels"
            )
        with refusing(public(path), "Parquet"), _opened(path) as table:
            check_column(table.schema_arrow.names, column, path)
            for number, value in enumerate(_values(table, column)):
                label = str(value)
                labels[f"{label_of_file}/{number}"] = interned.setdefault(label, label)
    return labels
