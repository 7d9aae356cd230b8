from .distances import print_fvd
from .evaluations import (
    print_classes,
    print_confusion,
    print_evaluation,
    print_frame_orders,
    print_fusion,
    print_metrics,
    print_protocols,
)
from .explanations import print_explanation
from .exported import print_export
from .progress import ProgressBar
from .published import print_published, print_pushed
from .results import (
    PredictionLines,
    log_notes,
    log_unreadable,
    print_catalogue,
    print_check,
    print_checks,
    print_comparison,
    print_conversion,
    print_data_speed,
    print_description,
    print_extraction,
    print_model_speed,
    print_prediction,
    print_preview,
    print_runs,
    print_split,
    print_summary,
    print_training,
)
from .segments import print_segment_scores
from .streams import StreamLines
from .tables import print_json, print_result, print_table
from .timelines import print_timeline
from .tuning import print_tuning

__all__ = [
    "PredictionLines",
    "ProgressBar",
    "StreamLines",
    "log_notes",
    "log_unreadable",
    "print_catalogue",
    "print_check",
    "print_checks",
    "print_classes",
    "print_comparison",
    "print_confusion",
    "print_conversion",
    "print_data_speed",
    "print_description",
    "print_evaluation",
    "print_explanation",
    "print_export",
    "print_extraction",
    "print_frame_orders",
    "print_fusion",
    "print_fvd",
    "print_json",
    "print_metrics",
    "print_model_speed",
    "print_prediction",
    "print_preview",
    "print_protocols",
    "print_published",
    "print_pushed",
    "print_result",
    "print_runs",
    "print_segment_scores",
    "print_split",
    "print_summary",
    "print_table",
    "print_timeline",
    "print_training",
    "print_tuning",
]
