"""Make the DNA of images in Parquet with Spark: each partition becomes a DNA, the driver merges them as they come.

    pip install -r requirements.txt  # and Java
    python spark_parquet.py IMAGES.parquet OUTPUT.dna.npz [--column image]

The column holds bytes of image files. It does not matter how Spark cuts the table: histograms merge exactly.
"""

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from torchmetrics_dna import load_dna, make_dna
from torchmetrics_dna.dna.base import merged


def measure(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The DNA of the images of a partition, as the bytes of its file; nothing of an empty one."""
    images = (bytes(content) for batch in batches for content in batch.iloc[:, 0])
    first = next(images, None)
    if first is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.dna.npz")
        make_dna(itertools.chain([first], images), "efficientnet_lite0").save(path)
        yield pd.DataFrame({"dna": [path.read_bytes()]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("output", type=Path)
    parser.add_argument("--column", default="image")
    arguments = parser.parse_args()

    spark = SparkSession.builder.appName("torchmetrics-dna").getOrCreate()
    rows = spark.read.parquet(arguments.images).select(arguments.column).mapInPandas(measure, "dna binary")
    with tempfile.TemporaryDirectory() as folder:

        def dnas():
            for row in rows.toLocalIterator(prefetchPartitions=True):  # one partition at a time
                path = Path(folder, "x.dna.npz")
                path.write_bytes(row.dna)
                yield load_dna(path)

        whole = merged(dnas())
    whole.save(arguments.output)
    print(whole)
    spark.stop()


if __name__ == "__main__":
    main()
