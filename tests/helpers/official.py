"""Files of random weights in the form that their makers publish, beside the networks of these weights.

The networks are built by another library than the package uses, wherever there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

State = dict[str, Tensor]
# blocks of networks; the others are like them, and one network, dino_vit_base, has them all
SHALLOW = {"mugs_vit_base": 3, "mugs_vit_large": 3, "clip_im_vit_b16": 3, "dinov2_vit_large": 3}


class Official(NamedTuple):
    """Official network: the content of its file, and its activations for normalised images, neurons on any axis."""

    content: Any
    activations: Callable[[Tensor], dict[str, Tensor]]


def random_official(name: str, folder: Path) -> Official:
    """The official file of a preset; ``folder`` is where a library may need a file of its own."""
    torch.manual_seed(0)
    return inception(folder) if name == "inception" else _MAKERS[name]()


def randomised(network: nn.Module) -> nn.Module:
    """Draw all weights of a network at random: norms, biases and running statistics too."""
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(0, 0.1 if value.ndim < 2 else max(value[0].numel(), 1) ** -0.5)
            if value.ndim == 1 and re.search(r"(norm|bn|ln|layrnorm|scale|gamma|bn\d)\w*\.?\d?\.(weight|lambda1)", key):
                value.add_(1)
    return network.eval()


def renamed(state: Mapping[str, Tensor], *rules: tuple[str, str]) -> State:
    """Rename entries by rules; an entry whose name becomes empty is left out."""
    result = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        result[name] = tensor
    return {name: tensor.clone() for name, tensor in result.items() if name}


def fused(state: State, pattern: str, name: str) -> State:
    """Join query, key and value into one tensor, where a pattern with ``(q|k|v)`` matches them."""
    groups: dict[str, dict[str, Tensor]] = {}
    rest = {}
    for key, tensor in state.items():
        match = re.search(pattern, key)
        if match:
            groups.setdefault(re.sub(pattern, name, key), {})[match[1]] = tensor
        else:
            rest[key] = tensor
    return rest | {key: torch.cat([parts[c] for c in "qkv"]) for key, parts in groups.items()}


def watched(network: nn.Module, layers: Mapping[str, str], last: str | None = None) -> Callable[[Tensor], State]:
    """Return a function from images to the outputs of submodules, by torch's own hooks."""

    def run(images: Tensor) -> State:
        outputs: State = {}

        def keep(layer: str) -> Callable[..., None]:
            def hook(module: nn.Module, args: object, output: Any) -> None:
                outputs[layer] = (output[0] if isinstance(output, tuple) else output).clone()

            return hook

        handles = [network.get_submodule(path).register_forward_hook(keep(layer)) for layer, path in layers.items()]
        with torch.inference_mode():
            network(images)
        for handle in handles:
            handle.remove()
        if last:
            outputs[last] = outputs[last][:, 0]
        return outputs

    return run


def tokens(blocks: str, depth: int, norm: str) -> dict[str, str]:
    return {f"block_{i}": f"{blocks}.{i}" for i in range(depth)} | {"last_norm": norm}


_FUSED = (r"attn\.([qkv])_proj", "attn.qkv")
_VIT = (
    (r"^embeddings\.cls_token", "cls_token"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^layers\.", "blocks."),
    (r"attention\.o_proj", "attn.proj"),
    (r"attention\.([qkv]_proj)", r"attn.\1"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"^layernorm\.", "norm."),
)


def vit(depth: int, width: int, extra: Mapping[str, Tensor] | None = None, key: str | None = None) -> Official:
    """A ViT of transformers, in the form of DINO's and Mugs' files."""
    config = transformers.ViTConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
        layer_norm_eps=1e-6,
    )
    network = randomised(transformers.ViTModel(config, add_pooling_layer=False))
    state = fused(renamed(network.state_dict(), *_VIT), *_FUSED) | dict(extra or {})
    return Official({key: state} if key else state, watched(network, tokens("layers", depth, "layernorm")))


def mugs(depth: int, width: int) -> Official:
    extra = {f"relation_blocks.0.{name}": torch.randn(width) for name in ("norm1.weight", "norm1.bias")}
    return vit(depth, width, extra, "state_dict")


_CLIP = (
    (r"^embeddings\.class_embedding", "class_embedding"),
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^embeddings\.patch_embedding", "conv1"),
    (r"^pre_layrnorm", "ln_pre"),
    (r"^post_layernorm", "ln_post"),
    (r"^encoder\.layers", "transformer.resblocks"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"self_attn\.", "attn."),
    (r"layer_norm", "ln_"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"^", "visual."),
)


def clip() -> Official:
    """CLIP's image side of transformers, in the form of OpenAI's file, with something of the text side."""
    depth = SHALLOW["clip_im_vit_b16"]
    config = transformers.CLIPVisionConfig(
        hidden_size=768,
        num_hidden_layers=depth,
        intermediate_size=3072,
        num_attention_heads=12,
        patch_size=16,
        hidden_act="quick_gelu",
    )
    network = randomised(transformers.CLIPVisionModel(config))
    state = fused(renamed(network.state_dict(), *_CLIP), r"attn\.([qkv])_proj\.", "attn.in_proj_")
    state |= {
        "visual.proj": torch.randn(768, 512),
        "logit_scale": torch.tensor(4.6),
        "ln_final.weight": torch.ones(512),
    }
    state |= {"transformer.resblocks.0.ln_1.weight": torch.ones(512)}
    layers = watched(network, tokens("encoder.layers", depth, "post_layernorm"))

    def activations(images: Tensor) -> State:
        outputs = layers(images)
        # transformers norms the class token alone
        return outputs | {"last_norm": outputs["last_norm"].reshape(len(images), 768)}

    return Official(state, activations)


def clip_with_projection(depth: int) -> Official:
    """CLIP's image side at 336 pixels, with its embedding, divided by its norm."""
    config = transformers.CLIPVisionConfig(
        hidden_size=1024,
        num_hidden_layers=depth,
        intermediate_size=4096,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
        hidden_act="quick_gelu",
    )
    network = randomised(transformers.CLIPVisionModelWithProjection(config))
    state = network.state_dict()
    projection = state.pop("visual_projection.weight")
    rules = ((r"^vision_model\.", ""), *_CLIP)
    content = fused(renamed(state, *rules), r"attn\.([qkv])_proj\.", "attn.in_proj_") | {"visual.proj": projection.T}

    def projected(images: Tensor) -> State:
        with torch.inference_mode():
            embeddings = network(pixel_values=images).image_embeds
        return {"projected": embeddings / embeddings.norm(dim=1, keepdim=True)}

    return Official(content, projected)


def dinov2(depth: int = SHALLOW["dinov2_vit_large"]) -> Official:
    """transformers' DINOv2 at 224 pixels, from a file whose position embeddings are for 518."""
    config = transformers.Dinov2Config(
        hidden_size=1024, num_hidden_layers=depth, num_attention_heads=16, image_size=518, patch_size=14
    )
    network = randomised(transformers.Dinov2Model(config))
    rules = (
        (r"^embeddings\.mask_token", "mask_token"),
        *_VIT[:3],
        (r"^encoder\.layer\.", "blocks."),
        *_VIT[4:6],
        (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
        _VIT[-1],
    )
    state = fused(renamed(network.state_dict(), *rules), *_FUSED)
    # the paper's own way from 37 x 37 patches to 16 x 16
    embeddings = network.embeddings
    grid = embeddings.position_embeddings[:, 1:].reshape(1, 37, 37, 1024).permute(0, 3, 1, 2)
    grid = (
        interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 256, -1)
    )
    resampled = torch.cat([embeddings.position_embeddings[:, :1], grid], dim=1)
    embeddings.interpolate_pos_encoding = lambda *_: resampled
    return Official(state, watched(network, tokens("encoder.layer", depth, "layernorm")))


def resnet50(wrap: Callable[[State], Any]) -> Official:
    network = randomised(timm.create_model("resnet50", pretrained=False))
    names = [f"layer{stage}.{i}" for stage, depth in enumerate((3, 4, 6, 3), 1) for i in range(depth)]
    return Official(wrap(network.state_dict()), watched(network, {name.replace(".", "_"): name for name in names}))


def vgg16() -> Official:
    """timm's VGG16, whose classifier has other names."""
    network = randomised(timm.create_model("vgg16", pretrained=False))
    relus = {1: (1, 3), 2: (6, 8), 3: (11, 13, 15), 4: (18, 20, 22), 5: (25, 27, 29)}
    layers = {f"relu_{s}_{i}": f"features.{at}" for s, ats in relus.items() for i, at in enumerate(ats, 1)}
    state = {name: value for name, value in network.state_dict().items() if name.startswith("features.")}
    return Official(state | {"classifier.6.bias": torch.zeros(1000)}, watched(network, layers))


def inception(folder: Path) -> Official:
    """torch-fidelity's network of FID, which takes its weights from the same kind of file."""
    network = randomised(_without_weights(folder, ["64", "192", "768", "2048"]))
    layers = {"block_0": "MaxPool_1", "block_1": "MaxPool_2", "block_2": "Mixed_6e", "block_3": "AvgPool"}
    run = watched(network, layers)

    def activations(images: Tensor) -> State:
        # it scales in its own way, so it is given images that are scaled already
        handle = network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _m, _args: images)
        outputs = run(torch.zeros(len(images), 3, 299, 299, dtype=torch.uint8))
        handle.remove()
        return outputs

    return Official(network.state_dict(), activations)


def small_inception_of_fid(folder: Path, images: Tensor) -> tuple[State, Tensor, Tensor]:
    """Weights of torch-fidelity's network, its logits without bias, and what ADM takes for sFID, of small images."""
    network = randomised(_without_weights(folder, ["2048", "logits_unbiased"]))
    spatial: list[Tensor] = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda _m, _a, output: spatial.append(output[:, :7].flatten(1)))
    with torch.inference_mode():
        for layer in [layer for name, layer in network.named_children() if name != "fc"]:
            images = layer(images)
    state = {name: tensor for name, tensor in network.state_dict().items() if name != "fc.bias"}
    return state, images.flatten(1) @ network.fc.weight.T, spatial[0]


def inception_of_fid(folder: Path, images: Sequence[np.ndarray]) -> FeatureExtractorInceptionV3:
    """torch-fidelity's network, with random weights and norms that fit images, so that features and classes vary."""
    network = _without_weights(folder, ["2048", "logits_unbiased"])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.momentum = None
            module.train()
    nn.init.normal_(network.fc.weight, std=0.2)
    with torch.inference_mode():
        network(torch.from_numpy(np.stack(images)).movedim(3, 1))
    return network.eval()


def _without_weights(folder: Path, features: list[str]) -> FeatureExtractorInceptionV3:
    torch.save({}, folder / "empty.pth")
    strict, FeatureExtractorInceptionV3.load_state_dict = FeatureExtractorInceptionV3.load_state_dict, _nothing
    try:
        return FeatureExtractorInceptionV3("x", features, str(folder / "empty.pth"))
    finally:
        FeatureExtractorInceptionV3.load_state_dict = strict


def _nothing(*args: object, **kwargs: object) -> None: ...


def stable_diffusion() -> Official:
    """diffusers' whole autoencoder, in the form of the file of Stable Diffusion 1.4."""
    config = {
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 32,
    }
    from diffusers import AutoencoderKL  # takes seconds

    network = randomised(AutoencoderKL(**config))
    rules = ((r"to_q\.", "query."), (r"to_k\.", "key."), (r"to_v\.", "value."), (r"to_out\.0\.", "proj_attn."))

    def latent(images: Tensor) -> State:
        with torch.inference_mode():
            return {"latent": network.encode(images).latent_dist.mode()}

    return Official(renamed(network.state_dict(), *rules), latent)


def hrnet(wrap: Callable[[State], Any]) -> Official:
    network = randomised(timm.create_model("hrnet_w48", pretrained=False))

    def last_layer(images: Tensor) -> State:
        branches: list[Tensor] = []
        handle = network.stage4.register_forward_hook(lambda _m, _a, output: branches.extend(output))
        with torch.inference_mode():
            network(images)
        handle.remove()
        finest = branches[0].shape[-1]
        enlarged = [nn.Upsample(scale_factor=finest // b.shape[-1], mode="bilinear")(b) for b in branches]
        return {"last_layer": torch.cat(enlarged, dim=1)}

    return Official(wrap(network.state_dict()), last_layer)


def mseg(state: State) -> Any:
    """Make a network like those trained for segmentation: another head, under DataParallel."""
    heads = ("incre_modules", "downsamp_modules", "final_layer", "classifier")
    state = {name: value for name, value in state.items() if not name.startswith(heads)}
    state["last_layer.0.weight"] = torch.randn(720, 720, 1, 1)
    return {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}


_MAKERS: dict[str, Callable[[], Official]] = {
    "mugs_vit_base": lambda: mugs(SHALLOW["mugs_vit_base"], 768),
    "mugs_vit_large": lambda: mugs(SHALLOW["mugs_vit_large"], 1024),
    "dino_vit_base": lambda: vit(12, 768),
    "dino_resnet50": lambda: resnet50(
        lambda state: {f"module.{name}": value for name, value in state.items() if not name.startswith("fc.")}
    ),
    "clip_im_vit_b16": clip,
    "vgg16": vgg16,
    "rand_resnet50": lambda: resnet50(lambda state: {"model_state_dict": state}),
    "sd_vae_encoder": stable_diffusion,
    "hrnet_w48": lambda: hrnet(dict),
    "hrnet_w48, MSeg": lambda: hrnet(mseg),
    "dinov2_vit_large": dinov2,
}
