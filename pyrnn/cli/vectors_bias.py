"""pyrnn vectors bias and debias: measures of bias in word vectors, and how it is taken out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Optional

import pyrnn
from pyrnn._files import to_json
from pyrnn._words import counted
from pyrnn.cli.devices import Threads, use_threads
from pyrnn.cli.help import argument, option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.table import AsJson, Value, show
from pyrnn.cli.terminal import Raw, tell, write
from pyrnn.cli.vectors import FILES, Source
from pyrnn.embeddings.configs import Reading

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.embeddings import BiasReport, BiasRows, BiasSubspace, BiasWords, Sides, WordVectors
    from pyrnn.embeddings.ngrams import CharacterNgrams

Lists = Annotated[
    Optional[Path],
    option(
        "JSON or TSV file of word lists: pairs, and optionally equalize, neutral, specific, tests, sides.",
        metavar="PATH",
        default="gender in English",
    ),
]
SkipMissing = Annotated[
    bool,
    option(
        "Leave words of the lists out that have no vector, with their pair; the shipped lists always do.",
        "--skip-missing",
    ),
]
Directions = Annotated[int, option("Dimensions of the bias subspace.", metavar="N", min=1)]
MostBiased = Annotated[
    Optional[int],
    option(
        "Words of each side whose neighbourhoods are looked at.",
        metavar="N",
        min=2,
        default="500, or a tenth of the neutral words",
    ),
]
Seed = Annotated[int, option("Of tests with too many partitions to look at each.", metavar="N", min=0)]

_TOLD = 8  # words named of each side, or of those that are missing
_SHOWN = 12  # of each side in a picture
_SHOWN_EQUAL = 4  # sets in it


class _Asked(NamedTuple):
    """Vectors, and what is asked of them."""

    vectors: WordVectors
    lists: BiasWords
    rows: BiasRows
    subspace: BiasSubspace
    sides: Sides

    def report(self, matrix: Tensor, seed: int) -> BiasReport:
        from pyrnn.embeddings import measure_bias

        words = self.vectors.words
        return measure_bias(matrix, self.rows, self.subspace, self.sides, seed=seed, words=words)


@with_settings(FILES)
def bias(
    vectors: Source,
    lists: Lists = None,
    skip_missing: SkipMissing = False,
    directions: Directions = 1,
    most_biased: MostBiased = None,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Measure the bias of word vectors: along its direction, by association tests, and in neighbourhoods.

    Direct bias is the mean part of neutral words along the direction (Bolukbasi et al. 2016); an association
    test compares two sets of words with two others (WEAT, Caliskan et al. 2017); words of a side that lie
    together show bias that no direction holds (Gonen and Goldberg 2019).

    \b
      pyrnn vectors bias runs/words
      pyrnn vectors bias glove.txt --lists lists.json
    """
    use_threads(threads)
    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    asked = _ask(found, lists, skip_missing, directions, most_biased)
    report = asked.report(found.matrix, seed)
    if as_json:
        write(f"{to_json(_facts(asked) | report.as_json())}\n", raw=raw)
        return
    tell(_summary(asked))
    most: list[dict[str, Value]] = [
        {"measure": f"most {side}", "value": ", ".join(found.words[row] for row in own[:_TOLD])}
        for side, own in zip(asked.lists.sides, asked.sides, strict=True)
    ]
    show([*_rows(asked, {"value": report}), *most], as_json=False, raw=raw)


@with_settings(FILES)
def debias(
    vectors: Source,
    target: Annotated[
        Path, argument("Folder to write, or a file by its suffix: .txt, .vec, .bin, also .gz.", "TARGET")
    ],
    lists: Lists = None,
    skip_missing: SkipMissing = False,
    directions: Directions = 1,
    most_biased: MostBiased = None,
    to: Annotated[
        Optional[Path],
        option("Picture of both states: .png, .svg or .pdf.", "--to", metavar="PATH", default=False),
    ] = None,
    pictured: Annotated[
        Optional[str],
        option(
            "Words of the picture, with commas between.",
            "--show",
            metavar="WORDS",
            default="the most biased ones",
        ),
    ] = None,
    seed: Seed = 0,
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Take a bias out of word vectors along its direction, and measure what was there and what is left.

    Neutral words lose their part along the direction; words of a set to equalize come to lie as near to every
    neutral word as one another (hard debiasing, Bolukbasi et al. 2016). That is not all of a bias: Gonen and
    Goldberg (2019) found words of a side still beside one another, which the last measures tell here.

    \b
      pyrnn vectors debias runs/words runs/words-debiased --to bias.png
      pyrnn vectors debias glove.txt debiased.txt --lists lists.json
    """
    use_threads(threads)
    before = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    asked = _ask(before, lists, skip_missing, directions, most_biased)
    rows, vocabulary = asked.rows, before.words
    chosen = None if pictured is None else [before.index(word) for word in pictured.split(",")]
    after = pyrnn.embeddings.WordVectors(
        vocabulary,
        pyrnn.embeddings.hard_debias(
            before.matrix,
            directions=asked.subspace.directions,
            neutral=rows.neutral,
            equal=rows.equalize,
            words=vocabulary,
        ),
        ngrams=_neutral_ngrams(asked),
    )
    reports = {"before": asked.report(before.matrix, seed), "after": asked.report(after.matrix, seed)}
    _tell_against(asked)
    _save(after, target)
    if to is not None:
        _draw(asked, after, [*reports.values()], to, chosen)
    if as_json:
        states = {name: report.as_json() for name, report in reports.items()}
        write(f"{to_json(_facts(asked) | states)}\n", raw=raw)
        return
    tell(_summary(asked))
    show(_rows(asked, reports), as_json=False, raw=raw)
    tell(f"written: {target}" + (f" and {to}" if to is not None else ""))


def _ask(
    vectors: WordVectors, path: Path | None, skip_missing: bool, directions: int, most_biased: int | None
) -> _Asked:
    from pyrnn.embeddings import bias_subspace, find_bias_words, gender_words, read_bias_words, sides_of

    lists = gender_words() if path is None else read_bias_words(path)
    rows = find_bias_words(lists, vectors.words, skip_missing=skip_missing or path is None)
    if rows.missing:
        told = ", ".join(rows.missing[:_TOLD]) + (", ..." if len(rows.missing) > _TOLD else "")
        tell(f"{counted(len(rows.missing), 'word')} of the lists without a vector, left out: {told}")
    subspace = bias_subspace(vectors.matrix, rows.pairs, count=directions, words=vectors.words)
    sides = sides_of(vectors.matrix, rows, subspace, count=most_biased)
    return _Asked(vectors, lists, rows, subspace, sides)


def _tell_against(asked: _Asked) -> None:
    """Name sets whose first word lies farther to the other side: the formula keeps them so."""
    from pyrnn.embeddings import bias_components

    sets, directions = asked.rows.equalize, asked.subspace.directions[:1]
    ends = [
        bias_components(asked.vectors.matrix, [own[place] for own in sets], directions)[:, 0]
        for place in (0, -1)
    ]
    against = [own for own, wrong in zip(sets, (ends[0] < ends[1]).tolist(), strict=True) if wrong]
    if against:
        told = "; ".join(", ".join(asked.vectors.words[row] for row in own) for own in against[:_TOLD])
        more = "; ..." if len(against) > _TOLD else ""
        tell(f"{counted(len(against), 'set')} to equalize against the direction, and kept so: {told}{more}")


def _neutral_ngrams(asked: _Asked) -> CharacterNgrams | None:
    """Vectors of n-grams without the bias, where all words but those of the lists are neutral.

    A word that is not among the words is their mean, and so as neutral as they.
    """
    from dataclasses import replace

    ngrams = asked.vectors.ngrams
    if ngrams is None or asked.lists.neutral is not None:
        return ngrams
    directions = asked.subspace.directions.to(ngrams.matrix.dtype)
    return replace(ngrams, matrix=ngrams.matrix - (ngrams.matrix @ directions.T) @ directions)


def _save(vectors: WordVectors, target: Path) -> None:
    from pyrnn.embeddings.files import target_of, write_vectors

    kind = target_of(target)
    if kind == "folder":
        vectors.save(target)
    else:
        write_vectors(vectors, target, kind)


def _facts(asked: _Asked) -> dict[str, object]:
    return {
        "pairs": len(asked.rows.pairs),
        "explained": list(asked.subspace.explained),
        "neutral_words": len(asked.rows.neutral),
        "equalized_sets": len(asked.rows.equalize),
        "missing_words": asked.rows.missing,
        "most_biased": {
            side: [asked.vectors.words[row] for row in own]
            for side, own in zip(asked.lists.sides, asked.sides, strict=True)
        },
    }


def _summary(asked: _Asked) -> str:
    explained = ", ".join(f"{100 * share:.0f} %" for share in asked.subspace.explained)
    first, second = asked.lists.sides
    pairs = counted(len(asked.rows.pairs), "pair")
    spanned = counted(len(asked.subspace.explained), "direction")
    return f"bias of {pairs}, {first} and {second}: {spanned} with {explained} of their variance"


def _rows(asked: _Asked, reports: dict[str, BiasReport]) -> list[dict[str, Value]]:
    """A row for each measure, with its value in each state."""
    told = list(reports.values())
    neutral = counted(len(asked.rows.neutral), "neutral word")
    values: dict[str, list[float | None]] = {f"direct bias of {neutral}": [own.direct_bias for own in told]}
    for name, first in told[0].tests.items():
        how = f"exact, {first.permutations:,} ways" if first.exact else f"{first.permutations:,} ways drawn"
        results = [report.tests[name] for report in told]
        values[f"{name}: effect size"] = [result.effect_size for result in results]
        values[f"{name}: p ({how})"] = [result.p_value for result in results]
    found = [report.neighbourhoods for report in told if report.neighbourhoods is not None]
    if len(found) == len(told):
        each = f"{counted(len(asked.sides.first), 'word')} each, by chance {found[0].by_chance:.2f}"
        values[f"neighbours of the same side ({each})"] = [own.same_side for own in found]
        values["two clusters agree with the sides (0.5 to 1)"] = [own.clustered for own in found]
    return [
        {"measure": name} | dict(zip(reports, map(_rounded, own), strict=True))
        for name, own in values.items()
    ]


def _rounded(value: float | None) -> float | None:
    """Without the sign that rounding leaves of zero."""
    return None if value is None else round(value, 4) + 0.0


def _draw(
    asked: _Asked, after: WordVectors, reports: list[BiasReport], to: Path, chosen: list[int] | None
) -> None:
    from pyrnn.embeddings import bias_components, principal_components
    from pyrnn.embeddings.neighbours import unit
    from pyrnn.plot import SidePlaces, plot_bias

    rows = chosen
    if rows is None:
        equal = [row for own in asked.rows.equalize[:_SHOWN_EQUAL] for row in own]
        rows = list(dict.fromkeys([*asked.sides.first[:_SHOWN], *asked.sides.second[:_SHOWN], *equal]))
    both = [*asked.sides.first, *asked.sides.second]
    cosines, places = [], []
    for matrix, report in zip((asked.vectors.matrix, after.matrix), reports, strict=True):
        cosines.append(bias_components(matrix, rows, asked.subspace.directions[:1])[:, 0])
        if report.neighbourhoods is not None:
            found = principal_components(unit(matrix[both])).coordinates
            places.append(SidePlaces(found, report.neighbourhoods.same_side))
    plot_bias(
        [asked.vectors.words[row] for row in rows],
        cosines[0],
        cosines[1],
        to,
        sides=asked.lists.sides,
        neighbourhoods=(places[0], places[1]) if len(places) == 2 else None,
    )
