"""Recurrent layers and cells, drop-in for torch.nn's."""

from pyrnn.nn.cells import GRUCell, LSTMCell, RNNCell
from pyrnn.nn.recurrent import GRU, LSTM, RNN

__all__ = ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"]
