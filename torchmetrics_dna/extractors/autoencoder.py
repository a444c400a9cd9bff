"""Encoder of Stable Diffusion's autoencoder."""

from __future__ import annotations

from torch import Tensor, nn


class StableDiffusionEncoder(nn.Module):
    """Encoder of images ``(B, 3, H, W)`` in [-1, 1] to the mean of their latent, ``(B, 4, H / 8, W / 8)``.

    The network is that of Stable Diffusion v1, without the decoder; tensors have the names of diffusers'
    ``AutoencoderKL``.
    """

    def __init__(self) -> None:
        from diffusers import AutoencoderKL  # an extra

        super().__init__()
        autoencoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
        self.encoder, self.quant_conv = autoencoder.encoder, autoencoder.quant_conv

    def forward(self, imgs: Tensor) -> Tensor:
        """Return the mean of the latent, which is deterministic, unlike samples."""
        mean: Tensor = self.quant_conv(self.encoder(imgs)).chunk(2, dim=1)[0]
        return mean
