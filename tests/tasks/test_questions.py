"""Questions about stories: from files to answers, by both kinds of readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.corpora import stories
from pyrnn.tasks import answer_questions, evaluate, find_task, load_run, make_job
from pyrnn.tasks.classifier import ClassifierRun
from pyrnn.text import StoryQuestion, story_lines
from pyrnn.train import resumed_job, train
from tests.cli.conftest import Command
from tests.cli.conftest import command as command
from tests.train.small_runs import KillAt, Killed, result_of

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "embedding_size": 32,
    "epochs": 12,
    "batch_size": 16,
    "warmup_steps": 10,
    "learning_rate": 0.005,
    "hops": 1,
}


def write(path: Path, questions: list[StoryQuestion]) -> Path:
    path.write_text("".join(f"{line}\n" for each in questions for line in story_lines(each)))
    return path


def small_job(folder: Path, count: int = 500, **settings: Any) -> Any:
    for kind in ("table", "relations"):
        write(folder / f"{kind}.txt", list(stories(kind, count)))
    text = [str(folder / f"{kind}.txt") for kind in ("table", "relations")]
    return make_job("questions", {"text": text, **SMALL, **settings})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    train(small_job(folder), folder / "run")
    return folder


def test_a_reader_learns_and_tells_the_kinds_apart(trained: Path) -> None:
    run = load_run(trained / "run")
    assert isinstance(run, ClassifierRun)
    others = list(stories("table", 100, split="test"))
    scores = evaluate(run, write(trained / "other.txt", others))
    assert scores["accuracy"] == scores["accuracy_other"] > 0.9
    assert scores["unknown"] == 0
    found = answer_questions(run, others, top=2, batch_size=7)
    hits = [each.answers[0].label == other.answer for each, other in zip(found, others, strict=True)]
    assert sum(hits) / len(hits) == pytest.approx(scores["accuracy"])
    assert {"accuracy_table", "accuracy_relations"} <= {
        name.removeprefix("validation_") for row in run.metrics for name in row
    }
    looked = [each.weights for each in found]
    right = [
        each.support[0] == int(weights[0].argmax())
        for each, weights in zip(others, looked, strict=True)
        if weights is not None
    ]
    assert sum(right) / len(others) > 0.8  # what it looks at is what the answer follows from


def test_the_last_state_is_a_reader_without_attention(tmp_path: Path) -> None:
    run = train(small_job(tmp_path, 60, pooling="last", epochs=1), tmp_path / "run")
    (found,) = answer_questions(run, list(stories("table", 1)))
    assert found.weights is None
    assert 0 < found.answers[0].probability < 1


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    job = small_job(tmp_path, 60, epochs=2, dropout=0.2)
    train(job, tmp_path / "whole")
    with pytest.raises(Killed):
        train(job, tmp_path / "cut", reporter=KillAt(3))
    train(resumed_job(find_task("questions"), tmp_path / "cut"), tmp_path / "cut", resume=True)
    assert result_of(tmp_path / "cut") == result_of(tmp_path / "whole")


def test_long_stories_lose_their_beginning(trained: Path) -> None:
    run = load_run(trained / "run")
    story = tuple(["The kite is blue."] * 300 + ["The coin is red."])
    (found,) = answer_questions(run, [StoryQuestion(story, "What colour is the coin?", "")])
    assert found.sentences[-1] == "The coin is red."
    assert 100 < len(found.sentences) < 250


def test_answers_from_the_command_line(trained: Path, command: Command) -> None:
    run = trained / "run"
    made = list(stories("table", 50))
    found = answer_questions(load_run(run), made)
    right = [m for m, f in zip(made, found, strict=True) if f.answers[0].label == m.answer]
    asked = max(right, key=lambda each: len(each.story))
    story, question = "".join(f"{line}\n" for line in asked.story), asked.question
    numbered = "".join(f"{n} {line}" for n, line in enumerate(story.splitlines(keepends=True), 1))
    count = len(asked.story)
    text = f"{numbered}{count + 1} {question}\tother\t1\n\nWho?\n"
    code, out, err = command(f"answer {run} --top 2", stdin=text)
    assert code == 2
    assert out.startswith(f"{question}\t{asked.answer}\t")
    assert len(out.splitlines()) == 1
    assert f"line {count + 3}: a question without a story" in err
    code, out, err = command(f"answer {run} --json", stdin=f"{story}The zebra sat.\n{question}")
    assert code == 0, err
    told = json.loads(out)
    assert told["question"] == question
    assert told["read"][0] in [*asked.story, "The zebra sat."]
    assert "2 words of 1 of 1 stories are outside the vocabulary" in err
    code, _, err = command(f"answer {run}", stdin="The coin is red.\n")
    assert (code, "no questions" in err) == (2, True)
    file = trained / "story.txt"
    file.write_text(story + question)
    code, out, err = command(f"plot reading {run} --text {file} --to {trained / 'a.png'}")
    assert code == 0, err
    assert out.startswith(f"{question} {asked.answer}")
    assert (trained / "a.png").stat().st_size > 1000


def test_an_answer_that_was_never_seen_is_refused(trained: Path) -> None:
    run = load_run(trained / "run")
    file = trained / "new.txt"
    file.write_text("The coin is red.\nWhat colour is the coin?\tmauve\n")
    with pytest.raises(ValueError, match="line 2: no example that was trained on has the answer 'mauve'"):
        evaluate(run, file)


def test_weights_do_not_depend_on_the_batch(trained: Path) -> None:
    run, asked = load_run(trained / "run"), list(stories("table", 9, seed=8))
    together, alone = (answer_questions(run, asked, batch_size=size) for size in (9, 1))
    for one, other in zip(together, alone, strict=True):
        assert one.weights is not None
        assert other.weights is not None
        torch.testing.assert_close(one.weights, other.weights)
