"""The table of commands, and what their errors look like."""

from __future__ import annotations

from collections.abc import Callable

import typer

from pyrnn.cli import bench, evaluate, info, plot, train
from pyrnn.cli.settings import SettingsCommand
from pyrnn.cli.terminal import tell
from pyrnn.cli.verbs import verb_commands

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


for _name, _command in verb_commands().items():
    app.command(_name, cls=SettingsCommand)(_command)
app.command("info")(info.info)
app.add_typer(bench.app, name="bench")
app.add_typer(plot.app, name="plot")

#: What the user can put right, and what he cannot.
_WRONG_INPUT = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FAILED = (OSError, FloatingPointError, ImportError, MemoryError)


def main() -> int:
    """Run the command of sys.argv; returns the exit code."""
    return telling(app)


def telling(work: Callable[[], object]) -> int:
    """Run `work`, tell its errors in one line each, and return the exit code."""
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except _WRONG_INPUT as error:
        return _tell(error, 2)
    except _FAILED as error:
        return _tell(error, 1)
    except RuntimeError as error:
        if not _no_memory(error):
            raise
        return _tell(f"there is not enough memory: use smaller sizes or a smaller batch ({error})", 1)
    return 0


def _no_memory(error: RuntimeError) -> bool:
    """Whether memory could not be had; on a CPU torch has no class of its own for it."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _tell(what: object, code: int) -> int:
    tell(f"error: {' '.join(str(what).splitlines())}")
    return code
