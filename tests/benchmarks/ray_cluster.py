"""Speed of a Ray cluster of three nodes on one machine beside one process, on shards, and memory of the driver.

    python tests/benchmarks/ray_cluster.py [--images 2000] [--shards 20 200] [--nodes 3]

The images are JPEGs of 512 x 512 pixels. One process runs on one core, and so does each node. Each job runs in
a process of its own. Its line has the seconds that it took (a cluster runs already, its workers start within the job),
its peak memory, and its memory before it began. The first set is measured once more while a node is killed,
after a third of the images. All DNAs must be equal to the last byte.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from timing import write_photographs

_STORE = 200 * 2**20


def shards_of(images: Path, folder: Path, count: int) -> str:
    folder.mkdir()
    files = sorted(images.iterdir())
    for k in range(count):
        with tarfile.open(folder / f"{k:03}.tar", "w") as archive:
            for file in files[k::count]:
                archive.add(file, file.name)
    return f"{folder}/*.tar"


def memory() -> float:
    """Peak memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def job(source: str, output: str, engine: str | None, kill_at: int) -> None:
    """Run a job and print its figures; at ``kill_at`` images, ask for a node to be killed."""
    from torchmetrics_dna import DNAExtractor
    from torchmetrics_dna.images import Reading
    from torchmetrics_dna.jobs.arguments import Arguments
    from torchmetrics_dna.jobs.make import make_files

    killed_at: list[float] = []

    def progress(_: str, done: int, total: int | None) -> None:
        if kill_at and done >= kill_at and kill_at not in killed_at:
            killed_at.append(kill_at)
            print("kill", flush=True)
        if done and "first" not in figures:
            figures["first"] = time.perf_counter() - start

    figures: dict[str, float] = {}
    extractor = DNAExtractor()
    extractor.ranges  # noqa: B018 - as a job has them before it begins
    figures["before"] = memory()
    start = time.perf_counter()
    reading = Reading(progress=progress, num_workers=None if engine else 0)
    make_files(
        source, output, ["histogram", "gaussian"], Arguments(extractor, num_folds=None, reading=reading, on=engine)
    )
    print(json.dumps(figures | {"seconds": time.perf_counter() - start, "peak": memory()}), flush=True)


def run(source: str, output: Path, address: str | None = None, kill: Any = None, at: int = 0) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"RAY_ADDRESS": address} if address else {})
    command = [sys.executable, __file__, "--job", source, str(output), "ray" if address else "", str(at)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        lines = []
        for line in process.stdout or ():
            if line == "kill\n":
                kill()
            lines.append(line)
    assert process.returncode == 0, lines
    return json.loads(next(line for line in lines if line.startswith("{")))


def main() -> None:
    parser = argparse.ArgumentParser(description="A Ray cluster beside one process")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--shards", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--job", nargs=4)
    arguments = parser.parse_args()
    if arguments.job:
        source, output, engine, at = arguments.job
        job(source, output, engine or None, int(at))
        return
    from ray.cluster_utils import Cluster

    print(f"{'job':28} {'images/s':>9} {'seconds':>8} {'to first':>9} {'peak MB':>8} {'before':>7}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        write_photographs(folder / "images", arguments.images)
        head = {"num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            nodes = [cluster.add_node(num_cpus=1, object_store_memory=_STORE) for _ in range(arguments.nodes)]
            for count in arguments.shards:
                source = shards_of(folder / "images", folder / f"{count}", count)
                options_of_way: dict[str, Any] = {"one core": {}, "Ray": {"address": cluster.address}}
                if count == arguments.shards[0] and arguments.nodes > 1:
                    kill = {"kill": lambda: cluster.remove_node(nodes.pop(), allow_graceful=False)}
                    options_of_way["Ray, a node killed"] = {
                        "address": cluster.address,
                        "at": arguments.images // 3,
                        **kill,
                    }
                contents = set()
                for way, options in options_of_way.items():
                    output = folder / f"{way} {count}.dna.npz"
                    figures = run(source, output, **options)
                    files = [
                        output.with_name(output.name.replace(".dna", f".{k}.dna")) for k in ("histogram", "gaussian")
                    ]
                    contents.add(tuple(file.read_bytes() for file in files))
                    speed = arguments.images / figures["seconds"]
                    print(
                        f"{f'{way}, {count} shards':28} {speed:9.1f} {figures['seconds']:8.1f} {figures['first']:9.1f}"
                        f" {figures['peak']:8.0f} {figures['before']:7.0f}",
                        flush=True,
                    )
                assert len(contents) == 1, "bytes differ"
                if len(nodes) < arguments.nodes:
                    nodes.append(cluster.add_node(num_cpus=1, object_store_memory=_STORE))
        finally:
            cluster.shutdown()
    print(f"all bytes are equal; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
