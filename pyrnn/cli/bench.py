"""pyrnn bench: the package against torch on this machine."""

from __future__ import annotations

import typer

from pyrnn.cli.help import HelpCommand, HelpGroup

app = typer.Typer(cls=HelpGroup, help="Measure against torch.nn on this machine.", no_args_is_help=True)

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command("recurrent", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def recurrent(context: typer.Context) -> None:
    """Time RNN, GRU and LSTM; --help lists the options."""
    from pyrnn.bench import recurrent as case

    case.main(context.args)


@app.command("attention", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def attention(context: typer.Context) -> None:
    """Time scaled-dot-product attention; --help lists the options."""
    from pyrnn.bench import attention as case

    case.main(context.args)


@app.command("decoder", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def decoder(context: typer.Context) -> None:
    """Time the decoder with attention against a loop; --help lists the options."""
    from pyrnn.bench import decoder as case

    case.main(context.args)


@app.command("crf", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def crf(context: typer.Context) -> None:
    """Time a conditional random field against loops; --help lists the options."""
    from pyrnn.bench import crf as case

    case.main(context.args)


@app.command("transformer", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def transformer(context: typer.Context) -> None:
    """Time the attention and Transformer layers; --help lists the options."""
    from pyrnn.bench import transformer as case

    case.main(context.args)


@app.command("linear", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def linear(context: typer.Context) -> None:
    """Time linear layers; --help lists the options."""
    from pyrnn.bench import linear as case

    case.main(context.args)


@app.command("overhead", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def overhead(context: typer.Context) -> None:
    """Time steps, tokens and short sequences; --help lists the options."""
    from pyrnn.bench import overhead as case

    case.main(context.args)


@app.command("generation", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def generation(context: typer.Context) -> None:
    """Time models that write token after token; --help lists the options."""
    from pyrnn.bench import generation as case

    case.main(context.args)


@app.command("seq2seq", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def seq2seq(context: typer.Context) -> None:
    """Time greedy and beam search of translators; --help lists the options."""
    from pyrnn.bench import seq2seq as case

    case.main(context.args)


@app.command("word-vectors", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def word_vectors(context: typer.Context) -> None:
    """Train word vectors on both; --help lists the options."""
    from pyrnn.bench import word_vectors as case

    case.main(context.args)


@app.command("language-model", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def language_model(context: typer.Context) -> None:
    """Train the same model on both; --help lists the options."""
    from pyrnn.bench import language_model as case

    case.main(context.args)


@app.command("loss", cls=HelpCommand, context_settings=_PASS_ON, add_help_option=False)
def loss(context: typer.Context) -> None:
    """Time the loss of a large vocabulary; --help lists the options."""
    from pyrnn.bench import loss as case

    case.main(context.args)
