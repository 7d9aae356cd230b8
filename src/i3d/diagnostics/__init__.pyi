from .benchmark_data import measure_data as measure_data
from .benchmark_model import Configuration as Configuration
from .benchmark_model import measure_model as measure_model
from .doctor import check_installation as check_installation
from .model_description import describe_model as describe_model
from .model_zoo import list_models as list_models
