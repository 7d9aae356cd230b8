"""Recognise human actions in video with Inflated 3D ConvNets.

>>> import i3d
>>> i3d.predict("clip.mp4").top1  # doctest: +SKIP
LabelScore(label='playing cricket', score=0.9951)
"""

from i3d._version import __version__ as __version__
from i3d.errors import I3DError, InputError, VideoError, WeightsError
from i3d.evaluation.evaluate import evaluate
from i3d.finetuning.finetune import finetune
from i3d.inference.prediction import LabelScore, Prediction
from i3d.inference.predictor import predict
from i3d.training.train import train
from i3d.weights.convert import convert
from i3d.weights.load import load_model

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
