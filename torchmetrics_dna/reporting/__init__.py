"""Reports of comparisons: a page that opens offline, Markdown or json."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.reporting.build import report

__all__ = ["report"]

_HOME = {"report": "reporting.build"}
__getattr__ = lazily(__name__, _HOME)
