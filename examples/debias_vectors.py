"""Take the gender out of word vectors along its direction, and look at what is left beside it.

python examples/debias_vectors.py glove.txt debiased

glove.txt is any file or folder of vectors that `pyrnn vectors` reads. `pyrnn vectors debias` does the same,
with more measures and a picture.
"""

from __future__ import annotations

import argparse

from pyrnn.embeddings import (
    BiasReport,
    WordVectors,
    bias_components,
    bias_subspace,
    find_bias_words,
    gender_words,
    hard_debias,
    measure_bias,
    open_vectors,
    sides_of,
)

OCCUPATIONS = ("nurse", "teacher", "cook", "servant", "doctor", "lawyer", "soldier", "judge", "shepherd")


def main(source: str, target: str) -> tuple[BiasReport, BiasReport]:
    """Write the debiased vectors, print occupations' cosines, and return the measures before and after."""
    vectors = open_vectors(source)
    rows = find_bias_words(gender_words(), vectors.words, skip_missing=True)
    subspace = bias_subspace(vectors.matrix, rows.pairs, words=vectors.words)
    matrix = hard_debias(
        vectors.matrix,
        directions=subspace.directions,
        neutral=rows.neutral,
        equal=rows.equalize,
        words=vectors.words,
    )
    WordVectors(vectors.words, matrix).save(target)
    asked = [vectors.index(word) for word in OCCUPATIONS if word in vectors]
    cosines = [bias_components(state, asked, subspace.directions)[:, 0] for state in (vectors.matrix, matrix)]
    for row, before, after in zip(asked, *(own.tolist() for own in cosines), strict=True):
        print(f"{vectors.words[row]:10} {before:+.3f} -> {after:+.3f}  (from female, above 0, to male)")
    sides = sides_of(vectors.matrix, rows, subspace)
    before, after = (measure_bias(state, rows, subspace, sides) for state in (vectors.matrix, matrix))
    for name, report in (("before", before), ("after", after)):
        if report.neighbourhoods is not None:
            print(f"{name}: {100 * report.neighbourhoods.same_side:.0f} % of neighbours are of the same side")
    return before, after


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("source", help="file or folder of word vectors")
    parser.add_argument("target", help="folder to write")
    arguments = parser.parse_args()
    main(arguments.source, arguments.target)
