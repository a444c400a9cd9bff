"""Networks of other libraries without the parts that no layer needs: HRNet, and the encoder of Stable Diffusion."""

from __future__ import annotations

import torch
from timm.models.hrnet import HighResolutionNet, cfg_cls
from torch import Tensor, nn
from torch.nn.functional import interpolate


class HRNetRepresentation(HighResolutionNet):  # type: ignore[misc]
    """HRNetV2-W48 up to its representation: all resolutions of the last stage, upsampled and concatenated.

    This representation is the last layer that networks trained on ImageNet and on segmentation (MSeg) have in common.
    The tensors have the names of timm's network, which are the original names.
    """

    def __init__(self) -> None:
        super().__init__(cfg_cls["hrnet_w48"], num_classes=0, head="")

    def forward(self, imgs: Tensor) -> Tensor:
        """Return the representation, shape ``(B, n, H / 4, W / 4)``."""
        finest, *coarser = self.forward_features(imgs)
        upsampled = (interpolate(branch, finest.shape[2:], mode="bilinear") for branch in coarser)
        return torch.cat([finest, *upsampled], dim=1)


class StableDiffusionEncoder(nn.Module):
    """Encoder of images ``(B, 3, H, W)`` in [-1, 1] to the mean of their latent, ``(B, 4, H / 8, W / 8)``.

    The network is that of Stable Diffusion v1, without the decoder. The tensors have the names of ``AutoencoderKL`` in
    diffusers.
    """

    def __init__(self) -> None:
        # diffusers is an optional dependency.
        from diffusers import AutoencoderKL

        super().__init__()
        autoencoder = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
        self.encoder = autoencoder.encoder
        self.quant_conv = autoencoder.quant_conv

    def forward(self, imgs: Tensor) -> Tensor:
        """Return the mean of the latent, because samples of the latent would be random."""
        mean: Tensor
        mean, _log_variance = self.quant_conv(self.encoder(imgs)).chunk(2, dim=1)
        return mean
