"""dna-emd in an evaluation with Hugging Face Accelerate.

accelerate launch --cpu --num_processes 2 accelerate_loop.py
"""

from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from ddp_pytorch import pairs
from torch.utils.data import DataLoader

from torchmetrics_dna import DNAEMD, DNAExtractor


def main() -> None:
    # even_batches would repeat images to make all batches equal; metrics count every image once
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
    loader = accelerator.prepare(DataLoader(pairs(), batch_size=2))
    extractor = DNAExtractor("efficientnet_lite0", layers=["block_0", "block_1", "block_2"], properties=True)
    metric = DNAEMD(extractor).to(accelerator.device)
    for real, fake in loader:
        metric.update(real, real=True)
        metric.update(fake, real=False)
    value = metric.compute()  # on every process
    if accelerator.is_main_process:
        print(f"dna-emd {float(value):.6f}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
