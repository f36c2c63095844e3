"""The shipped corpora, each a function that returns its text or its pairs."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from pyrnn.text import SentencePair, read_pairs

#: The names by which settings call the shipped texts.
SHAKESPEARE, BIBLE = "shakespeare", "bible-en-es"


def shakespeare() -> str:
    """Six tragedies of Shakespeare: 839,045 characters, 65 distinct, with speakers and stage directions.

    Example:
        >>> from pyrnn.corpora import shakespeare
        >>> shakespeare()[:6]
        'Hamlet'
    """
    return gzip.decompress(shakespeare_path().read_bytes()).decode("utf-8")


def shakespeare_path() -> Path:
    """The file of `shakespeare`: UTF-8, gzip.

    Example:
        >>> shakespeare_path().name
        'shakespeare.txt.gz'
    """
    return Path(__file__).with_name("shakespeare.txt.gz")


def bible() -> list[SentencePair]:
    """Verses of the Bible in English and Spanish: 11,004 pairs of at most 20 words a side.

    `pyrnn.text.split_pairs` holds out the same ones each time, 500 to tune by and 500 to test with.

    Example:
        >>> from pyrnn.corpora import bible
        >>> from pyrnn.text import split_pairs
        >>> [len(part) for part in split_pairs(bible())]
        [10004, 500, 500]
        >>> bible()[2].target
        'De lo que habían consagrado de las guerras y de los despojos, para reparar la casa de Jehová.'
    """
    return list(read_pairs(bible_path()))


def bible_path() -> Path:
    """The file of `bible`: UTF-8, gzip, a tab between the sides.

    Example:
        >>> bible_path().name
        'bible-en-es.tsv.gz'
    """
    return Path(__file__).with_name("bible-en-es.tsv.gz")


def text_path(text: str | Path) -> Path:
    """The file of a text that a user names: a path, or the name of a shipped one.

    Example:
        >>> text_path("shakespeare").name, text_path("book.txt").name
        ('shakespeare.txt.gz', 'book.txt')
    """
    shipped = {SHAKESPEARE: shakespeare_path, BIBLE: bible_path}
    return shipped[text]() if isinstance(text, str) and text in shipped else Path(text)


def text_paths(texts: str | Path | Sequence[str | Path]) -> list[Path]:
    """`text_path` of one text, or of each of several.

    Example:
        >>> [path.name for path in text_paths(("book.txt", "shakespeare"))]
        ['book.txt', 'shakespeare.txt.gz']
    """
    return [text_path(text) for text in ([texts] if isinstance(texts, str | Path) else texts)]
