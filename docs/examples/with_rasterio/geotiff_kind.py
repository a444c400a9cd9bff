"""GeoTIFF as a kind of file: tiles of scenes, of bands and a scale of yours.

    pip install -r requirements.txt .
    export GEOTIFF_BANDS=4,3,2 GEOTIFF_WHITE=3000
    torchmetrics-dna compare 'before/*.tif' 'after/*.tif' --groups 'prefix:[^\\[]+'

In Python, `import geotiff_kind` registers it, in place of TIFF as a picture. Bands count from 1; white is the value
that becomes 1, such as 3,000 of reflectances up to 10,000. Tiles with a pixel of no data are left out. The tiles of a
scene belong together, which `--groups` says. Other numbers of bands than 3 take a network of yours, `channels=`.
"""

import os
from functools import partial

import numpy as np
import rasterio
from rasterio.windows import Window

from torchmetrics_dna.images.kinds import KINDS, FileKind
from torchmetrics_dna.images.sets import ImageSource

SIDE = int(os.environ.get("GEOTIFF_SIDE", "224"))  # of a tile, in pixels


def open_geotiff(files, label, _reading):
    if not {"GEOTIFF_BANDS", "GEOTIFF_WHITE"} <= os.environ.keys():
        raise ValueError("GeoTIFF takes bands and white; give them, such as GEOTIFF_BANDS=4,3,2 GEOTIFF_WHITE=3000")
    bands, white = [*map(int, os.environ["GEOTIFF_BANDS"].split(","))], float(os.environ["GEOTIFF_WHITE"])
    places = []
    for file in files:
        with rasterio.open(file) as scene:
            corners = np.ndindex(scene.height // SIDE, scene.width // SIDE)
            windows = [Window(column * SIDE, row * SIDE, SIDE, SIDE) for row, column in corners]
            places += [(file, window) for window in windows if scene.dataset_mask(window=window).all()]
    names = [f"{file}[{window.row_off},{window.col_off}]" for file, window in places]
    return ImageSource(names, partial(scaled, places, bands, white), label)


def scaled(places, bands, white, number):
    """Tile of a scene, (H, W, bands), from 0 to 1."""
    file, window = places[number]
    with rasterio.open(file) as scene:
        values = scene.read(bands, window=window)
    return (np.moveaxis(values, 0, 2) / white).clip(0, 1).astype(np.float32)


pictures = KINDS.pop("image file")
KINDS.register(pictures._replace(suffixes=tuple({*pictures.suffixes} - {".tif", ".tiff"})))
KINDS.register(FileKind("GeoTIFF", (".tif", ".tiff"), open_geotiff))
