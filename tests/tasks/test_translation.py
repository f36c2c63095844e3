"""Translation from pairs in a file to lines on standard output."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.metrics import bleu
from pyrnn.search import SearchConfig, evaluating
from pyrnn.search.hypotheses import coverage_score
from pyrnn.tasks import attention_of, evaluate, find_task, load_run, make_job, translate
from pyrnn.tasks.pair_scores import score_pairs
from pyrnn.tasks.translation import TranslationRun
from pyrnn.train import resumed_job, train
from pyrnn.train.task import Split
from tests.train.small_runs import KillAt, Killed, result_of

SMALL = {
    "level": "character",
    "hidden_size": 32,
    "embedding_size": 16,
    "num_layers": 1,
    "num_heads": 2,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "batch_size": 16,
    "warmup_steps": 5,
    "validation_size": 20,
    "label_smoothing": 0.0,
}


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Letters, and the same in capitals from the end: each has to be found at another place."""
    draw = random.Random(seed)
    words = ["".join(draw.choice("abcdef") for _ in range(draw.randint(2, 7))) for _ in range(count)]
    return [(word, word[::-1].upper()) for word in words]


def write(path: Path, content: list[tuple[str, str]]) -> Path:
    path.write_text("".join(f"{a}\t{b}\n" for a, b in content))
    return path


def small_job(folder: Path, *, count: int = 400, **settings: Any) -> Any:
    file = write(folder / "pairs.tsv", pairs(count))
    return make_job("translation", {"pairs": str(file), "epochs": 2, **SMALL, **settings})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TranslationRun:
    folder = tmp_path_factory.mktemp("translation")
    job = small_job(folder, count=1200, architecture="gru", epochs=12, learning_rate=0.01)
    run = train(job, folder / "run")
    assert isinstance(run, TranslationRun)
    return run


def texts_of(run: TranslationRun, sentences: list[str], **options: Any) -> list[str]:
    return [found[0].text for found in translate(run, sentences, **options)]


def test_it_learns_to_attend(trained: TranslationRun) -> None:
    held_out = pairs(60, seed=5)
    found = texts_of(trained, [a for a, _ in held_out])
    assert sum(a == b for a, (_, b) in zip(found, held_out, strict=True)) >= 54


def test_a_sentence_is_translated_alike_alone_and_beside_others(trained: TranslationRun) -> None:
    sentences = [a for a, _ in pairs(30, seed=6)] + ["", "  ", "aaaa"]
    together = texts_of(trained, sentences)
    assert together == [texts_of(trained, [sentence])[0] for sentence in sentences]
    assert together[30:32] == ["", ""]


def test_attention_and_scores(trained: TranslationRun) -> None:
    config = SearchConfig(beam_width=4, n_best=3)
    (found,) = translate(trained, ["abcdef"], config, return_attention=True)
    assert translate(trained, ["abcdef"], config)[0][0].attention is None
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    best = found[0]
    assert best.source[:6] == list("abcdef")
    assert best.target[:6] == list("FEDCBA")
    assert best.attention is not None
    assert best.attention.shape == (len(best.target), len(best.source))
    assert best.log_probability < 0


def test_evaluation_has_bleu(trained: TranslationRun, tmp_path: Path) -> None:
    scores = evaluate(trained, write(tmp_path / "other.tsv", pairs(40, seed=9)))
    assert {"loss", "perplexity", "accuracy", "unknown"} <= scores.keys()
    assert scores["accuracy"] > 0.9
    config = SearchConfig(beam_width=1, max_tokens=50, max_tokens_per_source=3.0)
    found = texts_of(trained, [a for a, _ in pairs(40, seed=9)], config=config)
    assert scores["bleu"] == pytest.approx(bleu(found, [b for _, b in pairs(40, seed=9)]).score)
    # Shards add up, also where one has no row of the last batch.
    batches = trained.job.task.read(trained, write(tmp_path / "odd.tsv", pairs(33, seed=9)))
    with evaluating(trained.model):
        whole, *parts = (
            trained.job.task.evaluate(trained.model, each)
            for each in (batches, batches.shard(0, 2), batches.shard(1, 2))
        )
    assert parts[0].add(parts[1]).compute() == pytest.approx(whole.compute())


def test_white_space_at_the_ends_is_no_part_of_a_sentence(trained: TranslationRun) -> None:
    found = attention_of(trained, "  abc ", " CBA ")
    assert found.attention is not None
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(4))
    inside, around = (list(score_pairs(trained, [line])) for line in ("abc\tCBA", " abc \t CBA "))
    assert inside == around


@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_scores_are_those_of_the_search(architecture: str, tmp_path: Path) -> None:
    run = train(small_job(tmp_path, count=60, epochs=1, architecture=architecture), tmp_path / "run")
    assert isinstance(run, TranslationRun)
    lines = ["abc\tCBA", "fedcba\tA", "aa\tAA"]  # targets of unequal lengths
    scores = [float(line.split("\t")[0]) for line in score_pairs(run, lines)]
    alone = [float(next(iter(score_pairs(run, [line]))).split("\t")[0]) for line in lines]
    assert scores == pytest.approx(alone, abs=2e-4)
    by_search = [attention_of(run, *line.split("\t")).log_probability for line in lines]
    assert scores == pytest.approx(by_search, abs=2e-4)


@pytest.mark.parametrize("settings", [{}, {"reverse_source": True}], ids=str)
@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_every_architecture_tells_where_it_looked(
    architecture: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """In the order of the text, and with the coverage that follows from it."""
    job = small_job(tmp_path, count=60, epochs=1, architecture=architecture, **settings)
    run = train(job, tmp_path / "run")
    assert isinstance(run, TranslationRun)
    config = SearchConfig(beam_width=3, n_best=3, max_tokens=6, coverage_penalty=0.5)
    plain = {each.hypothesis.tokens: each for each in translate(run, ["abcde"], replace(config, n_best=1))[0]}
    found = translate(run, ["abcde"], config, return_attention=True)[0]
    assert plain.keys() <= {each.hypothesis.tokens for each in found}
    order = [4, 3, 2, 1, 0, 5] if settings else [0, 1, 2, 3, 4, 5]
    for each in found:
        assert each.attention is not None
        assert each.attention.shape == (len(each.target), 6)
        covered = coverage_score(each.attention.double().sum(0)[None]).item()
        assert each.score == pytest.approx(each.log_probability + 0.5 * covered, abs=1e-5)
        ids = [run.source_tokenizer.encode("abcde"[n]) for n in order[:5]]
        end = torch.tensor([run.tokenizer.eos_id])
        source = torch.cat([*ids, end]).unsqueeze(1)
        read = torch.cat([end, torch.tensor(each.hypothesis.tokens[:-1], dtype=torch.int64)])
        with evaluating(run.model):
            start = run.model.start((source, torch.tensor([6])))
            expected = run.model.step(read[None], start, need_weights=True).attention
        assert expected is not None
        torch.testing.assert_close(each.attention, expected[0][:, order])


KINDS: list[dict[str, Any]] = [
    {"objective": "bleu"},
    {"reverse_source": True, "attention": "none"},
    {"architecture": "transformer", "level": "subword", "max_vocabulary": 270},
    {"swap": True, "level": "word", "shared_vocabulary": False, "tied": "target"},
]


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_a_run_is_read_again(settings: dict[str, Any], tmp_path: Path) -> None:
    run = train(small_job(tmp_path, count=60, epochs=1, **settings), tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert isinstance(run, TranslationRun)
    assert isinstance(again, TranslationRun)
    assert texts_of(again, ["abc", "FED"]) == texts_of(run, ["abc", "FED"])
    expected = ("bleu", "max") if "objective" in settings else ("loss", "min")
    assert (run.best.objective.metric, run.best.objective.direction) == expected


@pytest.mark.parametrize(
    "settings",
    [{"architecture": "lstm"}, {"architecture": "transformer"}, {"batch_tokens": 60, "longest": 10}],
    ids=str,
)
def test_a_killed_run_goes_on_bit_for_bit(settings: dict[str, Any], tmp_path: Path) -> None:
    job = small_job(tmp_path, count=100, dropout=0.2, label_smoothing=0.1, **settings)
    train(job, tmp_path / "whole")
    with pytest.raises(Killed):
        train(job, tmp_path / "killed", reporter=KillAt(7))
    train(resumed_job(find_task("translation"), tmp_path / "killed"), tmp_path / "killed", resume=True)
    assert result_of(tmp_path / "killed") == result_of(tmp_path / "whole")


def test_batches_by_their_tokens(tmp_path: Path) -> None:
    job = small_job(tmp_path, count=300, batch_tokens=60, longest=10, epochs=1, batch_size=2)
    train(job, tmp_path / "run")
    job = load_run(tmp_path / "run").job
    batches = job.task.batches(job, tmp_path / "run", "train")
    sizes = set()
    for step in range(len(batches)):
        tokens, count = batches[step]["output"].shape
        assert count * max(tokens, len(batches[step]["source"])) <= 60
        sizes.add(count)
    assert max(sizes) >= 15 > 7 >= min(sizes)
    parts = [batches.shard(rank, 2) for rank in range(2)]
    for step in range(len(batches)):
        rows = sorted(str(row.tolist()) for part in parts for row in part[step]["source"].T if row.any())
        assert len(rows) == batches[step]["source"].shape[1]
    validation = job.task.batches(job, tmp_path / "run", "validation")
    assert validation[0]["source"].shape[1] == 2


def prepared(folder: Path, split: Split, **settings: Any) -> list[tuple[str, str]]:
    """The pairs that a run of such settings trains on, or validates on, as text again."""
    job = make_job("translation", {**SMALL, "max_steps": 1, **settings})
    run = train(job, folder)
    assert isinstance(run, TranslationRun)
    batches = run.job.task.batches(run.job, folder, split)
    found = []
    for step in range(len(batches)):
        batch = batches[step]
        for source, output, read in zip(batch["source"].T, batch["output"].T, batch["input"].T, strict=True):
            target = output[output >= 0]
            assert read[: len(target)].tolist() == [target[-1], *target[:-1]]  # a step later
            found.append((run.source_tokenizer.decode(source), run.tokenizer.decode(target)))
    return sorted((a.partition("\n")[0], b.removesuffix("\n")) for a, b in found)


def test_two_files_and_other_validation_pairs(tmp_path: Path) -> None:
    content, others = pairs(60), sorted(pairs(10, seed=3))
    for name, part, side in (("train.a", content, 0), ("train.b", content, 1), ("dev.a", others, 0)):
        (tmp_path / name).write_text("".join(pair[side] + "\n" for pair in part))
    (tmp_path / "dev.b").write_text("".join(f"{b}\n" for _, b in others))
    names = {
        "pairs": "train.a",
        "targets": "train.b",
        "validation_pairs": "dev.a",
        "validation_targets": "dev.b",
    }
    settings = {name: str(tmp_path / file) for name, file in names.items()}
    assert prepared(tmp_path / "run", "train", **settings) == sorted(content)
    assert prepared(tmp_path / "again", "validation", **settings) == others
    assert prepared(tmp_path / "swapped", "train", swap=True, **settings) == sorted(
        (b, a) for a, b in content
    )


def test_csv_by_the_names_of_columns_and_in_folders(tmp_path: Path) -> None:
    folder, content = tmp_path / "folder", sorted(pairs(20))
    folder.mkdir()
    for name, part in (("a.csv", content[:12]), ("b.csv", content[12:])):
        rows = "".join(f'{n},"{a}","{b}"\n' for n, (a, b) in enumerate(part))
        (folder / name).write_text("number,left,right\n" + rows)
    own = write(tmp_path / "own.csv", [])
    own.write_text("x,left,right\n" + "".join(f"-,{a},{b}\n" for a, b in content[:3]))
    settings = {"pairs": str(folder), "validation_pairs": str(own), "columns": ("left", "right")}
    assert prepared(tmp_path / "run", "train", **settings) == content
    assert prepared(tmp_path / "again", "validation", **settings) == content[:3]
    (folder / "b.csv").rename(folder / "B.CSV")
    assert prepared(tmp_path / "upper", "train", **settings) == content
    write(folder / "c.tsv", content)
    with pytest.raises(
        ValueError, match=r"files of one kind, got CSV, as .*\.(csv|CSV), and others, as .*c\.tsv"
    ):
        prepared(tmp_path / "mixed", "train", **settings)


def test_columns_of_pairs_that_come_with_the_package_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns are of files, and dates, which comes with the package"):
        prepared(tmp_path / "run", "train", pairs="dates", columns=("1", "2"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pairs": ""}, "needs pairs to learn from"),
        ({"validation_size": 500}, "too few to hold out 500"),
        ({"longest": 1}, "every pair has a side of more than 1 tokens"),
        ({"batch_tokens": 200}, "batch_tokens must be above longest, .* got 200 and 200"),
        ({"validation_targets": "x"}, "are the targets of validation_pairs"),
        ({"columns": ("1", "1")}, "columns must be two"),
        ({"shared_vocabulary": False}, "one embedding for both sides"),
    ],
)
def test_what_cannot_be_trained_on(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        train(small_job(tmp_path, count=60, **settings), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_tokenizer_of_the_users(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    words = {word: n for n, word in enumerate(["</s>", "<unk>", *"abcdefABCDEF"])}
    own = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    own.add_special_tokens(["</s>"])
    own.save(str(tmp_path / "tokenizer.json"))
    job = small_job(tmp_path, count=60, epochs=1, tokenizer=str(tmp_path / "tokenizer.json"))
    run = train(job, tmp_path / "run")
    assert isinstance(run, TranslationRun)
    assert run.model.vocabulary_size == len(words)
    with pytest.raises(ValueError, match="has its vocabulary"):
        small_job(tmp_path, tokenizer="own.json", max_vocabulary=300)
    (tmp_path / "tokenizer.json").unlink()
    assert texts_of(load_run(tmp_path / "run"), ["abc"]) == texts_of(run, ["abc"])  # type: ignore[arg-type]


def test_sentences_that_cannot_be_translated(trained: TranslationRun) -> None:
    with pytest.raises(ValueError, match="must be one line"):
        translate(trained, ["a\nb"])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        translate(trained, ["a"], batch_size=-1)
    with pytest.raises(TypeError, match="put it in a list"):
        translate(trained, "abc")
    with pytest.raises(ValueError, match="must be one line"):
        attention_of(trained, "a\nb", "B")


@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_unknown_words_are_copied_from_the_source(architecture: str, tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    names = [f"n{n}" for n in range(40)]
    file.write_text("hello\thola\n" * 40 + "".join(f"{name}\t{name}\n" for name in names * 3))
    settings = {**SMALL, "level": "word", "min_count": 7, "epochs": 8, "learning_rate": 0.02}
    settings["architecture"] = architecture
    job = make_job("translation", {"pairs": str(file), "validation_pairs": str(file), **settings})
    run = train(job, tmp_path / "run")
    assert isinstance(run, TranslationRun)
    assert texts_of(run, ["n7"]) != ["n7"]
    assert texts_of(run, ["n7", "Ada", "hello"], unknown="replace") == ["n7", "Ada", "hola"]
    assert texts_of(run, ["n7"], unknown="write") == ["<unk>"]
    # A word of the source may be one that is forbidden.
    assert texts_of(run, ["hola"], unknown="replace") == ["hola"]
    assert texts_of(run, ["hola"], unknown="replace", forbidden=["hola"]) == ["<unk>"]


def test_attention_of_a_model_without_is_refused(tmp_path: Path) -> None:
    run = train(small_job(tmp_path, count=60, epochs=1, attention="none"), tmp_path / "run")
    assert isinstance(run, TranslationRun)
    with pytest.raises(ValueError, match="through the attention, and this model has none"):
        translate(run, [], unknown="replace")
    with pytest.raises(ValueError, match="this model has no attention"):
        translate(run, [], return_attention=True)
    for target in (None, "CBA"):
        with pytest.raises(ValueError, match="this model has no attention"):
            attention_of(run, "abc", target)


def test_a_text_is_returned_once(tmp_path: Path) -> None:
    """Subwords spell a word in many ways."""
    word = "abcabc"
    file = write(tmp_path / "pairs.tsv", [(word, word)] * 20)
    settings = {**SMALL, "level": "subword", "max_vocabulary": 270, "learning_rate": 0.02, "max_steps": 60}
    job = make_job(
        "translation", {"pairs": str(file), "validation_pairs": str(file), **settings, "epochs": 60}
    )
    run = train(job, tmp_path / "run")
    assert isinstance(run, TranslationRun)
    (found,) = translate(run, [word], SearchConfig(beam_width=24, n_best=24, max_tokens=8))
    texts = [each.text for each in found]
    assert texts[0] == word
    assert len(set(texts)) == len(texts) < 24
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
