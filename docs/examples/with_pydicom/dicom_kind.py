"""DICOM as a kind of file: slices of CT, MR or X-ray, in a window of yours.

    pip install -r requirements.txt .
    DICOM_WINDOW=-160,240 torchmetrics-dna compare 'scanner_a/*.dcm' 'scanner_b/*.dcm' --groups 'prefix:[^_]+'

In Python, `import dicom_kind` registers it. The window is in the file's own unit, after its rescale slope and
intercept: of CT Hounsfield units. It must be that which your network was trained on, and the same for both sides.
"""

import os
from functools import partial

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut

from torchmetrics_dna.images.kinds import KINDS, FileKind
from torchmetrics_dna.images.sets import ImageSource


def open_dicom(files, label, _reading):
    if "DICOM_WINDOW" not in os.environ:
        raise ValueError("DICOM takes a window of values, lowest and highest; give it, such as DICOM_WINDOW=-160,240")
    low, high = map(float, os.environ["DICOM_WINDOW"].split(","))
    return ImageSource(files, partial(windowed, files, low, high), label)


def windowed(files, low, high, number):
    """Slice of a file, (H, W), from 0 to 1."""
    dataset = pydicom.dcmread(files[number])
    values = apply_modality_lut(dataset.pixel_array, dataset)
    if values.ndim != 2:
        raise ValueError(f"it has {values.ndim} axes, of frames or colours; split it into single slices")
    shades = ((values - low) / (high - low)).clip(0, 1).astype(np.float32)
    return 1 - shades if dataset.PhotometricInterpretation == "MONOCHROME1" else shades


KINDS.register(FileKind("DICOM", (".dcm",), open_dicom))
