from .ranking import Ranking as Ranking
