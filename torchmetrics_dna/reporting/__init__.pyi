from .build import report as report
from .build import write_report as write_report
