"""The table of commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pyrnn._version import __version__
from pyrnn.cli import (
    bench,
    evaluate,
    info,
    plot,
    train,
    vectors,
    vectors_bias,
    vectors_plot,
    vectors_sentences,
)
from pyrnn.cli.help import HelpCommand, HelpGroup
from pyrnn.cli.verbs import verb_commands

EXIT_CODES = """\b
Exit codes: 0 done, 1 failed (full disk, diverged training), 2 wrong arguments or input,
70 a fault of pyrnn's own (--traceback shows where), 130 interrupted: what was trained is saved."""


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
app.add_typer(vectors.app, name="vectors")
for _name, _command in (
    ("bias", vectors_bias.bias),
    ("debias", vectors_bias.debias),
    ("plot", vectors_plot.plot),
    ("sentences", vectors_sentences.sentences),
):
    vectors.app.command(_name, cls=HelpCommand)(_command)


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
    traceback: Annotated[  # `telling` takes it out of the command line, wherever it stands
        bool, typer.Option("--traceback", help="Show the way to an error, too, after any command.")
    ] = False,
) -> None: ...
