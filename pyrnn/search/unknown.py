"""Unknown words of an output, replaced through the attention.

Dimension key: L tokens of an output, S source tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor


def replace_unknown(
    tokens: Sequence[str],
    attention: Tensor,
    source: Sequence[str],
    *,
    unknown: str,
    dictionary: Mapping[str, str] | None = None,
) -> list[str]:
    """An output in which each unknown token is the source token that got most attention for it, or its entry.

    Names and numbers are so copied. Of equal weights the first counts.

    Args:
        tokens: L tokens of the output.
        attention: [L, S] weights by which they were chosen, as `Hypothesis.attention` has them; rows behind
            the last token, that of a closing EOS say, are not looked at.
        source: S tokens as they were before they were encoded.
        unknown: the token to replace.
        dictionary: what a source token becomes; one that is not in it is copied.

    Raises:
        ValueError: the attention has fewer rows than there are tokens, or not S columns.

    Source: Jean et al., "On using very large target vocabulary for neural machine translation", 2015, section
    4.1; from alignments: Luong et al., "Addressing the rare word problem", 2015.

    Example:
        >>> import torch
        >>> attention = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> replace_unknown(["bonjour", "<unk>"], attention, ["hello", "Ada"], unknown="<unk>")
        ['bonjour', 'Ada']
    """
    if attention.dim() != 2 or attention.shape[0] < len(tokens) or attention.shape[1] != len(source):
        raise ValueError(
            f"attention must be [{len(tokens)}, {len(source)}], a row for each token of the output and a "
            f"column for each of the source; got shape {list(attention.shape)}"
        )
    known = {} if dictionary is None else dictionary
    if len(source) == 0:
        return list(tokens)
    places: list[int] = attention[: len(tokens)].argmax(-1).tolist()
    aligned = [source[place] for place in places]
    return [
        known.get(word, word) if token == unknown else token
        for token, word in zip(tokens, aligned, strict=True)
    ]
