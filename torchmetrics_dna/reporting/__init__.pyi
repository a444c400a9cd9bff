from .build import report as report
from .build import write as write
