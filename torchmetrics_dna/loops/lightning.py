"""Lightning callback that scores generated images after each validation epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from torchmetrics_dna.dna import DNA, HistogramDNA
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.jobs.processes import gather
from torchmetrics_dna.loops.checkpoints import Checkpoints
from torchmetrics_dna.metrics import DNAEMD

if TYPE_CHECKING:
    from torch import Tensor

    from torchmetrics_dna.images import Source

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


class DNACallback:
    """Callback of ``lightning`` or ``pytorch_lightning`` that scores generated images during training.

    At the end of a validation epoch, the callback logs distances from the reference. The distance over all neurons is
    logged as ``dna/dna_emd``, the debiased distance as ``dna/dna_emd_debiased``, and the distance of a layer as
    ``dna/block_0/dna_emd``. ``ModelCheckpoint`` can monitor these names. The callback also logs
    ``dna/last_improvement`` and ``dna/newest_p_value``, see :attr:`Checkpoints.improvement`. ``EarlyStopping`` can
    monitor ``dna/last_improvement`` with ``mode="max"``.

    DNAs, a table and a curve are saved in a folder, see :class:`Checkpoints`. The step of a checkpoint is the trainer's
    ``global_step``. Processes share the work. The callback adds nothing to the parameters and checkpoints of the model.

    Args:
        reference: Images, a DNA, or the path of a DNA file. Images are measured once, when the training starts.
        images: A function that takes the ``LightningModule`` and returns generated images, such as a batch, an iterator
            of batches, or the output of a pipeline. Each process calls the function for its own images. Or the key of a
            batch of images in the dict that ``validation_step`` returns. These batches are counted one by one and not
            stored.
        folder: Folder of the files; by default ``dna`` in the logger's folder of this run. Pass a folder if a resumed
            training must continue with the same files.
        every_n_epochs: Number of epochs from one scored epoch to the next.
        prefix: Prefix of the names of logged values.
        options: As for :class:`Checkpoints`. A network that is passed by name runs on the trainer's device.

    Raises:
        ModuleNotFoundError: If neither package is installed.
        ValueError: If ``every_n_epochs`` is not a positive integer. Also as for :class:`Checkpoints`, when the training
            starts.

    Example:
        >>> import numpy as np
        >>> from torchmetrics_dna.loops.lightning import DNACallback
        >>> photographs = np.zeros((6, 40, 50, 3), np.uint8)
        >>> callback = DNACallback(photographs, lambda module: module.generator(module.noise), every_n_epochs=5)

    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Create an object that is also a ``Callback`` of each loaded package, or else of an installed one.

        The trainer of a package accepts only callbacks of its own class.
        """
        packages = _loaded_packages() or _import_package()
        if not packages:
            raise ModuleNotFoundError(
                "DNACallback needs Lightning, which is not installed; run `pip install lightning`", name="lightning"
            )
        callbacks = (sys.modules[package].Callback for package in packages)
        combined = type(cls.__name__, (cls, *callbacks), {"__module__": cls.__module__, "__doc__": cls.__doc__})
        callback: Self = object.__new__(combined)
        return callback

    def __init__(
        self,
        reference: Source | DNA,
        images: Callable[[Any], Any] | str,
        folder: str | PathLike[str] | None = None,
        *,
        every_n_epochs: int = 1,
        prefix: str = "dna/",
        **options: Any,
    ) -> None:
        if not isinstance(every_n_epochs, int) or every_n_epochs < 1:
            raise ValueError(f"Argument `every_n_epochs` expected to be a positive integer, but got {every_n_epochs!r}")
        self.reference = reference
        self.images = images
        self.folder = folder
        self.every_n_epochs = every_n_epochs
        self.prefix = prefix
        self.options = options
        self.checkpoints: Checkpoints | None = None
        self._metric: DNAEMD | None = None

    # Without this attribute, the documentation would show the signature of __new__.
    __signature__ = signature(partial(__init__, None))  # type: ignore[arg-type]

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002
        """Measure the reference when the training starts, unless that has been done."""
        if stage != "fit" or self.checkpoints is not None:
            return
        options = {**self.options, "distributed": trainer.world_size > 1}
        feature = options.get("feature")
        if not isinstance(feature, DNAExtractor):
            options["feature"] = {"feature": feature, "device": trainer.strategy.root_device}
        folder = self.folder or Path(trainer.log_dir or trainer.default_root_dir, "dna")
        self.checkpoints = Checkpoints(self.reference, folder, **options)
        if isinstance(self.images, str):
            # Batches are counted by DNAEMD, so the reference must be a histogram.
            given_dna(self.checkpoints.reference, HistogramDNA)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Discard the counts of an interrupted epoch."""
        self._metric = None

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        """Count the images returned by ``validation_step``."""
        if not isinstance(self.images, str) or not self._is_due(trainer):
            return
        _check_outputs(outputs, self.images)
        images: Tensor = outputs[self.images]
        if self._metric is None:
            self._metric = self._new_metric(images.is_floating_point())
        self._metric.update(images.to(self._metric.device), real=False)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Score the generated images, and log the distances."""
        if not self._is_due(trainer):
            return
        assert self.checkpoints is not None
        generated = self._counted_images() if isinstance(self.images, str) else self.images(pl_module)
        scalars = self.checkpoints.add(trainer.global_step, generated).scalars(self.prefix)
        improvement = self.checkpoints.improvement
        if improvement is not None:
            scalars |= improvement.scalars(self.prefix)
        pl_module.log_dict(scalars, sync_dist=trainer.world_size > 1)

    def _counted_images(self) -> HistogramDNA:
        """Return the DNA of the images that were counted in this epoch, over all processes."""
        normalize = any(gather(self._metric is not None and self._metric.normalize))
        # A process without a batch also needs a metric, with the settings of the other processes.
        metric = self._metric or self._new_metric(normalize)
        return metric.to_dna(real=False)

    def _is_due(self, trainer: Any) -> bool:
        """Return True if this epoch is scored. The trainer's sanity check is never scored."""
        is_training = trainer.state.fn == "fit" and not trainer.sanity_checking
        return is_training and (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _new_metric(self, normalize: bool) -> DNAEMD:
        """Return a metric that counts the images of an epoch."""
        checkpoints: Any = self.checkpoints
        metric = DNAEMD(
            checkpoints.extractor,
            normalize=normalize,
            reference=checkpoints.reference,
            num_folds=checkpoints.num_folds,
        )
        return metric.to(checkpoints.extractor.device)

    def __reduce__(self) -> tuple[Any, ...]:
        # The combined class can't be imported when the callback is unpickled.
        cls = type(self).__bases__[0]
        return cls.__new__, (cls,), self.__dict__


def _loaded_packages() -> list[str]:
    """Return the names of the packages that are imported."""
    return [package for package in _PACKAGES if sys.modules.get(package)]


def _import_package() -> list[str]:
    """Import the first package that is installed, and return the names of all that are imported then."""
    for package in _PACKAGES:
        with suppress(ModuleNotFoundError):
            import_module(package)
            break
    return _loaded_packages()


def _check_outputs(outputs: Any, key: str) -> None:
    """Raise ValueError unless ``validation_step`` returned a dict with this key."""
    if isinstance(outputs, Mapping) and key in outputs:
        return
    got = f"one with {', '.join(outputs)}" if isinstance(outputs, Mapping) else type(outputs).__name__
    raise ValueError(
        f"validation_step expected to return a dict with {key!r}, but got {got}; return {{{key!r}: images}}"
    )
