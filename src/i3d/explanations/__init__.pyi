from .api import explain as explain
from .draw import draw_explanation as draw_explanation
from .explanation import Explanation as Explanation
from .explanation import OcclusionCurve as OcclusionCurve
from .grad_cam import ActivationMap as ActivationMap
from .perturbation import PerturbationScores as PerturbationScores
