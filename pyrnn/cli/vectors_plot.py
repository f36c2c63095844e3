"""pyrnn vectors plot: words in the plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pyrnn
from pyrnn._words import counted
from pyrnn.cli.devices import Threads, use_threads
from pyrnn.cli.help import option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.terminal import tell, write
from pyrnn.cli.vectors import FILES, Source
from pyrnn.embeddings.configs import Reading

if TYPE_CHECKING:
    from pyrnn.embeddings import WordVectors

Method = Literal["pca", "tsne"]

_TOLD = 8  # words named of those without a label


@with_settings(FILES)
def plot(
    vectors: Source,
    words: Annotated[
        Optional[str],
        option("Words to draw, with commas between.", metavar="WORDS", default="the first of all"),
    ] = None,
    words_file: Annotated[Optional[Path], option("File of words to draw.", metavar="PATH")] = None,
    near: Annotated[
        list[str],
        option(
            "Draw this word and its nearest ones in one colour; may be given several times.", metavar="WORD"
        ),
    ] = [],  # noqa: B006
    analogies: Annotated[
        Optional[str],
        option(
            "Pairs to join by arrows: 'man:king woman:queen'; the axes have one scale then.", metavar="PAIRS"
        ),
    ] = None,
    top: Annotated[
        Optional[int],
        option(
            "How many words: the first of all, or near each --near.",
            metavar="N",
            min=1,
            default="200; 15 near a word",
        ),
    ] = None,
    method: Annotated[
        Method,
        option("How many dimensions become two: pca, or tsne (needs scikit-learn).", metavar="pca|tsne"),
    ] = "pca",
    perplexity: Annotated[
        float, option("Of t-SNE: about how many neighbours of a word count.", metavar="NUMBER")
    ] = 30.0,
    seed: Annotated[int, option("Of t-SNE.", metavar="N", min=0)] = 0,
    threads: Threads = None,
    to: Annotated[
        Path, option("File to write: .png, .svg, .pdf, or .html to move about in.", "--to", metavar="PATH")
    ] = Path("words.png"),
    *,
    settings: dict[str, Any],
) -> None:
    """Draw word vectors of length one in the plane, with labels that do not lie on one another.

    Earlier words choose first where their labels go; those that find no room are named.

    \b
      pyrnn vectors plot runs/words --method tsne --top 300
      pyrnn vectors plot runs/words --analogies 'man:king woman:queen'
      pyrnn vectors plot runs/words --near king --near france --to words.html
    """
    from pyrnn.embeddings import principal_components, tsne
    from pyrnn.embeddings.neighbours import unit
    from pyrnn.plot import plot_words, write_words_page

    use_threads(threads)
    found = pyrnn.tasks.open_word_vectors(vectors, Reading(**settings))
    pairs = _pairs(analogies)
    chosen, groups = _words_of(found, words, words_file, near, pairs, top)
    matrix = unit(found[chosen])
    axes = None
    if method == "pca":
        if found.dimension < 2:
            raise ValueError(f"{vectors}: a picture needs vectors of two dimensions, got {found.dimension}")
        components = principal_components(matrix)
        places = components.coordinates
        shares = [
            f"component {n} ({100 * share:.0f} % of variance)"
            for n, share in enumerate(components.explained, 1)
        ]
        axes = (shares[0], shares[1])
    else:
        places = tsne(matrix, perplexity=perplexity, seed=seed)
    arrows = [(chosen.index(start), chosen.index(end)) for start, end in pairs]
    if to.suffix.lower() == ".html":
        write_words_page(chosen, places, to, groups=groups, arrows=arrows, axes=axes)
    else:
        left_out = plot_words(chosen, places, to, groups=groups, arrows=arrows, axes=axes)
        if left_out:
            told = ", ".join(left_out[:_TOLD]) + (", ..." if len(left_out) > _TOLD else "")
            tell(
                f"{counted(len(left_out), 'word')} without a label, for want of room or of letters: "
                f"{told}; draw fewer words, or an .html page"
            )
    write(f"{to}\n")


def _pairs(analogies: str | None) -> list[tuple[str, str]]:
    pairs = []
    for pair in (analogies or "").split():
        start, _, end = pair.partition(":")
        if not start or not end or ":" in end or start == end:
            raise ValueError(f"--analogies: expected pairs such as 'man:king woman:queen', got {pair!r}")
        pairs.append((start, end))
    return pairs


def _words_of(
    vectors: WordVectors,
    words: str | None,
    file: Path | None,
    near: list[str],
    pairs: list[tuple[str, str]],
    top: int | None,
) -> tuple[list[str], list[str] | None]:
    """The words to draw, each once, and their groups where words near some are asked for."""
    groups: dict[str, str] = {}
    for pair in pairs:
        groups |= dict.fromkeys(pair, "analogies")
    for word in near:
        own = [word, *(found.word for found in vectors.nearest(word, top or 15))]
        groups |= {each: f"near {word}" for each in own if each not in groups}
    given = [] if words is None else words.split(",")
    if file is not None:
        given += "".join(pyrnn.text.read_text(file)).split()
    if given and near:
        given = [word for word in given if word not in groups]
    groups |= {word: groups.get(word, "given") for word in given}
    if not groups:
        groups = dict.fromkeys(vectors.words[: top or 200], "")
    if len(groups) < 2:
        raise ValueError(f"a picture needs at least two words, got {counted(len(groups), 'word')}")
    return list(groups), list(groups.values()) if near else None
