"""Seq2Seq: a model that writes a sequence about another one, such as a translation.

Dimension key: S source time, T target time, B or N batch, E embedding, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from pyrnn.models._head import head_loss
from pyrnn.models._recurrent_seq2seq import RecurrentDecoder, RecurrentEncoder
from pyrnn.models._transformer_seq2seq import TransformerCoder
from pyrnn.models.configs import Seq2SeqConfig
from pyrnn.models.pretrained import Pretrained
from pyrnn.models.state import StepOutput
from pyrnn.nn.parts import apply_linear
from pyrnn.ops import dropout


class Source(NamedTuple):
    """Sources of N sequences.

    Args:
        tokens: [S, N] int64 ids, or [S, N, F] vectors of a model with `vector_input`.
        lengths: [N] int64 in [1, S].

    Example:
        >>> import torch
        >>> Source(torch.tensor([[5, 7], [2, 0]]), torch.tensor([2, 1])).lengths
        tensor([2, 1])
    """

    tokens: Tensor
    lengths: Tensor


class Seq2Seq(Pretrained):
    r"""p(y | x) = prod_t p(y_t | y_<t, x), with x read by an encoder and y written by a decoder.

    Recurrent with a fixed vector or attention between both, or a Transformer, as `config` says. It is a
    `pyrnn.search.Decoder`: `start` reads sources, `step` writes.

    Sources: Sutskever et al., "Sequence to sequence learning with neural networks", 2014; Cho et al.,
    "Learning phrase representations using RNN encoder-decoder", 2014; Bahdanau et al., "Neural machine
    translation by jointly learning to align and translate", 2015; Luong et al., "Effective approaches to
    attention-based neural machine translation", 2015; Wu et al., "Google's neural machine translation
    system", 2016; Vaswani et al., "Attention is all you need", 2017.

    Args:
        config: the sizes.

    Example:
        >>> import torch
        >>> config = Seq2SeqConfig(50, source_vocabulary_size=60, architecture="gru", hidden_size=16)
        >>> model = Seq2Seq(config).eval()
        >>> source = Source(torch.randint(60, (7, 2)), torch.tensor([7, 4]))
        >>> model(source.tokens, source.lengths, torch.randint(50, (5, 2))).shape
        torch.Size([5, 2, 50])
        >>> start = model.start(source)
        >>> logits, state, attention = model.step(torch.tensor([0, 0]), start, need_weights=True)
        >>> logits.shape, attention.shape
        (torch.Size([2, 50]), torch.Size([2, 7]))
    """

    model_type = "pyrnn-seq2seq"
    config_class = Seq2SeqConfig
    config: Seq2SeqConfig

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        E, H, V = config.vector_size, config.hidden_size, config.vocabulary_size
        self.embedding = nn.Embedding(V, E)
        self.source_embedding: nn.Module
        if config.vector_input:
            self.source_embedding = nn.Linear(config.vector_input, E)
        else:
            self.source_embedding = nn.Embedding(config.source_vocabulary_size, E)
        self.transformer: TransformerCoder | None = None
        self.encoder: RecurrentEncoder | None = None
        self.decoder: RecurrentDecoder | None = None
        if config.architecture == "transformer":
            self.transformer = TransformerCoder(config)
        else:
            self.encoder, self.decoder = RecurrentEncoder(config), RecurrentDecoder(config)
        self.bottleneck = nn.Linear(H, E, bias=False) if config.tied != "none" and H != E else None
        self.projection = nn.Linear(H if config.tied == "none" else E, V)
        if config.architecture == "transformer" or config.tied != "none":
            for table in (self.embedding, self.source_embedding):
                nn.init.normal_(table.weight, std=E**-0.5)
            nn.init.normal_(self.projection.weight, std=E**-0.5)
            nn.init.zeros_(self.projection.bias)
        if config.tied != "none":
            self.projection.weight = self.embedding.weight
        if config.tied == "all":
            self.source_embedding.weight = self.embedding.weight

    @property
    def vocabulary_size(self) -> int:
        """V of the target."""
        return self.config.vocabulary_size

    def forward(
        self,
        source: Tensor,
        source_lengths: Tensor,
        target: Tensor,
        output: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Logits of the token behind each of a target's, or the loss of given ones, without their logits.

        Args:
            source: [S, B] int64 ids or, with `vector_input`, [S, B, F].
            source_lengths: [B] int64 in [1, S]; what stands beyond is not read.
            target: [T, B] int64 ids in [0, V), the first of them what starts every target.
            output: [T, B] int64, the ids behind them, or `pyrnn.losses.IGNORE`; then the loss is returned.
            label_smoothing: of that loss, as in `pyrnn.losses.sequence_cross_entropy`.

        Returns:
            [T, B, V]; with `output`, the sum of -log p over the ids that count.

        Raises:
            IndexError: an id outside its vocabulary.
        """
        state = self.start(Source(source, source_lengths))
        hidden = self._decode(target, state, generates=False)[0]
        if output is None:
            return apply_linear(self.projection, hidden)
        return head_loss(self.projection, hidden, output, label_smoothing=label_smoothing)

    def start(self, source: Any = None) -> Any:
        """The state before the first token of each target.

        Args:
            source: a `Source`, or a pair of its tokens and lengths.

        Raises:
            TypeError: there is none.
        """
        if source is None:
            raise TypeError("a Seq2Seq writes about a source: start(Source(tokens, lengths))")
        tokens, lengths = source
        vectors = self._drop(self.source_embedding(tokens))
        if self.transformer is not None:
            return self.transformer.encode(vectors, lengths)
        assert self.encoder is not None
        assert self.decoder is not None
        outputs, states = self.encoder(vectors, lengths)
        return self.decoder.start(outputs, lengths, states)

    def step(
        self, tokens: Tensor, state: Any, *, lengths: Tensor | None = None, need_weights: bool = False
    ) -> StepOutput:
        """Read one token of each target, or several at once.

        Args:
            tokens: [N] or [N, T] int64 ids in [0, V).
            state: of N sequences.
            lengths: [N] int64 in [0, T]: tokens of each sequence; what stands beyond is not read.
            need_weights: whether to return attention weights. Not asking for them saves time and memory.

        Returns:
            Logits [N, V], or [N, T, V]; the state after the last token; attention weights [N, S] or
            [N, T, S] if needed, in the model's dtype and 0 behind a source's end: of a recurrent decoder
            those of the layer that attends, of a Transformer those of the last layer's attention to the
            source, the mean over its heads; None of a model without attention. Logits and weights mean
            nothing beyond a length.

        Raises:
            ValueError: lengths that are not [N] or lie outside [0, T].
            TypeError: lengths that are no integers.
        """
        one = tokens.dim() == 1
        target = tokens.unsqueeze(0) if one else tokens.T
        output, weights, state = self._decode(target, state, lengths=lengths, need_weights=need_weights)
        logits = apply_linear(self.projection, output)
        if one:
            return StepOutput(logits.squeeze(0), state, None if weights is None else weights.squeeze(0))
        attention = None if weights is None else weights.transpose(0, 1)
        return StepOutput(logits.transpose(0, 1), state, attention)

    def _decode(
        self,
        target: Tensor,
        state: Any,
        *,
        generates: bool = True,
        lengths: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, Any]:
        """The rows [T, B, H] of the last layer, attention weights [T, B, S] or None, and the next state."""
        vectors = self._drop(self.embedding(target))
        if self.transformer is not None:
            output, weights, state = self.transformer(
                vectors, state, lengths, generates=generates, need_weights=need_weights
            )
        else:
            assert self.decoder is not None
            output, weights, state = self.decoder(vectors, state, lengths=lengths)
            output = dropout(output, self.config.dropout, self.training)
        if self.bottleneck is not None:
            output = apply_linear(self.bottleneck, output)
        return output, weights if need_weights else None, state

    def _drop(self, vectors: Tensor) -> Tensor:
        return dropout(vectors, self.config.input_dropout, self.training)
