"""NIfTI as a kind of file: the slices of volumes along their last axis, in a window of yours.

    pip install -r requirements.txt .
    NIFTI_WINDOW=0,1000 torchmetrics-dna compare 'site_a/*.nii.gz' 'site_b/*.nii.gz' --groups 'prefix:[^\\[]+'

In Python, `import nifti_kind` registers it. The window is in the file's own unit, after its slope and intercept. MR has
no unit: choose the window for each protocol, or scale the volumes before. The slices of a volume belong together, which
`--groups` says. Whole volumes go to a network of yours as arrays: `nibabel.load(path).get_fdata()`.
"""

import os
from functools import partial

import nibabel
import numpy as np

from torchmetrics_dna.images.kinds import KINDS, FileKind
from torchmetrics_dna.images.sets import ImageSource


def open_nifti(files, label, _reading):
    if "NIFTI_WINDOW" not in os.environ:
        raise ValueError("NIfTI takes a window of values, lowest and highest; give it, such as NIFTI_WINDOW=0,1000")
    low, high = map(float, os.environ["NIFTI_WINDOW"].split(","))
    places = [(file, at) for file in files for at in np.ndindex(nibabel.load(file).shape[2:])]
    names = [f"{file}[{','.join(map(str, at))}]" for file, at in places]
    return ImageSource(names, partial(windowed, places, low, high), label)


def windowed(places, low, high, number):
    """Slice of a volume, or of one at a time, (H, W), from 0 to 1; read alone from a file that is not compressed."""
    file, at = places[number]
    values = np.asarray(nibabel.load(file).dataobj[(..., *at)])
    return ((values.T[::-1] - low) / (high - low)).clip(0, 1).astype(np.float32)


KINDS.register(FileKind("NIfTI", (".nii", ".nii.gz"), open_nifti))
