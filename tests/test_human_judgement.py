"""The script for human judgement, on a stand-in: models that blur more, and images that fool people less."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from torchmetrics_dna.demo import blur, photographs

pytestmark = pytest.mark.outer
SCRIPT = Path(__file__).parents[1] / "docs" / "experiments" / "human_judgement.py"
HEAD = "id,model,num_correct,err_rt,f_err_rt,r_err_rt"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        return importlib.import_module(SCRIPT.stem)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stein")
    for name, strength in {"real": 0, "sharp": 1, "soft": 2, "blurred": 4}.items():
        (folder / name).mkdir()
        for i, photo in enumerate(photographs(4)):
            Image.fromarray(blur(photo, strength) if strength else photo.copy()).save(folder / name / f"{i}.png")
    lines = [f"{person},{model},50,{rate + person / 100},0.1,0.1" for person in (1, 2) for model, rate in RATES.items()]
    (folder / "human.csv").write_text("\n".join([HEAD, *lines]), encoding="utf-8")
    images = [f"sharp/{i}.png,{i / 50}" for i in range(4)]
    (folder / "images.csv").write_text("\n".join(["image,err_rt", *images]), encoding="utf-8")
    return folder


RATES = {"soft": 0.2, "sharp": 0.4, "blurred": 0.1}


def test_nearer_models_fool_people_more(folders: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    paths = map(str, (folders, folders / "real", folders / "human.csv", "--images", folders / "images.csv"))
    script.main([*paths, "--layers", "block_1"])
    output = capsys.readouterr().out
    assert "dna-emd | 1.00 | 0.167" in output, "the best of 6 orders of three models"
    assert [line.split(" | ")[0] for line in output.splitlines() if line.startswith("| ")].count("| kid") == 1
    assert "| sharp | 4 | " in output


def test_correlations_are_of_mean_rates(folders: Path, script: ModuleType) -> None:
    errors = script.mean_errors(folders / "human.csv", "model")
    assert errors == pytest.approx({name: rate + 0.015 for name, rate in RATES.items()})
    assert list(errors) == list(RATES)
    distances, rates = np.random.default_rng(0).random((2, 9)).tolist()
    rho, p = script.agreement(distances, rates)
    assert rho == pytest.approx(-spearmanr(distances, rates).statistic)
    assert 0 < p < 1
    assert script.agreement([1, 2, 3, 4], [4, 3, 2, 1]) == (pytest.approx(1), pytest.approx(1 / 24))
    assert script.agreement([1, 2, 3, 4], [1, 2, 3, 4]) == (pytest.approx(-1), 1)
