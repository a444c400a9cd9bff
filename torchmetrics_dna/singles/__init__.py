"""Single images: ranks, nearest images, and where neurons are excited."""

from typing import TYPE_CHECKING

from torchmetrics_dna.extras import lazily

if TYPE_CHECKING:
    from torchmetrics_dna.singles.ranking import Ranking

__all__ = ["Ranking"]

__getattr__ = lazily(__name__, {"Ranking": "singles.ranking"})
