"""dna-emd in an Ignite evaluator, over several processes.

torchrun --standalone --nproc-per-node 2 ignite_evaluator.py
"""

import os

import ignite.distributed as idist
from ddp_pytorch import pairs
from ignite.engine import Engine, Events
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from torchmetrics_dna import DNAEMD, DNAExtractor


def evaluate(_local_rank: int) -> None:
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0", "block_1", "block_2"], properties=True)
    metric = DNAEMD(extractor).to(idist.device())

    def step(_engine: Engine, batch: list[Tensor]) -> None:
        real, fake = batch
        metric.update(real, real=True)
        metric.update(fake, real=False)

    evaluator = Engine(step)

    @evaluator.on(Events.EPOCH_COMPLETED)
    def compute(engine: Engine) -> None:
        # Every process calls `compute`, because it synchronizes them.
        engine.state.metrics["dna_emd"] = float(metric.compute())
        metric.reset()

    data = pairs()
    # Each image belongs to one process.
    own = Subset(data, range(idist.get_rank(), len(data), idist.get_world_size()))
    evaluator.run(DataLoader(own, batch_size=2))
    if idist.get_rank() == 0:
        print(f"dna-emd {evaluator.state.metrics['dna_emd']!r}")


def main() -> None:
    # On GPUs, use nccl.
    backend = "gloo" if "RANK" in os.environ else None
    with idist.Parallel(backend=backend) as parallel:
        parallel.run(evaluate)


if __name__ == "__main__":
    main()
