"""The table of commands, and what their errors look like."""

from __future__ import annotations

import sys

import typer

from pyrnn.cli import bench, evaluate, generate, info, plot, score, train

EXIT_CODES = """\b
Exit codes: 0 done, 1 failed (full disk, diverged training), 2 wrong arguments or input,
130 interrupted: what was trained is saved."""

app = typer.Typer(
    name="pyrnn",
    help="Recurrent networks on kernels of their own: train, judge and use sequence models.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(train.app, name="train")
app.command("evaluate")(evaluate.evaluate)
app.command("score")(score.score)
app.command("generate")(generate.generate)
app.command("info")(info.info)
app.add_typer(bench.app, name="bench")
app.add_typer(plot.app, name="plot")

#: What the user can put right, and what he cannot.
_WRONG_INPUT = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FAILED = (OSError, FloatingPointError, ImportError)


def main() -> int:
    """Run the command of sys.argv; returns the exit code."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except _WRONG_INPUT as error:
        return _tell(error, 2)
    except _FAILED as error:
        return _tell(error, 1)
    return 0


def _tell(error: Exception, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code
