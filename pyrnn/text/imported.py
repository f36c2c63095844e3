"""Tokenizers that other libraries learned: a `tokenizer.json` of Hugging Face, a model of SentencePiece."""

from __future__ import annotations

import base64
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrnn._files import open_regular, to_json
from pyrnn.text._words import last_match
from pyrnn.text.tokenizer import Tokenizer, check_keys

_LARGEST_FILE = 1 << 28
_LINE_END = re.compile(r"(?=\n)")

#: What libraries call the token that ends a sentence, the usual first.
_EOS_NAMES = ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "[SEP]")


def read_tokenizer(path: str | Path, *, eos: str | None = None) -> Tokenizer:
    """The tokenizer of a file: ours, a `tokenizer.json` of Hugging Face, or a model of SentencePiece.

    Args:
        path: the file; what it holds tells its kind.
        eos: the token that ends a line, where a `tokenizer.json` has none of a usual name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or something else, or no token ends a line; the message names the file.
        ImportError: the library of its kind is missing.

    Example:
        >>> import tempfile
        >>> from pyrnn.text import train_tokenizer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     train_tokenizer(lambda: ["to be or not to be"], level="word").save(Path(folder, "a.json"))
        ...     len(read_tokenizer(Path(folder, "a.json")))
        6
    """
    path = Path(path)
    with open_regular(path, most=_LARGEST_FILE) as file:
        content = file.read()
    try:
        if not content.lstrip().startswith(b"{"):
            return SentencePieceTokenizer(content)
        values = json.loads(content)
        return Tokenizer.from_json(values) if "level" in values else HuggingFaceTokenizer(values, eos=eos)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


class _ImportedTokenizer(Tokenizer):
    """Each line is encoded on its own, and a token that ends a sentence stands for each newline.

    Where a text spells that token, some models give its id: it is left out, for the line does not end there.
    """

    level = "subword"
    eos_id: int
    _content: object  # of which equal tokenizers are made

    @abstractmethod
    def _encode_line(self, line: str) -> list[int]: ...

    @abstractmethod
    def _decode_line(self, ids: list[int]) -> str: ...

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ImportedTokenizer) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} tokens)"

    def encode(self, text: str) -> Tensor:
        """As of `Tokenizer.encode`."""
        ids: list[int] = []
        for line in text.split("\n"):
            ids += (id for id in self._encode_line(line) if id != self.eos_id)
            ids.append(self.eos_id)
        return torch.tensor(ids[:-1], dtype=torch.int64)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """As of `Tokenizer.decode_stream`; a piece is a line, for what a token says may depend on others."""
        line: list[int] = []
        for id in ids:
            if self._checked(id) == self.eos_id:
                yield self._decode_line(line) + "\n"
                line = []
            else:
                line.append(index(id))
        if line:
            yield self._decode_line(line)

    def _checked(self, id: int) -> int:
        if not 0 <= index(id) < len(self):
            raise ValueError(f"ids must lie in [0, {len(self)}), got {id}")
        return index(id)

    def _last_cut(self, text: str) -> int:
        return last_match(_LINE_END, text)


class HuggingFaceTokenizer(_ImportedTokenizer):
    r"""A tokenizer of the `tokenizers` library, as a `tokenizer.json` describes it.

    Its padding, truncation and additions before and after a text are not used.

    Args:
        values: what the file holds.
        eos: the token that ends a line; None is the first special token of a usual name.

    Raises:
        ValueError: the library refuses it, or it has no such token.
        ImportError: the `tokenizers` library is missing.

    Example:
        >>> import tokenizers
        >>> vocabulary = {"to": 0, "be": 1, "?": 2, "</s>": 3}
        >>> library = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
        >>> library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        >>> tokenizer = HuggingFaceTokenizer(json.loads(library.to_str()), eos="</s>")
        >>> tokenizer.encode("to see\nto be").tolist()
        [0, 2, 3, 0, 1]
    """

    def __init__(self, values: dict[str, Any], *, eos: str | None = None) -> None:
        self._library = _from_json(values)
        self._library.no_padding()
        self._library.no_truncation()
        self._library.encode_special_tokens = True  # as the characters that spell them
        model = values["model"]
        unk = model.get("unk_id", self._library.token_to_id(model.get("unk_token") or ""))
        self.unk_id = unk if isinstance(unk, int) else None
        added = self._library.get_added_tokens_decoder().values()
        special = {token.content for token in added if token.special}
        self._eos = next((name for name in _EOS_NAMES if name in special), None) if eos is None else eos
        eos_id = self._library.token_to_id(self._eos or "")
        if eos_id is None:
            usual, own = ", ".join(_EOS_NAMES), ", ".join(sorted(special)) or "none"
            raise ValueError(
                f"no token {eos!r} ends a line: expected a special token of a usual name ({usual}), its own "
                f"are {own}: name one with eos"
            )
        self.eos_id = eos_id
        self._content = (self._eos, self._library.to_str())

    def __len__(self) -> int:
        return self._library.get_vocab_size()

    def token(self, id: int) -> str:
        """As of `Tokenizer.token`, as the library writes it."""
        return self._library.id_to_token(self._checked(id)) or ""

    def to_json(self) -> dict[str, Any]:
        """As of `Tokenizer.to_json`: the file's content."""
        model = json.loads(self._library.to_str())
        return {"level": self.level, "library": "tokenizers", "eos": self._eos, "model": model}

    def _encode_line(self, line: str) -> list[int]:
        return self._library.encode(line, add_special_tokens=False).ids

    def _decode_line(self, ids: list[int]) -> str:
        return self._library.decode(ids, skip_special_tokens=True)


class SentencePieceTokenizer(_ImportedTokenizer):
    r"""A model of SentencePiece.

    Args:
        model: the bytes of its file.

    Raises:
        ValueError: they are no model, or it has no token that ends a sentence.
        ImportError: the `sentencepiece` library is missing.

    Source: Kudo and Richardson 2018, "SentencePiece: A simple and language independent subword tokenizer and
    detokenizer for Neural Text Processing".

    Example:
        >>> import io, sentencepiece
        >>> model = io.BytesIO()
        >>> lines = ["to be or not to be"] * 9
        >>> options = {"vocab_size": 13, "model_type": "char", "minloglevel": 2}
        >>> sentencepiece.SentencePieceTrainer.train(
        ...     sentence_iterator=iter(lines), model_writer=model, **options)
        >>> tokenizer = SentencePieceTokenizer(model.getvalue())
        >>> tokenizer.decode(tokenizer.encode("to be\nor not"))
        'to be\nor not'
    """

    def __init__(self, model: bytes) -> None:
        try:
            library = import_module("sentencepiece")
        except ImportError as error:
            raise ImportError(
                "a SentencePiece model needs the sentencepiece library: pip install pyrnn[text]"
            ) from error
        self._library = library.SentencePieceProcessor()
        try:
            self._library.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError(f"expected a tokenizer as JSON or a SentencePiece model: {error}") from None
        self.unk_id, self.eos_id = self._library.unk_id(), self._library.eos_id()
        if self.eos_id < 0:
            raise ValueError(
                "the SentencePiece model has no token that ends a sentence: train it with eos_id"
            )
        self._content = model

    def __len__(self) -> int:
        return self._library.get_piece_size()

    def token(self, id: int) -> str:
        """As of `Tokenizer.token`; "▁" is shown as the space that it stands for."""
        return self._library.id_to_piece(self._checked(id)).replace("▁", " ")

    def to_json(self) -> dict[str, Any]:
        """As of `Tokenizer.to_json`: the file's bytes in base 64."""
        assert isinstance(self._content, bytes)
        model = base64.b64encode(self._content).decode("ascii")
        return {"level": self.level, "library": "sentencepiece", "model": model}

    def _encode_line(self, line: str) -> list[int]:
        return self._library.encode(line, out_type=int)

    def _decode_line(self, ids: list[int]) -> str:
        return self._library.decode(ids)


def imported_from_json(values: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `to_json` of one of these classes described.

    Raises:
        ValueError: something else.
        ImportError: its library is missing.
    """
    if values["library"] == "tokenizers":
        check_keys(values, ("level", "library", "eos", "model"))
        if not isinstance(values["eos"], str):
            raise ValueError(f"eos must be a string, got {values['eos']!r}")
        return HuggingFaceTokenizer(values["model"], eos=values["eos"])
    check_keys(values, ("level", "library", "model"))
    if values["library"] != "sentencepiece" or not isinstance(values["model"], str):
        raise ValueError(f"library must be tokenizers or sentencepiece, got {values['library']!r}")
    return SentencePieceTokenizer(base64.b64decode(values["model"], validate=True))


def _from_json(values: dict[str, Any]) -> Any:
    """The library's tokenizer."""
    try:
        library = import_module("tokenizers")
    except ImportError as error:
        raise ImportError("a tokenizer.json needs the tokenizers library: pip install pyrnn[text]") from error
    try:
        return library.Tokenizer.from_str(to_json(values))
    except Exception as error:  # noqa: BLE001  the library raises no narrower one
        raise ValueError(f"the tokenizers library refuses it: {error}") from None
