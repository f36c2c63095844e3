"""Tokenizers: from text to the ids of its tokens and back, for characters, words and subwords."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from pyrnn._files import read_json, to_json, write_text
from pyrnn.text._words import EOS, UNK, cut_safely, last_word_cut, spaced, words
from pyrnn.text.vocabulary import Vocabulary, refuse_uniform

Level = Literal["character", "word", "subword"]
LEVELS: tuple[Level, ...] = get_args(Level)

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

#: Words, after which `read_words` cuts a text that has no lines.
_LONGEST_LINE = 1 << 16


class Tokenizer(ABC):
    """Text to ids and back.

    Attributes:
        level: what a token is: "character", "word" or "subword".
        unk_id: the id of all that the vocabulary lacks, or None: then `encode` refuses it, or nothing is
            lacking.
        eos_id: the id that ends a line, or None.

    Example:
        >>> from pyrnn.text import train_tokenizer
        >>> tokenizer: Tokenizer = train_tokenizer(lambda: ["to be or not to be"], level="word")
        >>> tokenizer.decode(tokenizer.encode("not to be"))
        'not to be'
    """

    level: Level
    unk_id: int | None
    eos_id: int | None

    @abstractmethod
    def __len__(self) -> int:
        """Tokens V: ids lie in [0, V)."""

    @abstractmethod
    def encode(self, text: str) -> Tensor:
        """The ids of `text`, [N] int64.

        Raises:
            ValueError: `unk_id` is None, and the text has tokens outside the vocabulary; they are named.
        """

    @abstractmethod
    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of `ids` in pieces, as they come; a piece never ends inside a character.

        Raises:
            ValueError: an id outside [0, V).
        """

    def tokenize(self, text: str) -> list[str]:
        """What each token of `encode(text)` stands for in it; an unknown one too as it was written.

        Example:
            >>> from pyrnn.text import train_tokenizer
            >>> train_tokenizer(lambda: ["to be or not to be"], level="word").tokenize("to be, Ada")
            ['to', 'be', ',', 'Ada']
        """
        return [self.token(id) for id in self.encode(text).tolist()]

    @abstractmethod
    def token(self, id: int) -> str:
        """The token of one id, as one shows it alone.

        Raises:
            ValueError: an id outside [0, V).
        """

    def word_list(self) -> tuple[str, ...]:
        """The tokens in the order of their ids, where they are words.

        Raises:
            ValueError: they are something else.
        """
        raise ValueError(f"tokens must be words, these are {self.level}s: set level to 'word'")

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """All of the tokenizer as JSON has it; `from_json` makes an equal one."""

    @abstractmethod
    def _last_cut(self, text: str) -> int:
        """The last place where `text` can be cut and its parts encoded on their own, or 0.

        Whether a place is one may depend on the character before it and the one after, not on more.
        """

    def encode_chunks(self, chunks: Iterable[str]) -> Iterator[Tensor]:
        """The ids of a text that comes in chunks, [N_i] int64 each.

        Together they are `encode` of the whole text, wherever it was cut. Memory use follows the chunks, and
        what has to be read at once: the longest word, at level subword what stands between two spaces.

        Raises:
            ValueError: as of `encode`.
        """
        return (self.encode(piece) for piece in cut_safely(chunks, self._last_cut))

    def decode(self, ids: Tensor | Iterable[int]) -> str:
        """The text of `ids` [N].

        Raises:
            ValueError: an id outside [0, V).
        """
        return "".join(self.decode_stream(ids.tolist() if isinstance(ids, Tensor) else ids))

    @staticmethod
    def from_json(values: Any) -> Tokenizer:
        """The tokenizer that `to_json` described.

        Raises:
            ValueError: something else: wrong types, missing or unknown keys, an unknown level, tokens
                that make no vocabulary.
            ImportError: subwords, and the library that they need is missing.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a tokenizer is described by a table, got {type(values).__name__}")
        level = values.get("level")
        if level == "subword" and "library" in values:
            from pyrnn.text.imported import imported_from_json

            return imported_from_json(values)
        if level == "subword":
            # Here, because that module needs this one.
            from pyrnn.text.subword import SubwordTokenizer

            return SubwordTokenizer._from_json(values)
        if level not in LEVELS:
            raise ValueError(f"a tokenizer's level must be one of {', '.join(LEVELS)}, got {level!r}")
        return VocabularyTokenizer._from_json(values)

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, in its place whole or not at all."""
        write_text(Path(path), to_json(self.to_json(), indent=0) + "\n")

    @staticmethod
    def load(path: str | Path) -> Tokenizer:
        """The tokenizer that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not JSON, or describes no tokenizer; the message names the file.
            ImportError: subwords, and the `tokenizers` library is missing.
        """
        values = read_json(Path(path))
        try:
            return Tokenizer.from_json(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


class VocabularyTokenizer(Tokenizer):
    r"""Tokens that a vocabulary lists one by one: characters, or words.

    Characters: every character is a token; one outside the vocabulary becomes `unk` and is shown as "�".

    Words: a word is a run of letters, digits, underscores and their marks, with apostrophes and hyphens
    inside it; any other character that is not white space is a token of its own; "<unk>" in the text is the
    token that stands for words outside the vocabulary, and a newline is "<eos>", several in a row and blank
    lines making one. Decoding joins with single spaces, none before closing punctuation, after an opening
    bracket and around a newline, so encoding that text gives the same ids.

    Args:
        level: "character" or "word".
        vocabulary: for characters, single ones besides `unk`; for words, with unk "<unk>" and eos "<eos>".

    Raises:
        ValueError: another level, or a vocabulary that does not fit it.

    Example:
        >>> vocabulary = Vocabulary(["<unk>", "<eos>", "to", "be", ","], unk="<unk>", eos="<eos>")
        >>> tokenizer = VocabularyTokenizer("word", vocabulary)
        >>> tokenizer.encode("to be, or\n\nto").tolist()
        [2, 3, 4, 0, 1, 2]
        >>> tokenizer.decode([2, 3, 4, 0, 1, 2])
        'to be, <unk>\nto'
    """

    def __init__(self, level: Literal["character", "word"], vocabulary: Vocabulary) -> None:
        ordinary = [s for s in vocabulary.tokens if s not in (vocabulary.unk, vocabulary.eos)]
        if level == "character":
            if long := [s for s in ordinary if len(s) > 1]:
                raise ValueError(f"tokens at level character must be single characters, got {long[0]!r}")
            if vocabulary.eos is not None and len(vocabulary.eos) > 1:
                raise ValueError(f"eos at level character must be a character, got {vocabulary.eos!r}")
            if vocabulary.unk is not None and len(vocabulary.unk) == 1:
                raise ValueError(f"unk at level character must not be a character, got {vocabulary.unk!r}")
        elif level == "word":
            if (vocabulary.unk, vocabulary.eos) != (UNK, EOS):
                raise ValueError(
                    f"level word needs unk {UNK!r} and eos {EOS!r}, "
                    f"got {vocabulary.unk!r} and {vocabulary.eos!r}"
                )
            if spaced := [s for s in ordinary if s.split() != [s]]:
                raise ValueError(f"a word must not hold white space, got {spaced[0]!r}")
        else:
            raise ValueError(f"level must be character or word, got {level!r}")
        self.level: Level = level
        self.vocabulary = vocabulary
        self.unk_id, self.eos_id = vocabulary.unk_id, vocabulary.eos_id

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VocabularyTokenizer) and (self.level, self.vocabulary) == (
            other.level,
            other.vocabulary,
        )

    def __hash__(self) -> int:
        return hash((self.level, self.vocabulary))

    def __repr__(self) -> str:
        return f"VocabularyTokenizer({self.level!r}, {self.vocabulary!r})"

    def encode(self, text: str) -> Tensor:
        """As of `Tokenizer.encode`."""
        return self.vocabulary.encode(text if self.level == "character" else words(text))

    def tokenize(self, text: str) -> list[str]:
        """As of `Tokenizer.tokenize`."""
        return list(text if self.level == "character" else words(text))

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """As of `Tokenizer.decode_stream`; a piece is a token with what stands before it."""
        tokens = (self.token(id) for id in ids)
        if self.level == "word":
            return spaced(tokens)
        return (_REPLACEMENT if token == self.vocabulary.unk else token for token in tokens)

    def join(self, tokens: Iterable[str]) -> str:
        """The text of tokens, which need not be in the vocabulary.

        Example:
            >>> tokenizer = train_tokenizer(lambda: ["to be, or not"], level="word")
            >>> tokenizer.join(["to", "Ada", ",", "or"])
            'to Ada, or'
        """
        return "".join(spaced(tokens) if self.level == "word" else tokens)

    def token(self, id: int) -> str:
        """As of `Tokenizer.token`."""
        return self.vocabulary.tokens_of((id,))[0]

    def _last_cut(self, text: str) -> int:
        return len(text) if self.level == "character" else last_word_cut(text)

    def word_list(self) -> tuple[str, ...]:
        """As of `Tokenizer.word_list`."""
        return self.vocabulary.tokens if self.level == "word" else super().word_list()

    def to_json(self) -> dict[str, Any]:
        """As of `Tokenizer.to_json`: level, unk, eos, and the tokens in the order of their ids."""
        vocabulary = self.vocabulary
        return {
            "level": self.level,
            "unk": vocabulary.unk,
            "eos": vocabulary.eos,
            "tokens": list(vocabulary.tokens),
        }

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> VocabularyTokenizer:
        check_keys(values, ("level", "unk", "eos", "tokens"))
        for name in ("unk", "eos"):
            if not isinstance(values[name], str | None):
                raise ValueError(f"{name} must be a string or null, got {values[name]!r}")
        tokens = values["tokens"]
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("tokens must be a list of strings")
        vocabulary = Vocabulary(tokens, unk=values["unk"], eos=values["eos"])
        return cls(values["level"], vocabulary)


def train_tokenizer(
    chunks: Callable[[], Iterable[str]], *, level: Level, max_size: int | None = None, min_count: int = 1
) -> Tokenizer:
    r"""The tokenizer of a text: its most frequent tokens, and what stands for the others.

    At level character, "\n" is the end of a line where the text has it, and "<unk>" stands for characters
    that the text lacks or that were cut off. At level word there are "<unk>" and "<eos>". At level subword
    the pieces are learned by byte-level pair encoding (`SubwordTokenizer.train`), and no text is outside the
    vocabulary.

    Args:
        chunks: gives the text from its beginning, cut anywhere; may be called more than once.
        level: what a token is.
        max_size: tokens to keep at most, those for unknown and line end included; None: all, at level
            subword 8192.
        min_count: leave out what occurs less often; at level subword, do not learn from it.

    Raises:
        ValueError: an empty text, one with a single distinct token, an unknown level, `max_size` too small
            for two tokens beside the special ones, `min_count` below one or so large that nothing is left.
        ImportError: level subword, and the `tokenizers` library is missing.

    Example:
        >>> text = "to be or not to be\n"
        >>> tokenizer = train_tokenizer(lambda: [text], level="word", max_size=4)
        >>> tokenizer.decode(tokenizer.encode(text))
        'to be <unk> <unk> to be\n'
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, got {level!r}")
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, got {min_count}")
    if level == "subword":
        from pyrnn.text.subword import SubwordTokenizer

        return SubwordTokenizer.train(chunks, max_size=max_size, min_count=min_count)
    counts: Counter[str] = Counter()
    if level == "character":
        for chunk in chunks():
            counts.update(chunk)
        unk, eos = UNK, "\n" if "\n" in counts else None
    else:
        for piece in cut_safely(chunks(), last_word_cut):
            counts.update(words(piece))
        unk, eos = UNK, EOS
    refuse_uniform(counts, level)
    specials = [special for special in (unk, eos) if special is not None]
    if max_size is not None and max_size < min(2 + len(specials), len(counts.keys() | specials)):
        raise ValueError(
            f"max_size must be at least {2 + len(specials)}"
            + (f" (two tokens, {' and '.join(map(repr, specials))})" if specials else "")
            + f", got {max_size}"
        )
    vocabulary = Vocabulary.from_counts(counts, max_size=max_size, min_count=min_count, unk=unk, eos=eos)
    if len(vocabulary) == len(specials):
        raise ValueError(f"no token occurs {min_count} times: give a longer text, or a smaller min_count")
    return VocabularyTokenizer(level, vocabulary)


def read_words(chunks: Iterable[str]) -> Iterator[list[str]]:
    r"""The words of a text that comes in chunks, as level "word" finds them, line by line.

    Memory use follows the longest line, of a text without any a chunk.

    Raises:
        ValueError: a part without a place between two words is longer than any word of a text.

    Example:
        >>> list(read_words(["To be, o", "r\nnot"]))
        [['To', 'be', ',', 'or'], ['not']]
    """
    line: list[str] = []
    for piece in cut_safely(chunks, last_word_cut):
        for token in words(piece):
            if token == EOS:
                yield line
                line = []
            else:
                line.append(token)
        if len(line) > _LONGEST_LINE:
            yield line
            line = []
    if line:
        yield line


def check_keys(values: dict[str, Any], names: tuple[str, ...]) -> None:
    """Refuse the description of a tokenizer that has other keys than `names`."""
    if values.keys() != set(names):
        raise ValueError(
            f"a tokenizer of level {values['level']} is described by {', '.join(names)}, "
            f"got {', '.join(map(str, values)) or 'nothing'}"
        )
