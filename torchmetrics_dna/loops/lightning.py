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

    At the end of a validation epoch, it logs distances from a reference: over all neurons as ``dna/dna_emd``, debiased
    as ``dna/dna_emd_debiased``, and of each layer as ``dna/block_0/dna_emd``. ``ModelCheckpoint`` can monitor them. It
    also logs ``dna/last_improvement`` and ``dna/newest_p_value``, see :attr:`Checkpoints.improvement`. With
    ``mode="max"``, ``EarlyStopping`` can monitor the first of these. It keeps DNAs, a table and a curve in a folder, by
    the trainer's ``global_step``, see :class:`Checkpoints`. Processes share the work. Parameters and checkpoints of the
    model stay as they are.

    Args:
        reference: Images, which are measured once, when the training starts, or a DNA or the path of one.
        images: A function from the ``LightningModule`` to images, such as a batch, an iterator of batches, or a
            pipeline's output; each process calls it for images of its own. Or the key under which ``validation_step``
            returns a batch of images in a dict; these are counted at once and not stored.
        folder: Folder of the files; by default ``dna`` in the logger's folder of this run. Set it so that a resumed
            training continues in it.
        every_n_epochs: Score each n-th epoch.
        prefix: Prefix of the names of logged figures.
        options: As for :class:`Checkpoints`; a named network runs on the trainer's device.

    Raises:
        ModuleNotFoundError: If neither package is installed.
        ValueError: If ``every_n_epochs`` is not a positive integer; when the training starts, as for
            :class:`Checkpoints`.

    Example:
        >>> import numpy as np
        >>> from torchmetrics_dna.loops.lightning import DNACallback
        >>> photographs = np.zeros((6, 40, 50, 3), np.uint8)
        >>> callback = DNACallback(photographs, lambda module: module.generator(module.noise), every_n_epochs=5)

    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Create a callback of each loaded package, else of one installed, since trainers accept only their classes."""
        is_any_loaded = any(sys.modules.get(package) for package in _PACKAGES)
        if not is_any_loaded:
            for package in _PACKAGES:
                with suppress(ModuleNotFoundError):
                    import_module(package)
                    break
        loaded = [package for package in _PACKAGES if sys.modules.get(package)]
        if not loaded:
            raise ModuleNotFoundError(
                "DNACallback needs Lightning, which is not installed; run `pip install lightning`", name="lightning"
            )
        callbacks = (sys.modules[package].Callback for package in loaded)
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

    # Otherwise, documentation would show the signature of __new__.
    __signature__ = signature(partial(__init__, None))  # type: ignore[arg-type]

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002
        """Measure the reference, unless that is done."""
        if stage != "fit" or self.checkpoints is not None:
            return
        options = {**self.options, "distributed": trainer.world_size > 1}
        feature = options.get("feature")
        if not isinstance(feature, DNAExtractor):
            options["feature"] = {"feature": feature, "device": trainer.strategy.root_device}
        folder = self.folder or Path(trainer.log_dir or trainer.default_root_dir, "dna")
        self.checkpoints = Checkpoints(self.reference, folder, **options)
        if isinstance(self.images, str):
            given_dna(self.checkpoints.reference, HistogramDNA)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Discard the counts of an interrupted epoch."""
        self._metric = None

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        """Count the images returned by ``validation_step``."""
        if not isinstance(self.images, str) or not self._is_due(trainer):
            return
        if not isinstance(outputs, Mapping) or self.images not in outputs:
            got = type(outputs).__name__
            if isinstance(outputs, Mapping):
                got = f"one with {', '.join(outputs)}"
            raise ValueError(
                f"validation_step expected to return a dict with {self.images!r}, but got {got}; return"
                f" {{{self.images!r}: images}}"
            )
        images: Tensor = outputs[self.images]
        if self._metric is None:
            self._metric = self._counting(images.is_floating_point())
        self._metric.update(images.to(self._metric.device), real=False)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Score the generated images, and log the distances."""
        if not self._is_due(trainer):
            return
        assert self.checkpoints is not None
        if isinstance(self.images, str):
            normalize = any(gather(self._metric is not None and self._metric.normalize))
            # A process may have had no batch. It still needs a metric, with the settings of the others.
            metric = self._metric or self._counting(normalize)
            generated = metric.to_dna(real=False)
        else:
            generated = self.images(pl_module)
        scalars = self.checkpoints.add(trainer.global_step, generated).scalars(self.prefix)
        improvement = self.checkpoints.improvement
        if improvement is not None:
            scalars |= improvement.scalars(self.prefix)
        pl_module.log_dict(scalars, sync_dist=trainer.world_size > 1)

    def _is_due(self, trainer: Any) -> bool:
        """True if this epoch is scored; the trainer's sanity check is not."""
        is_training = trainer.state.fn == "fit" and not trainer.sanity_checking
        return is_training and (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _counting(self, normalize: bool) -> DNAEMD:
        """Make a metric that counts the images of an epoch."""
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
