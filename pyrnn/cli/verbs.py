"""What trained runs can do: a command for each verb of a task."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

import pyrnn
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import RunFolder
from pyrnn.cli.standard_input import standard_input
from pyrnn.cli.terminal import Raw, write
from pyrnn.tasks.registry import TASKS, find_task


def verb_commands() -> dict[str, Callable[..., None]]:
    """The command of every verb. One that several tasks have in common is one function."""
    # The help of a verb that several tasks have is that of the first of them.
    verbs = {name: verb for task in map(find_task, reversed(TASKS)) for name, verb in task.verbs.items()}
    commands = {}
    for name, verb in verbs.items():
        module, _, attribute = verb.function.partition(":")
        function = getattr(importlib.import_module(module), attribute)
        commands[name] = function if verb.whole else _filter(name, function)
    return commands


def _filter(verb: str, function: Callable[..., object]) -> Callable[..., None]:
    def command(
        run: RunFolder,
        device: Device = "auto",
        threads: Threads = None,
        raw: Raw = False,
    ) -> None:
        use_threads(threads)
        loaded = pyrnn.tasks.load_run(run, verb=verb, device=device_of(device))
        # That of the run's task: tasks may share a verb.
        for line in pyrnn.tasks.verb_of(loaded, verb)(loaded, standard_input()):
            write(f"{line}\n", raw=raw)

    # An indented paragraph is an example; this mark keeps its lines as they are.
    command.__doc__ = re.sub(r"\n\n(?= {6}\S)", "\n\n    \b\n", function.__doc__ or "")
    return command
