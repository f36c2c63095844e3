"""pyrnn vectors: word vectors asked, judged and converted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

import pyrnn
from pyrnn._words import counted
from pyrnn.cli.devices import Threads, use_threads
from pyrnn.cli.help import HelpCommand, HelpGroup, argument, option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.standard_input import standard_input
from pyrnn.cli.table import AsJson, Value, show
from pyrnn.cli.terminal import Raw, tell
from pyrnn.embeddings.configs import AnalogyMethod, Judging, Reading, Target

if TYPE_CHECKING:
    from pyrnn.embeddings import WordVectors

app = typer.Typer(
    cls=HelpGroup, help="Ask word vectors, judge them, and convert their files.", no_args_is_help=True
)

Source = Annotated[
    Path,
    argument(
        "Folder of word vectors, of a run that learned some, or a file of word2vec, GloVe or fastText.",
        "VECTORS",
    ),
]
Words = Annotated[
    Optional[list[str]], argument("Words; without any, each line of the standard input.", "WORD")
]
Count = Annotated[int, option("Results of each question.", "-k", "--count", metavar="N", min=1)]
Method = Annotated[
    AnalogyMethod,
    option('How answers are scored: "add" is 3CosAdd, "multiply" 3CosMul.', metavar="add|multiply"),
]

FILES = {"Files of other programs": Reading}
_FEWEST = 3  # words of which one is the odd one
_LINES = 256  # of the standard input, answered together where they are there

Row = dict[str, Value]
#: The rows of several questions, each some words.
Answers = Callable[["WordVectors", Sequence[Sequence[str]]], Iterable[Row]]


@app.command("nearest", cls=HelpCommand)
@with_settings(FILES)
def nearest(
    vectors: Source,
    words: Words = None,
    count: Count = 10,
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Print the words that are most similar to each word, by the cosine; all words are compared.

    \b
      pyrnn vectors nearest runs/vectors king queen
      pyrnn vectors nearest glove.6B.300d.txt -k 5 < words.txt
    """

    def answers(found: WordVectors, questions: Sequence[Sequence[str]]) -> Iterator[Row]:
        asked = [word for (word,) in questions]
        for word, results in zip(asked, found.nearest_of(asked, count), strict=True):
            for result in results:
                yield {"word": word, "nearest": result.word, "similarity": result.score}

    use_threads(threads)
    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    show(_rows(found, words, 1, answers), as_json=as_json, raw=raw)


@app.command("similarity", cls=HelpCommand)
@with_settings(FILES)
def similarity(
    vectors: Source,
    words: Words = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Print the cosine of each pair of words: of the 1st and 2nd, the 3rd and 4th, or of each line.

    \b
      pyrnn vectors similarity runs/vectors king queen
      cut -f 1-2 wordsim353.tsv | pyrnn vectors similarity runs/vectors
    """

    def answers(found: WordVectors, questions: Sequence[Sequence[str]]) -> Iterator[Row]:
        pairs = [(first, second) for first, second in questions]
        for (first, second), value in zip(pairs, found.similarities(pairs), strict=True):
            yield {"word": first, "other": second, "similarity": value}

    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    show(_rows(found, words, 2, answers), as_json=as_json, raw=raw)


@app.command("analogy", cls=HelpCommand)
@with_settings(FILES)
def analogy(
    vectors: Source,
    words: Words = None,
    count: Count = 10,
    method: Method = "add",
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Print what is to the third word as the second is to the first; three words a question, or a line.

    \b
      pyrnn vectors analogy runs/vectors man king woman
      pyrnn vectors analogy runs/vectors Paris France Rome --method multiply -k 1
    """

    def answers(found: WordVectors, questions: Sequence[Sequence[str]]) -> Iterator[Row]:
        asked = [(a, b, c) for a, b, c in questions]
        for (a, b, c), results in zip(asked, found.analogies(asked, count, method=method), strict=True):
            for result in results:
                yield {"a": a, "b": b, "c": c, "answer": result.word, "score": result.score}

    use_threads(threads)
    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    show(_rows(found, words, 3, answers), as_json=as_json, raw=raw)


@app.command("odd-one-out", cls=HelpCommand)
@with_settings(FILES)
def odd_one_out(
    vectors: Source,
    words: Words = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Print which word is least similar to the mean of all: of the words given, or of each line.

    \b
      pyrnn vectors odd-one-out runs/vectors breakfast cereal dinner lunch
    """

    def answers(found: WordVectors, questions: Sequence[Sequence[str]]) -> Iterator[Row]:
        for asked in questions:
            yield {"words": " ".join(asked), "odd": found.odd_one_out(asked)}

    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    show(_rows(found, words, None, answers), as_json=as_json, raw=raw)


@app.command("evaluate", cls=HelpCommand)
@with_settings({"Words": Judging, **FILES})
def evaluate(
    vectors: Source,
    analogies: Annotated[
        list[Path],
        option('Questions of four words, behind a line ": name" for each section.', metavar="PATH"),
    ] = [],  # noqa: B006
    similarities: Annotated[
        list[Path], option("Two words and a number a line, with tabs between them.", metavar="PATH")
    ] = [],  # noqa: B006
    method: Method = "add",
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Judge word vectors by analogies and by similarities that people told.

    The options of words, and so the scores, are those of gensim's KeyedVectors.

    \b
      pyrnn vectors evaluate runs/vectors --analogies questions-words.txt
      pyrnn vectors evaluate runs/vectors --similarities wordsim353.tsv --similarities simlex999.txt
    """
    if not analogies and not similarities:
        raise ValueError("there is nothing to judge by: give --analogies PATH, --similarities PATH, or both")
    use_threads(threads)
    judging = Judging(**_of(Judging, settings))
    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**_of(Reading, settings)))
    for path in analogies:
        scores = pyrnn.embeddings.evaluate_analogies(found, path, judging, method=method)
        rows: list[Row] = [
            {
                "section": part.name,
                "accuracy": part.accuracy,
                "correct": part.correct,
                "asked": part.asked,
                "unknown": part.unknown,
            }
            for part in (*scores.sections, scores.total)
        ]
        show(rows, as_json=as_json, raw=raw)
        _tell_left_out(path, scores.unknown_rate, scores.questions, "question", scores.invalid)
    for path in similarities:
        known = pyrnn.embeddings.evaluate_similarities(found, path, judging)
        row: Row = {
            "file": path.name,
            "spearman": known.spearman,
            "p": known.spearman_p,
            "pearson": known.pearson,
            "pairs": known.pairs,
            "unknown": known.unknown,
        }
        show([row], as_json=as_json, raw=raw)
        every = round(known.unknown / known.unknown_rate) if known.unknown else known.pairs
        _tell_left_out(path, known.unknown_rate, every, "pair", known.invalid)


@app.command("convert", cls=HelpCommand)
@with_settings(FILES)
def convert(
    vectors: Source,
    target: Annotated[Path, argument("Folder or file to write.", "TARGET")],
    to: Annotated[
        Optional[Target],
        option(
            "What to write. By the suffix of TARGET unless given: .txt, .vec (word2vec), .bin "
            "(word2vec-binary), each also with .gz, and else a folder.",
            metavar="folder|word2vec|word2vec-binary|glove",
        ),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Write word vectors in another form: a folder, which opens at once, or a file for other programs.

    \b
      pyrnn vectors convert glove.840B.300d.txt vectors/glove
      pyrnn vectors convert runs/vectors vectors.bin
    """
    how = Reading(**settings)
    source = pyrnn.tasks.open_word_vectors(vectors) if vectors.is_dir() else vectors
    written = pyrnn.embeddings.convert_vectors(source, target, how=how, to=to)
    lost = written != "folder" and not isinstance(source, Path) and source.ngrams is not None
    tell(f"{target}: {written}" + (", without the vectors of n-grams, for which it has no place" * lost))


@app.command("info", cls=HelpCommand)
@with_settings(FILES)
def info(vectors: Source, raw: Raw = False, as_json: AsJson = False, *, settings: dict[str, Any]) -> None:
    """Describe word vectors: how many there are, of which length, and for which words.

    \b
      pyrnn vectors info runs/vectors
    """
    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    lengths = 1 / found.inverse_lengths[found.inverse_lengths > 0]
    ngrams = found.ngrams
    facts: dict[str, Value] = {
        "words": len(found),
        "dimensions": found.dimension,
        "first words": " ".join(found.words[:8]),
        "mean length": float(lengths.double().mean()) if len(lengths) else 0.0,
        "zero vectors": len(found) - len(lengths),
        "n-grams": "none"
        if ngrams is None
        else f"{len(ngrams.matrix)} rows, {ngrams.shortest} to {ngrams.longest}",
    }
    if as_json:
        show([facts], as_json=True, raw=raw)
    else:
        show(({"fact": name, "value": value} for name, value in facts.items()), as_json=False, raw=raw)


def _of(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that are fields of `kind`."""
    return {name: value for name, value in settings.items() if name in kind.__dataclass_fields__}


def _rows(found: WordVectors, words: list[str] | None, each: int | None, answers: Answers) -> Iterator[Row]:
    """The rows of all questions: of the words given, or of the lines of the standard input.

    A line that has no answer is told and passed over.

    Args:
        found: what is asked.
        words: those of the command line.
        each: words of a question; None: all of them.
        answers: the rows of several questions.

    Raises:
        ValueError: words that are no question, or a line had no answer: after the others.
    """
    if words:
        size = each or len(words)
        if len(words) % size:
            raise ValueError(f"a question has {counted(size, 'word')}, got {counted(len(words), 'word')}")
        yield from answers(found, [words[i : i + size] for i in range(0, len(words), size)])
        return
    reader = standard_input()
    failed = total = 0
    lines = (line for line in pyrnn.text.numbered_lines(reader) if line.problem or line.text.strip())
    for part in pyrnn.text.gathered(lines, lambda: reader.ready, most=_LINES):
        asked: list[list[str]] = []
        for line in part:
            split = line.text.split()
            if problem := line.problem or _problem(found, split, each):
                failed += 1
                tell(f"line {line.number}: {problem}")
            else:
                asked.append(split)
        total += len(part)
        if asked:
            yield from answers(found, asked)
    if not total:
        raise ValueError("there are no words: give some, or lines on the standard input")
    if failed:
        raise ValueError(f"{failed:,} of {counted(total, 'line')} had no answer, for the reasons above")


def _problem(found: WordVectors, words: Sequence[str], each: int | None) -> str:
    """Why the words of a line are no question, or nothing."""
    if len(words) != (each or max(len(words), _FEWEST)):
        return f"a question has {counted(each, 'word') if each else 'three words or more'}, got {len(words)}"
    try:
        _ = found[words]
    except pyrnn.embeddings.UnknownWord as error:
        return str(error)
    return ""


def _tell_left_out(path: Path, rate: float, every: int, noun: str, invalid: int) -> None:
    tell(
        f"{path}: {rate:.1%} of {counted(every, noun)} have unknown words"
        + (
            f"; {counted(invalid, 'line')} left out, which {'is' if invalid == 1 else 'are'} no {noun}"
            * (invalid > 0)
        )
    )
