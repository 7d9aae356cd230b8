from .annotate import annotate_timeline as annotate_timeline
from .api import timeline as timeline
from .find import Timeline as Timeline
from .segmentation import SegmentSettings as SegmentSettings
from .segmentation import find_segments as find_segments
from .tune import Tuning as Tuning
from .tune_api import tune_timeline as tune_timeline
