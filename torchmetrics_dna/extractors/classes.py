"""Classifier of the default extractor, to describe the content of images in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from torchmetrics_dna.extractors.architectures import build_network
from torchmetrics_dna.extractors.checkpoints import load_weights
from torchmetrics_dna.extractors.presets import PRESETS
from torchmetrics_dna.extractors.weights import find_weights

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.extractors.base import DNAExtractor

LAYER = "head"  # its spatial means are the input of the classifier
_PRESET = PRESETS["efficientnet_lite0"]


@dataclass(frozen=True, eq=False)
class Classifier:
    """Linear classifier of ImageNet's classes on top of a network.

    Attributes:
        weight: Weight, shape ``(classes, n)``.
        bias: Bias, shape ``(classes,)``.
        names: Short name of each class.

    """

    weight: Tensor
    bias: Tensor
    names: list[str]

    def probabilities(self, head: Tensor) -> Tensor:
        """Compute the probabilities of the classes for each image.

        Args:
            head: Activations of the layer ``head``, ``(B, n, *positions)``.

        Returns:
            Probabilities, float32, ``(B, classes)``, on the same device.

        """
        means = head.float().flatten(2).mean(2) if head.ndim > 2 else head.float()
        weight, bias = self.weight.to(means.device), self.bias.to(means.device)
        return torch.softmax(means @ weight.T + bias, 1)


def classifier_of(extractor: DNAExtractor) -> Classifier | None:
    """Return the classifier of an extractor.

    Returns:
        The classifier; None unless the extractor is ``efficientnet_lite0`` with its packaged weights and the layer
        ``head``, since other weights may be for other classes.

    Example:
        >>> from torchmetrics_dna import DNAExtractor
        >>> classifier = classifier_of(DNAExtractor(layers=["head"]))
        >>> classifier.names[281], tuple(classifier.weight.shape)
        ('tabby', (1000, 1280))
        >>> classifier_of(DNAExtractor(layers=["block_0"])) is None
        True

    """
    if extractor.name != _PRESET.name or LAYER not in extractor.neurons:
        return None
    packaged = build_network(_PRESET)
    load_weights(packaged, find_weights(_PRESET), _PRESET)
    own, expected = extractor.network.state_dict(), packaged.state_dict()
    if own.keys() != expected.keys() or not all(torch.equal(own[key].cpu(), expected[key]) for key in own):
        return None
    return Classifier(expected["classifier.weight"], expected["classifier.bias"], _names())


def _names() -> list[str]:
    """Return a short name of each class of ImageNet, with its definition where names are ambiguous."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    labels = info.label_names()
    short = [info.label_name_to_description(label).split(",")[0] for label in labels]
    frequency = Counter(short)
    # "crane" is a bird and a machine
    return [
        name
        if frequency[name] == 1
        else f"{name} ({_definition(info.label_name_to_description(label, detailed=True))})"
        for name, label in zip(short, labels, strict=True)
    ]


def _definition(detailed: str) -> str:
    """Extract the definition of a class, without its names before and explanations after."""
    return detailed.split(":", 1)[-1].split(";")[0].strip()
