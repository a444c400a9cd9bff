"""dna-emd in an evaluation with Hugging Face Accelerate.

accelerate launch --cpu --num_processes 2 accelerate_loop.py
"""

from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from ddp_pytorch import pairs
from torch.utils.data import DataLoader

from torchmetrics_dna import DNAEMD, DNAExtractor


def main() -> None:
    # Metrics count every image once. With even_batches, images would be repeated to make all batches equal.
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
    loader = accelerator.prepare(DataLoader(pairs(), batch_size=2))
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0", "block_1", "block_2"], properties=True)
    metric = DNAEMD(extractor).to(accelerator.device)
    for real, fake in loader:
        metric.update(real, real=True)
        metric.update(fake, real=False)
    # Every process calls `compute`, because it synchronizes them.
    value = float(metric.compute())
    if accelerator.is_main_process:
        print(f"dna-emd {value!r}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
