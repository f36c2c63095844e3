"""Words as points on a page for a browser: one file that loads nothing, to move about in and to search."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from torch import Tensor

from pyrnn._files import to_json, write_text
from pyrnn.plot.drawing import COLOURS
from pyrnn.plot.words import check_places

#: What could end the script that words stand in, or, in old browsers, a string.
_ESCAPED = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def write_words_page(
    words: Sequence[str],
    places: Tensor,
    path: str | Path,
    *,
    groups: Sequence[str] | None = None,
    arrows: Sequence[tuple[int, int]] = (),
    axes: tuple[str, str] | None = None,
) -> None:
    """Write a page of what `plot_words` draws, to come nearer to by the wheel, to move and to search.

    The file holds everything that it needs; its content policy forbids it to load anything. Words are data in
    it and never markup. Labels without room appear when one comes nearer.

    Args:
        words: the N words.
        places: [N, 2].
        path: the file to write; its name ends in .html.
        groups: of each word the name of its colour in the legend.
        arrows: pairs of numbers of words; each is an arrow from the first to the second.
        axes: names of the axes.

    Raises:
        ValueError: as `plot_words`.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_words_page(["to", "be"], torch.eye(2), f"{folder}/words.html")
        ...     "</script>" in Path(f"{folder}/words.html").read_text()
        True
    """
    check_places(words, places, groups, arrows)
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise ValueError(f"a page's name must end in .html, got {path.name!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it first")
    names = None if groups is None else list(dict.fromkeys(groups))
    data = {
        "words": list(words),
        "places": places.double().tolist(),
        "names": names,
        "groups": None if groups is None or names is None else [names.index(group) for group in groups],
        "arrows": [list(arrow) for arrow in arrows],
        "axes": axes,
        "colours": COLOURS,
    }
    template = files("pyrnn.plot").joinpath("words.html").read_text(encoding="utf-8")
    write_text(path, template.replace("/*DATA*/", to_json(data).translate(_ESCAPED)))
