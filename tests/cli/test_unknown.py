"""Text that a model does not know, through every command; and how generate starts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyrnn.tasks import make_job
from pyrnn.text import Tokenizer, Vocabulary, VocabularyTokenizer, train_tokenizer
from pyrnn.train import train
from tests.cli.conftest import TEXT, Command


@pytest.fixture(scope="module")
def without_unk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as earlier versions made them: its characters have no <unk>."""
    folder = tmp_path_factory.mktemp("old")
    (folder / "text.txt").write_text(TEXT[:3000])

    def old(*args: object, **options: object) -> Tokenizer:
        vocabulary = train_tokenizer(*args, **options).vocabulary  # type: ignore[arg-type,attr-defined]
        return VocabularyTokenizer("character", Vocabulary(vocabulary.tokens[1:], eos=vocabulary.eos))

    settings = {"text": str(folder / "text.txt"), "max_steps": 2, "hidden_size": 8, "bptt_steps": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrnn.text.train_tokenizer", old)
        train(make_job("language-model", settings), folder / "run")
    return folder / "run"


def test_a_line_that_cannot_be_scored_is_named_and_the_others_go_on(
    command: Command, without_unk: Path
) -> None:
    lines = ["\ufeffto be", "", *["to be"] * 1100, "日本", "", "or"]
    code, out, err = command(f"score {without_unk} --device cpu", stdin="\n".join(lines))
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[5] for row in rows] == [line.lstrip("\ufeff") for line in lines if line]
    *_, wrong, last = rows
    assert wrong[:5] == ["-"] * 5
    assert re.fullmatch(r"not scored: line 1103: .*'日', '本'.*<unk>", wrong[6])
    assert float(last[0]) < 0
    assert (code, err) == (2, "error: 1 of 1103 sentences could not be scored; their lines say why\n")


def test_a_model_without_unk_names_what_it_does_not_know(
    command: Command, without_unk: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("to be 日")
    for line in (
        f"evaluate {without_unk} --text {tmp_path / 'text.txt'}",
        f"generate {without_unk} --prompt 日",
    ):
        code, out, err = command(line)
        assert (code, out) == (2, "")
        assert re.search("'日'; remove them, or .* trained anew has <unk>", err)


def test_a_new_model_takes_unknown_characters(command: Command, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be 日本")
    code, out, err = command(f"evaluate {trained} --text {tmp_path / 'text.txt'} --json")
    assert (code, json.loads(out)["unknown"]) == (0, 2), err
    code, out, err = command(f"score {trained}", stdin="to be 日本\n")
    assert (code, out.split("\t")[4]) == (0, "2"), err
    code, out, err = command(f"generate {trained} --prompt 日本 --seed 1 --max-tokens 5")
    assert (code, out[:2]) == (0, "日本")
    assert err == "the prompt has 2 tokens that the model does not know, of 2\n"


def test_each_line_is_scored_while_the_next_is_still_to_come(trained: Path) -> None:
    line = [sys.executable, "-m", "pyrnn", "score", str(trained)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for sentence in (b"to be\n", b"or not\n"):
            process.stdin.write(sentence)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\t" + sentence)
        process.stdin.close()
    assert process.returncode == 0


def test_a_sample_can_be_made_again_from_its_seed(command: Command, trained: Path) -> None:
    line = f"generate {trained} --prompt a --max-tokens 30"
    _, first, told = command(line)
    seed = re.fullmatch(r"seed (\d+): --seed \1 gives the same text again\n", told)
    assert seed
    assert command(f"{line} --seed {seed[1]}") == (0, first, "")
    assert command(line)[1] != first
    assert command(f"{line} --temperature 0")[2] == ""  # nothing is drawn


def test_prompts_from_files_and_standard_input(command: Command, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes(b"\xef\xbb\xbfHAMLET:\r\nTo\r\n\r\n")
    rest = "--max-tokens 3 --seed 1"
    code, out, err = command(f"generate {trained} --prompt-file {tmp_path / 'prompt.txt'} {rest}")
    assert (code, out[:11]) == (0, "HAMLET:\nTo\n"), err
    assert command(f"generate {trained} --prompt-file - {rest}", stdin="HAMLET:\nTo\n\n")[1] == out
    code, out, err = command(f"generate {trained} --prompt a --prompt-file - {rest}", stdin="b")
    assert (code, [line[:1] for line in out.splitlines() if line]) == (0, ["-", "a", "-", "b"]), (out, err)


def test_nothing_is_printed_when_it_cannot_go_on(command: Command, trained: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    run = Path(shutil.copytree(trained, tmp_path / "run"))
    weights = load_file(run / "model.safetensors")
    huge = {name: tensor.fill_(3e38) for name, tensor in weights.items()}  # finite, what they give is not
    save_file(huge, run / "model.safetensors")
    code, out, err = command(f"generate {run} --prompt a")
    assert (code, out) == (2, "")
    assert "did training diverge" in err
