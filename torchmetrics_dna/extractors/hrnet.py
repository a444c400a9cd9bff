"""The last layer of HRNet as semantic segmentation uses it."""

from __future__ import annotations

import torch
from timm.models.hrnet import HighResolutionNet, cfg_cls
from torch import Tensor
from torch.nn.functional import interpolate


class HRNetRepresentation(HighResolutionNet):  # type: ignore[misc]
    """Images to the representation of HRNetV2-W48: all resolutions of the last stage, brought to the finest, in a row.

    It is the last layer that networks trained on ImageNet and on segmentation (MSeg) have in common. Tensors have the
    names of timm's network, which are the original ones.
    """

    def __init__(self) -> None:
        super().__init__(cfg_cls["hrnet_w48"], num_classes=0, head="")

    def forward(self, imgs: Tensor) -> Tensor:
        """Shape ``(B, n, H / 4, W / 4)``."""
        finest, *others = self.forward_features(imgs)
        larger = (interpolate(branch, finest.shape[2:], mode="bilinear") for branch in others)
        return torch.cat([finest, *larger], dim=1)
