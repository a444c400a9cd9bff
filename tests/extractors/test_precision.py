"""Half precision and torch.compile: what they change, and what they must not."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
import torch
from networks import random_images

from torchmetrics_dna import DNAEMD, DNAExtractor, make_dna
from torchmetrics_dna.dna.identity import extractor_of
from torchmetrics_dna.functional import dna_emd

LAYERS = ["block_0", "block_6"]
# batches of several sizes, and what torch compiled for them
COMPILE = """
import json
from networks import random_images
from torch._dynamo.utils import counters
from torchmetrics_dna import DNAExtractor

extractor = DNAExtractor(layers=["block_0"], compile=True)
sums = [sum(float(values.sum()) for values in extractor(random_images(count, 0) / 255).values()) for count in (4, 7, 1)]
print(json.dumps([sums, counters["stats"]["unique_graphs"]]))
"""


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_half_precision_is_autocast(dtype: str | torch.dtype) -> None:
    photograph = torch.from_numpy(skimage.data.astronaut()).movedim(2, 0)[None]
    full, half = DNAExtractor(layers=LAYERS), DNAExtractor(layers=LAYERS, dtype=dtype)
    activations = half(photograph)
    for layer, values in full(photograph).items():
        assert activations[layer].dtype == getattr(torch, str(dtype).removeprefix("torch."))
        assert 1e-5 < float((activations[layer].float() - values).norm() / values.norm()) < 0.05
    assert half.weights_digest == full.weights_digest
    assert half.digest != full.digest
    dna_full, dna_half = make_dna(photograph, full), make_dna(photograph, half)
    assert 0 < float(dna_emd(dna_full.counts, dna_half.counts)) < 10
    with pytest.raises(ValueError, match="preparation"):
        dna_full.distances(dna_half)
    assert extractor_of(dna_half).digest == half.digest


@pytest.mark.parametrize("dtype", ["float64", torch.float32, "double", 16])
def test_other_precisions_are_refused(dtype: object) -> None:
    with pytest.raises(ValueError, match="`dtype` expected to be 'float16', 'bfloat16' or None, but got"):
        DNAExtractor(dtype=dtype)


@pytest.mark.outer
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own use of it
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compiled_networks_give_the_same() -> None:
    plain, compiled = (DNAExtractor(layers=["block_0"], compile=compiles) for compiles in (False, True))
    assert compiled.digest == plain.digest
    images, folder = random_images(5, 0).float() / 255, os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    for extractor in (compiled, pickle.loads(pickle.dumps(compiled))):  # which compiles anew
        for batch in (images, images[:2]):
            activations = extractor(batch)
            assert list(activations) == list(plain.neurons)
            for layer, values in plain(batch).items():
                torch.testing.assert_close(activations[layer], values, rtol=1e-4, atol=1e-4)
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == folder
    metric = DNAEMD(compiled, normalize=True, num_bins=20)
    metric.update(images, real=True)
    metric.update(images / 2, real=False)
    reference = DNAEMD(plain, normalize=True, num_bins=20)
    reference.update(images, real=True)
    reference.update(images / 2, real=False)
    torch.testing.assert_close(metric.compute(), reference.compute(), rtol=1e-3, atol=0)


@pytest.mark.outer
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_later_process_compiles_no_code(tmp_path: Path) -> None:
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    def run() -> tuple[object, set[Path]]:
        command = [sys.executable, "-c", COMPILE]
        printed = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        return json.loads(printed), set(tmp_path.rglob("*.so"))

    (sums, graphs), code = run()
    assert graphs == 1  # for all sizes of batches
    assert code
    assert run() == ([sums, graphs], code)
