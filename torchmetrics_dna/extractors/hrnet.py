"""Last layer of HRNet, as used in semantic segmentation."""

from __future__ import annotations

import torch
from timm.models.hrnet import HighResolutionNet, cfg_cls
from torch import Tensor
from torch.nn.functional import interpolate


class HRNetRepresentation(HighResolutionNet):  # type: ignore[misc]
    """HRNetV2-W48 up to its representation: all resolutions of the last stage, upsampled and concatenated.

    It is the last layer common to networks trained on ImageNet and on segmentation (MSeg). Tensors have the names of
    timm's network, which are the original ones.
    """

    def __init__(self) -> None:
        super().__init__(cfg_cls["hrnet_w48"], num_classes=0, head="")

    def forward(self, imgs: Tensor) -> Tensor:
        """Return the representation, shape ``(B, n, H / 4, W / 4)``."""
        finest, *coarser = self.forward_features(imgs)
        upsampled = (interpolate(branch, finest.shape[2:], mode="bilinear") for branch in coarser)
        return torch.cat([finest, *upsampled], dim=1)
