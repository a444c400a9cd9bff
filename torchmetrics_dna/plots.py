"""Figures; the only file that knows matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchmetrics_dna.extras import require

if TYPE_CHECKING:
    from torchmetrics_dna.demo import Demo

# Okabe and Ito's colours, which colour-blind readers can tell apart, each with a marker for black and white print
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"))


def plot_demo(demo: Demo) -> Any:
    """The demonstration as a figure: distances over strength, and what the degradations look like.

    Args:
        demo: From :func:`run_demo`.

    Returns:
        The matplotlib figure.

    Raises:
        ModuleNotFoundError: If matplotlib is missing.

    """
    figure = _figure(width=10, height=5)
    curves, pictures = figure.subfigures(1, 2, width_ratios=(1, 1))
    axes = curves.subplots(2, 1, sharex=True)
    strengths = (0, *demo.strengths)
    for (name, comparisons), (colour, marker) in zip(demo.comparisons.items(), _STYLES, strict=False):
        for axis, values in zip(
            axes, ([c.dna_emd for c in comparisons], [c.dna_frechet for c in comparisons]), strict=True
        ):
            axis.plot(strengths, [0, *values], color=colour, marker=marker, label=name)
    axes[0].set_title(f"{demo.num_images} photographs against degraded copies", loc="left", fontsize=11)
    axes[0].set_ylabel("dna-emd (bins)")
    axes[1].set_ylabel("dna-fd (squared activations)")
    axes[1].set_xlabel("strength of the degradation")
    axes[1].set_xticks(strengths)
    axes[0].legend(frameon=False)
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.3)
    _pictures(pictures, demo)
    return figure


def _pictures(figure: Any, demo: Demo) -> None:
    axes = figure.subplots(
        len(demo.examples), len(demo.shown), gridspec_kw={"wspace": 0.03, "hspace": 0.03}, squeeze=False
    )
    for row, (name, examples) in enumerate(demo.examples.items()):
        for axis, picture in zip(axes[row], examples, strict=True):
            axis.imshow(picture)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row, 0].set_ylabel(name)
    for axis, strength in zip(axes[0], demo.shown, strict=True):
        axis.set_title("original" if strength == 0 else f"strength {strength}", fontsize=10)


def _figure(width: float, height: float) -> Any:
    # not pyplot: it keeps figures alive and opens windows, which a library must not
    return require("matplotlib.figure", "plot").Figure(figsize=(width, height), dpi=120, layout="constrained")
