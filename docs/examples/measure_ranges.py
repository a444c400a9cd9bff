"""Measure the activation ranges that are packaged with `efficientnet_lite0`.

It measures photographs and drawings of many kinds, from packages that anyone can install, each as it is and degraded:

    pip install torchmetrics-dna scikit-image scikit-learn
    python measure_ranges.py CACHE -o efficientnet_lite0.ranges.json

CACHE is a folder that keeps the downloads (Debian and npm packages by name, so this needs a Debian machine with npm).
Set --per-package to a small number for a quick look.
"""

from __future__ import annotations

import argparse
import io
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from torchmetrics_dna import ActivationRange, DNAExtractor
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.pixels import decode_image
from torchmetrics_dna.images.resize import resize_image

DEBIAN = ("tuxpaint-stamps-default", "openclipart-png", "mate-backgrounds", "plasma-workspace-wallpapers")
NPM = {"emoji-datasource-google": "package/img/google/64", "emoji-datasource-twitter": "package/img/twitter/64"}
PYTHON = {"skimage": "data", "sklearn": "datasets/images"}
LARGEST = 40_000_000  # pixels; larger pictures only cost time
CROPS = 4  # of each image that is larger than 400 pixels


def fetch(cache: Path) -> dict[str, Path]:
    """Folders of images, by package."""
    folders = {}
    for package in DEBIAN:
        if not (cache / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=cache, check=True)
            (archive,) = cache.glob(f"{package}_*.deb")
            subprocess.run(["dpkg", "-x", archive.name, package], cwd=cache, check=True)
        folders[package] = cache / package
    for package, inside in NPM.items():
        if not (cache / package).exists():
            subprocess.run(["npm", "pack", "--silent", package], cwd=cache, check=True)
            (archive,) = cache.glob(f"{package}-*.tgz")
            (cache / package).mkdir()
            subprocess.run(["tar", "xzf", archive.name, "-C", package], cwd=cache, check=True)
        folders[package] = cache / package / inside
    for package, inside in PYTHON.items():
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"install {package} first")
        folders[package] = Path(spec.origin).parent / inside
    return folders


def degrade(image: Image.Image, random: np.random.Generator) -> list[Image.Image]:
    """Two random degraded forms of an image."""
    compressed = io.BytesIO()
    image.save(compressed, "JPEG", quality=int(random.integers(5, 30)))
    noise = random.normal(0, random.uniform(10, 60), (image.height, image.width, 3))
    forms = [
        image.filter(ImageFilter.GaussianBlur(random.uniform(0.005, 0.05) * min(image.size))),
        Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)),
        ImageEnhance.Contrast(image).enhance(random.uniform(1.5, 4)),
        ImageEnhance.Contrast(image).enhance(random.uniform(0.1, 0.6)),
        Image.open(compressed),
        ImageEnhance.Brightness(image).enhance(random.uniform(0.2, 3)),
        ImageEnhance.Color(image).enhance(random.choice([0.0, 3.0])),
        Image.eval(image, lambda value: 255 - value),
    ]
    return [forms[i] for i in random.choice(len(forms), 2, replace=False)]


def synthetic(random: np.random.Generator) -> list[Image.Image]:
    """Images more extreme than photographs: flat colours, noise, stripes."""
    images = [Image.new("RGB", (224, 224), (r, g, b)) for r in (0, 128, 255) for g in (0, 128, 255) for b in (0, 255)]
    images += [Image.fromarray(random.integers(0, 256, (224, 224, 3), dtype=np.uint8)) for _ in range(8)]
    for period in (2, 3, 4, 8, 16, 32, 64):
        stripes = (np.arange(224) // (period / 2)) % 2 * 255
        flat = np.broadcast_to(stripes[:, None, None], (224, 224, 3)).astype(np.uint8)
        images += [Image.fromarray(flat), Image.fromarray(flat.transpose(1, 0, 2).copy())]
        images.append(Image.fromarray(flat ^ flat.transpose(1, 0, 2)))
    return images


class Pictures(Dataset[torch.Tensor]):
    """All forms of each picture, resized, as one tensor (forms, 3, 224, 224)."""

    def __init__(self, paths: list[Path], size: tuple[int, int]) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        random = np.random.default_rng(index)
        nothing = torch.empty(0, 3, *self.size)
        try:
            with Image.open(self.paths[index]) as file:
                if file.width * file.height > LARGEST or file.mode.startswith("I"):
                    return nothing
                whole = Image.fromarray(decode_image(file).pixels)
                alpha = file.convert("RGBA") if "A" in file.getbands() or "transparency" in file.info else None
        except OSError:  # Pillow can't read it
            return nothing
        forms = [whole]
        if alpha is not None:
            forms.append(Image.alpha_composite(Image.new("RGBA", alpha.size, "white"), alpha).convert("RGB"))
        if min(whole.size) > 400:
            for _ in range(CROPS):
                side = int(random.integers(160, min(whole.size)))
                left, top = (int(random.integers(0, extent - side)) for extent in whole.size)
                forms.append(whole.crop((left, top, left + side, top + side)))
        # all forms are resized in the end, and degrading a wallpaper at full size would take long
        forms = [form if max(form.size) <= 800 else form.resize((448, 448)) for form in forms]
        forms += [bad for form in forms for bad in degrade(form, random)]
        return torch.stack([torch.from_numpy(resize_image(np.asarray(f), self.size)) for f in forms])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure activation ranges over packaged pictures")
    parser.add_argument("cache", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--per-package", type=int, default=1200, help="pictures of one package at most")
    parser.add_argument("--num-workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)

    extractor = DNAExtractor("efficientnet_lite0")
    size = extractor.input_size or (224, 224)
    paths: list[Path] = []
    for package, folder in fetch(arguments.cache).items():
        pictures = [Path(name) for name in open_source(folder).names]
        kept = pictures[:: max(1, -(-len(pictures) // arguments.per_package))]
        print(f"{package}: {len(kept)} of {len(pictures)} pictures")
        paths += kept

    extremes = torch.stack(
        [torch.from_numpy(resize_image(np.asarray(i), size)) for i in synthetic(np.random.default_rng(0))]
    )
    metric = ActivationRange(extractor, normalize=True)
    metric.update(extremes)
    loader = DataLoader(Pictures(paths, size), batch_size=None, num_workers=arguments.num_workers)
    for forms in track(loader, "Measuring"):
        if len(forms):
            metric.update(forms)
    ranges = replace(metric.to_ranges(), name="efficientnet_lite0")
    ranges.save(arguments.output)
    print(f"{ranges} over {int(metric.seen_images)} images: {arguments.output}")


if __name__ == "__main__":
    main()
