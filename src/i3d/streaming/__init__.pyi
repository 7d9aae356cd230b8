from .api import stream as stream
from .session import StreamLabel as StreamLabel
from .statistics import StreamStats as StreamStats
