"""pyrnn plot: pictures of training runs, of what they do, and of gradients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, cast

import typer

import pyrnn
from pyrnn.cli.devices import Threads, use_threads
from pyrnn.cli.help import HelpCommand, HelpGroup, argument, option
from pyrnn.cli.terminal import write
from pyrnn.tasks.language_model import bytes_per_token

if TYPE_CHECKING:
    from pyrnn.metrics import Metrics
    from pyrnn.tasks.translation import TranslationRun

app = typer.Typer(cls=HelpGroup, help="Draw pictures (needs matplotlib).", no_args_is_help=True)

Target = Annotated[Path, option("Picture to write: .png, .svg or .pdf.", "--to", metavar="PATH")]


@app.command(cls=HelpCommand)
def curves(
    runs: Annotated[list[Path], argument("Folders of training runs.", "RUN")],
    to: Target = Path("curves.png"),
) -> None:
    """Draw training and validation loss against steps.

    Runs whose tokens differ (characters, words, subwords) are shown in bits per byte, too, to compare them.

    \b
      pyrnn plot curves runs/lstm runs/gru --to curves.png
    """
    rows, lengths = {}, {}
    for run, label in zip(runs, pyrnn.train.labels(runs), strict=True):
        if not (run / "metrics.jsonl").exists():
            raise FileNotFoundError(f"{run} holds no training run: metrics.jsonl is missing")
        rows[label] = pyrnn.train.read_run_metrics(run)
        if (length := bytes_per_token(run)) is not None:
            lengths[label] = length
    pyrnn.plot.plot_curves(rows, to, bytes_per_token=lengths)
    write(f"{to}\n")


@app.command(cls=HelpCommand)
def attention(
    run: Annotated[Path, argument("Folder of a trained translator with attention.", "RUN")],
    source: Annotated[str, option("The sentence to translate.", metavar="TEXT")],
    target: Annotated[
        Optional[str],
        option("Show how this translation is read instead of what the model writes.", metavar="TEXT"),
    ] = None,
    threads: Threads = None,
    to: Target = Path("attention.png"),
) -> None:
    """Show where a translator looks in a sentence while it writes each token of its translation.

    \b
      pyrnn plot attention runs/en-es --source 'so be it' --to attention.png
    """
    use_threads(threads)
    loaded = cast("TranslationRun", pyrnn.tasks.load_run(run, verb="translate"))
    found = pyrnn.tasks.attention_of(loaded, source, target)
    assert found.attention is not None
    pyrnn.plot.plot_attention(found.attention, to, queries=found.target, keys=found.source)
    write(f"{found.text}\n{to}\n")


@app.command(cls=HelpCommand)
def reading(
    run: Annotated[Path, argument("Folder of a trained reader.", "RUN")],
    text: Annotated[
        Path, option("A file of a story and its questions; the last question is drawn.", metavar="TEXT")
    ],
    threads: Threads = None,
    to: Target = Path("reading.png"),
) -> None:
    """Show which sentences of a story a reader looks at, hop by hop, to answer the last question of a file.

    \b
      pyrnn plot reading runs/stories --text story.txt --to reading.png
    """
    use_threads(threads)
    loaded = pyrnn.tasks.load_run(run, verb="answer")
    asked = pyrnn.text.read_stories(text)[-1]
    (found,) = pyrnn.tasks.answer_questions(loaded, [asked])
    if found.weights is None:
        raise ValueError(f"{run} reads story and question as one text, and looks at no sentence of it")
    if not found.sentences:
        raise ValueError(f"{text}: no sentence of the story was read")
    title = f"{asked.question} {found.answers[0].label}"
    pyrnn.plot.plot_reading(found.weights, found.sentences, to, title=title)
    write(f"{title}\n{to}\n")


Judged = Annotated[Path, argument("Folder of a trained classifier.", "RUN")]
Texts = Annotated[
    list[str],
    option(
        "A file or folder of labelled examples of the kind that it was trained on; may be given several "
        "times, and then they are joined.",
        metavar="TEXT",
    ),
]


@app.command(cls=HelpCommand)
def confusion(run: Judged, text: Texts, threads: Threads = None, to: Target = Path("confusion.png")) -> None:
    """Show which classes a classifier takes for which.

    \b
      pyrnn plot confusion runs/reviews --text test.tsv --to confusion.png
    """
    use_threads(threads)
    judged = pyrnn.tasks.judge(pyrnn.tasks.load_run(run, verb="classify"), text)
    pyrnn.plot.plot_confusion(judged.confusion.matrix, judged.labels, to)
    write(f"{_scores(judged.confusion)}\n{to}\n")


@app.command(cls=HelpCommand)
def calibration(
    run: Judged, text: Texts, threads: Threads = None, to: Target = Path("calibration.png")
) -> None:
    """Show whether of the examples that a classifier gives a probability so many are right.

    \b
      pyrnn plot calibration runs/reviews --text test.tsv --to calibration.png
    """
    use_threads(threads)
    judged = pyrnn.tasks.judge(pyrnn.tasks.load_run(run, verb="classify"), text)
    pyrnn.plot.plot_calibration(judged.calibration.bins(), to)
    write(f"{_scores(judged.calibration)}\n{to}\n")


@app.command(cls=HelpCommand)
def gradients(
    runs: Annotated[
        list[Path],
        argument("Folders of training runs; without any, fresh RNN, GRU and LSTM.", "RUN"),
    ] = [],  # noqa: B006
    lags: Annotated[int, option("Steps back from the loss, at least 2.", metavar="N", min=2)] = 100,
    text: Annotated[
        list[str],
        option(
            'A file, a folder, or "shakespeare"; may be given several times, and then they are joined. The '
            "end of each run's own text unless given.",
            metavar="TEXT",
        ),
    ] = [],  # noqa: B006
    threads: Threads = None,
    to: Target = Path("gradients.png"),
) -> None:
    """Show how gradients vanish or explode: their norm against the time lag, as a picture and as numbers.

    Of a transformer it is the norm for what its layers take in at each position.

    \b
      pyrnn plot gradients --to gradients.png
      pyrnn plot gradients runs/rnn runs/lstm --lags 200
    """
    from pyrnn.diagnostics.runs import gradient_flows
    from pyrnn.plot import plot_gradients

    use_threads(threads)
    flows = gradient_flows(runs, text or None, lags=lags)
    for name, flow in flows.items():
        write(f"{name}: {flow.verdict}, x{flow.rate:.4f} a step\n")
    plot_gradients(flows, to)
    write(f"{to}\n")


def _scores(metrics: Metrics) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.compute().items() if name != "examples")
