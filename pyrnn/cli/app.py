"""The table of commands, and what their errors look like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from pyrnn._version import __version__
from pyrnn.cli import bench, evaluate, info, plot, train
from pyrnn.cli.help import HelpCommand, HelpGroup
from pyrnn.cli.terminal import tell
from pyrnn.cli.verbs import verb_commands

EXIT_CODES = """\b
Exit codes: 0 done, 1 failed (full disk, diverged training), 2 wrong arguments or input,
130 interrupted: what was trained is saved."""


class _Commands(HelpGroup):
    """All commands, in the order in which a newcomer needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """`train` before what uses a trained model."""
        return sorted(super().list_commands(ctx), key=lambda name: name != "train")


app = typer.Typer(
    name="pyrnn",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Recurrent networks and attention on kernels of their own: train, judge and use sequence models.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(train.app, name="train")
app.command("evaluate", cls=HelpCommand)(evaluate.evaluate)


for _name, _command in verb_commands().items():
    app.command(_name, cls=HelpCommand)(_command)
app.command("info", cls=HelpCommand)(info.info)
app.add_typer(bench.app, name="bench")
app.add_typer(plot.app, name="plot")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pyrnn {__version__}")
        raise typer.Exit


@app.callback()
def _options_before_commands(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None: ...


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
