"""The table of commands, and what their errors look like."""

from __future__ import annotations

import typer

from pyrnn.cli import bench, evaluate, info, plot, train
from pyrnn.cli.settings import SettingsCommand
from pyrnn.cli.verbs import verb_commands

EXIT_CODES = """\b
Exit codes: 0 done, 1 failed (full disk, diverged training), 2 wrong arguments or input,
70 a fault of pyrnn's own (--traceback shows where), 130 interrupted: what was trained is saved."""

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
