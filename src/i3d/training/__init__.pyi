from .curves import draw_curves as draw_curves
from .log_reader import read_curves as read_curves
from .logger import read_log as read_log
from .runs import RunSummary as RunSummary
from .runs import list_runs as list_runs
from .train import TrainResult as TrainResult
