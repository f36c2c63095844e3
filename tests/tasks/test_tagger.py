"""The tagger from sentences in a file to tags on standard output."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from pyrnn.models import Architecture, Tagger, TaggerConfig
from pyrnn.tasks import evaluate, find_task, load_run, make_job
from pyrnn.tasks.tagged import TaggedTextConfig, TaggerWords
from pyrnn.tasks.tagger import TaggedRun, tag_lines, tag_sentences
from pyrnn.text import TaggedSentence
from pyrnn.train import resumed_job, train
from tests.train.small_runs import KillAt, Killed, result_of

SMALL = {
    "hidden_size": 16,
    "embedding_size": 8,
    "num_heads": 2,
    "batch_size": 8,
    "warmup_steps": 5,
    "input_dropout": 0.0,
    "characters": "none",
}


def sentences(count: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    """Numbers, whose tag says whether they are larger than the one after them: a tag needs its right side."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        numbers = [draw.randrange(10) for _ in range(draw.randint(1, 12))]
        after = [*numbers[1:], -1]
        made.append([(str(a), "down" if a > b else "up") for a, b in zip(numbers, after, strict=True)])
    return made


def write(path: Path, content: list[list[tuple[str, str]]]) -> Path:
    path.write_text("\n".join("".join(f"{a}\t{b}\n" for a, b in sentence) for sentence in content))
    return path


def small_job(folder: Path, *, count: int = 300, **settings: Any) -> Any:
    text = write(folder / "text.tsv", sentences(count))
    return make_job("tagger", {"text": str(text), "epochs": 3, **SMALL, **settings})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TaggedRun:
    folder = tmp_path_factory.mktemp("tagger")
    run = train(small_job(folder, epochs=12, dropout=0.0, learning_rate=0.02), folder / "run")
    assert isinstance(run, TaggedRun)
    return run


@pytest.mark.parametrize("architecture", ["rnn", "gru", "lstm", "transformer"])
def test_it_learns_what_only_the_right_side_tells(architecture: str, tmp_path: Path) -> None:
    settings = {"architecture": architecture, "epochs": 8, "dropout": 0.0, "learning_rate": 0.02}
    if architecture == "transformer":
        settings |= {"learning_rate": 0.005, "epochs": 12}
    run = train(small_job(tmp_path, count=700, **settings), tmp_path / "run")
    assert run.best.score > 0.93  # of one direction below 0.85
    assert run.best.objective.metric == "accuracy"


def test_one_direction_cannot_know_what_comes(tmp_path: Path) -> None:
    job = small_job(tmp_path, bidirectional=False, epochs=12, dropout=0.0, learning_rate=0.02)
    assert train(job, tmp_path / "run").best.score < 0.85


def test_a_sentence_has_the_same_tags_alone_and_beside_others(trained: TaggedRun) -> None:
    tokens = [[token for token, _ in sentence] for sentence in sentences(60, seed=5)]
    together = tag_sentences(trained, tokens, batch_size=60)
    assert together == [tag_sentences(trained, [sentence])[0] for sentence in tokens]
    expected = [[tag for _, tag in sentence] for sentence in sentences(60, seed=5)]
    pairs = [(a, b) for x, y in zip(together, expected, strict=True) for a, b in zip(x, y, strict=True)]
    assert sum(a == b for a, b in pairs) > 0.95 * len(pairs)


def test_evaluation_is_that_of_the_tags(trained: TaggedRun, tmp_path: Path) -> None:
    held_out = sentences(40, seed=9)
    scores = evaluate(trained, write(tmp_path / "other.tsv", held_out))
    tags = tag_sentences(trained, [[token for token, _ in sentence] for sentence in held_out])
    pairs = [(a, b) for s, t in zip(held_out, tags, strict=True) for (_, a), b in zip(s, t, strict=True)]
    assert scores["tokens"] == len(pairs)
    assert scores["accuracy"] == sum(a == b for a, b in pairs) / len(pairs)


def test_a_run_is_read_again(trained: TaggedRun, tmp_path: Path) -> None:
    folder = Path(trained.job.data.text).parent / "run"
    again = load_run(folder, verb="tag")
    assert isinstance(again, TaggedRun)
    assert (again.words, again.job) == (trained.words, trained.job)
    x, lengths = torch.arange(12).view(6, 2) % 10, torch.tensor([6, 3])
    assert torch.equal(again.model(x, lengths=lengths), trained.model(x, lengths=lengths))
    with pytest.raises(ValueError, match="of the task tagger, which cannot generate; it can evaluate, tag"):
        load_run(folder, verb="generate")


def test_lines_in_and_out(trained: TaggedRun) -> None:
    lines = list(tag_lines(trained, ["3\n", "1\n", "\n", "unheard-of\n"]))
    assert [line.split("\t")[0] for line in lines] == ["3", "1", "", "unheard-of", ""]
    assert lines[0] == "3\tdown"
    assert list(tag_lines(trained, [])) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "gru", "dropout": 0.3, "crf": True, "characters": "lstm"},
        {"architecture": "transformer", "ema_decay": 0.9, "accumulate": 2, "characters": "cnn"},
    ],
    ids=["gru", "transformer"],
)
def test_killed_at_any_step_it_ends_with_the_same_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    job = small_job(tmp_path, checkpoint_every=4, log_every=3, **settings)
    train(job, tmp_path / "whole")
    for again, moment in enumerate((3, -1, 41, 77)):
        with pytest.raises(Killed):
            train(job, tmp_path / "run", resume=bool(again), reporter=KillAt(moment))
    train(resumed_job(find_task("tagger"), tmp_path / "run"), tmp_path / "run", resume=True)
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        (None, {}, "name their file with text"),
        ("a\tX\n\nb\tY\n", {"validation_fraction": 0.1}, "has 2 sentences, too few to hold out 10%"),
        ("a X\n", {}, "line 1: expected a token, a tab and its tag"),
        ("a\tX\n" * 20, {"longest": 10}, "a sentence of 20 tokens, longest allows 10"),
        ("a\tX\n\n" * 20, {"objective": "f1"}, "not those of a scheme of spans: expected .* got X"),
        (
            "a\tX\n\n" * 20,
            {"crf": True, "label_smoothing": 0.1},
            "which have no label_smoothing: set it to 0",
        ),
    ],
)
def test_sentences_that_cannot_be_used(
    text: str | None, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "text.tsv").write_text(text)
        settings = {"text": str(tmp_path / "text.tsv"), **settings}
    with pytest.raises(ValueError, match=words):
        train(make_job("tagger", settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tag_that_training_never_saw_is_refused(trained: TaggedRun, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match="the tag 'sideways' of the sentence '1' is none of those that the run was trained on",
    ):
        evaluate(trained, write(tmp_path / "a.tsv", [[("1", "sideways")]]))


def names_in_spans(count: int, seed: int) -> list[list[tuple[str, str]]]:
    """Names of one to three words: a word is part of one if it ends in "x", which only its letters tell."""
    draw, made = random.Random(seed), []

    def word(end: str) -> str:
        return "".join(draw.choices("abcdefgh", k=draw.randint(1, 5))) + end

    for _ in range(count):
        sentence: list[tuple[str, str]] = []
        for _ in range(draw.randint(1, 4)):
            sentence += [(word("y"), "O") for _ in range(draw.randint(1, 2))]
            length = draw.randint(0, 3)
            letters = {0: "", 1: "S"}.get(length, "B" + "I" * (length - 2) + "E")
            sentence += [(word("x"), f"{letter}-NAME") for letter in letters]
        made.append(sentence)
    return made


@pytest.mark.parametrize("crf", [False, True])
@pytest.mark.parametrize("characters", ["cnn", "lstm"])
def test_spans_of_words_that_were_never_seen(*, crf: bool, characters: str, tmp_path: Path) -> None:
    text = write(tmp_path / "text.tsv", names_in_spans(300, seed=0))
    settings = {**SMALL, "characters": characters, "crf": crf, "objective": "f1", "dropout": 0.0}
    job = make_job("tagger", {"text": str(text), "epochs": 6, "learning_rate": 0.02, **settings})
    run = train(job, tmp_path / "run")
    assert isinstance(run, TaggedRun)
    assert run.best.objective.metric == "f1"
    assert run.best.score > 0.95
    held_out = names_in_spans(40, seed=1)
    scores = evaluate(run, write(tmp_path / "other.tsv", held_out))
    assert min(scores["f1"], scores["precision"], scores["recall"]) > 0.9
    found = tag_sentences(run, [[token for token, _ in s] for s in held_out])
    after = {"B": "IE", "I": "IE", "E": "BSO", "S": "BSO", "O": "BSO"}
    for tags in found:
        assert all(b[0] in after[a[0]] for a, b in itertools.pairwise(["O", *tags, "O"]))


def test_only_allowed_paths_are_given(trained: TaggedRun) -> None:
    names = ("O", "B-A", "I-A")
    tagger = Tagger(TaggerConfig(5, hidden_size=4, num_tags=3, tags=names))
    logits = torch.tensor([[[0.1, 0.0, 5.0]], [[0.0, 0.2, 5.0]]])  # I at both steps, which may not begin
    assert tagger.decode(logits, torch.tensor([2])).flatten().tolist() == [1, 2]
    free = Tagger(TaggerConfig(5, hidden_size=4, num_tags=3, tags=names, constrained=False))
    assert free.decode(logits, torch.tensor([2])).flatten().tolist() == [2, 2]


def test_spans_of_another_scheme_are_found_too(tmp_path: Path) -> None:
    """IOB1: a span begins with an I."""
    sentences = [[("mr", "O"), (name, "I-PER"), ("spoke", "O")] for name in ("bush", "gore", "dole") * 30]
    settings = {
        "text": str(write(tmp_path / "a.tsv", sentences)),
        "epochs": 3,
        "learning_rate": 0.05,
        **SMALL,
    }
    run = train(make_job("tagger", settings), tmp_path / "run")
    assert not run.model.config.constrained
    assert tag_sentences(run, [["mr", "bush", "spoke"]]) == [["O", "I-PER", "O"]]  # type: ignore[arg-type]
    without = write(tmp_path / "b.tsv", [[("mr", "O"), ("spoke", "O")]])
    assert evaluate(run, without)["f1"] == 0  # there is no span


def test_tokens_are_counted_as_they_are_read() -> None:
    data = TaggedTextConfig(lowercase=True, min_count=2)
    words = TaggerWords.of([TaggedSentence(["The", "the", "END"], ["a", "a", "b"])], [], data)
    assert words.tokens.tokens == ("<unk>", "the")
    fields = words.encode([["THE", "End"]], data, characters=True)
    assert fields["token"][0].tolist() == [1, 0]
    assert (fields["character"][0] > 0).sum() == 6


def test_a_run_without_characters_or_names_of_tags_goes_on(tmp_path: Path) -> None:
    """As older versions wrote it."""
    train(small_job(tmp_path, epochs=1), tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    new = (
        "tags",
        "crf",
        "constrained",
        "characters",
        "num_characters",
        "character_size",
        "character_features",
    )
    config["model"] = {name: value for name, value in config["model"].items() if name not in new}
    config["data"] = {k: v for k, v in config["data"].items() if k not in ("longest_word", "objective")}
    path.write_text(json.dumps(config))
    words = json.loads((tmp_path / "run" / "vocab.json").read_text())
    (tmp_path / "run" / "vocab.json").write_text(
        json.dumps({"tokens": words["tokens"], "tags": words["tags"]})
    )
    job = resumed_job(find_task("tagger"), tmp_path / "run").updated({"epochs": 2})
    assert job.model.characters == "none"
    assert len(train(job, tmp_path / "run", resume=True).metrics) > 1


@pytest.mark.parametrize("crf", [False, True])
def test_bfloat16_by_autocast(*, crf: bool, tmp_path: Path) -> None:
    job = small_job(tmp_path, count=60, crf=crf, precision="bfloat16", epochs=1)
    assert train(job, tmp_path / "run").best.score > 0


def test_what_is_beyond_a_length_is_not_read() -> None:
    for architecture in get_args(Architecture):
        torch.manual_seed(0)
        config = TaggerConfig(9, architecture=architecture, hidden_size=8, num_heads=2, num_tags=3)
        model = Tagger(config).eval()
        ids, lengths = torch.randint(9, (7, 3)), torch.tensor([7, 4, 1])
        together = model(ids, lengths=lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = model(ids[:length, row : row + 1], lengths=lengths[row : row + 1])
            torch.testing.assert_close(together[:length, row : row + 1], alone)
