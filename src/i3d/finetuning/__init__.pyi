from .data_issues import DataIssue as DataIssue
from .defaults import Decision as Decision
from .defaults import FinetuneConfig as FinetuneConfig
from .finetune import FinetuneResult as FinetuneResult
from .inspect_data import DatasetStats as DatasetStats
from .options import FinetuneOptions as FinetuneOptions
