"""Subword tokenizers: byte-level pair encoding, learned from a text by the `tokenizers` library."""

from __future__ import annotations

import codecs
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from operator import index
from typing import Any

import torch
from torch import Tensor

from pyrnn.text._words import EOS, cut_safely, last_match
from pyrnn.text.tokenizer import Tokenizer, check_keys
from pyrnn.text.vocabulary import refuse_uniform

_log = logging.getLogger(__name__)

_DEFAULT_SIZE = 8192
_LARGEST_SIZE = 1 << 20  # the library takes memory for all of them before it reads the text

#: A place to cut, written from right to left: after a newline, or before a space that no other white space
#: precedes. Merges stay inside the library's pieces of a line, and one always begins at such a space.
_CUT = re.compile(r"(?=\n)| (?=\S)")

#: Characters of a run without white space, or of white space alone, that are learned from in one piece. The
#: library looks through a whole piece for each merge in it, so the time grows with the square of its length;
#: words are far shorter, and tokens of this length would not be met again.
_LONGEST_RUN = 256
_LONG_RUN = re.compile(rf"\S{{{_LONGEST_RUN}}}|[^\S\n]{{{_LONGEST_RUN}}}")

_SECONDS_BETWEEN_NEWS = 5.0


class SubwordTokenizer(Tokenizer):
    r"""Frequent sequences of bytes, so that any text can be encoded and is decoded without loss.

    Id i < 256 is the i-th token of the byte alphabet, the next ones are the merges in the order in which
    they were learned, and the last is the end of a line: the lines of a text are encoded on their own, and
    `eos` stands for each newline. No text stands for `eos` otherwise, "<eos>" is five characters.

    Args:
        merges: pairs of tokens that become one, written in the byte alphabet of GPT-2 (a printable byte is
            itself, a space is "Ġ").

    Raises:
        ValueError: a part of a merge is neither a byte nor the outcome of an earlier merge, or a merge is
            there twice.
        ImportError: the `tokenizers` library is missing.

    Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", section 3.2;
    on bytes as in Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.

    Example:
        >>> tokenizer = SubwordTokenizer([("b", "e"), ("Ġ", "be")])
        >>> [tokenizer.token(id) for id in tokenizer.encode("to be\n").tolist()]
        ['t', 'o', ' be', '<eos>']
    """

    level = "subword"
    unk_id = None

    def __init__(self, merges: Iterable[tuple[str, str]]) -> None:
        self.merges = tuple(merges)
        alphabet = _alphabet()
        tokens = {token: i for i, token in enumerate(alphabet)}
        for left, right in self.merges:
            if missing := [part for part in (left, right) if part not in tokens]:
                raise ValueError(f"the merge of {left!r} and {right!r} comes before there is {missing[0]!r}")
            # Two pairs may make one token, as a + bc and ab + c.
            tokens.setdefault(left + right, len(tokens))
        if len(set(self.merges)) != len(self.merges):
            raise ValueError("merges must be distinct, got one twice")
        self._bytes = [bytes(alphabet[byte] for byte in token) for token in tokens]
        self._bytes.append(b"\n")
        self.eos_id: int = len(tokens)
        tokenizers = _library()
        self._encoder = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=tokens, merges=list(self.merges)))
        self._encoder.pre_tokenizer = _splitter()

    @classmethod
    def train(
        cls, chunks: Callable[[], Iterable[str]], *, max_size: int | None = None, min_count: int = 1
    ) -> SubwordTokenizer:
        """Learn merges from a text: again and again that of the most frequent pair.

        The same text gives the same merges. None is learned across every 256th character of a run without
        white space (a long number, a text in letters alone), for the time would grow with the square of its
        length. What takes long is told to the logger "pyrnn.text.subword" every few seconds.

        Args:
            chunks: gives the text from its beginning, cut anywhere.
            max_size: tokens at most, the 256 bytes and `eos` included; None is 8192. A short text may have
                fewer pairs to offer.
            min_count: pairs that occur less often are not merged.

        Raises:
            ValueError: an empty text, one of a single distinct character or with half a surrogate pair, or
                `max_size` below 257 or above 2**20.
            ImportError: the `tokenizers` library is missing.
        """
        size = _DEFAULT_SIZE if max_size is None else max_size
        smallest = len(_alphabet()) + 1
        if size < smallest:
            raise ValueError(
                f"max_size must be at least {smallest} at level subword (each byte, and {EOS}), got {size}"
            )
        if size > _LARGEST_SIZE:
            raise ValueError(f"max_size must be at most {_LARGEST_SIZE} at level subword, got {size}")
        tokenizers = _library()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=size - 1,
            min_frequency=min_count,
            show_progress=False,
            initial_alphabet=list(_alphabet()),
        )
        learner = tokenizers.Tokenizer(tokenizers.models.BPE())
        learner.pre_tokenizer = _splitter()
        seen: set[str] = set()
        with _news() as read:
            learner.train_from_iterator(_lines(chunks(), seen, read), trainer)
        refuse_uniform(seen, "character")
        return cls(tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"])

    def __len__(self) -> int:
        return len(self._bytes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SubwordTokenizer) and self.merges == other.merges

    def __hash__(self) -> int:
        return hash(self.merges)

    def __repr__(self) -> str:
        return f"SubwordTokenizer({len(self)} tokens)"

    def encode(self, text: str) -> Tensor:
        """As of `Tokenizer.encode`; every text can be encoded.

        Raises:
            ValueError: half a surrogate pair, which UTF-8 has no bytes for.
        """
        ids: list[int] = []
        for line in self._encoder.encode_batch_fast(_checked(text).split("\n"), add_special_tokens=False):
            ids += line.ids
            ids.append(self.eos_id)
        return torch.tensor(ids[:-1], dtype=torch.int64)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """As of `Tokenizer.decode_stream`; bytes that are no UTF-8 become "�"."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for id in ids:
            if piece := decoder.decode(self._bytes_of(id)):
                yield piece
        if piece := decoder.decode(b"", final=True):
            yield piece

    def token(self, id: int) -> str:
        r"""As of `Tokenizer.token`; bytes that are no whole character are shown as "\xe2"."""
        return EOS if id == self.eos_id else self._bytes_of(id).decode("utf-8", errors="backslashreplace")

    def _bytes_of(self, id: int) -> bytes:
        if not 0 <= index(id) < len(self):
            raise ValueError(f"ids must lie in [0, {len(self)}), got {id}")
        return self._bytes[id]

    def _last_cut(self, text: str) -> int:
        return last_match(_CUT, text)

    def to_json(self) -> dict[str, Any]:
        """As of `Tokenizer.to_json`: the merges, from which all else follows."""
        return {"level": self.level, "merges": [" ".join(merge) for merge in self.merges]}

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> SubwordTokenizer:
        check_keys(values, ("level", "merges"))
        merges = values["merges"]
        if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
            raise ValueError('merges must be a list of strings "left right"')
        pairs = [tuple(merge.split(" ")) for merge in merges]
        if wrong := [merge for merge, pair in zip(merges, pairs, strict=True) if len(pair) != 2]:
            raise ValueError(f"a merge must be two tokens with a space between them, got {wrong[0]!r}")
        return cls((left, right) for left, right in pairs)


@cache
def _alphabet() -> dict[str, int]:
    """A printable character for each byte, in the order of code points: the library writes bytes so.

    Latin-1 has printable ones for 188 bytes; the others take the code points from 256 on.
    """
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _lines(chunks: Iterable[str], seen: set[str], read: Callable[[int], None]) -> Iterator[list[str]]:
    """The lines of a text to learn from, many at a time, and `read` is told of their characters.

    The first two distinct characters go to `seen`. A long run is several lines.
    """
    for piece in cut_safely(chunks, lambda text: last_match(_CUT, text)):
        if len(seen) < 2:
            seen.update(sorted(set(piece))[: 2 - len(seen)])
        read(len(piece))
        yield _LONG_RUN.sub("\\g<0>\n", _checked(piece)).split("\n")


@contextmanager
def _news() -> Generator[Callable[[int], None], None, None]:
    """Tell how learning goes, every few seconds; gives a function that is told of characters that were read.

    A thread of its own tells, for the library says nothing until it is done.
    """
    began, characters, done = time.monotonic(), [0], threading.Event()

    def read(count: int) -> None:
        characters[0] += count

    def tell() -> None:
        while not done.wait(_SECONDS_BETWEEN_NEWS):
            seconds = time.monotonic() - began
            _log.info("learning subwords: %s characters read, %.0f s", f"{characters[0]:,}", seconds)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield read
    finally:
        done.set()
        teller.join()


def _checked(text: str) -> str:
    """`text`, when it is valid Unicode."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the text must be valid Unicode, got {text[error.start]!r}") from None
    return text


def _library() -> Any:
    try:
        return import_module("tokenizers")
    except ImportError as error:
        raise ImportError("subwords need the tokenizers library: pip install pyrnn[text]") from error


def _splitter() -> Any:
    """Cuts a line into words with the space before each, numbers, and runs of other characters."""
    return _library().pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
