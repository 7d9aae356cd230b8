from .compare import compare_features as compare_features
from .compare import read_features as read_features
from .extract import extract_features as extract_features
from .extract import load_extractor as load_extractor
from .extractor import FeatureExtractor as FeatureExtractor
from .extractor import VideoFeatures as VideoFeatures
from .layouts.layout import layout_settings as layout_settings
from .layouts.write import extract_layout as extract_layout
