from .prediction import LabelScore as LabelScore
from .prediction import Prediction as Prediction
from .prediction import Predictions as Predictions
from .predictor import Predictor as Predictor
from .predictor import VideoLogits as VideoLogits
from .two_stream import TwoStreams as TwoStreams
