from .checkpoint import Card as Card
from .checkpoint import load_checkpoint as load_checkpoint
from .checkpoint import save_checkpoint as save_checkpoint
from .load import LoadReport as LoadReport
from .load import Weights as Weights
from .load import build_model as build_model
from .load import load_model as load_model
from .load import load_weights as load_weights
