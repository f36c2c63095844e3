"""How BLEU cuts a sentence into tokens."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Literal, get_args

Tokenization = Literal["13a", "char", "none", "intl", "zh"]
TOKENIZATIONS: tuple[Tokenization, ...] = get_args(Tokenization)

#: Those that are sacrebleu's own: tables of Unicode categories and of Chinese characters.
_BY_SACREBLEU = {"intl": "TokenizerV14International", "zh": "TokenizerZh"}

#: The rules of NIST's mteval-v13a.pl for Western languages, one after another.
_RULES_13A = (
    (re.compile(r"[!-&(-+/:-@\[-`{-~]"), r" \g<0> "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])-"), r"\1 - "),
)
_REPLACED_13A = {
    "<skipped>": "",
    "-\n": "",
    "\n": " ",
    "&quot;": '"',
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
}


def tokenizer(name: Tokenization) -> Callable[[str], list[str]]:
    """The function that cuts a sentence.

    Raises:
        ValueError: there is none of that name.
        ImportError: it is sacrebleu's, and that is missing.

    Example:
        >>> tokenizer("13a")("It's 3.50, not more.")
        ["It's", '3.50', ',', 'not', 'more', '.']
    """
    if name not in TOKENIZATIONS:
        raise ValueError(f"tokenize must be one of {', '.join(TOKENIZATIONS)}, got {name!r}")
    if name in _BY_SACREBLEU:
        return _sacrebleu_tokenizer(name)
    return {"13a": _tokens_13a, "char": _characters, "none": str.split}[name]


def _tokens_13a(text: str) -> list[str]:
    for old, new in _REPLACED_13A.items():
        text = text.replace(old, new)
    text = f" {text} "  # the rules look at the character before and after
    for pattern, replacement in _RULES_13A:
        text = pattern.sub(replacement, text)
    return text.split()


def _characters(text: str) -> list[str]:
    return [character for character in text if not character.isspace()]


@cache
def _sacrebleu_tokenizer(name: str) -> Callable[[str], list[str]]:
    try:
        module = import_module(f"sacrebleu.tokenizers.tokenizer_{name}")
    except ImportError as error:
        raise ImportError(f"tokenize={name!r} needs sacrebleu: pip install pyrnn[text]") from error
    tokenize = getattr(module, _BY_SACREBLEU[name])()
    return lambda text: tokenize(text).split()
