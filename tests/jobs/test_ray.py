"""A cluster of several nodes on this machine, one of which dies; images and DNAs are in a bucket."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from buckets import serving
from engines import KINDS, make, shards
from filelock import FileLock

from torchmetrics_dna import load_dna

pytestmark = [
    # Ray's own, which leaves files and sockets open
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*", "ignore::DeprecationWarning"),
]
HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with serving("cluster") as files:
        yield files


@pytest.fixture(scope="module")
def cluster(bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Three nodes of one core, beside one for the driver; one such cluster at a time on a machine."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    lock = FileLock(tmp_path_factory.getbasetemp().parent / "cluster.lock")
    with lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(HELPERS)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        memory = {"object_store_memory": 100 * 2**20}
        ray_cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory}
        )
        try:
            nodes = [ray_cluster.add_node(num_cpus=1, **memory) for _ in range(3)]
            ray.init(ray_cluster.address, log_to_driver=False, logging_level="WARNING")
            yield SimpleNamespace(kill=lambda: ray_cluster.remove_node(nodes.pop(), allow_graceful=False))
        finally:
            ray.shutdown()
            ray_cluster.shutdown()


OWN = """
from contextlib import suppress
import psutil
from kinds import PIXELS
from torchmetrics_dna import make_dna
from torchmetrics_dna.images import Reading

def progress(_, done, total):
    assert (done, total) == (11, 11)
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    open_ports = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # some end as soon as they have started others
            open_ports += [c.laddr for c in process.net_connections("inet") if c.status == "LISTEN"]
    print({address.ip.removeprefix("::ffff:") for address in open_ports}, len(open_ports) > 3)

make_dna(PIXELS, layers=["block_0"], reading=Reading(progress=progress), on="ray")
"""


@pytest.mark.outer
def test_a_cluster_of_its_own_listens_on_loopback_alone(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", OWN]
    # a place of its own, or it would join a cluster that another test has started; short, as sockets are in it
    with TemporaryDirectory(prefix="ray") as folder:
        environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(HELPERS), "RAY_TMPDIR": folder}
        process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.stdout.startswith("{'127.0.0.1'} True"), process.stdout + process.stderr


def killing(cluster: Any, after: int) -> Callable[[str, int, int | None], None]:
    """Progress callback that kills a node."""
    counts: list[int] = []

    def progress(_: str, done: int, total: int | None) -> None:
        if done >= after and not counts:
            cluster.kill()
        counts.append(done)

    return progress


@pytest.mark.outer
def test_a_bucket_is_measured_though_a_node_dies(tmp_path: Path, cluster: Any, bucket: Any) -> None:
    source = shards(tmp_path / "shards", 9, 10)
    make(source, tmp_path / "x.dna.npz")  # by one process, from this machine
    bucket.put(source, "cluster/shards/")
    make("s3://cluster/shards/*.tar", "s3://cluster/x.dna.npz", "ray", progress=killing(cluster, 30))
    for kind in KINDS:
        assert bucket.cat(f"cluster/x.{kind}.dna.npz") == (tmp_path / f"x.{kind}.dna.npz").read_bytes()
        assert load_dna(f"s3://cluster/x.{kind}.dna.npz").num_images == 90
    assert not Path("x.dna.npz.parts").exists()
