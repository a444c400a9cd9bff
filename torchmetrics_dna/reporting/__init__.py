"""Reports of comparisons: a page that opens offline, Markdown or json."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.reporting.build import report, write

__all__ = ["report", "write"]

_HOME = {"report": "reporting.build", "write": "reporting.build"}
__getattr__ = lazily(__name__, _HOME)
