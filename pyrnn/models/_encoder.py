"""What reads the token vectors of a whole sentence: recurrent layers or a transformer encoder.

Dimension key: T time, B batch, E embedding, H hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrnn.models._transformer import EXPANSION
from pyrnn.models.backbones import recurrent_class
from pyrnn.models.configs import ClassifierConfig, TaggerConfig
from pyrnn.nn import RotaryEmbedding, TransformerEncoder, TransformerEncoderLayer


def make_encoder(config: TaggerConfig | ClassifierConfig, *, more: int = 0) -> tuple[str, nn.Module, int]:
    """The name under which a model keeps its encoder, the encoder, and how wide its outputs are.

    Args:
        config: the model's sizes.
        more: features of a token beside its vector. A transformer has them turned to its own width.

    Raises:
        ValueError: the architecture has none.
    """
    H = config.hidden_size
    if config.architecture == "transformer":
        return "transformer", _transformer(config, more), H
    if config.architecture in ("average", "feedforward"):
        raise ValueError(f"the architecture {config.architecture} has no encoder")
    dropout = config.dropout if config.num_layers > 1 else 0.0  # torch warns about a single layer's
    layers = recurrent_class(config.architecture)(
        config.vector_size + more, H, config.num_layers, dropout=dropout, bidirectional=config.bidirectional
    )
    return "recurrent", layers, 2 * H if config.bidirectional else H


def encode(encoder: nn.Module, vectors: Tensor, lengths: Tensor) -> Tensor:
    """Outputs [T, B, F] of an encoder for vectors [T, B, E]; beyond the lengths [B] they mean nothing."""
    if isinstance(encoder, nn.Sequential):
        widen, encoder = encoder
        vectors = widen(vectors)
    if not isinstance(encoder, TransformerEncoder):
        return encoder(vectors, lengths=lengths)[0]
    time = torch.arange(len(vectors), device=vectors.device)
    padding = time >= lengths.to(vectors.device).unsqueeze(1)
    # A sentence of no tokens would leave a softmax without a key.
    return encoder(vectors, src_key_padding_mask=padding & (time > 0))


def _transformer(config: TaggerConfig | ClassifierConfig, more: int) -> nn.Module:
    H = config.hidden_size
    layer = TransformerEncoderLayer(
        H,
        config.num_heads,
        EXPANSION * H,
        config.dropout,
        "gelu",
        norm_first=True,
        rotary=RotaryEmbedding(H // config.num_heads),
    )
    encoder = TransformerEncoder(layer, config.num_layers, nn.LayerNorm(H))
    return nn.Sequential(nn.Linear(H + more, H), encoder) if more else encoder
