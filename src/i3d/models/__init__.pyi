from .engine.engine import Engine as Engine
from .factory import build_network as build_network
from .flops import Cost as Cost
from .flops import network_cost as network_cost
from .inception import InceptionI3D as InceptionI3D
from .inflate import inflate_weights as inflate_weights
from .network import VideoNetwork as VideoNetwork
from .resnet import ResNetI3D as ResNetI3D
