"""Memory and speed by the number of images, for shards and for sources with an index.

    python tests/benchmarks/shards.py [--images 20000 200000] [--kinds shards parquet tar folder]

Tiny images (PNG, 24 pixels) and a tiny network, so that reading is what is measured. Each line is a process of its own
that makes a DNA by two workers; the line has its peak, that of its workers, and the memory of the opened source.
Linux only.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

OF_SHARD = 1000  # images
RUN = """
import resource, sys, time
from pathlib import Path
import torch
from torchmetrics_dna import DNAExtractor
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images import Reading
from torchmetrics_dna.jobs.arguments import Arguments
from torchmetrics_dna.jobs.make import make_files

def megabytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6

source, output = sys.argv[1:]
torch.manual_seed(0)
extractor = DNAExtractor(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2)), input_size=16, layers=["0"])
ARGUMENTS = Arguments(extractor, ranges="auto", num_folds=None, reading=Reading(num_workers=2))
make_files([torch.zeros(3, 24, 24)] * 4, output, ["histogram"], ARGUMENTS)
before = megabytes()
start = time.perf_counter()
opened = open_source(source)
seconds_open, taken = time.perf_counter() - start, megabytes() - before
start = time.perf_counter()
make_files(opened, output, ["histogram"], ARGUMENTS)
seconds = time.perf_counter() - start
peaks = [resource.getrusage(who).ru_maxrss * 1024 / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(seconds_open, taken, seconds, *peaks)
"""


def pictures(numbers: range) -> Iterator[tuple[str, bytes]]:
    """Names and files, few at a time, since a process counts its parent's memory as its own."""
    random = np.random.default_rng(numbers.start)
    for i in numbers:
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (24, 24, 3)).astype(np.uint8)).save(file, "PNG", compress_level=0)
        yield f"{i:07}.png", file.getvalue()


def write_tar(path: Path, numbers: range) -> None:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for name, content in pictures(numbers):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
            archive.members.clear()


def write_folder(path: Path, numbers: range) -> None:
    path.mkdir()
    for name, content in pictures(numbers):
        (path / name).write_bytes(content)


def write_parquet(path: Path, numbers: range) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(
        pa.table({"image": [content for _, content in pictures(numbers)]}), path.with_suffix(".parquet")
    )


# how a part is written, what to read, and whether all is one part
KINDS: dict[str, tuple[Callable[[Path, range], None], str, bool]] = {
    "shards": (write_tar, "*.tar", False),
    "parquet": (write_parquet, "*.parquet", False),
    "tar": (write_tar, "00000.tar", True),
    "folder": (write_folder, "", False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments = parser.parse_args()
    print("| source | images | open, s | it takes, MB | images a second | peak, MB | of a worker, MB |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind in arguments.kinds:
        write, pattern, single_part = KINDS[kind]
        for count in arguments.images:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name, "images")
                folder.mkdir()
                for first in range(0, count, count if single_part else OF_SHARD):
                    write(folder / f"{first // OF_SHARD:05}", range(first, count if single_part else first + OF_SHARD))
                command = [sys.executable, "-c", RUN, str(folder / pattern), f"{name}/x.dna.npz"]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            opening, taken, seconds, peak, worker = map(float, output.split())
            figures = f"{opening:.1f} | {taken:.0f} | {count / seconds:,.0f} | {peak:.0f} | {worker:.0f}"
            print(f"| {kind} | {count:,} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
