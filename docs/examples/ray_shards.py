"""Make the DNA of a large image set with Ray Data: workers measure shards, the driver merges the shards' DNAs.

    pip install "ray[data]"
    python ray_shards.py IMAGES OUTPUT.dna.npz [--workers 2] [--shard-size 256]

It does not matter which worker measures which shard, or in which order they end: histograms merge exactly.
"""

import argparse
import functools
import tempfile
import uuid
from pathlib import Path

import ray

from torchmetrics_dna import DNAExtractor, load_dna, make_dna


class Measure:
    """One worker, which builds its network once."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.extractor = DNAExtractor("efficientnet_lite0")

    def __call__(self, shard: dict) -> dict:
        dna = make_dna(list(shard["paths"]), self.extractor)
        file = self.folder / f"{uuid.uuid4().hex}.dna.npz"
        dna.save(file)
        return {"file": str(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-size", type=int, default=256)
    arguments = parser.parse_args()

    paths = [str(path.resolve()) for path in sorted(arguments.images.rglob("*")) if path.is_file()]
    size = arguments.shard_size
    shards = [{"paths": paths[first : first + size]} for first in range(0, len(paths), size)]
    # all workers must be able to write to this folder: on a cluster, use a shared file system
    with tempfile.TemporaryDirectory() as folder:
        # each row is a shard; a repartition() here would need a CPU beyond the workers' and wait for it forever
        files = (
            ray.data.from_items(shards)
            .map(
                Measure,
                fn_constructor_args=(folder,),
                compute=ray.data.ActorPoolStrategy(size=arguments.workers),
            )
            .take_all()
        )
        dnas = (load_dna(row["file"]) for row in files)
        merged = functools.reduce(lambda a, b: a.merge(b), dnas)
    merged.save(arguments.output)
    print(f"{len(files)} shards: {merged}")


if __name__ == "__main__":
    main()
