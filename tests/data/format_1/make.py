"""Write the files beside it, as release 0.1.0 did: ``python make.py``. Every later release reads them."""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "helpers"))

from dnas import about, every_kind, tensors  # noqa: E402

if __name__ == "__main__":  # pytest imports it, looking for doctests
    for name, dna in zip(("histogram", "self-ranging", "gaussian", "layer-gaussian"), every_kind(), strict=True):
        dna.save(HERE / f"{name}.dna.npz")
        values = {f"value_{i}": value.numpy() for i, value in enumerate(tensors(dna).values())}
        np.savez_compressed(HERE / f"{name}.expected.npz", about=json.dumps(about(dna)), **values)
