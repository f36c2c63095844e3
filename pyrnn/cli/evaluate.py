"""pyrnn evaluate: the scores of a trained model on a file."""

from __future__ import annotations

from typing import Annotated

import pyrnn
from pyrnn._files import to_json
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import RunFolder, option


def evaluate(
    run: RunFolder,
    text: Annotated[
        list[str],
        option(
            "A file or folder of the kind that the run was trained on, or the name of a shipped text; may be "
            "given several times, and then they are joined.",
            metavar="TEXT",
        ),
    ],
    device: Device = "auto",
    threads: Threads = None,
    as_json: Annotated[bool, option("Print one JSON object.", "--json")] = False,
) -> None:
    """Print the scores of a model on a file, for instance loss, perplexity and bits per token.

    \b
      pyrnn evaluate runs/book --text other.txt
    """
    use_threads(threads)
    scores = pyrnn.tasks.evaluate(pyrnn.tasks.load_run(run, device=device_of(device)), text)
    if as_json:
        print(to_json(scores))
        return
    width = max(map(len, scores))
    for name, value in scores.items():
        print(f"{name:{width}}  {value:,.0f}" if value.is_integer() else f"{name:{width}}  {value:.4f}")
