"""One language model on this package's layers and on torch.nn's: speed, memory, loss of a whole training.

Both start from the same weights and read the same windows of the Shakespeare text. Speed is measured in
alternation, memory in a process of its own for each, and with --train the whole recipe runs on one after the
other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._files import to_json
from pyrnn.bench import record
from pyrnn.bench.arguments import whole
from pyrnn.bench.quiet import Watch
from pyrnn.bench.speed import BACKENDS, compare_layers, compare_training
from pyrnn.corpora import shakespeare
from pyrnn.data import split_validation
from pyrnn.models import LanguageModel
from pyrnn.models.backbones import Backend
from pyrnn.tasks import make_job
from pyrnn.tasks.language_model import training_batches, validation_batches
from pyrnn.text import train_tokenizer
from pyrnn.train import GradientTrainer, Job, fit

CELLS = ("lstm", "gru", "rnn")
ARCHITECTURES = (*CELLS, "transformer")

#: Sizes that give the word models the same number of parameters; the best rate of those tried for each cell.
WORD_CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"hidden_size": 522, "learning_rate": 0.002},
    "gru": {"hidden_size": 305, "learning_rate": 0.01},
    "lstm": {"hidden_size": 256, "learning_rate": 0.016},
}

_WORD: dict[str, Any] = {
    "level": "word",
    "max_vocabulary": 10_000,
    "embedding_size": 128,
    "tied": True,
    "dropout": 0.5,
    "input_dropout": 0.3,
    "batch_size": 16,
    "bptt_steps": 64,
    "epochs": 7,
}

#: The settings of each task beside the defaults.
TASKS: dict[str, dict[str, Any]] = {
    "character": {},
    "character-large": {
        "hidden_size": 512,
        "dropout": 0.5,
        "input_dropout": 0.1,
        "learning_rate": 0.005,
        "epochs": 12,
    },
    "word": _WORD,
    "word-large": {**_WORD, "embedding_size": 256, "hidden_size": 512, "tied": False, "epochs": 1},
    "word-without-dropout": {**_WORD, "dropout": 0.0, "input_dropout": 0.0},
}

MEMORY_STEPS = 10
#: Of the task "word-large": the text has fewer words, and the softmax costs what that of so many does.
LARGE_VOCABULARY = 32_000


def job_of(task: str, cell: str, seed: int) -> tuple[Job, Tensor]:
    """The job, and the whole text as ids [N]."""
    settings = {**TASKS[task], "architecture": cell, "seed": seed}
    if cell == "transformer" and task != "character":
        raise SystemExit("a transformer is compared on the task 'character' alone")
    if task.startswith("word") and task != "word-large":
        settings |= WORD_CELLS[cell]
    job = make_job("language-model", settings)
    text = shakespeare()
    tokenizer = train_tokenizer(lambda: [text], level=job.data.level, max_size=job.data.max_vocabulary)
    size = len(tokenizer) if task != "word-large" else LARGE_VOCABULARY
    return job.sized({"vocabulary_size": size}), tokenizer.encode(text)


def measure_speed(job: Job, ids: Tensor, rounds: int) -> dict[str, Any]:
    """Tokens a second of the layers alone and of whole training steps."""
    train_ids, _ = split_validation(ids)
    torch.manual_seed(job.train.seed)
    watch = Watch()
    rows = [compare_training(job, train_ids, rounds=rounds)]
    if job.model.architecture != "transformer":
        sizes = {"steps": job.data.bptt_steps, "batch": job.train.batch_size}
        rows.insert(0, compare_layers(job.model, **sizes, rounds=rounds))
    return {
        "rounds": rounds,
        "speed": {row.work: {k: round(v) for k, v in row.tokens_per_second.items()} for row in rows},
        "ratio": {row.work: round(row.ratio, 3) for row in rows},
        "background_load": watch.background_load(),
        "includes": "layers: forward and backward of the recurrent layers on random input; step: a whole "
        "optimizer step with embedding, softmax, loss, clipping and AdamW; torch's side is torch.nn, its "
        "cross_entropy, clip_grad_norm_ and AdamW(fused=True)",
    }


def measure_memory(task: str, cell: str, backend: Backend, threads: int) -> float:
    """MiB at the peak of training steps beyond a fresh process with text, model and optimizer (Linux)."""
    options = ["--task", task, "--cell", cell, "--threads", str(threads), "--memory-of", backend]
    done = subprocess.run(
        [sys.executable, "-m", "pyrnn.bench.language_model", *options],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


def _memory_here(task: str, cell: str, backend: Backend) -> float:
    job, ids = job_of(task, cell, seed=1)
    model = LanguageModel(job.model, backend=backend)
    trainer = GradientTrainer(job.task, model, training_batches(ids, job), job.train)
    before = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    for _ in range(MEMORY_STEPS):
        trainer.step()
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    """MiB of this process's memory, now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def train(job: Job, ids: Tensor, backend: Backend) -> dict[str, float | None]:
    """The whole recipe: lowest validation loss, its epoch, seconds of training, and how busy others were."""
    train_ids, validation_ids = split_validation(ids, job.data.validation_fraction)
    torch.manual_seed(job.train.seed)
    model = LanguageModel(job.model, backend=backend)
    started, watch = time.perf_counter(), Watch()
    batches, validation = training_batches(train_ids, job), validation_batches(validation_ids, job)
    history = fit(job.task, model, batches, validation, job.train)
    best = min(history, key=lambda metrics: metrics.score)
    return {
        "validation_loss": best.score,
        "epoch": best.epoch,
        "epochs": len(history),
        "seconds": sum(metrics.seconds for metrics in history),
        "seconds_with_validation": time.perf_counter() - started,
        "background_load": watch.background_load(),
    }


def measure(task: str, cell: str, options: argparse.Namespace) -> record.Row:
    """One row of the benchmark."""
    job, ids = job_of(task, cell, options.seed)
    row: record.Row = {
        "benchmark": "language_model",
        "task": task,
        "cell": cell,
        "seed": options.seed,
        "parameters": sum(p.numel() for p in LanguageModel(job.model).parameters()),
        **measure_speed(job, ids, options.rounds),
        "memory_mib": {
            backend: round(measure_memory(task, cell, backend, options.threads), 1)
            for backend in (BACKENDS if cell != "transformer" else BACKENDS[:1])
        },
        "job": job.tables(),
    }
    if options.train:
        row["training"] = {backend: train(job, ids, backend) for backend in options.train}
    return row


def main(argv: list[str] | None = None) -> None:
    """Measure and print one JSON object a row; record them unless told otherwise."""
    parser = argparse.ArgumentParser(prog="bench language-model", description=__doc__)
    parser.add_argument("--task", nargs="+", choices=tuple(TASKS), default=["character", "word"])
    parser.add_argument("--cell", nargs="+", choices=ARCHITECTURES, default=[*CELLS])
    parser.add_argument("--rounds", type=whole(1), default=50, help="steps of each side (default 50)")
    parser.add_argument(
        "--train", nargs="*", choices=BACKENDS, default=[], help="train the whole recipe on these too"
    )
    parser.add_argument("--seed", type=whole(0), default=1)
    threads = whole(1, _native.MOST_THREADS)
    parser.add_argument("--threads", type=threads, default=_native.num_threads(), help="for both sides")
    parser.add_argument("--no-record", action="store_true", help="print only; leave bench/results alone")
    parser.add_argument("--memory-of", choices=BACKENDS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(_memory_here(options.task[0], options.cell[0], options.memory_of))
        return
    environment = record.environment()
    for task in options.task:
        for cell in options.cell:
            row = {**measure(task, cell, options), **environment}
            print(to_json(row), flush=True)
            if record.IN_CHECKOUT and not options.no_record:
                record.append(record.results_file("language_model", environment), row)


if __name__ == "__main__":
    main()
