from .folder import PublishedModel as PublishedModel
from .folder import publish as publish
from .sending import PushedModel as PushedModel
from .sending import push as push
