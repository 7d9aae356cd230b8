from .api import stream as stream
from .results import StreamLabel as StreamLabel
from .results import StreamStats as StreamStats
