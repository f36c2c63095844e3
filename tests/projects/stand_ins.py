"""Small models in the manner of projects around torch's layers: how they build, check, change and call them.

Each is a function that makes a model and the arguments of a call; `initialise` of a model, where it has one,
is what the project does with the layers by their type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.projects.with_attention import Case, detector, hooked, image_text


class AttentionDecoder(nn.Module):
    """Translation toolkits: the decoder asks the type of its layer to know its state, and feeds its input."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.encoder = layer(8, 8, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(16, 8)
        self.rnn = layer(16, 8, num_layers=2, batch_first=True)
        self.energy = nn.Linear(8, 16, bias=False)
        self.output = nn.Linear(24, 8)

    def initial(self, final: Any) -> Any:
        if isinstance(final, tuple):
            final = final[0]
        state = torch.tanh(self.bridge(torch.cat([final[0], final[1]], 1))).unsqueeze(0).repeat(2, 1, 1)
        if isinstance(self.rnn, nn.LSTM):
            return state, state
        assert isinstance(self.rnn, nn.GRU)
        return state

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        packed = pack_padded_sequence(source, lengths, batch_first=True)
        output, final = self.encoder(packed)
        memory, _ = pad_packed_sequence(output, batch_first=True)
        hidden = self.initial(final)
        fed, outputs = source.new_zeros(source.shape[0], 1, 8), []
        for t in range(target.shape[1]):
            state, hidden = self.rnn(torch.cat([target[:, t : t + 1], fed], 2), hidden)
            weights = torch.softmax(self.energy(state) @ memory.transpose(1, 2), -1)
            fed = torch.tanh(self.output(torch.cat([state, weights @ memory], 2)))
            outputs.append(fed)
        return torch.cat(outputs, 1)


def attention_decoder(kind: str) -> Case:
    return AttentionDecoder(kind), (torch.randn(3, 6, 8), torch.tensor([6, 4, 1]), torch.randn(3, 5, 8))


class Initialised(nn.Module):
    """Initialisers that go through the modules by type: orthogonal recurrent weights, forget gates of one."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 8, 2)
        self.cell = nn.GRUCell(8, 8)
        self.attention = nn.MultiheadAttention(8, 2)

    def initialise(self) -> list[str]:
        touched = []
        for name, module in self.named_modules():
            if isinstance(module, nn.RNNBase | nn.GRUCell):
                touched.append(name)
                for label, parameter in module.named_parameters():
                    if "weight_hh" in label:
                        nn.init.orthogonal_(parameter)
                    elif "bias_ih" in label and isinstance(module, nn.LSTM):
                        nn.init.zeros_(parameter)
                        with torch.no_grad():
                            parameter[module.hidden_size : 2 * module.hidden_size].fill_(1.0)
            elif isinstance(module, nn.MultiheadAttention):
                touched.append(name)
                nn.init.normal_(module.in_proj_weight, std=0.02)
        return touched

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return self.cell(self.attention(y, y, y)[0][-1])


def initialised() -> Case:
    return Initialised(), (torch.randn(5, 3, 4),)


class Encodes(ABC, nn.RNNBase):
    """Forecasting libraries derive layers of their own from an abstract one and from torch's."""

    @abstractmethod
    def handle_no_encoding(self, hidden: Any, no_encoding: Tensor, initial: Any) -> Any:
        """The final states, with the first ones where there was nothing to encode."""

    @abstractmethod
    def init_hidden_state(self, x: Tensor) -> Any:
        """The first states."""

    def encode(self, x: Tensor, lengths: Tensor) -> Any:
        known = lengths.clamp(min=1)
        packed = pack_padded_sequence(x, known.cpu(), enforce_sorted=False, batch_first=self.batch_first)
        _, hidden = self.forward(packed)
        return self.handle_no_encoding(hidden, (lengths == 0)[None, :, None], self.init_hidden_state(x))


class EncodingLSTM(Encodes, nn.LSTM):
    def handle_no_encoding(self, hidden: Any, no_encoding: Tensor, initial: Any) -> Any:
        return tuple(no_encoding * i + (~no_encoding) * h for h, i in zip(hidden, initial, strict=True))

    def init_hidden_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        size = (self.num_layers * (1 + self.bidirectional), x.shape[0], self.hidden_size)
        return x.new_zeros(size), x.new_zeros(size)


class EncodingGRU(Encodes, nn.GRU):
    def handle_no_encoding(self, hidden: Any, no_encoding: Tensor, initial: Any) -> Any:
        return no_encoding * initial + (~no_encoding) * hidden

    def init_hidden_state(self, x: Tensor) -> Tensor:
        return x.new_zeros(self.num_layers * (1 + self.bidirectional), x.shape[0], self.hidden_size)


class Forecaster(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        layer: Any = {"lstm": EncodingLSTM, "gru": EncodingGRU}[kind]
        self.encoder: Encodes = layer(4, 8, 2, batch_first=True)
        self.decoder: Encodes = layer(4, 8, 2, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, past: Tensor, lengths: Tensor, future: Tensor) -> Tensor:
        hidden = self.encoder.encode(past, lengths)
        assert isinstance(self.decoder, Encodes)
        return self.head(self.decoder(future, hidden)[0])


def forecaster(kind: str) -> Case:
    return Forecaster(kind), (torch.randn(3, 6, 4), torch.tensor([0, 6, 2]), torch.randn(3, 2, 4))


class WeightDrop(nn.Module):
    """AWD-LSTM: recurrent weights are taken out of the layer, dropped, and put back as plain tensors."""

    def __init__(self, layer: nn.Module, names: list[str], p: float) -> None:
        super().__init__()
        self.layer, self.names, self.p = layer, names, p
        for name in names:
            raw = getattr(layer, name)
            self.register_parameter(f"{name}_raw", nn.Parameter(raw.detach().clone()))
            del layer._parameters[name]
            setattr(layer, name, raw.detach())

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            raw = getattr(self, f"{name}_raw")
            setattr(self.layer, name, F.dropout(raw, self.p, self.training) * 1)
        return self.layer(x)[0]


def weight_drop() -> Case:
    return WeightDrop(nn.LSTM(4, 8), ["weight_hh_l0"], 0.5), (torch.randn(5, 3, 4),)


class Streaming(nn.Module):
    """Voice detectors run a scripted head step by step and keep the state on the module."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTMCell(6, 8)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())

    def forward(self, chunks: Tensor) -> Tensor:
        state = (torch.zeros(chunks.shape[1], 8), torch.zeros(chunks.shape[1], 8))
        outputs = []
        for chunk in chunks.unbind(0):
            state = self.rnn(chunk, state)
            outputs.append(self.head(state[0]))
        return torch.stack(outputs)


def streaming() -> Case:
    return Streaming(), (torch.randn(4, 2, 6),)


class Agent(nn.Module):
    """Recurrent policies reset the state where an episode begins: one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8)
        for name, parameter in self.lstm.named_parameters():
            if "bias" in name:
                nn.init.constant_(parameter, 0)
            else:
                nn.init.orthogonal_(parameter, 1.0)
        self.policy, self.value = nn.Linear(8, 3), nn.Linear(8, 1)

    def forward(self, observations: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        h, c = (torch.zeros(1, observations.shape[1], 8) for _ in range(2))
        latent = []
        for features, start in zip(observations, starts, strict=True):
            keep = (1.0 - start).view(1, -1, 1)
            hidden, (h, c) = self.lstm(features.unsqueeze(0), (keep * h, keep * c))
            latent.append(hidden)
        hidden = torch.cat(latent)
        return self.policy(hidden), self.value(hidden)


def agent() -> Case:
    return Agent(), (torch.randn(6, 2, 5), torch.tensor([[1.0, 1], [0, 0], [0, 1], [0, 0], [1, 0], [0, 0]]))


class Vocoder(nn.Module):
    """Speech synthesis: two LSTMCells with dropout on their states, outputs changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_rnn, self.decoder_rnn = nn.LSTMCell(4, 8), nn.LSTMCell(8, 8)
        self.encoder = nn.LSTM(4, 4, 1, batch_first=True, bidirectional=True)
        self.post = nn.Sequential(nn.Dropout(0.1, inplace=True), nn.ReLU(inplace=True), nn.Linear(8, 4))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        self.encoder.flatten_parameters()
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True)
        encoded, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        encoded.mul_(1.5)
        h = c = d = e = x.new_zeros(x.shape[0], 8)
        for t in range(x.shape[1]):
            h, c = self.attention_rnn(x[:, t], (h, c))
            h = F.dropout(h, 0.1, self.training)
            d, e = self.decoder_rnn(h + encoded[:, t], (d, e))
        return self.post(d)


def vocoder() -> Case:
    return Vocoder(), (torch.randn(3, 5, 4), torch.tensor([5, 4, 2]))


class Separator(nn.Module):
    """Source separation: a wrapper that picks its layer by name, with skips, over long chunks."""

    def __init__(self, kind: str = "GRU") -> None:
        super().__init__()
        self.rnns = nn.ModuleList([getattr(nn, kind)(8, 8, bidirectional=True) for _ in range(2)])
        self.narrow = nn.ModuleList([nn.Linear(16, 8) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        frames = x.unfold(0, 6, 3).permute(3, 0, 1, 2).flatten(1, 2)
        for rnn, linear in zip(self.rnns, self.narrow, strict=True):
            frames = frames + torch.relu_(linear(rnn(frames)[0]))
        return frames


def separator() -> Case:
    return Separator(), (torch.randn(15, 2, 8),)


class Tagger(nn.Module):
    """Linguistic pipelines: packed words that are dropped by hand, and learned first states."""

    def __init__(self) -> None:
        super().__init__()
        self.h_init, self.c_init = (nn.Parameter(torch.randn(4, 1, 6)) for _ in range(2))
        self.lstm = nn.LSTM(4, 6, num_layers=2, batch_first=True, dropout=0.0, bidirectional=True)
        self.out = nn.Linear(12, 3)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True)
        data = F.dropout(packed.data, 0.0, self.training)
        packed = PackedSequence(data, packed.batch_sizes)
        state = tuple(s.expand(4, x.shape[0], 6).contiguous() for s in (self.h_init, self.c_init))
        output, _ = self.lstm(packed, state)
        return self.out(output.data)


def tagger() -> Case:
    return Tagger(), (torch.randn(3, 5, 4), [5, 3, 2])


class Course(nn.Module):
    """Textbooks: a decoder that repeats the context at each step, teacher forcing, lazy layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.encoder, self.decoder = nn.GRU(6, 8, 2, dropout=0.0), nn.GRU(14, 8, 2, dropout=0.0)
        self.dense = nn.LazyLinear(11)
        self.apply(self._xavier)

    @staticmethod
    def _xavier(module: nn.Module) -> None:
        if type(module) is nn.GRU:
            for name in module._flat_weights_names:
                if "weight" in name:
                    nn.init.xavier_uniform_(module._parameters[name])  # type: ignore[arg-type]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        outputs, state = self.encoder(self.embedding(source.t()))
        context = outputs[-1].repeat(target.shape[1], 1, 1)
        decoded, _ = self.decoder(torch.cat((self.embedding(target.t()), context), -1), state)
        return self.dense(decoded).swapaxes(0, 1)


def course() -> Case:
    model = Course()
    args = (torch.randint(0, 11, (3, 7)), torch.randint(0, 11, (3, 5)))
    model(*args)  # lazy layers
    return model, args


#: Name, and what makes the model and the arguments of a call.
STAND_INS: dict[str, Callable[[], Case]] = {
    "attention decoder, LSTM": lambda: attention_decoder("lstm"),
    "attention decoder, GRU": lambda: attention_decoder("gru"),
    "initialisers by type": initialised,
    "subclassed layers, LSTM": lambda: forecaster("lstm"),
    "subclassed layers, GRU": lambda: forecaster("gru"),
    "weight drop": weight_drop,
    "step loop with a scripted head": streaming,
    "recurrent agent": agent,
    "detection transformer": detector,
    "image and text": image_text,
    "speech synthesis": vocoder,
    "source separation": separator,
    "packed words": tagger,
    "textbook translation": course,
    "hooks": hooked,
}
