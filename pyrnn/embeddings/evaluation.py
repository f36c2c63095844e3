"""Word vectors held against what people say: analogies, and how similar two words are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from pyrnn.embeddings.configs import AnalogyMethod, Judging
from pyrnn.embeddings.neighbours import solve, unit
from pyrnn.embeddings.vectors import WordVectors
from pyrnn.metrics.correlation import correlation_p, pearson, spearman
from pyrnn.text import read_lines

_QUESTIONS = 256  # at once
_LOOKED_AT = 5  # answers of a question: those that differ from its words in case alone are passed over


class AnalogySection(NamedTuple):
    """The questions of one section of a file.

    Args:
        name: the section's.
        correct: how many were answered right.
        asked: of how many.
        unknown: questions with an unknown word, among `asked` or not (`Judging.dummy_for_unknown`).

    Example:
        >>> AnalogySection("capitals", 1, 4, 0).accuracy
        0.25
    """

    name: str
    correct: int
    asked: int
    unknown: int

    @property
    def accuracy(self) -> float | None:
        """correct / asked; None where nothing was asked."""
        return self.correct / self.asked if self.asked else None


class AnalogyScores(NamedTuple):
    """What `evaluate_analogies` found.

    Args:
        sections: in the order of the file.
        total: all of them together.
        questions: of the file, unknown ones too.
        invalid: lines that are no four words, which were left out.

    Example:
        >>> AnalogyScores([], AnalogySection("total", 1, 3, 1), 4, 0).unknown_rate
        0.25
    """

    sections: list[AnalogySection]
    total: AnalogySection
    questions: int
    invalid: int

    @property
    def unknown_rate(self) -> float:
        """The share of the questions that have an unknown word."""
        return self.total.unknown / self.questions


class SimilarityScores(NamedTuple):
    """What `evaluate_similarities` found.

    Args:
        pearson: Pearson's correlation of the cosines with the numbers of the file.
        spearman: that of their ranks.
        pairs: how many pairs they are of.
        unknown: pairs with an unknown word, among `pairs` or not (`Judging.dummy_for_unknown`).
        unknown_rate: their share of all pairs of the file.
        invalid: lines that are no two words and a number, which were left out.

    Example:
        >>> scores = SimilarityScores(0.5, 0.6, pairs=8, unknown=2, unknown_rate=0.2, invalid=0)
        >>> scores.spearman, round(scores.spearman_p, 4)
        (0.6, 0.1158)
    """

    pearson: float
    spearman: float
    pairs: int
    unknown: int
    unknown_rate: float
    invalid: int

    @property
    def pearson_p(self) -> float | None:
        """As `pyrnn.metrics.correlation_p`; None of fewer than three pairs."""
        return correlation_p(self.pearson, self.pairs)

    @property
    def spearman_p(self) -> float | None:
        """Likewise."""
        return correlation_p(self.spearman, self.pairs)


def evaluate_analogies(
    vectors: WordVectors, path: str | Path, judging: Judging | None = None, *, method: AnalogyMethod = "add"
) -> AnalogyScores:
    r"""Ask the questions "a is to b as c is to d" of a file, and count how often d comes out.

    The file has a line ": name" before each section and four words in each other line. The answer is the best
    word that is none of a, b and c, also where case is not looked at.

    Args:
        vectors: what is judged.
        path: the file.
        judging: which words are known; None: as `Judging` by default.
        method: how an answer is scored, as of `WordVectors.analogy`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another method, a question before the first section, or no question in the file.

    Source: Mikolov et al., "Efficient estimation of word representations in vector space", 2013, section 4.

    Example:
        >>> import tempfile
        >>> words, rows = ["man", "king", "woman", "queen"], [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "questions.txt")
        ...     _ = path.write_text(": family\nman king woman queen\nman king boy prince\n")
        ...     evaluate_analogies(WordVectors.from_arrays(words, rows), path).total
        AnalogySection(name='total', correct=1, asked=1, unknown=1)
    """
    if method not in get_args(AnalogyMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(AnalogyMethod))}, got {method!r}")
    known = _Known(vectors, judging or Judging())
    names: list[str] = []
    counts: list[list[int]] = []  # correct, asked, unknown
    asked: list[tuple[int, list[int]]] = []  # of a section, the rows of a, b, c, d
    questions = invalid = 0
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if line.startswith(": "):
            names.append(line.lstrip(": ").strip())
            counts.append([0, 0, 0])
        elif not names:
            raise ValueError(f'{path}, line {number}: a line ": name of the section" should stand first')
        elif len(words) != 4:
            invalid += bool(words)
        else:
            questions += 1
            rows = [known.row(word) for word in words]
            unknown = None in rows
            counts[-1][2] += unknown
            counts[-1][1] += not unknown or known.judging.dummy_for_unknown
            if not unknown:
                asked.append((len(names) - 1, [row for row in rows if row is not None]))
    if not questions:
        raise ValueError(f'{path} has no questions: lines of four words behind a line ": name"')
    for section, right in zip((section for section, _ in asked), known.answered(asked, method), strict=True):
        counts[section][0] += right
    sections = [AnalogySection(name, *count) for name, count in zip(names, counts, strict=True)]
    sums = [sum(count[i] for count in counts) for i in range(3)]
    return AnalogyScores(sections, AnalogySection("total", *sums), questions, invalid)


def evaluate_similarities(
    vectors: WordVectors, path: str | Path, judging: Judging | None = None
) -> SimilarityScores:
    r"""Compare the cosines of pairs of words with the numbers of a file.

    Each line has two words and a number with tabs between them; lines that begin with # are left out.

    Args:
        vectors: what is judged.
        path: the file.
        judging: which words are known; None: as `Judging` by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: fewer than two pairs are known, or all have one number: then there is no correlation.

    Source: Finkelstein et al., "Placing search in context: the concept revisited", 2002, section 4.

    Example:
        >>> import tempfile
        >>> vectors = WordVectors.from_arrays(["a", "b", "c"], [[1, 0], [1, 1], [-1, 1]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.tsv")
        ...     _ = path.write_text("a\tb\t9\na\tc\t1\nb\tc\t6\na\td\t5\n")
        ...     found = evaluate_similarities(vectors, path)
        >>> round(found.spearman, 4), found.pairs, found.unknown
        (1.0, 3, 1)
    """
    known = _Known(vectors, judging or Judging())
    told: list[float] = []
    pairs: list[tuple[int, int] | None] = []
    unknown = invalid = 0
    for line in read_lines(path):
        if line.startswith("#") or not line.strip():
            continue
        try:
            first, second, number = line.split("\t")
            similarity = float(number)
        except ValueError:
            invalid += 1
            continue
        a, b = known.row(first), known.row(second)
        if a is not None and b is not None:
            pairs.append((a, b))
            told.append(similarity)
        else:
            unknown += 1
            if known.judging.dummy_for_unknown:
                pairs.append(None)
                told.append(similarity)
    every = len(pairs) if known.judging.dummy_for_unknown else len(pairs) + unknown
    try:
        cosines = known.cosines(pairs)
        scores = pearson(told, cosines), spearman(told, cosines)
    except ValueError as error:
        raise ValueError(
            f"{path}: of {every:,} pairs of words {every - unknown:,} are known, lines without a pair "
            f"{invalid:,}: {error}"
        ) from error
    return SimilarityScores(*scores, len(pairs), unknown, unknown / every, invalid)


class _Known:
    """The words that are asked about, and their rows."""

    def __init__(self, vectors: WordVectors, judging: Judging) -> None:
        self.judging, self._vectors = judging, vectors
        self._spellings = [self._spelled(word) for word in vectors.words[: judging.restrict_vocab]]
        self._rows = {word: row for row, word in reversed(list(enumerate(self._spellings)))}

    def _spelled(self, word: str) -> str:
        return word.upper() if self.judging.case_insensitive else word

    def row(self, word: str) -> int | None:
        return self._rows.get(self._spelled(word))

    def cosines(self, pairs: list[tuple[int, int] | None]) -> list[float]:
        """The cosine of each pair of rows, in float64; 0 of None."""
        rows = torch.tensor([pair or (0, 0) for pair in pairs], dtype=torch.int64).view(-1, 2)
        first, second = (unit(self._matrix()[rows[:, side]].double()) for side in (0, 1))
        cosines: list[float] = (first * second).sum(1).tolist()
        return [0.0 if pair is None else cosine for pair, cosine in zip(pairs, cosines, strict=True)]

    def answered(self, asked: list[tuple[int, list[int]]], method: AnalogyMethod) -> Iterator[bool]:
        """Whether each question's answer is right."""
        matrix, count = self._matrix(), self.judging.restrict_vocab
        inverse = self._vectors.inverse_lengths[:count]
        rows = torch.tensor([rows for _, rows in asked], dtype=torch.int64).view(-1, 4)
        for part in rows.split(_QUESTIONS) if len(rows) else ():
            found = solve(part[:, :3], matrix, inverse, _LOOKED_AT, method=method)
            for question, answers in zip(part.tolist(), found, strict=True):
                given, expected = {self._spellings[row] for row in question[:3]}, self._spellings[question[3]]
                spellings = [self._spellings[row] for row, _ in answers]
                # The best that is no word of the question; where all are, the last of them.
                fresh = (spelling for spelling in spellings if spelling not in given)
                yield next(fresh, spellings[-1] if spellings else None) == expected

    def _matrix(self) -> Tensor:
        return self._vectors.matrix[: self.judging.restrict_vocab]
