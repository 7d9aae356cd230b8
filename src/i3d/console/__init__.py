"""What the commands show on a terminal: progress, results, tables. Results go to stdout, all else to stderr."""

from i3d.console.evaluations import (
    tell_classes,
    tell_comparison,
    tell_confusion,
    tell_evaluation,
    tell_fused,
    tell_metrics,
    tell_probe,
    tell_protocols,
)
from i3d.console.progress import Progress, Steps, Testing, Training
from i3d.console.results import (
    say_summary,
    tell,
    tell_catalogue,
    tell_check,
    tell_conversion,
    tell_data_speed,
    tell_description,
    tell_finetuned,
    tell_model_speed,
    tell_preview,
    tell_runs,
    tell_split,
    tell_trained,
)
from i3d.console.words import say

__all__ = [
    "Progress",
    "Steps",
    "Testing",
    "Training",
    "say",
    "say_summary",
    "tell",
    "tell_catalogue",
    "tell_check",
    "tell_classes",
    "tell_comparison",
    "tell_confusion",
    "tell_conversion",
    "tell_data_speed",
    "tell_description",
    "tell_evaluation",
    "tell_finetuned",
    "tell_fused",
    "tell_metrics",
    "tell_model_speed",
    "tell_preview",
    "tell_probe",
    "tell_protocols",
    "tell_runs",
    "tell_split",
    "tell_trained",
]
