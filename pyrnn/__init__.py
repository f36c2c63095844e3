"""Recurrent networks and attention on kernels of their own: drop-in layers for PyTorch."""

from typing import TYPE_CHECKING

from pyrnn._lazy import lazy_names
from pyrnn._version import __version__ as __version__

if TYPE_CHECKING:
    from pyrnn import corpora as corpora
    from pyrnn import data as data
    from pyrnn import diagnostics as diagnostics
    from pyrnn import embeddings as embeddings
    from pyrnn import losses as losses
    from pyrnn import metrics as metrics
    from pyrnn import models as models
    from pyrnn import nn as nn
    from pyrnn import onnx as onnx
    from pyrnn import ops as ops
    from pyrnn import optim as optim
    from pyrnn import plot as plot
    from pyrnn import reference as reference
    from pyrnn import search as search
    from pyrnn import tasks as tasks
    from pyrnn import text as text
    from pyrnn import train as train
    from pyrnn.nn import GRU as GRU
    from pyrnn.nn import LSTM as LSTM
    from pyrnn.nn import RNN as RNN
    from pyrnn.nn import GRUCell as GRUCell
    from pyrnn.nn import LSTMCell as LSTMCell
    from pyrnn.nn import RNNCell as RNNCell
    from pyrnn.nn.explain import explain as explain
    from pyrnn.nn.frozen import frozen_weights as frozen_weights
    from pyrnn.swap.layers import accelerate as accelerate
    from pyrnn.swap.layers import restore as restore

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "swap.layers": ["accelerate", "restore"],
        "nn": ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell", "frozen_weights"],
        "nn.explain": ["explain"],
    },
    [
        "corpora",
        "data",
        "diagnostics",
        "embeddings",
        "losses",
        "metrics",
        "models",
        "nn",
        "onnx",
        "ops",
        "optim",
        "plot",
        "reference",
        "search",
        "tasks",
        "text",
        "train",
    ],
)
