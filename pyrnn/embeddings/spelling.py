"""Words that were meant, perhaps, where one is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pyrnn.embeddings.words import WordList

_LONGEST = 40  # characters of a word that is changed letter by letter
_SAMPLE, _LETTERS = 1000, 64  # the letters that one may have meant are those of the first words


class UnknownWord(ValueError, KeyError):
    """A word that has no vector.

    Attributes:
        word: the word.
        near: known words that are spelled almost like it.

    Example:
        >>> error = UnknownWord("quen", ["queen"])
        >>> print(error)
        'quen' is not among the words; near in spelling: queen
    """

    def __init__(self, word: str, near: list[str]) -> None:
        self.word, self.near = word, near
        super().__init__(
            f"{word!r} is not among the words; "
            + (f"near in spelling: {', '.join(near)}" if near else "none is spelled almost like it")
        )

    __str__ = ValueError.__str__  # that of KeyError shows the message in quotes


def near_spellings(word: str, words: WordList, *, most: int = 5) -> list[str]:
    """Known words that differ from `word` in case, in one letter, or by what follows it; at most `most`.

    Those of each of the three kinds stand in the order of `words`, so the frequent ones come first. The cost
    follows the length of the word, not the number of words: changed words are looked up.

    Args:
        word: one that is not among the words.
        words: the known ones.
        most: how many at most.

    Example:
        >>> near_spellings("Quen", WordList.of(["the", "queen", "quen", "quench"]))
        ['quen', 'queen', 'quench']
    """
    found: dict[int, None] = {}
    lower = word.lower()
    for kind in ((word.lower(), word.upper(), word.title()), _changed(word, words), _changed(lower, words)):
        numbers = {number for spelling in kind if (number := words.find(spelling)) is not None}
        found |= dict.fromkeys(sorted(numbers))
        if len(found) >= most:
            break
    else:
        found |= dict.fromkeys(sorted(words.starting_with(lower, most)))
    return [words[number] for number in list(found)[:most]]


def _changed(word: str, words: WordList) -> Iterator[str]:
    """`word` with a letter less, another, one more, or two that follow one another exchanged."""
    if not 0 < len(word) <= _LONGEST:
        return
    counts = Counter(letter for known in words[:_SAMPLE] for letter in known)
    letters = [letter for letter, _ in counts.most_common(_LETTERS)]
    for i in range(len(word) + 1):
        before, after = word[:i], word[i:]
        if len(word) > 1 and after:
            yield before + after[1:]
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
        for letter in letters:
            yield before + letter + after
            if after:
                yield before + letter + after[1:]
