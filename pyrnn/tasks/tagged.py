"""Annotated sentences as a tagger reads them: what its ids mean, and tokens, spellings and tags as ids.

Dimension key: T tokens, W characters of a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyrnn
from pyrnn._configuration import from_mapping, require_choices, require_range
from pyrnn._files import read_json, to_json, write_text
from pyrnn.tasks.sentences import SentencesConfig

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.text import Source, TaggedSentence, Vocabulary

UNKNOWN = "<unk>"


@dataclass(frozen=True)
class TaggedTextConfig(SentencesConfig):
    """The sentences of a run, beside what `SentencesConfig` says.

    Args:
        text: a file (UTF-8, plain or gzip) of lines "token TAB tag", a blank line after each sentence, or a
            folder of such files. Several are joined in their order.
        validation_text: others to validate on; the last sentences of `text` unless given.
        longest: longer sentences are refused: a batch is padded to its longest one.
        longest_word: characters that are read of a token, for models that do: of a longer one its first and
            last halves.
        objective: what "best" means: the "accuracy" of tokens, or the "f1" of spans, for tags of a scheme of
            spans (BIO, BIOES).

    Raises:
        ValueError: as of `SentencesConfig`, fewer than two characters, or another objective.
    """

    longest_word: int = 24
    objective: Literal["accuracy", "f1"] = "accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, ("longest_word",), least=2)
        require_choices(self, ("objective",))


@dataclass(frozen=True)
class _Stored:
    """The file of a `TaggerWords`: distinct strings, `UNKNOWN` first but among the tags."""

    tokens: list[str]
    tags: list[str]
    characters: list[str] = field(default_factory=lambda: [UNKNOWN])


@dataclass(frozen=True)
class TaggerWords:
    """What the ids of a tagger mean.

    Args:
        tokens: with one for unknown tokens.
        tags: by falling frequency.
        characters: of the training tokens, with one for unknown characters. In a batch their ids are one
            larger, for 0 stands behind a token.
    """

    tokens: Vocabulary
    tags: Vocabulary
    characters: Vocabulary

    @classmethod
    def of(
        cls, sentences: Sequence[TaggedSentence], validation: Sequence[TaggedSentence], data: TaggedTextConfig
    ) -> TaggerWords:
        """Those of training and validation sentences; the latter add their tags alone."""
        counts = Counter(token for sentence in sentences for token in _read_as(sentence.tokens, data))
        tags = Counter(tag for sentence in (*sentences, *validation) for tag in sentence.tags)
        characters: Counter[str] = Counter()
        for token, count in counts.items():
            for character in token:
                characters[character] += count
        make = pyrnn.text.Vocabulary.from_counts
        return cls(
            make(counts, max_size=data.max_vocabulary, min_count=data.min_count, unk=UNKNOWN),
            make(tags),
            make(characters, min_count=data.min_count, unk=UNKNOWN),
        )

    @classmethod
    def read(cls, path: Path) -> TaggerWords:
        """Those of a run.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged.
        """
        stored = from_mapping(_Stored, read_json(path), where=str(path))
        try:
            return cls(
                pyrnn.text.Vocabulary(stored.tokens, unk=UNKNOWN),
                pyrnn.text.Vocabulary(stored.tags),
                pyrnn.text.Vocabulary(stored.characters, unk=UNKNOWN),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """For `read`."""
        words = {"tokens": self.tokens, "tags": self.tags, "characters": self.characters}
        write_text(path, to_json({name: list(own.tokens) for name, own in words.items()}) + "\n")

    def sizes(self) -> dict[str, Any]:
        """The sizes of a model that follow from them."""
        return {
            "vocabulary_size": len(self.tokens),
            "num_tags": len(self.tags),
            "tags": self.tags.tokens,
            "num_characters": len(self.characters) + 1,
        }

    def encode(
        self, sentences: Iterable[Sequence[str]], data: TaggedTextConfig, *, characters: bool
    ) -> dict[str, list[Tensor]]:
        """Fields of sentences: "token" [T], and with `characters` "character" [T, W]."""
        read = [_read_as(own, data) for own in sentences]
        fields = {"token": [self.tokens.encode(own) for own in read]}
        if characters:
            fields["character"] = [self._spell(own, data.longest_word) for own in read]
        return fields

    def _spell(self, tokens: Sequence[str], longest: int) -> Tensor:
        """The characters of each token, [T, `longest`]."""
        first = longest // 2
        parts = [t if len(t) <= longest else t[:first] + t[first - longest :] for t in tokens]
        ids = self.characters.encode("".join(parts)) + 1
        found = ids.new_zeros(len(parts), longest)
        begin = 0
        for row, part in enumerate(parts):
            found[row, : len(part)] = ids[begin : begin + len(part)]
            begin += len(part)
        return found


def _read_as(tokens: Iterable[str], data: TaggedTextConfig) -> list[str]:
    return [token.lower() for token in tokens] if data.lowercase else list(tokens)


def read_tagged(source: Source, data: TaggedTextConfig) -> list[TaggedSentence]:
    """The sentences of a text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be used, or a sentence is longer than `longest`.
    """
    sentences = list(pyrnn.text.read_columns(source))
    longest = max(len(sentence.tokens) for sentence in sentences)
    if longest > data.longest:
        raise ValueError(
            f"{pyrnn.text.source_name(source)} has a sentence of {longest} tokens, longest allows "
            f"{data.longest}"
        )
    return sentences
