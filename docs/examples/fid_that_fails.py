"""What the Fréchet functions of six packages give for the same features, by the version of scipy that is installed.

    pip install "torchmetrics-dna[demo]" torch-fidelity clean-fid pytorch-fid pyiqa monai
    pip install "scipy<1.18" && python fid_that_fails.py
    pip install "scipy>=1.18" && python fid_that_fails.py

Features are the 1,280 neurons of the installed network's last layer, of crops of scikit-image's photographs, the first
half of each picture against the second. They are made once, and kept in the temporary folder. Packages that are not
installed are left out.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Moments = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

NUMBERS = (28, 778, 5000)  # images a side
SIDE = 96  # of a crop, in pixels


def features() -> NDArray[np.float32]:
    """Return features of crops of both halves of the photographs, ``(2, images, neurons)``."""
    path = Path(tempfile.gettempdir()) / "fid_that_fails.npy"
    if path.is_file():
        return np.asarray(np.load(path))
    import skimage.data

    from torchmetrics_dna import DNAExtractor
    from torchmetrics_dna.demo import PHOTOGRAPHS

    photographs = [np.asarray(getattr(skimage.data, name.partition(".")[0])()) for name in PHOTOGRAPHS[:5]]
    photographs = [np.dstack([each] * 3) if each.ndim == 2 else each[..., :3] for each in photographs]
    generator = np.random.default_rng(0)
    pooled = DNAExtractor(input_size=(SIDE, SIDE)).pooled("head")
    sides = []
    for half in range(2):
        batches = []
        for _ in range(NUMBERS[-1] // 50):
            crops = []
            for photograph in generator.choice(len(photographs), 50):
                picture = np.array_split(photographs[photograph], 2, axis=1)[half]
                top, left = (generator.integers(0, extent - SIDE + 1) for extent in picture.shape[:2])
                crops.append(picture[top : top + SIDE, left : left + SIDE])
            with torch.no_grad():
                batches.append(pooled(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)).numpy())
        sides.append(np.concatenate(batches))
    np.save(path, np.stack(sides))
    return np.stack(sides)


def moments(a: NDArray[np.float32], b: NDArray[np.float32]) -> Moments:
    """Return mean and covariance of both sides, as these packages take them."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    return first.mean(0), np.cov(first, rowvar=False), second.mean(0), np.cov(second, rowvar=False)


def by_clean_fid(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from cleanfid.fid import frechet_distance

    return float(frechet_distance(*moments(a, b)))


def by_pytorch_fid(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from pytorch_fid.fid_score import calculate_frechet_distance

    return float(calculate_frechet_distance(*moments(a, b)))


def by_pyiqa(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from pyiqa.archs.fid_arch import frechet_distance

    return float(frechet_distance(*moments(a, b)))


def by_the_mended_line(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from scipy.linalg import sqrtm

    mean_a, cov_a, mean_b, cov_b = moments(a, b)
    covmean = sqrtm(cov_a.dot(cov_b))  # before: `covmean, _ = sqrtm(cov_a.dot(cov_b), disp=False)`
    if np.iscomplexobj(covmean) and not np.allclose(np.diagonal(covmean).imag, 0, atol=1e-3):
        raise ValueError(f"Imaginary component {np.abs(covmean.imag).max()}")
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(covmean.real))


def by_monai(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from monai.metrics.fid import get_fid_score

    return float(get_fid_score(torch.from_numpy(a), torch.from_numpy(b)))


def by_torch_fidelity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    mean_a, cov_a, mean_b, cov_b = moments(a, b)
    sides = {"mu": mean_a, "sigma": cov_a}, {"mu": mean_b, "sigma": cov_b}
    return float(fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"])


def by_torchmetrics(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from torchmetrics.image.fid import _compute_fid

    return float(_compute_fid(*map(torch.from_numpy, moments(a, b))))


def by_torchmetrics_dna(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    from torchmetrics_dna.functional import layer_frechet_distance

    return float(layer_frechet_distance(*map(torch.from_numpy, moments(a, b))))


PACKAGES: dict[str, Callable[[Any, Any], float]] = {
    "clean-fid": by_clean_fid,
    "pytorch-fid": by_pytorch_fid,
    "pyiqa": by_pyiqa,
    "monai": by_monai,
    "scipy": by_the_mended_line,
    "torch-fidelity": by_torch_fidelity,
    "torchmetrics": by_torchmetrics,
    "torchmetrics-dna": by_torchmetrics_dna,
}


def main() -> None:
    real, generated = features()
    print(f"| package | scipy | {' | '.join(f'{number:,} images a side' for number in NUMBERS)} |")
    print("|---|---" + "|--:" * len(NUMBERS) + "|")
    for package, distance in PACKAGES.items():
        cells = []
        for number in NUMBERS:
            try:
                cells.append(f"{distance(real[:number], generated[:number]):.6f}")
            except ModuleNotFoundError:
                break
            except (TypeError, ValueError) as err:
                cells.append(f"`{type(err).__name__}: {err}`")
        else:
            print(f"| {package} {version(package)} | {version('scipy')} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
