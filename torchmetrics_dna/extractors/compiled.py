"""Networks compiled by ``torch.compile``, for one size of batches."""

from __future__ import annotations

from functools import partial
from threading import get_ident
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from torchmetrics_dna.extractors.capture import first_tensor, named_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class CompiledCapture:
    """:func:`capture` for a network of ours, as a graph of ``torch.compile`` limited to what the layers need.

    Its hooks stay on the submodules, since they are traced into the graph on the first call. On the CPU, weights are
    packed as constants, with batch norms and activations fused into convolutions.

    Args:
        network: The network.
        submodules: ``{layer: path of the submodule}``, see :func:`capture`.

    """

    def __init__(self, network: nn.Module, submodules: Mapping[str, str]) -> None:
        self._network, self._submodules = network, submodules
        self._captured: dict[str, Tensor] | None = None
        self._thread = 0
        for layer, path in submodules.items():
            network.get_submodule(path).register_forward_hook(partial(self._keep, layer))
        self._compiled = self._own_graph()

    def __call__(self, imgs: Tensor, rows: int) -> dict[str, Tensor]:
        """Return the outputs of the layers, for a batch that is filled up to ``rows`` images.

        Batches of other sizes would be compiled anew, and round differently.
        """
        count = len(imgs)
        imgs = pad(imgs, [0] * 7 + [rows - count])  # full batches too: a copy made in inference mode is another type
        import torch._inductor.config as inductor  # takes a second to load

        self._captured, self._thread = {}, get_ident()
        try:
            with inductor.patch(freezing=imgs.device.type == "cpu"):
                outputs = self._compiled(imgs)
        finally:
            self._captured = None
        return {layer: values[:count] for layer, values in outputs.items()}

    def _own_graph(self) -> Callable[[Tensor], dict[str, Tensor]]:
        # torch caches graphs by code object and ignores hooks in lookups, so each capture has its own code object
        run = FunctionType(CompiledCapture._run.__code__.replace(), globals())
        return torch.compile(MethodType(run, self))

    def _run(self, imgs: Tensor) -> dict[str, Tensor]:
        output, captured = self._network(imgs), self._captured
        return {layer: captured[layer] for layer in self._submodules} if captured else named_outputs(output)

    def _keep(self, layer: str, _module: nn.Module, _args: Any, output: Any) -> None:
        # tracing belongs to this call, whichever thread runs it
        if self._captured is not None and (torch.compiler.is_compiling() or get_ident() == self._thread):
            self._captured[layer] = first_tensor(layer, output)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._compiled = self._own_graph()
