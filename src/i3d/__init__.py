"""Recognise human actions in video with Inflated 3D ConvNets.

>>> import i3d
>>> i3d.predict("clip.mp4").top1  # doctest: +SKIP
LabelScore(label='playing cricket', score=0.9951)
"""

from i3d.convert import convert
from i3d.errors import I3DError, InputError, VideoError, WeightsError
from i3d.evaluate import evaluate
from i3d.finetune import finetune
from i3d.predict import predict
from i3d.results.prediction import LabelScore, Prediction
from i3d.train import train
from i3d.weights.load import load_model

__version__ = "0.1.0"
__all__ = [
    "I3DError",
    "InputError",
    "LabelScore",
    "Prediction",
    "VideoError",
    "WeightsError",
    "convert",
    "evaluate",
    "finetune",
    "load_model",
    "predict",
    "train",
]
