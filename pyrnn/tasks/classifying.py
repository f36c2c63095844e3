"""What a trained classifier says of texts and numbers, and how often it is right.

Dimension key: N examples, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyrnn
from pyrnn.tasks import labelled
from pyrnn.tasks.classifier import ClassifierRun
from pyrnn.tasks.sentences import finite_logits, logits_of
from pyrnn.train.run_folder import Run

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.metrics import Calibration, ConfusionMatrix
    from pyrnn.text import Source


class ClassProbability(NamedTuple):
    """A class and how likely it is.

    Example:
        >>> ClassProbability("good", 0.93).label
        'good'
    """

    label: str
    probability: float


class Judged(NamedTuple):
    """A classifier on labelled examples.

    Args:
        labels: of the C classes, in the order of the matrix.
        confusion: what was taken for what.
        calibration: whether probabilities mean what they say.

    Example:
        >>> from pyrnn.metrics import Calibration, ConfusionMatrix
        >>> Judged(["a", "b"], ConfusionMatrix(2), Calibration()).labels
        ['a', 'b']
    """

    labels: list[str]
    confusion: ConfusionMatrix
    calibration: Calibration


def classify_texts(
    run: Run, texts: Sequence[str], *, top: int = 1, batch_size: int = 64
) -> list[list[ClassProbability]]:
    r"""The likeliest classes of each text, likeliest first; of a text without tokens none.

    Args:
        run: a trained classifier of texts.
        texts: in any order.
        top: how many classes of each.
        batch_size: texts that are read side by side; it does not change a class, but for rounding.

    Raises:
        ValueError: the run is of another kind, `top` is below one, a text has characters or words that the
            vocabulary lacks and has no token for, or the model gives NaN.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "labelled.tsv")
        ...     rows = (f"good\ta fine film {n}\nbad\ta dull film {n}\n" for n in range(40))
        ...     _ = file.write_text("".join(rows))
        ...     job = make_job("classifier", {"text": str(file), "architecture": "average", "epochs": 9})
        ...     run = train(job, Path(folder, "run"))
        >>> [found[0].label for found in classify_texts(run, ["so fine", "dull, dull", ""]) if found]
        ['good', 'bad']
    """
    run = _classifier(run)
    require_top(top)
    if run.tokenizer is None:
        raise ValueError("the run is a classifier of numbers: give it numbers, with classify_features")
    ids = labelled.encode_texts(texts, run.tokenizer, run.job.data)
    found = logits_of(run.model, [own for own in ids if len(own)], batch_size=batch_size)
    rest = iter(found)
    return [best_classes(run, next(rest), top) if len(own) else [] for own in ids]


def classify_features(
    run: Run, features: Sequence[Sequence[float]], *, top: int = 1
) -> list[list[ClassProbability]]:
    r"""The likeliest classes of each list of numbers, likeliest first.

    Args:
        run: a trained classifier of numbers.
        features: N lists of F finite numbers, as in the files that were trained on.
        top: how many classes of each.

    Raises:
        ValueError: the run is of another kind, `top` is below one, lists of another length, a number that is
            not finite, or the model gives NaN.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "numbers.csv")
        ...     _ = file.write_text("".join(f"{'ab'[n > 20]},{n},{n * n}\n" for n in range(40)))
        ...     settings = {"features": str(file), "architecture": "feedforward", "epochs": 20}
        ...     run = train(make_job("classifier", settings), Path(folder, "run"))
        >>> [found[0].label for found in classify_features(run, [[3, 9], [35, 1225]])]
        ['a', 'b']
    """
    run = _classifier(run)
    require_top(top)
    if run.tokenizer is not None:
        raise ValueError("the run is a classifier of texts: give it texts, with classify_texts")
    if not features:
        return []
    examples = [
        pyrnn.text.LabelledFeatures("", pyrnn.text.as_features(list(map(str, row)), place), place)
        for row, place in ((row, f"item {n}") for n, row in enumerate(features, 1))
    ]
    device = next(run.model.parameters()).device
    with pyrnn.search.evaluating(run.model):
        logits = finite_logits(run.model(run.labels.standardized(examples).to(device)))
    return [best_classes(run, row, top) for row in logits.cpu()]


def judge(run: Run, source: Source) -> Judged:
    r"""What a classifier takes for what, and how sure it is, on labelled files.

    Args:
        run: a trained classifier.
        source: files of the kind that it was trained on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the run is of another kind, or the files cannot be used.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "numbers.csv")
        ...     _ = file.write_text("".join(f"{'ab'[n > 20]},{n}\n" for n in range(40)))
        ...     settings = {"features": str(file), "architecture": "feedforward", "epochs": 20}
        ...     judged = judge(train(make_job("classifier", settings), Path(folder, "run")), file)
        >>> judged.labels, judged.confusion.compute()["examples"]
        (['a', 'b'], 40.0)
    """
    run = _classifier(run)
    batches = run.job.task.read(run, source)
    with pyrnn.search.evaluating(run.model):
        found = run.job.task.evaluate(run.model, batches)
    assert isinstance(found, pyrnn.metrics.Combined)
    _, confusion, calibration, _ = found.parts
    assert isinstance(confusion, pyrnn.metrics.ConfusionMatrix)
    assert isinstance(calibration, pyrnn.metrics.Calibration)
    return Judged(run.labels.labels, confusion, calibration)


def _classifier(run: Run) -> ClassifierRun:
    if not isinstance(run, ClassifierRun):
        raise ValueError(f"expected a run of the task classifier, got one of {run.job.task.name}")
    return run


def require_top(top: int) -> None:
    """Refuse fewer than one class.

    Raises:
        ValueError: so it is.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")


def best_classes(run: ClassifierRun, logits: Tensor, top: int) -> list[ClassProbability]:
    """The likeliest classes of [C] logits; of equal ones the more frequent first."""
    probabilities = logits.double().softmax(-1)
    values, places = probabilities.sort(descending=True, stable=True)
    labels = run.labels.labels
    return [
        ClassProbability(labels[place], value)
        for place, value in list(zip(places.tolist(), values.tolist(), strict=True))[:top]
    ]
