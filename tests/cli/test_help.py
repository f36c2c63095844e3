"""What `--help`, `--version` and shell completion show, and how little is loaded for it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

import pyrnn
from pyrnn.cli.app import app
from tests.cli.conftest import Command

#: Commands whose own help, of argparse, is not typer's: they are passed on.
_BENCH = "bench "

#: What computes, each with a model.
_COMPUTING = (
    "train classifier",
    "train conditional-language-model",
    "train language-model",
    "train tagger",
    "train questions",
    "train translation",
    "train word-vectors",
    "translate",
    "analyze-search",
    "plot attention",
    "plot calibration",
    "plot confusion",
    "plot reading",
    "answer",
    "classify",
    "evaluate",
    "generate",
    "score",
    "tag",
    "plot gradients",
    "vectors analogy",
    "vectors bias",
    "vectors debias",
    "vectors evaluate",
    "vectors nearest",
    "vectors plot",
    "vectors sentences",
)
_ON_CPU = tuple(path for path in _COMPUTING if path.startswith(("plot", "vectors")))


def _paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    yield " ".join(path)
    for name, found in getattr(command, "commands", {}).items():
        yield from _paths(found, (*path, name))


COMMANDS = [path for path in _paths(typer.main.get_command(app)) if not path.startswith(_BENCH)]


@pytest.mark.parametrize("path", COMMANDS)
def test_help_is_for_users_of_the_command_not_of_python(path: str, command: Command) -> None:
    code, out, _ = command(f"{path} --help")
    assert code == 0
    assert command(f"{path} -h") == (0, out, "")
    assert "-h, --help" in out
    told = out[out.index("Options:") :]
    assert not re.search(
        r"\bNone\b|\bTrue\b|\bFalse\b|<class|list\[|Optional|`|VALUE|INTEGER|RANGE|\bint\b", told
    )
    assert not re.search(r"[a-z]+_[a-z]+", told), "a field's name that is no flag"
    assert not re.search(r"default: \(|\(default", told)


def test_every_command_that_computes_takes_device_and_threads(command: Command) -> None:
    computing = [path for path in COMMANDS if "--threads N" in command(f"{path} --help")[1]]
    assert sorted(computing) == sorted(_COMPUTING)
    with_device = [path for path in COMMANDS if "--device NAME" in command(f"{path} --help")[1]]
    assert sorted(with_device) == sorted(path for path in _COMPUTING if path not in _ON_CPU)


def test_the_flags_of_a_table_stand_together(command: Command) -> None:
    out = command("train language-model --help")[1]
    heads = re.findall(r"^(\S.*):$", out, re.MULTILINE)
    assert heads == ["Arguments", "Options", "[data]", "[model]", "[train]"]
    assert out.index("[model]:") < out.index("--hidden-size") < out.index("[train]:")


def test_defaults_are_those_of_the_task_and_of_its_architectures(command: Command) -> None:
    def shown(task: str, flag: str) -> str:
        out = " ".join(command(f"train {task} --help")[1].split())
        return out.split(f" {flag} ")[1].split("[default: ")[1].split("]")[0]

    assert shown("language-model", "--hidden-size") == "256; transformer: 128"
    assert shown("tagger", "--hidden-size") == "128"
    assert shown("tagger", "--bidirectional") == "yes"


def test_a_list_of_commands_cuts_no_sentence_off(command: Command) -> None:
    out = command("--help")[1]
    assert "..." not in out.split("Commands:")[1]
    assert re.findall(r"^  (\w+)  ", out.split("Commands:")[1], re.MULTILINE)[0] == "train"


@pytest.mark.parametrize("line", ["--help", "train language-model --help", "generate --help", "--version"])
def test_help_comes_at_once(line: str) -> None:
    """Its time is that of imports: none of these is needed for it."""
    code = (
        f"import sys; sys.argv = ['pyrnn', *{line.split()}]\n"
        "from pyrnn.cli import main\n"
        "code = main()\n"
        "heavy = {'torch', 'numpy', 'rich', 'safetensors', 'matplotlib', 'tokenizers'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")


def test_the_version(command: Command) -> None:
    assert command("--version") == (0, f"pyrnn {pyrnn.__version__}\n", "")


def test_a_shell_completes_commands_and_flags(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PYRNN_COMPLETE", "complete_bash")

    def completed(line: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        return command("")[1].split()

    assert completed("pyrnn ev") == ["evaluate"]
    assert completed("pyrnn train la") == ["language-model"]
    assert completed("pyrnn train language-model --hidden") == ["--hidden-size"]
