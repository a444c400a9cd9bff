"""Figures; the only subpackage that uses matplotlib."""

from torchmetrics_dna.plots.figures import (
    STYLES,
    curve_style,
    new_figure,
    plain_axes,
    plot_curve,
    plot_histograms,
    plot_layers,
    plot_matrix,
    plot_monitor,
    versus,
)

__all__ = [
    "STYLES",
    "curve_style",
    "new_figure",
    "plain_axes",
    "plot_curve",
    "plot_histograms",
    "plot_layers",
    "plot_matrix",
    "plot_monitor",
    "versus",
]
