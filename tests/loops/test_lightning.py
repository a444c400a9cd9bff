"""The callback logs, keeps and resumes with trainers of both packages, and leaves models as they are."""

from __future__ import annotations

import pickle
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from networks import Pixels
from torch import nn
from torch.utils.data import DataLoader

from torchmetrics_dna import DNAEMD, Checkpoints, DNAExtractor
from torchmetrics_dna.demo import photographs
from torchmetrics_dna.loops.lightning import DNACallback

PHOTOS = torch.from_numpy(np.stack([photo[::4, ::4] for photo in photographs(24)])).movedim(-1, 1) / 255
REFERENCE, INPUTS = PHOTOS[::2], PHOTOS[1::2]
OPTIONS: dict[str, Any] = {"feature": DNAExtractor(Pixels(), input_size=8), "ranges": "auto", "num_bins": 100}

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),  # how Lightning uses torch
]


def module_of(package: Any) -> Any:
    """A network that dims photographs a bit less with each step."""

    class Module(package.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images * self.gain * 255).clamp(0, 255).round() / 255

        def training_step(self, batch: torch.Tensor) -> torch.Tensor:
            return -self.gain * batch.mean() * 0.2 / batch.mean().detach()

        def validation_step(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"images": self(batch)}

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1)

    return Module()


def fit(package: Any, folder: Path, epochs: int, callback: Any, resume: Path | None = None) -> tuple[Any, Any]:
    module, data = module_of(package), DataLoader(INPUTS, batch_size=6)
    best = package.callbacks.ModelCheckpoint(folder / "models", monitor="dna/dna_emd", save_last=True)
    trainer = package.Trainer(
        accelerator="cpu", max_epochs=epochs, default_root_dir=folder, logger=False, callbacks=[callback, best],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data, data, ckpt_path=resume)
    return module, trainer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightning.pytorch", pytest.param("pytorch_lightning", marks=pytest.mark.outer)])
def test_logs_keeps_and_resumes(name: str, tmp_path: Path) -> None:
    package = import_module(name)
    by_function = DNACallback(REFERENCE, lambda module: module(INPUTS), **OPTIONS)
    module, trainer = fit(package, tmp_path, 2, by_function)
    checkpoints = Checkpoints(REFERENCE, tmp_path / "dna", OPTIONS["feature"], ranges="auto", num_bins=100)
    assert list(checkpoints.comparisons) == ["step_000002", "step_000004"]  # and none of the sanity check
    last = checkpoints.comparisons["step_000004"].scalars()
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    improvement = checkpoints.improvement.scalars()
    assert improvement.keys() == {"dna/last_improvement", "dna/newest_p_value"}
    assert logged == pytest.approx(last | improvement, rel=1e-6)  # Lightning keeps float32
    assert last["dna/dna_emd"] < checkpoints.comparisons["step_000002"]["dna-emd"].value
    assert trainer.checkpoint_callback.best_model_score == pytest.approx(last["dna/dna_emd"])
    saved = torch.load(tmp_path / "models" / "last.ckpt", weights_only=True)
    assert set(saved["state_dict"]) == {"gain"}
    assert not any("DNA" in key for key in saved["callbacks"])

    by_name = DNACallback(REFERENCE, "images", tmp_path / "dna", every_n_epochs=2, prefix="x/", **OPTIONS)
    trainer = package.Trainer(
        accelerator="cpu", max_epochs=4, default_root_dir=tmp_path, logger=False, callbacks=[by_name],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = DataLoader(INPUTS, batch_size=6)
    trainer.fit(module, data, data, ckpt_path=tmp_path / "models" / "last.ckpt")
    assert list(checkpoints.comparisons) == ["step_000002", "step_000004", "step_000008"]
    metric = DNAEMD(reference=checkpoints.reference, feature=OPTIONS["feature"], normalize=True, num_folds=20)
    metric.update(module(INPUTS), real=False)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    expected = metric.scalars("x/")
    assert {name: logged[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_early_stopping_counts_checkpoints_without_improvement(tmp_path: Path) -> None:
    """Images get closer to the reference twice, and then stay as they are."""
    package = import_module("lightning.pytorch")
    gains = iter([0.2, 0.5, 0.9, *[0.9] * 20])
    callback = DNACallback(REFERENCE, lambda _: (INPUTS * next(gains) * 255).round() / 255, tmp_path / "dna", **OPTIONS)
    stopping = package.callbacks.EarlyStopping(monitor="dna/last_improvement", mode="max", patience=3)
    trainer = package.Trainer(
        accelerator="cpu", max_epochs=20, default_root_dir=tmp_path, logger=False, callbacks=[callback, stopping],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = DataLoader(INPUTS, batch_size=6)
    trainer.fit(module_of(package), data, data)
    assert callback.checkpoints.improvement.name == "step_000006"
    assert len(callback.checkpoints.comparisons) == 6


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="`every_n_epochs` expected to be a positive integer, but got 0"):
        DNACallback(REFERENCE, "images", every_n_epochs=0)
    callback = DNACallback(REFERENCE, "pictures", **OPTIONS)
    assert isinstance(pickle.loads(pickle.dumps(callback)), import_module("lightning.pytorch").Callback)
    trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), sanity_checking=False, current_epoch=0)
    for outputs, got in (({"images": INPUTS}, "one with images"), (None, "NoneType")):
        with pytest.raises(ValueError, match=f"a dict with 'pictures', but got {got}; return"):
            callback.on_validation_batch_end(trainer, None, outputs)


def test_epochs_of_a_fit_are_scored_but_not_its_sanity_check() -> None:
    callback = DNACallback(REFERENCE, "images", every_n_epochs=2, **OPTIONS)
    for fn in ("fit", "validate", "test"):
        for sanity_checking in (False, True):
            for epoch in range(4):
                trainer = SimpleNamespace(
                    state=SimpleNamespace(fn=fn), sanity_checking=sanity_checking, current_epoch=epoch
                )
                is_scored = fn == "fit" and not sanity_checking and epoch in (1, 3)
                # Only where an epoch is scored, the outputs of a step are needed.
                with pytest.raises(ValueError, match="NoneType") if is_scored else nullcontext():
                    callback.on_validation_batch_end(trainer, None, None)


@pytest.mark.parametrize("source", ["images", lambda module: module.generated])
def test_an_epoch_logs_the_distances_of_its_own_images(source: Any, tmp_path: Path) -> None:
    """As trainers call it: once more after an interrupted epoch, and in an epoch that is not scored."""
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn="fit"), sanity_checking=False, world_size=1, log_dir=None, default_root_dir=tmp_path,
        current_epoch=0, global_step=10,
    )  # fmt: skip
    logged: list[dict[str, float]] = []
    generated = (INPUTS * 0.3 * 255).round() / 255
    module = SimpleNamespace(generated=generated, log_dict=lambda values, sync_dist: logged.append(values))
    callback = DNACallback(REFERENCE, source, every_n_epochs=2, prefix="x/", **OPTIONS)
    callback.setup(trainer, module, "fit")
    for epoch, batches in ((0, [INPUTS]), (1, [INPUTS]), (1, [generated[:5], generated[5:]])):
        trainer.current_epoch = epoch
        callback.on_validation_epoch_start(trainer, module)
        for number, batch in enumerate(batches):
            callback.on_validation_batch_end(trainer, module, {"images": batch}, batch, number)
        if epoch == 0 or len(batches) == 2:
            callback.on_validation_epoch_end(trainer, module)
    assert list(callback.checkpoints.comparisons) == ["step_000010"]
    metric = DNAEMD(OPTIONS["feature"], normalize=True, reference=callback.checkpoints.reference, num_folds=20)
    metric.update(generated, real=False)
    expected = metric.scalars("x/")
    # The callback decodes bytes and the metric gets floats, so that ranges of activations differ by rounding.
    assert [{name: values[name] for name in expected} for values in logged] == [pytest.approx(expected, rel=1e-7)]


def test_the_reference_is_measured_for_a_fit_alone(tmp_path: Path) -> None:
    package = import_module("lightning.pytorch")
    callback = DNACallback(REFERENCE, "images", tmp_path / "dna", **OPTIONS)
    trainer = package.Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_checkpointing=False)
    callback.setup(trainer, package.LightningModule(), "validate")
    assert callback.checkpoints is None
    assert not (tmp_path / "dna").exists()
    callback.setup(trainer, package.LightningModule(), "fit")
    checkpoints = callback.checkpoints
    callback.setup(trainer, package.LightningModule(), "fit")
    assert callback.checkpoints is checkpoints


def test_without_lightning_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ModuleNotFoundError, match="needs Lightning, which is not installed; run `pip install lightning`"
    ):
        DNACallback(REFERENCE, "images")
