r"""A corpus as sentences of word ids in a file: read once, in memory that follows its distinct words.

A file of ids is one of `pyrnn.data.write_tokens`: the ids of a sentence's words, then the mark V of its end.
Words outside the vocabulary are left out, so those around them become neighbours, as in word2vec.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrnn._files import nameless_file
from pyrnn.data import TokenFile, open_tokens, write_tokens
from pyrnn.embeddings.vocabulary import CountedVocabulary
from pyrnn.text import Source, read_text, read_words

#: How a text is cut into words: by `pyrnn.text.read_words`, or at white space.
Words = Literal["words", "spaces"]

_IDS_AT_ONCE = 1 << 20


class Corpus(NamedTuple):
    """Sentences of ids, and what the ids mean.

    Args:
        vocabulary: V words.
        ids: [N] int32 in [0, V]; V ends a sentence.
        words: how many of them are words.
        left_out: running words outside the vocabulary.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     corpus = make_corpus([["to", "be", "to"]], Path(folder, "ids.bin"), min_count=2)
        >>> corpus.words, corpus.left_out, len(corpus.ids)
        (2, 1, 3)
    """

    vocabulary: CountedVocabulary
    ids: TokenFile
    words: int
    left_out: int


def read_sentences(
    source: Source | Iterable[Iterable[str]], *, words: Words = "words", lowercase: bool = False
) -> Iterator[list[str]]:
    r"""The words of a text, line by line; lines without words are left out.

    Args:
        source: files (UTF-8, plain or gzip), folders, or several of both, as `pyrnn.text.read_text` takes
            them: "/dev/stdin" is the standard input. Or sentences in memory, each an iterable of its words.
        words: "words" finds them in running text, with signs as words of their own; "spaces" cuts at white
            space alone, for a text that was cut already.
        lowercase: read without regard to capitals.

    Raises:
        ValueError, FileNotFoundError, PermissionError: as `read_text`; or `words` is something else.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "text.txt")
        ...     _ = path.write_text("To be, or\n\nnot to be\n")
        ...     list(read_sentences(path, lowercase=True))
        [['to', 'be', ',', 'or'], ['not', 'to', 'be']]
    """
    if words not in ("words", "spaces"):
        raise ValueError(f"words must be one of words, spaces, got {words!r}")
    for sentence in _sentences(source, words):
        if sentence:
            yield [word.lower() for word in sentence] if lowercase else sentence


def _sentences(source: Source | Iterable[Iterable[str]], words: Words) -> Iterator[list[str]]:
    if isinstance(source, str | Path):
        yield from _of_text(source, words)
        return
    items = iter(source)
    first = next(items, None)
    if first is None or isinstance(first, str | Path):
        yield from _of_text([] if first is None else [first, *map(_as_path, items)], words)
        return
    yield list(first)
    yield from map(_as_sentence, items)


def _as_path(item: object) -> str | Path:
    if not isinstance(item, str | Path):
        raise _mixed(item)
    return item


def _as_sentence(item: str | Path | Iterable[str]) -> list[str]:
    if isinstance(item, str | Path):
        raise _mixed(item)
    return list(item)


def _mixed(item: object) -> ValueError:
    return ValueError(f"a text is several files or several sentences, not both: got {item!r} among others")


def _of_text(source: Source, words: Words) -> Iterator[list[str]]:
    text = read_text(source)
    if words == "words":
        yield from read_words(text)
        return
    held = ""
    for chunk in text:
        *lines, held = (held + chunk).split("\n")
        yield from (line.split() for line in lines)
    yield held.split()


def make_corpus(
    source: Source | Iterable[Iterable[str]],
    to: str | Path,
    *,
    words: Words = "words",
    lowercase: bool = False,
    min_count: int = 5,
    max_vocabulary: int | None = None,
    vocabulary: CountedVocabulary | None = None,
) -> Corpus:
    r"""Read a text once, count its words, and write its sentences as ids.

    Args:
        source: as of `read_sentences`; a pipe too, for it is read once.
        to: the file of ids.
        words: as of `read_sentences`.
        lowercase: as of `read_sentences`.
        min_count: words that occur less often are left out.
        max_vocabulary: words to keep; None keeps all.
        vocabulary: one to use instead of that of the text.

    Raises:
        ValueError: as of `read_sentences`, no words, or none is in the vocabulary.
        OSError: there is no room for temporary files, or `to` cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     corpus = make_corpus([["to", "be"], ["or", "to"]], Path(folder, "ids.bin"), min_count=1)
        ...     corpus.vocabulary.words, torch.cat(list(corpus.ids.blocks())).tolist()
        (('to', 'be', 'or'), [0, 1, 3, 2, 0, 3])
    """
    with ExitStack() as stack:
        _, file = stack.enter_context(nameless_file())
        numbers: dict[str, int] = {}
        counts: Counter[int] = Counter()
        for block in _numbered(read_sentences(source, words=words, lowercase=lowercase), numbers):
            found, times = np.unique(block[block > 0], return_counts=True)
            counts.update(dict(zip(found.tolist(), times.tolist(), strict=True)))
            file.write(block.tobytes())
        if not numbers:
            raise ValueError("the corpus has no words: give a text with some")
        named = {word: counts[number] for word, number in numbers.items()}
        if vocabulary is None:
            vocabulary = CountedVocabulary.of(named, min_count=min_count, max_size=max_vocabulary)
        ids = np.empty(len(numbers) + 1, np.int32)
        ids[0] = len(vocabulary)
        ids[list(numbers.values())] = vocabulary.ids_of(list(numbers))
        kept = sum(count for word, count in named.items() if word in vocabulary)
        if not kept:
            raise ValueError("none of the words of the corpus is in the vocabulary")
        file.flush()
        file.seek(0)
        write_tokens(to, _renumbered(iter(lambda: file.read(4 * _IDS_AT_ONCE), b""), ids))
    return Corpus(vocabulary, open_tokens(to, len(vocabulary) + 1), kept, counts.total() - kept)


def _numbered(sentences: Iterable[list[str]], numbers: dict[str, int]) -> Iterator[np.ndarray]:
    """Blocks of int32: of each word its number in `numbers`, from 1, given here; 0 ends a sentence."""
    held: list[int] = []
    for sentence in sentences:
        held += [numbers.setdefault(word, len(numbers) + 1) for word in sentence]
        held.append(0)
        if len(held) >= _IDS_AT_ONCE:
            yield np.array(held, "<i4")
            held = []
    if held:
        yield np.array(held, "<i4")


def _renumbered(blocks: Iterable[bytes], ids: np.ndarray) -> Iterator[Tensor]:
    """The ids of numbers; those that have none, and the ends of sentences without words, are left out."""
    end, after_end = ids[0], True
    for block in blocks:
        found = ids[np.frombuffer(block, "<i4")]
        found = found[found >= 0]
        if not len(found):
            continue
        ends = found == end
        found = found[~(ends & np.concatenate(([after_end], ends[:-1])))]
        after_end = bool(ends[-1])
        yield torch.from_numpy(found)
