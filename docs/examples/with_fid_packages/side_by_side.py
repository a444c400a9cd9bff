"""torch-fidelity and clean-fid beside compare: by the same network, values are equal to rounding.

    pip install -r requirements.txt
    python side_by_side.py generated/ photos/ [--inception [FILE]]

Both packages take a network of yours: here the installed one, or with --inception that of FID, whose weights
torch-fidelity and compare fetch, unless you give torch-fidelity's file. What else makes values differ:

- torch-fidelity takes the generated images first, which matters to precision, recall and the inception score.
- `fidelity --prc` is of VGG16; with `--feature-extractor inception-v3-compat` it is of Inception, as here and in ADM.
- FID resizes as TensorFlow did, clean-fid as Pillow does, on floats; so do most networks here.
- KID is of random subsets of 1,000 images, here of all where there are fewer; clean-fid's takes no other network.
- Precision and recall by Inception take 3 nearest neighbours everywhere, by other networks compare takes 5.

torch-fidelity takes images of one size.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch_fidelity
from cleanfid import fid as clean_fid
from cleanfid.resize import make_resizer

from torchmetrics_dna import DNAExtractor, compare

if TYPE_CHECKING:
    from torch import Tensor

LAYER = "block_6"  # of the installed network
CLEAN = "fid, clean resize"
THEIRS = {
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "precision": "precision",
    "recall": "recall",
    "is": "inception_score_mean",
}


class Installed(torch_fidelity.FeatureExtractorBase):
    """The installed network as a feature extractor of torch-fidelity."""

    def __init__(self, name: str, features_list: list[str], **_options: object) -> None:
        super().__init__(name, features_list)
        self.pooled = DNAExtractor("efficientnet_lite0").pooled(LAYER)

    @staticmethod
    def get_provided_features_list() -> tuple[str]:
        return (LAYER,)

    @staticmethod
    def get_default_feature_layer_for_metric(_metric: str) -> str:
        return LAYER

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.pooled(images),)


def by_torch_fidelity(generated: str, photos: str, weights: str | None, inception: bool) -> dict[str, float]:
    values = torch_fidelity.calculate_metrics(
        input1=generated,
        input2=photos,
        fid=True,
        kid=True,
        prc=True,
        isc=inception,
        kid_subset_size=min(1000, *(len(list(Path(folder).iterdir())) for folder in (generated, photos))),
        prc_neighborhood=3 if inception else 5,
        feature_extractor="inception-v3-compat" if inception else "installed",
        feature_extractor_weights_path=weights,
        cuda=torch.cuda.is_available(),
        cache=False,
        verbose=False,
    )
    return {name: values[key] for name, key in THEIRS.items() if key in values}


def clean_inception(weights: str | None) -> DNAExtractor:
    return DNAExtractor("inception_fid", layers=["block_3"], weights_path=weights, resize="clean")


def by_clean_fid(generated: str, photos: str, weights: str | None, inception: bool) -> dict[str, float]:
    extractor = clean_inception(weights) if inception else DNAExtractor("efficientnet_lite0", layers=[LAYER])
    pooled = extractor.pooled(*extractor.neurons)
    value = clean_fid.compute_fid(
        generated,
        photos,
        custom_feat_extractor=lambda batch: pooled(batch / 255),  # floats from 0 to 255, already resized
        custom_fn_resize=make_resizer("PIL", False, "bicubic", extractor.input_size),
        num_workers=0,
        device=extractor.device,
        verbose=False,
    )
    return {CLEAN if inception else "fid": value}


def by_compare(generated: str, photos: str, weights: str | None, inception: bool) -> dict[str, float]:
    if not inception:
        result = compare(photos, generated, layers=[LAYER], metrics=["fd", "kid", "precision", "recall"])
        return {name.replace("fd", "fid"): distance.value for name, distance in result.items()}
    result = compare(photos, generated, {"weights_path": weights}, metrics=[*THEIRS])
    clean = compare(photos, generated, clean_inception(weights), metrics="fd")
    return {name: distance.value for name, distance in result.items()} | {CLEAN: clean["fd"].value}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generated")
    parser.add_argument("photos")
    parser.add_argument("--inception", metavar="FILE", nargs="?", const="")
    arguments = parser.parse_args()
    inception, weights = arguments.inception is not None, arguments.inception or None
    torch_fidelity.register_feature_extractor("installed", Installed)

    folders = arguments.generated, arguments.photos
    columns = {
        "torch-fidelity": by_torch_fidelity(*folders, weights, inception),
        "clean-fid": by_clean_fid(*folders, weights, inception),
        "compare": by_compare(*folders, weights, inception),
    }
    print(f"| | {' | '.join(columns)} |\n|---|{'--:|' * len(columns)}")
    for name in (name for name in (*THEIRS, CLEAN) if name in columns["compare"]):
        cells = (f"{values[name]:.6g}" if name in values else "" for values in columns.values())
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
