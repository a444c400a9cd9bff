"""A callback for Lightning: scores what a model generates, validation epoch by validation epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torchmetrics_dna.dna import HistogramDNA
from torchmetrics_dna.dna.load import given_dna
from torchmetrics_dna.extractors import DNAExtractor
from torchmetrics_dna.jobs.processes import gather
from torchmetrics_dna.metrics import DNAEMD
from torchmetrics_dna.reporting.checkpoints import Checkpoints
from torchmetrics_dna.statistics.resolve import Network

if TYPE_CHECKING:
    from os import PathLike

    from torch import Tensor
    from typing_extensions import Self

    from torchmetrics_dna.dna import DNA
    from torchmetrics_dna.images import Source

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


class DNACallback:
    """A callback of ``lightning`` or ``pytorch_lightning`` that scores what a model generates, as it trains.

    At the end of a validation epoch, it logs distances from a reference: over all neurons as ``dna/dna_emd``, without
    what noise adds as ``dna/dna_emd_debiased``, and of each layer as ``dna/block_0/dna_emd``. ``ModelCheckpoint`` and
    ``EarlyStopping`` can monitor them. It keeps DNAs, a table and a curve in a folder, by the trainer's
    ``global_step``, see :class:`Checkpoints`. Processes share the work. Parameters and checkpoints of the model stay as
    they are.

    Args:
        reference: Images, which are measured once, when the training starts, or a DNA or the path of one.
        images: A function that takes the ``LightningModule`` and gives images, such as a batch, an iterator of batches,
            or a pipeline's output; each process calls it for images of its own. Or the name under which
            ``validation_step`` returns a batch of images in a dict; these are counted as they come and not kept.
        folder: Where files go; by default ``dna`` in the logger's folder of this run. Give one, and a training that is
            resumed goes on with it.
        every_n_epochs: Score each n-th epoch.
        prefix: What the names of logged figures begin with.
        options: As for :class:`Checkpoints`; a named network runs on the trainer's device.

    Raises:
        ModuleNotFoundError: If neither package is installed.
        ValueError: If ``every_n_epochs`` is not a positive integer; when the training starts, as for
            :class:`Checkpoints`.

    Example:
        >>> import numpy as np
        >>> from torchmetrics_dna import DNACallback
        >>> photographs = np.zeros((6, 40, 50, 3), np.uint8)
        >>> callback = DNACallback(photographs, lambda module: module.generator(module.noise), every_n_epochs=5)

    """

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """A callback of the package that is in use: a trainer takes only those of its own."""
        of_both = type(cls.__name__, (cls, *_callbacks()), {"__module__": cls.__module__, "__doc__": cls.__doc__})
        found: Self = object.__new__(of_both)
        return found

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
        self.reference, self.images, self.folder = reference, images, folder
        self.every_n_epochs, self.prefix, self.options = every_n_epochs, prefix, options
        self.checkpoints: Checkpoints | None = None
        self._metric: DNAEMD | None = None

    # else that of __new__ is shown
    __signature__ = signature(partial(__init__, None))  # type: ignore[arg-type]

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:  # noqa: ARG002
        """Measure the reference, if that is still to be done."""
        if stage != "fit" or self.checkpoints is not None:
            return
        options = {**self.options, "distributed": trainer.world_size > 1}
        if not isinstance(feature := options.get("feature"), DNAExtractor):
            options["feature"] = Network(feature, device=trainer.strategy.root_device)
        folder = self.folder or Path(trainer.log_dir or trainer.default_root_dir, "dna")
        self.checkpoints = Checkpoints(self.reference, folder, **options)
        if isinstance(self.images, str):
            given_dna(self.checkpoints.reference, HistogramDNA)

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Forget what an epoch that was cut short has left."""
        self._metric = None

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        """Count the images that ``validation_step`` has returned."""
        if not isinstance(self.images, str) or not self._is_due(trainer):
            return
        if not isinstance(outputs, Mapping) or self.images not in outputs:
            got = f"one with {', '.join(outputs)}" if isinstance(outputs, Mapping) else type(outputs).__name__
            raise ValueError(
                f"validation_step expected to return a dict with {self.images!r}, but got {got}; return"
                f" {{{self.images!r}: images}}"
            )
        images: Tensor = outputs[self.images]
        if self._metric is None:
            self._metric = self._counting(images.is_floating_point())
        self._metric.update(images.to(self._metric.device), real=False)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Score what was generated, and log it."""
        if not self._is_due(trainer):
            return
        assert self.checkpoints is not None
        generated = self._counted() if isinstance(self.images, str) else self.images(pl_module)
        found = self.checkpoints.add(trainer.global_step, generated)
        pl_module.log_dict(found.scalars(self.prefix), sync_dist=trainer.world_size > 1)

    def _is_due(self, trainer: Any) -> bool:
        """Whether this epoch of a training is scored; nothing is while the trainer only tries its loops."""
        fits = trainer.state.fn == "fit" and not trainer.sanity_checking
        return fits and (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _counting(self, normalize: bool) -> DNAEMD:
        kept: Any = self.checkpoints
        metric = DNAEMD(kept.extractor, normalize=normalize, reference=kept.reference, num_folds=kept.num_folds or None)
        return metric.to(kept.extractor.device)

    def _counted(self) -> DNA:
        """The DNA of all images that were returned, in whichever process."""
        normalize = any(gather(self._metric is not None and self._metric.normalize))
        metric = self._metric or self._counting(normalize)  # for there may be no batch in this process
        return metric.to_dna(real=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self).__bases__[0],), self.__dict__  # nobody can import its own class


def _made(cls: type[DNACallback]) -> DNACallback:
    return cls.__new__(cls)


def _callbacks() -> tuple[type, ...]:
    """The ``Callback`` of each package that is loaded, or else of the first one that is installed.

    Raises:
        ModuleNotFoundError: If there is none.

    """
    loaded = [package for package in _PACKAGES if sys.modules.get(package)]
    for package in () if loaded else _PACKAGES:
        with suppress(ModuleNotFoundError):
            import_module(package)
            loaded = [package]
            break
    if not loaded:
        raise ModuleNotFoundError(
            "DNACallback needs Lightning, which is not installed; run `pip install lightning`", name="lightning"
        )
    return tuple(sys.modules[package].Callback for package in loaded)
