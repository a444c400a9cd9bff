"""HEIC and JPEG XL are read where their plugins are installed, and else the package that is missing is named."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from torchmetrics_dna import make_dna
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.images import open_source
from torchmetrics_dna.images.pixels import decode_image

PHOTO = photographs(2)[0]


def heic(module: Any) -> bytes:
    file = io.BytesIO()
    module.from_pillow(Image.fromarray(PHOTO)).save(file, quality=95)
    return file.getvalue()


def jxl(module: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "JXL", lossless=True)
    return file.getvalue()


KINDS = {
    "pillow_heif": ("a.heic", heic, "HEIC", "pillow-heif"),
    "pillow_jxl": ("a.jxl", jxl, "JPEG XL", "pillow-jxl-plugin"),
}


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the registration of plugins in this process."""
    Image.init()  # which registers all other formats once a process, and must not do so in what is undone
    ids = [name for name in Image.ID if name not in ("HEIF", "JXL")]
    monkeypatch.setattr(Image, "OPEN", {name: Image.OPEN[name] for name in ids})
    monkeypatch.setattr(Image, "ID", ids)


@pytest.mark.parametrize("module", KINDS)
def test_files_of_plugins(module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, write, format_name, package = KINDS[module]
    content = write(pytest.importorskip(module))
    (tmp_path / name).write_bytes(content)
    forget(monkeypatch)
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, module, None)
        with pytest.raises(ValueError, match=f"{name}': it is {format_name}, .*: `pip install {package}`"):
            make_dna(tmp_path, layers=["block_0"])
    for loaded in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    for source in (open_source(tmp_path), open_source([content])):
        read = source[0].astype(float)
        assert read.shape == PHOTO.shape
        assert np.abs(read - PHOTO).mean() < (8 if module == "pillow_heif" else 1e-9)
    assert decode_image(tmp_path / name).file.format in ("HEIF", "JXL")
