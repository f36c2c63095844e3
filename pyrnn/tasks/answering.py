"""What a trained reader answers to questions, and where it looked.

Dimension key: K hops, S sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyrnn
from pyrnn.tasks import questions as tasks
from pyrnn.tasks.classifier import ClassifierRun
from pyrnn.tasks.classifying import ClassProbability, best_classes, require_top
from pyrnn.tasks.sentences import finite_logits
from pyrnn.train.run_folder import Run

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.text import StoryQuestion


class Answer(NamedTuple):
    """What a reader says of a question.

    Args:
        answers: the likeliest ones, likeliest first.
        sentences: of the story, those that were read.
        weights: [K, S] attention of each hop to them; None of a reader that does not attend.
        unknown: words of story and question that the vocabulary lacks.

    Example:
        >>> Answer([ClassProbability("cellar", 0.9)], ["Eva went to the cellar."], None, 0).answers[0].label
        'cellar'
    """

    answers: list[ClassProbability]
    sentences: list[str]
    weights: Tensor | None
    unknown: int


def answer_questions(
    run: Run, questions: Sequence[StoryQuestion], *, top: int = 1, batch_size: int = 64
) -> list[Answer]:
    r"""The likeliest answers to each question; what `StoryQuestion.answer` says is not looked at.

    Args:
        run: a trained reader.
        questions: in any order.
        top: how many answers to each.
        batch_size: questions that are read side by side; it does not change an answer, but for rounding.

    Raises:
        ValueError: the run is of another kind, `top` is below one, a question is empty or too long, or the
            model gives NaN.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.corpora import stories
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.text import StoryQuestion, story_lines
        >>> from pyrnn.train import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "table.txt")
        ...     lines = [line for each in stories("table", 400) for line in story_lines(each)]
        ...     _ = file.write_text("\n".join(lines))
        ...     job = make_job("questions", {"text": str(file), "epochs": 12, "learning_rate": 0.01})
        ...     run = train(job, Path(folder, "run"))
        >>> story = ("The coin is round.", "The coin is red.", "The kite is blue.")
        >>> (found,) = answer_questions(run, [StoryQuestion(story, "What colour is the coin?", "")])
        >>> found.answers[0].label
        'red'
    """
    if not isinstance(run, ClassifierRun) or not isinstance(run.job.data, tasks.QuestionsConfig):
        raise ValueError(f"expected a run of the task questions, got one of {run.job.task.name}")
    assert run.tokenizer is not None
    assert isinstance(run.model, pyrnn.models.Reader)
    require_top(top)
    device, unk_id = next(run.model.parameters()).device, run.tokenizer.unk_id
    found: list[Answer] = []
    for begin in range(0, len(questions), batch_size):
        part = questions[begin : begin + batch_size]
        fields = tasks.encode(part, run.tokenizer, run.job.data)
        padded = _batch(fields)
        with pyrnn.search.evaluating(run.model):
            reading = run.model.read(
                padded["token"].to(device),
                lengths=padded["lengths"].to(device),
                sentence=padded["sentence"].to(device),
            )
        logits = finite_logits(reading.logits).cpu()
        for row, each in enumerate(part):
            places = tasks.sentences_read(each, run.tokenizer, run.job.data)
            weights = None if reading.weights is None else reading.weights[row, :, : len(places)].cpu()
            unknown = 0 if unk_id is None else int((fields["token"][row] == unk_id).sum())
            sentences = [each.story[place] for place in places]
            found.append(Answer(best_classes(run, logits[row], top), sentences, weights, unknown))
    return found


def _batch(fields: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    padded = {name: pad_sequence(own) for name, own in fields.items()}
    return {**padded, "lengths": torch.tensor([len(own) for own in fields["token"]])}
