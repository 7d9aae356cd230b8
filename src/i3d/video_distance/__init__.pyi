from .api import fvd as fvd
from .protocols import FvdProtocol as FvdProtocol
from .protocols import fvd_protocol as fvd_protocol
from .result import FvdResult as FvdResult
from .statistics import Moments as Moments
from .statistics import frechet_distance as frechet_distance
from .statistics import kernel_distance as kernel_distance
