from .api import ExportResult as ExportResult
from .api import export as export
