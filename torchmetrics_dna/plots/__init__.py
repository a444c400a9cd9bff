"""Figures; the only subpackage that uses matplotlib."""

from torchmetrics_dna.plots.figure import STYLES, curve_style, new_figure, plain_axes
from torchmetrics_dna.plots.many import plot_curve, plot_matrix, plot_monitor
from torchmetrics_dna.plots.two import plot_histograms, plot_layers, versus

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
