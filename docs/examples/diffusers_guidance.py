"""Compare the pictures of a diffusers pipeline at several guidance scales with real ones.

    pip install "torchmetrics-dna[demo,diffusers]"
    python diffusers_guidance.py

The pipeline is a tiny one with random weights, to try it; take yours by `DiTPipeline.from_pretrained`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from torchmetrics_dna import compare
from torchmetrics_dna.demo import photographs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import ImagePipelineOutput


def generate(pipeline: DiTPipeline, scale: float) -> Iterator[ImagePipelineOutput]:
    """The same classes from the same noise for all scales, a batch at a time."""
    for seed in range(2):
        noise = torch.Generator().manual_seed(seed)
        yield pipeline([207, 360] * 4, guidance_scale=scale, num_inference_steps=2, generator=noise)


def main() -> None:
    torch.manual_seed(0)
    pipeline = DiTPipeline(
        DiTTransformer2DModel(2, 8, in_channels=4, out_channels=8, num_layers=1, norm_num_groups=4),
        AutoencoderKL(block_out_channels=[8], norm_num_groups=4),
        DDIMScheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)
    scales = {f"guidance {scale}": generate(pipeline, scale) for scale in (1.5, 4.0)}
    print(compare(photographs(16), scales, layers=["block_0", "block_1"]).verdict)


if __name__ == "__main__":
    main()
