from .api import explain as explain
from .draw import draw_explanation as draw_explanation
from .explanation import Explanation as Explanation
from .grad_cam import ActivationMap as ActivationMap
from .occlusion import OcclusionCurve as OcclusionCurve
from .perturbation import PerturbationScores as PerturbationScores
