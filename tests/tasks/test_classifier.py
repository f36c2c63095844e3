"""The classifier from labelled texts in a file to classes of new ones."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.tasks import classify_texts, evaluate, find_task, judge, load_run, make_job
from pyrnn.tasks.classifier import ClassifierRun
from pyrnn.train import resumed_job, train
from tests.train.small_runs import KillAt, Killed, result_of

SMALL = {"hidden_size": 16, "embedding_size": 8, "num_heads": 2, "batch_size": 16, "warmup_steps": 5}
STEADY: dict[str, Any] = {"dropout": 0.0, "input_dropout": 0.0}


def reviews(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sentences of one word that tells, among others."""
    draw, words = random.Random(seed), {"good": ["fine", "warm"], "bad": ["dull", "flat"]}
    made = []
    for _ in range(count):
        label = draw.choice(["good", "bad", "bad"])
        rest = [draw.choice(["a", "film", "the", "plot"]) for _ in range(draw.randint(0, 5))]
        rest.insert(draw.randint(0, len(rest)), draw.choice(words[label]))
        made.append((label, " ".join([*rest, str(draw.randrange(9))])))
    return made


def same_bags() -> list[tuple[str, str]]:
    """Pairs of sentences with equal bags of words and opposite labels: only the order tells."""
    good, bad = ["good", "fine", "warm", "bright"], ["bad", "dull", "flat", "grim"]
    nouns, adverbs = ["film", "plot", "cast"], ["", "really ", "quite "]
    made = []
    for a, b, noun, adverb in itertools.product(good, bad, nouns, adverbs):
        made.append(("yes", f"the {noun} is {adverb}{a} , not {b}"))
        made.append(("no", f"the {noun} is {adverb}{b} , not {a}"))
    random.Random(0).shuffle(made)
    return made


def write(path: Path, examples: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{label}\t{text}\n" for label, text in examples))
    return path


def small_job(folder: Path, examples: list[tuple[str, str]] | None = None, **settings: Any) -> Any:
    text = write(folder / "text.tsv", reviews(200) if examples is None else examples)
    return make_job("classifier", {"text": str(text), "epochs": 3, **SMALL, **settings})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ClassifierRun:
    folder = tmp_path_factory.mktemp("classifier")
    job = small_job(folder, architecture="average", epochs=12, learning_rate=0.05, objective="f1")
    run = train(job, folder / "run")
    assert isinstance(run, ClassifierRun)
    return run


# ---- what each kind learns ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "separates"),
    [
        ({"architecture": "average"}, False),
        ({"architecture": "average", "num_layers": 1}, False),
        ({"architecture": "rnn", "pooling": "max"}, True),
        ({"architecture": "gru", "bidirectional": False}, True),
        ({"architecture": "lstm", "pooling": "attention"}, True),
        ({"architecture": "transformer", "pooling": "mean"}, True),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_order_separates_equal_bags_of_words(
    settings: dict[str, Any], separates: bool, tmp_path: Path
) -> None:
    examples = same_bags()
    cut = len(examples) * 3 // 4
    rest = write(tmp_path / "rest.tsv", examples[cut:])
    options = {"validation_text": str(rest), "learning_rate": 0.01, "epochs": 10, "min_count": 1}
    run = train(small_job(tmp_path, examples[:cut], **options, **STEADY, **settings), tmp_path / "run")
    if separates:
        assert run.best.score > 0.95
    else:  # equal bags have equal scores, so of each pair one is wrong
        texts = ["the film is good , not bad", "the film is bad , not good"]
        first, second = classify_texts(run, texts, top=2)
        assert dict(first) == pytest.approx(dict(second), abs=1e-5)
        judged = judge(run, write(tmp_path / "all.tsv", examples))
        assert judged.confusion.compute()["accuracy"] == 0.5


def test_it_learns_and_says_so_in_every_way(trained: ClassifierRun, tmp_path: Path) -> None:
    others = reviews(60, seed=5)
    found = classify_texts(trained, [text for _, text in others], top=2)
    hits = [classes[0].label == label for classes, (label, _) in zip(found, others, strict=True)]
    assert sum(hits) / len(hits) > 0.95
    assert all(sum(each.probability for each in classes) == pytest.approx(1) for classes in found)
    scores = evaluate(trained, write(tmp_path / "other.tsv", others))
    assert scores["accuracy"] == sum(hits) / len(hits)
    assert scores["examples"] == 60
    assert scores["unknown"] == 0
    assert trained.best.objective.metric == "macro_f1"
    assert trained.labels.labels == ["bad", "good"]  # by falling frequency
    judged = judge(trained, tmp_path / "other.tsv")
    assert judged.confusion.compute()["accuracy"] == scores["accuracy"]
    assert judged.calibration.compute()["calibration_error"] == scores["calibration_error"]


def test_a_text_has_the_same_classes_alone_and_beside_others(trained: ClassifierRun) -> None:
    texts = [text for _, text in reviews(30, seed=7)] + ["", "   ", "heißt ☃"]
    together = classify_texts(trained, texts, batch_size=40)
    assert [found[0].label if found else "" for found in together] == [
        found[0].label if found else "" for text in texts for found in classify_texts(trained, [text])
    ]
    assert together[-3:-1] == [[], []]
    assert len(together[-1]) == 1  # words that no vocabulary knows are still words


def test_a_run_is_read_again(trained: ClassifierRun) -> None:
    folder = Path(trained.job.data.text).parent / "run"
    again = load_run(folder, verb="classify")
    assert isinstance(again, ClassifierRun)
    assert (again.labels, again.tokenizer, again.job) == (trained.labels, trained.tokenizer, trained.job)
    assert classify_texts(again, ["a fine plot"]) == classify_texts(trained, ["a fine plot"])
    with pytest.raises(ValueError, match="which cannot tag; it can evaluate, classify"):
        load_run(folder, verb="tag")


@pytest.mark.parametrize("level", ["character", "subword"])
def test_tokens_may_be_characters_or_subwords(level: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="subwords need the tokenizers library")
    settings = {"level": level, "architecture": "gru", "pooling": "max", "learning_rate": 0.02, "epochs": 4}
    run = train(small_job(tmp_path, max_vocabulary=300, **settings), tmp_path / "run")
    assert run.best.score > 0.9


def test_files_may_be_csv_with_names_packed_and_in_folders(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    rows = "".join(f'1,"{text}, yes",{label}\n' for label, text in reviews(30))
    (tmp_path / "all" / "a.csv").write_text(f"id,text,label\n{rows}")
    (tmp_path / "all" / "b.csv.gz").write_bytes(gzip.compress(f"id,text,label\n{rows}".encode()))
    job = make_job("classifier", {"text": str(tmp_path / "all"), "max_steps": 1, **SMALL})
    run = train(job, tmp_path / "run")
    assert evaluate(run, [tmp_path / "all", tmp_path / "all"])["examples"] == 120


# ---- settings ----------------------------------------------------------------------------------------


def test_balanced_classes_weigh_alike(tmp_path: Path) -> None:
    examples = [("rare", f"x {n}") for n in range(4)] + [("usual", f"y {n}") for n in range(36)]
    job = small_job(tmp_path, examples, class_weights="balanced", max_steps=1, batch_size=100)
    train(job, tmp_path / "run")
    own = resumed_job(job.task, tmp_path / "run")
    batch = own.task.batches(own, tmp_path / "run", "train")[0]
    weights = {label: batch["weight"][batch["label"] == label].sum().item() for label in (0, 1)}
    assert weights[0] == pytest.approx(weights[1], rel=1e-6)
    assert own.task.weight(batch) == pytest.approx(batch["label"].numel(), rel=1e-6)
    held_out = own.task.batches(own, tmp_path / "run", "validation")[0]
    assert held_out["weight"].unique().tolist() == [1.0]


def test_the_loss_is_that_of_the_weighted_classes(tmp_path: Path) -> None:
    job = small_job(tmp_path, class_weights="balanced", label_smoothing=0.1, architecture="average", **STEADY)
    train(job, tmp_path / "run")
    own = resumed_job(job.task, tmp_path / "run")
    torch.manual_seed(0)
    model, batch = own.task.build(own), own.task.batches(own, tmp_path / "run", "train")[0]
    logits = model(batch["token"], lengths=batch["lengths"]).double()
    C, target = logits.shape[1], batch["label"][0]
    counts = torch.tensor([sum(label == name for label, _ in reviews(200)) for name in ("bad", "good")])
    assert counts.argmax() == 0
    smooth = torch.full_like(logits, 0.1 / C).scatter_add_(
        1, target[:, None], torch.full((len(target), 1), 0.9).double()
    )
    expected = -(batch["weight"][0].double() * (smooth * logits.log_softmax(1)).sum(1)).sum()
    assert own.task.loss(model, batch, None, own.train).sum.item() == pytest.approx(expected.item(), rel=1e-5)


def test_long_texts_are_read_so_far(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    examples = [(label, f"{text} " * 30) for label, text in reviews(40)]
    with caplog.at_level("INFO", "pyrnn"):
        run: Any = train(small_job(tmp_path, examples, longest=20, max_steps=1), tmp_path / "run")
    assert "36 of 36 texts have more than 20 tokens" in caplog.text
    batch = run.job.task.batches(run.job, tmp_path / "run", "train")[0]
    assert len(batch["token"]) == 20


def test_words_without_labels_are_known_with_their_vectors(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("lovely lovely dreary dreary\n")
    (tmp_path / "vectors.txt").write_text(
        "lovely 1 2 3 4 5 6 7 8\nFilm 0 0 0 0 0 0 0 1\nfilm 0 0 0 0 0 0 1 0\n"
    )
    settings: dict[str, Any] = {
        "vectors": str(tmp_path / "vectors.txt"),
        "vocabulary_text": str(tmp_path / "more.txt"),
    }
    job = small_job(tmp_path, architecture="average", freeze_vectors=True, max_steps=1, **settings)
    run: Any = train(job, tmp_path / "run")
    row = run.tokenizer.vocabulary.tokens.index("lovely")
    assert run.model.embedding.weight[row].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_run_begins_with_anothers_weights_and_labels(trained: ClassifierRun, tmp_path: Path) -> None:
    source = Path(trained.job.data.text).parent / "run"
    start = {"init_from": str(source), "learning_rate": 1e-9, "architecture": "average"}
    run = train(small_job(tmp_path, reviews(60, seed=3), **start), tmp_path / "run")
    assert isinstance(run, ClassifierRun)
    assert run.labels == trained.labels
    assert run.best.score > 0.9
    with pytest.raises(ValueError, match=r"text\.tsv, line 1: no example .* has the label 'new'"):
        train(small_job(tmp_path, [("new", "film")] * 20 + reviews(20), **start), tmp_path / "new")


# ---- numbers -----------------------------------------------------------------------------------------


def rings(path: Path, count: int = 160) -> Path:
    """Points inside and outside a circle, with an offset that only standardised numbers forgive."""
    draw, rows = random.Random(1), ["x,label,y,same\n"]
    for _ in range(count):
        x, y = draw.gauss(0, 1), draw.gauss(0, 1)
        rows.append(f"{1e6 + 1000 * x},{'in' if x * x + y * y < 1.4 else 'out'},{y},5\n")
    path.write_text("".join(rows))
    return path


def test_numbers_are_learned_standardised(tmp_path: Path) -> None:
    settings = {"features": str(rings(tmp_path / "a.csv")), "architecture": "feedforward", "epochs": 40}
    run: Any = train(make_job("classifier", {**settings, **SMALL, "learning_rate": 0.02}), tmp_path / "run")
    assert run.best.score > 0.85
    job = resumed_job(find_task("classifier"), tmp_path / "run")
    batches = job.task.batches(job, tmp_path / "run", "train")
    rows = torch.cat([batches[n]["features"][0] for n in range(len(batches))]).double()
    assert rows.mean(0).abs().max() < 1e-6
    assert rows.std(0, correction=0).tolist() == pytest.approx([1, 1, 0], abs=1e-6)
    assert run.labels.mean[0] == pytest.approx(1e6, rel=1e-3)
    again: Any = load_run(tmp_path / "run")
    assert evaluate(again, tmp_path / "a.csv") == evaluate(run, tmp_path / "a.csv")
    with pytest.raises(ValueError, match="a classifier of numbers: give it numbers"):
        classify_texts(again, ["a"])


def test_plain_gradient_descent_is_that(tmp_path: Path) -> None:
    """A step of it is the gradient times the rate."""
    settings = {
        "features": str(rings(tmp_path / "a.csv")),
        "architecture": "feedforward",
        **STEADY,
        "optimizer": "sgd",
        "decay": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "clip_norm": 1e9,
        "learning_rate": 0.5,
        "max_steps": 1,
        "batch_size": 1000,
    }
    run: Any = train(make_job("classifier", settings), tmp_path / "run")
    own = resumed_job(find_task("classifier"), tmp_path / "run")
    torch.manual_seed(own.train.seed)
    model, batch = own.task.build(own), own.task.batches(own, tmp_path / "run", "train")[0]
    (own.task.loss(model, batch, None, own.train).sum / own.task.weight(batch)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(
            run.model.get_parameter(name), parameter.detach() - 0.5 * parameter.grad, rtol=1e-5, atol=1e-6
        )


# ---- resuming ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gru", "feedforward"])
def test_killed_at_any_step_it_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    data: dict[str, Any] = {"text": str(write(tmp_path / "a.tsv", reviews(120)))}
    if kind == "feedforward":
        data = {"features": str(rings(tmp_path / "a.csv", 120))}
    settings = {"architecture": kind, "epochs": 2, "checkpoint_every": 2, "log_every": 3, "accumulate": 2}
    job = make_job("classifier", {**data, **SMALL, **settings, "class_weights": "balanced"})
    train(job, tmp_path / "whole")
    for again, moment in enumerate((3, -1, 9)):
        with pytest.raises(Killed):
            train(job, tmp_path / "run", resume=bool(again), reporter=KillAt(moment))
    train(resumed_job(find_task("classifier"), tmp_path / "run"), tmp_path / "run", resume=True)
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")


# ---- what does not fit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        (None, {}, "name their file with text or features"),
        ("", {}, "text.tsv is empty: give a file with text"),
        ("\n\n", {}, "text.tsv has no examples"),
        ("good\n", {}, "line 1: expected two columns, a label and a text, got 1"),
        ("good\ta\nbad\ta\tb\n", {}, "line 2: expected 2 columns as in line 1, got 3"),
        ("good\ta\nbad\t \n", {}, "line 2: the text is empty"),
        ("good\ta\n\tb\n", {}, "line 2: expected a label of one line without tabs, got ''"),
        ("label\ttext\n", {}, "has no examples behind its first line"),
        ("good\ta\nbad\tb\n", {"label_column": "class"}, "among them 'class' once"),
        (
            "good\ta\nbad\tb\n",
            {"label_column": "3"},
            "expected 2 different columns among 1 to 2, got 3 and 2",
        ),
        ("good\ta\nbad\tb\n", {}, "has 2 examples, too few to hold out 10%"),
        ("good\ta a\n" * 9 + "good\tb a\n" * 9, {"validation_fraction": 0.5}, "label of all is 'good'"),
        ("good\ta\n" * 20, {"architecture": "feedforward"}, "features are for the architecture feedforward"),
        ("good\ta\n" * 20, {"features": "a.csv", "architecture": "feedforward"}, "leave one out"),
    ],
)
def test_texts_that_cannot_be_used(
    text: str | None, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "text.tsv").write_text(text)
        settings = {"text": str(tmp_path / "text.tsv"), **settings}
    with pytest.raises(ValueError, match=words):
        train(make_job("classifier", settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,1,2\nb,1,nan\n", "line 2: expected finite numbers, got 'nan' as number 2"),
        ("a,1,2\nb,1,inf\n", "line 2: expected finite numbers, got 'inf'"),
        ("a,1,2\nb,1,\n", "line 2: expected a number, got '' as number 2"),
        ("a,1,2\nb,1\n", "line 2: expected 3 columns as in line 1, got 2"),
        ("a\nb\n", "line 1: expected numbers beside the label, got none"),
        ("1,2,a\n3,4,b\n", "line 1: expected a number, got 'a' as number 2; in a file label_column says"),
    ],
)
def test_numbers_that_cannot_be_used(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    settings = {"features": str(tmp_path / "a.csv"), "architecture": "feedforward"}
    with pytest.raises(ValueError, match=words):
        train(make_job("classifier", settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_training_never_saw_is_refused(trained: ClassifierRun, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"a\.tsv, line 2: .* has the label 'so-so'; known are 'bad', 'good'"
    ):
        evaluate(trained, write(tmp_path / "a.tsv", [("good", "film"), ("so-so", "film")]))
    held_out = write(tmp_path / "held-out.tsv", [("good", "film"), ("so-so", "film")])
    with pytest.raises(ValueError, match=r"held-out\.tsv, line 2: .* has the label 'so-so'"):
        train(small_job(tmp_path, validation_text=str(held_out)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_numbers_than_trained_on_are_refused(tmp_path: Path) -> None:
    settings = {"features": str(rings(tmp_path / "a.csv")), "architecture": "feedforward", "max_steps": 1}
    run = train(make_job("classifier", {**settings, **SMALL}), tmp_path / "run")
    (tmp_path / "b.csv").write_text("in,1,2\n")
    with pytest.raises(ValueError, match=r"b\.csv, line 1: expected 3 numbers as trained on, got 2"):
        evaluate(run, tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"labels": ["a", "a"], "mean": [], "deviation": []}, "expected distinct labels"),
        ({"labels": ["a", "b"], "mean": [1.0], "deviation": []}, "as many means as deviations"),
        ({"labels": ["a", "b", "c"], "mean": [], "deviation": []}, "config.json says"),
        ({"labels": "ab"}, "labels.json"),
    ],
)
def test_damaged_labels_are_refused(
    content: dict[str, Any], words: str, trained: ClassifierRun, tmp_path: Path
) -> None:
    source, copy = Path(trained.job.data.text).parent / "run", tmp_path / "run"
    copy.mkdir()
    for path in source.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "labels.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words):
        load_run(copy)
