"""The words that a bias is measured and taken out by: from a file, or those for gender in English."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn._files import open_regular, read_json
from pyrnn._words import counted
from pyrnn.embeddings.words import WordList

_LARGEST = 1 << 26  # bytes of a file of lists
_TOLD = 8  # words that an error names
_LISTS = ("pairs", "equalize", "neutral", "specific", "sides", "tests")


@dataclass(frozen=True)
class AssociationTest:
    """Four sets of words for `association_test`.

    Args:
        name: of the test.
        X: the targets that are thought nearer to A.
        Y: the others.
        A: attributes.
        B: the others.

    Example:
        >>> AssociationTest("art", X=("poem",), Y=("atom",), A=("she",), B=("he",)).Y
        ('atom',)
    """

    name: str
    X: tuple[str, ...]
    Y: tuple[str, ...]
    A: tuple[str, ...]
    B: tuple[str, ...]

    @property
    def sets(self) -> tuple[tuple[str, ...], ...]:
        """X, Y, A, B."""
        return self.X, self.Y, self.A, self.B


@dataclass(frozen=True)
class BiasWords:
    """Lists of words about one bias.

    Args:
        pairs: defining sets, in each of which the words of the sides stand in one order.
        equalize: sets whose words ought to differ in the bias alone.
        specific: words that the bias belongs to, which are left as they are.
        neutral: words to make neutral; by default all that stand in none of the other lists.
        tests: sets for `association_test`.
        sides: names of the sides, in the order of the pairs.

    Example:
        >>> lists = BiasWords(pairs=(("she", "he"), ("woman", "man")), neutral=("nurse",))
        >>> lists.sides
        ('first', 'second')
    """

    pairs: tuple[tuple[str, ...], ...]
    equalize: tuple[tuple[str, ...], ...] = ()
    specific: tuple[str, ...] = ()
    neutral: tuple[str, ...] | None = None
    tests: tuple[AssociationTest, ...] = ()
    sides: tuple[str, str] = ("first", "second")


class BiasRows(NamedTuple):
    """Where the words of the lists stand among vectors.

    Args:
        pairs: rows of each defining set.
        equalize: likewise.
        neutral: rows [N].
        tests: names and the rows of X, Y, A and B.
        missing: words that were left out, for they have no vector.

    Example:
        >>> BiasRows([(0, 1)], [], torch.tensor([2]), {}, []).neutral
        tensor([2])
    """

    pairs: list[tuple[int, ...]]
    equalize: list[tuple[int, ...]]
    neutral: Tensor
    tests: dict[str, tuple[list[int], list[int], list[int], list[int]]]
    missing: list[str]


def gender_words() -> BiasWords:
    """The lists for gender in English that come with the package.

    Example:
        >>> gender_words().pairs[0], gender_words().sides
        (('she', 'he'), ('female', 'male'))
    """
    with as_file(files("pyrnn.embeddings").joinpath("gender-en.json")) as path:
        return read_bias_words(path)


def read_bias_words(path: str | Path) -> BiasWords:
    r"""Read lists from a .json file, an object of the fields of `BiasWords`, or from lines of words and tabs.

    In the latter the first word says what the line is: `pair`, `equalize`, `neutral`, `specific`, `sides`, or
    `test`, then the test's name and X, Y, A or B. Empty lines and those that begin with # are not read.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: what is in it is something else; the message says where.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "lists.tsv")
        ...     _ = path.write_text("pair\tshe\the\npair\twoman\tman\nneutral\tnurse\tsmith\n")
        ...     read_bias_words(path).neutral
        ('nurse', 'smith')
    """
    path = Path(path)
    told = read_json(path) if path.suffix.lower() == ".json" else _from_lines(path)
    if not isinstance(told, dict):
        raise ValueError(f"{path}: expected an object with {', '.join(_LISTS)}, got {type(told).__name__}")
    if unknown := sorted(set(told) - set(_LISTS)):
        raise ValueError(f"{path}: unknown list {unknown[0]!r}; there are {', '.join(_LISTS)}")
    if "pairs" not in told:
        raise ValueError(f"{path}: there are no pairs, by which the bias is found: she-he, woman-man, ...")
    sides = _words(path, "sides", told.get("sides", ["first", "second"]))
    if len(sides) != 2:
        raise ValueError(f"{path}: sides has two names, got {len(sides)}")
    neutral = told.get("neutral")
    return BiasWords(
        pairs=_sets(path, "pairs", told["pairs"]),
        equalize=_sets(path, "equalize", told.get("equalize", [])),
        specific=_words(path, "specific", told.get("specific", [])),
        neutral=None if neutral is None else _words(path, "neutral", neutral),
        tests=_tests(path, told.get("tests", [])),
        sides=(sides[0], sides[1]),
    )


def find_bias_words(lists: BiasWords, words: WordList, *, skip_missing: bool = False) -> BiasRows:
    """Look the words of the lists up.

    Args:
        lists: the lists.
        words: those that have vectors.
        skip_missing: leave words out that have none, with their pair or set, and in a test as many of the
            set beside it, the last ones; by default they are an error.

    Raises:
        ValueError: words without vectors, or a word that is both neutral and in a set to equalize, or fewer
            than two pairs.

    Example:
        >>> lists = BiasWords(pairs=(("she", "he"), ("woman", "man")))
        >>> find_bias_words(lists, WordList.of(["he", "she", "man", "woman", "nurse"])).neutral
        tensor([4])
    """
    equalized = {word for own in lists.equalize for word in own}
    if both := sorted(equalized.intersection(lists.neutral or ())):
        raise ValueError(f"neutral and equalised words must differ: {_named(both)} in both lists")
    tested = [word for test in lists.tests for own in test.sets for word in own]
    paired = [word for own in (*lists.pairs, *lists.equalize) for word in own]
    asked = dict.fromkeys([*paired, *(lists.neutral or ()), *tested])
    found = {word: row for word in asked if (row := words.find(word)) is not None}
    missing = [word for word in asked if word not in found]
    if missing and not skip_missing:
        raise ValueError(
            f"{counted(len(missing), 'word')} of the lists without a vector: "
            f"{_named(missing)}; take them out of the lists, or leave them out (--skip-missing)"
        )
    pairs = _rows_of_sets(lists.pairs, found)
    if len(pairs) < 2:
        raise ValueError(f"expected at least two defining pairs whose words have vectors, got {len(pairs)}")
    if lists.neutral is None:
        kept = {row for word in (*paired, *lists.specific) if (row := words.find(word)) is not None}
        is_neutral = torch.ones(len(words), dtype=torch.bool)
        is_neutral[sorted(kept)] = False
        neutral = is_neutral.nonzero()[:, 0]
    else:
        neutral = torch.tensor(
            [found[w] for w in dict.fromkeys(lists.neutral) if w in found], dtype=torch.int64
        )
    tests = {}
    for test in lists.tests:
        X, Y, A, B = ([found[word] for word in own if word in found] for own in test.sets)
        if missing:
            X, Y, A, B = X[: len(Y)], Y[: len(X)], A[: len(B)], B[: len(A)]
        if not missing or (len(X) > 1 and A and B):
            tests[test.name] = (X, Y, A, B)
    return BiasRows(pairs, _rows_of_sets(lists.equalize, found), neutral, tests, missing)


def _rows_of_sets(sets: Iterable[Sequence[str]], found: dict[str, int]) -> list[tuple[int, ...]]:
    return [tuple(found[word] for word in own) for own in sets if all(word in found for word in own)]


def _named(words: Sequence[str]) -> str:
    return ", ".join(map(repr, words[:_TOLD])) + (", ..." if len(words) > _TOLD else "")


# ---- files ---------------------------------------------------------------------------------------


def _words(where: object, name: str, told: Any) -> tuple[str, ...]:
    if not isinstance(told, list) or not all(isinstance(word, str) and word for word in told):
        raise ValueError(f"{where}: {name} must be a list of words, got {str(told)[:80]!r}")
    return tuple(told)


def _sets(where: Path, name: str, told: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(told, list):
        raise ValueError(f"{where}: {name} must be a list of pairs of words, got {str(told)[:80]!r}")
    sets = tuple(_words(where, name, own) for own in told)
    if short := [own for own in sets if len(set(own)) < 2 or len(set(own)) < len(own)]:
        raise ValueError(f"{where}: {name} must be pairs, or larger sets, of different words, got {short[0]}")
    return sets


def _tests(where: Path, told: Any) -> tuple[AssociationTest, ...]:
    tests, fields = [], {"name", "X", "Y", "A", "B"}
    for test in told if isinstance(told, list) else [told]:
        if not isinstance(test, dict) or set(test) != fields or not isinstance(test["name"], str):
            raise ValueError(
                f"{where}: a test has a name and the words X, Y, A and B, got {str(test)[:80]!r}"
            )
        X, Y, A, B = (_words(where, f"{name} of test {test['name']!r}", test[name]) for name in "XYAB")
        tests.append(AssociationTest(test["name"], X, Y, A, B))
    return tuple(tests)


def _from_lines(path: Path) -> dict[str, Any]:
    """Lines of a kind and words as what a JSON file has."""
    with open_regular(path, most=_LARGEST) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8: {error.reason}") from error
    told: dict[str, Any] = {}
    tests: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        kind, *words = re.split(r"\t+", line.strip())
        if not line.strip() or line.startswith("#"):
            continue
        if kind == "pair" or kind == "equalize":
            told.setdefault("pairs" if kind == "pair" else kind, []).append(words)
        elif kind in ("neutral", "specific", "sides"):
            told.setdefault(kind, []).extend(words)
        elif kind == "test" and len(words) > 2 and words[1] in ("X", "Y", "A", "B"):
            tests.setdefault(words[0], {"name": words[0]}).setdefault(words[1], []).extend(words[2:])
        else:
            raise ValueError(
                f"{path}, line {number}: expected pair, equalize, neutral, specific or sides and words, or "
                f"test, its name, X, Y, A or B and words, with tabs between, got {line[:80]!r}"
            )
    return told | ({"tests": list(tests.values())} if tests else {})
