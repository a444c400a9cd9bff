"""Images in a column of Parquet files, read row group by row group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from torchmetrics_dna.extras import require
from torchmetrics_dna.files.damage import refusing
from torchmetrics_dna.images.addresses import is_address
from torchmetrics_dna.images.kind import Kind, stream_of
from torchmetrics_dna.images.places import open_file
from torchmetrics_dna.images.rows import check_column, find_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torchmetrics_dna.images.base import ImageStream, Reading

_AT_ONCE = 32  # rows


def open_parquet(files: Sequence[str], label: str, reading: Reading) -> ImageStream:
    """The images of some Parquet files; the first is looked into before anything else is done."""
    parquet = require("pyarrow.parquet", "parquet")
    with refusing(files[0], "Parquet"), open_file(files[0]) as file:
        _column(_opened(parquet, file), files[0], reading)
    count = None if any(map(is_address, files)) else sum(parquet.read_metadata(file).num_rows for file in files)
    return stream_of(files, label, reading, _read, count=count)


PARQUET = Kind(".parquet", (".parquet",), open_parquet, ("column",))


def _read(path: str, reading: Reading) -> Iterator[tuple[str, Any]]:
    parquet = require("pyarrow.parquet", "parquet")
    with open_file(path) as file:
        table = _opened(parquet, file)
        column, number = _column(table, path, reading), 0
        if column is None:
            return
        for group in range(table.num_row_groups):
            for batch in table.iter_batches(_AT_ONCE, [group], [column], use_threads=False):
                for image in batch.column(0).to_pylist():
                    yield f"{path}/{number}", image
                    number += 1


def _opened(parquet: Any, file: BinaryIO) -> Any:
    """Without threads of Arrow: a worker is a fork of this process, in which they are gone, and would be waited for."""
    return parquet.ParquetFile(file, pre_buffer=False)


def _column(table: Any, path: str, reading: Reading) -> str | None:
    """Which column has the images, by the first row; None if there are no rows."""
    for batch in table.iter_batches(1, use_threads=False):
        if batch.num_rows:
            row = dict(zip(batch.schema.names, (values.to_pylist()[0] for values in batch.columns), strict=True))
            return find_column(row, reading.column, path)
    return None


def labels_of(stream: ImageStream, column: str) -> dict[str, str]:
    """What another column says of each image, by the image's name; ValueError if there is no such column.

    Raises:
        ValueError: If the stream is not of Parquet files, or one has no such column.

    """
    parquet = require("pyarrow.parquet", "parquet")
    found: dict[str, str] = {}
    for path in (shard.label for shard in stream.shards):
        if not path.endswith(PARQUET.suffixes):
            raise ValueError(f"Labels in a column are of Parquet files, but {path!r} is another; give a .csv of labels")
        with refusing(path, "Parquet"), open_file(path) as file:
            table = _opened(parquet, file)
            check_column(table.schema_arrow.names, column, path)
            values = table.read([column], use_threads=False).column(0).to_pylist()
        found |= {f"{path}/{number}": str(value) for number, value in enumerate(values)}
    return found
