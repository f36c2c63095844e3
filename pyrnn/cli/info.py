"""pyrnn info: what is installed here, and what a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import pyrnn
from pyrnn._words import counted
from pyrnn.cli.help import argument
from pyrnn.cli.terminal import Raw, write
from pyrnn.models.configs import ClassifierConfig, LanguageModelConfig, TokenModelConfig
from pyrnn.models.word_configs import WordVectorConfig


def info(
    run: Annotated[
        Optional[Path],
        argument("Folder of a training run.", "RUN"),
    ] = None,
    raw: Raw = False,
) -> None:
    """Describe this installation, or a training run.

    \b
      pyrnn info
      pyrnn info runs/book
    """
    _print(_of_installation() if run is None else _of_run(run), raw=raw)


def _of_installation() -> dict[str, str]:
    from pyrnn import _native
    from pyrnn.machine import describe_machine

    why = _native.why_no_cuda()
    return {
        "pyrnn": pyrnn.__version__,
        "machine": describe_machine(),
        "kernels": f"{_native.isa()} in use, this processor runs {', '.join(_native.isas())}",
        "threads": str(_native.num_threads()),
        "CUDA": f"no kernels: {why}" if why else f"kernels for {_native.cuda.architectures}",
    }


def _of_run(folder: Path) -> dict[str, str]:
    from pyrnn.train.checkpoint import read_counters
    from pyrnn.train.run_folder import CHECKPOINT

    run = pyrnn.tasks.load_run(folder)
    job, epochs = run.job, run.epochs
    parameters = sum(p.numel() for p in run.model.parameters())
    kind = {job.task.kind_setting: getattr(job.model, job.task.kind_setting)}
    standard = pyrnn.tasks.make_job(job.task.name, kind).tables()
    facts = {
        "task": f"{job.task.name}: {job.task.summary}",
        "architecture": _architecture(job.model),
        "parameters": f"{parameters:,}",
    }
    for table, settings in job.tables().items():
        changed = {k: v for k, v in settings.items() if v != standard[table][k]}
        facts[table] = ", ".join(f"{k} {v}" for k, v in changed.items()) or "as by default"
    facts["epochs"] = f"{len(epochs)} of {job.train.epochs}"
    most = f", of at most {job.train.max_steps:,} (max_steps)" if job.train.max_steps else ""
    facts["steps"] = f"{max((row['step'] for row in run.metrics), default=0):,}{most}"
    if (folder / CHECKPOINT).exists():
        counters = read_counters(folder / CHECKPOINT)
        facts["steps"] = f"{counters.steps:,}{most}"
        facts["trained with"] = ", ".join(
            [counted(counters.threads, "thread"), *_processes(counters.world), f"torch {counters.torch}"]
        )
    if epochs:
        best, weight = run.best, sum(epoch.weight for epoch in epochs)
        name, unit = best.objective.metric, job.task.score_unit_of(job)
        facts["best"] = f"validation {name} {best.score:.4f}{unit} in epoch {best.epoch}"
        if run.seconds:
            facts["speed"] = f"{weight / run.seconds:,.0f} {best.unit}/s"
    return facts


def _architecture(sizes: TokenModelConfig | WordVectorConfig) -> str:
    if isinstance(sizes, WordVectorConfig):
        return f"{sizes.model}, {sizes.vector_size} numbers a word, window {sizes.window}"
    if isinstance(sizes, ClassifierConfig) and sizes.architecture in ("average", "feedforward"):
        read = counted(sizes.num_features, "number")
        if sizes.architecture == "average":
            read = f"mean of the tokens' vectors of {counted(sizes.vector_size, 'number')}"
        layers = counted(sizes.num_layers, "layer")
        return f"{read}, {layers} of {counted(sizes.hidden_size, 'unit')}" if sizes.num_layers else read
    parts = [f"{sizes.num_layers}-layer {sizes.architecture.upper()}", f"{sizes.hidden_size} units"]
    if sizes.architecture == "transformer":
        parts.append(counted(sizes.num_heads, "head"))
        if isinstance(sizes, LanguageModelConfig):
            parts.append(f"context {sizes.context}")
    if isinstance(sizes, ClassifierConfig):
        parts.append(f"{sizes.pooling} pooling")
    if isinstance(sizes, LanguageModelConfig) and sizes.architecture == "feedforward":
        parts.append(f"window {sizes.window}")
    return ", ".join(parts)


def _processes(count: int) -> list[str]:
    return [counted(count, "process", "processes")] if count > 1 else []


def _print(facts: dict[str, str], *, raw: bool) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        write(f"{name:{width}}  {value}\n", raw=raw)
