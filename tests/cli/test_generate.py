"""generate with a beam."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyrnn.search import SearchConfig, search_text
from pyrnn.tasks import load_run
from pyrnn.tasks.language_model import TextRun
from tests.cli.conftest import Command


def test_a_beam_tells_its_texts_with_their_scores(trained: Path, command: Command) -> None:
    flags = "--beam-width 5 --n-best 2 --length-norm gnmt --alpha 0.6 --max-tokens 12 --stop-at-eos"
    code, out, err = command(f"generate {trained} --prompt 'to ' --prompt 'the' {flags}")
    assert (code, err) == (0, ""), err
    run = load_run(trained)
    assert isinstance(run, TextRun)
    config = SearchConfig(beam_width=5, n_best=2, length_norm="gnmt", alpha=0.6, max_tokens=12)
    found = search_text(run.model, run.tokenizer, ["to ", "the"], config, stop_at_eos=True)
    expected = [
        f"--- {number}.{rank}: score {text.score:.4f}, log-probability {text.log_probability:.4f}\n"
        f"{prompt}{text.text}\n"
        for number, (prompt, texts) in enumerate(zip(["to ", "the"], found, strict=True), 1)
        for rank, text in enumerate(texts, 1)
    ]
    assert out == "".join(expected)
    assert len(expected) == 4


def test_a_beam_of_one_writes_what_is_likeliest(trained: Path, command: Command) -> None:
    greedy = command(f"generate {trained} --prompt 'to ' --temperature 0 --max-tokens 15")[1]
    code, out, _ = command(f"generate {trained} --prompt 'to ' --beam-width 1 --max-tokens 15")
    assert code == 0
    assert out.split("\n", 1)[1] == greedy


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--beam-width 3 --temperature 0.5", "--beam-width searches, and --temperature is for text that is"),
        ("--beam-width 3 --samples 2 --seed 1", "--samples, --seed is for text"),
        ("--n-best 2 --alpha 1", "--alpha, --n-best: these belong to beam search; give --beam-width too"),
        ("--beam-width 2 --n-best 3", "n_best must be at most beam_width, got 3 and 2"),
        ("--beam-width 0", "beam_width must be at least 1, got 0"),
        (
            "--beam-width 2 --length-norm mean",
            "'mean' is not one of",
        ),
        ("--min-tokens 9 --max-tokens 3", "min_tokens must be at most max_tokens"),
    ],
)
def test_flags_that_do_not_go_together(flags: str, words: str, trained: Path, command: Command) -> None:
    code, _, err = command(f"generate {trained} --prompt the {flags}")
    assert code == 2, err
    assert re.search(words, err), err
