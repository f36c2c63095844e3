"""Write a chorale of four voices: a language model of events, which is only offered those that are legal.

pip install music21==10.5.1 matplotlib
OMP_NUM_THREADS=1 python examples/write_chorale.py runs/chorale

The chorales of J. S. Bach are read from music21's corpus (the music is in the public domain, music21 under
the BSD licence); chorale.mid, chorale.txt and chorale.png are written into the folder. A chorale is a grid of
sixteenths, in each of them for soprano, alto, tenor and bass a pitch that begins there, "__" where the one
before is held, or "r" for a rest, and "|" before each quarter.
Sources: Hadjeres et al., "DeepBach: a steerable model for Bach chorales generation", 2017, whose hold symbol
it is; voice after voice: Liang, "BachBot: automatic composition in the style of Bach chorales", 2016.

It prints the loss of held-out chorales (which also choose the best epoch), beside those of unigrams and
bigrams, and how many parallel fifths and octaves the drawn one has, beside held-out ones. What is drawn is no
Bach: legal voices in a key, with many parallels.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import math
import random
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyrnn.models import LanguageModel, StepOutput
from pyrnn.search import SamplingConfig, generate
from pyrnn.tasks import make_job
from pyrnn.text import Tokenizer
from pyrnn.train import train

HOLD, REST, BEAT = "__", "r", "|"
STEPS = 4  # of a quarter
RANGES = ((57, 81), (50, 76), (45, 72), (33, 65))  # MIDI pitches of soprano, alto, tenor, bass
PERIOD = 1 + 4 * STEPS  # tokens of a quarter
Grid = list[tuple[str, ...]]  # of each sixteenth the four voices'


def read_corpus() -> Iterator[Grid]:
    """The chorales of music21 that have four voices within their ranges, on the grid."""
    try:
        corpus = importlib.import_module("music21.corpus")
    except ImportError as error:
        raise SystemExit(f"chorales are read by music21 (pip install music21): {error}") from None
    for path in corpus.getComposer("bach"):
        parts = list(corpus.parse(path).parts) if path.suffix == ".mxl" else []
        if len(parts) == 4:
            voices = [part.flatten().notesAndRests.stream() for part in parts]
            length = max(float(voice.highestTime) for voice in voices)
            notes = [
                [(float(n.offset), float(n.quarterLength), n.pitch.midi if n.isNote else None) for n in voice]
                for voice in voices
                if not any(n.isChord for n in voice)
            ]
            grid = to_grid(notes, length) if len(notes) == 4 else None
            if grid is not None:
                yield grid


def to_grid(voices: Sequence[Sequence[tuple[float, float, int | None]]], length: float) -> Grid | None:
    """Notes (begin, quarters, pitch) of each voice on the grid; None where they do not fit it."""
    steps = math.ceil(length) * STEPS  # whole quarters
    columns: list[list[str]] = []
    for (low, high), voice in zip(RANGES, voices, strict=True):
        column = [REST] * steps
        for begin, quarters, pitch in voice:
            first, last = begin * STEPS, (begin + quarters) * STEPS
            if first % 1 or last % 1 or (pitch is not None and not low <= pitch <= high):
                return None
            if pitch is not None and last > first:
                column[int(first) : int(last)] = [str(pitch)] + [HOLD] * (int(last - first) - 1)
        columns.append(column)
    return list(zip(*columns, strict=True))


def to_text(grid: Grid) -> str:
    """A line of tokens."""
    return " ".join(
        token for n, step in enumerate(grid) for token in ([BEAT] if n % STEPS == 0 else []) + list(step)
    )


def to_events(text: str) -> Grid:
    """The grid of a line; the last whole sixteenth ends it."""
    tokens = [token for token in text.split() if token != BEAT]
    return [tuple(tokens[n : n + 4]) for n in range(0, len(tokens) - 3, 4)]


def transposed(grid: Grid) -> Iterator[Grid]:
    """The grid in every key, at most a tritone away, in which each voice keeps its range."""
    pitches = [[int(p) for p in column if p.isdigit()] for column in zip(*grid, strict=True)]
    for by in range(-5, 7):
        if all(
            not own or (low <= min(own) + by and max(own) + by <= high)
            for (low, high), own in zip(RANGES, pitches, strict=True)
        ):
            yield [tuple(str(int(p) + by) if p.isdigit() else p for p in step) for step in grid]


class Legal(nn.Module):
    """A model whose logits are -inf for what may not come at a place: another voice's turn, a pitch out
    of its range or above the voice over it, a hold of nothing, an end inside a quarter.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model, self.eos_id = model, tokenizer.eos_id
        self.names = [tokenizer.decode([id]) for id in range(len(tokenizer))]
        self.vocabulary_size = len(tokenizer)

    def start(self, source: None = None) -> Any:
        """The state before the first token."""
        return self.model.start(), 0, (None,) * 4

    def step(
        self, tokens: Tensor, state: Any, *, lengths: Tensor | None = None, need_weights: bool = False
    ) -> StepOutput:
        """Read a token of one chorale."""
        inner, written, held = state
        output = self.model.step(tokens, inner)
        for name in (self.names[id] for id in tokens.flatten().tolist() if id != self.eos_id):
            if name != BEAT:
                voice = (written % PERIOD - 1) % 4
                pitch = held[voice] if name == HOLD else int(name) if name.isdigit() else None
                held = (*held[:voice], pitch, *held[voice + 1 :])
            written += 1
        legal = [self.may_follow(written, held, id) for id in range(self.vocabulary_size)]
        logits = output.logits.masked_fill(~torch.tensor(legal, device=output.logits.device), -math.inf)
        return StepOutput(logits, (output.state, written, held))

    def may_follow(self, written: int, held: Sequence[int | None], id: int) -> bool:
        """Whether a token may come behind so many of a chorale, whose voices are at pitches `held`."""
        place, name = written % PERIOD, self.names[id]
        if place == 0:
            return name == BEAT or (id == self.eos_id and written > 0)
        voice = (place - 1) % 4
        pitch = held[voice] if name == HOLD else int(name) if name.isdigit() else None
        above = held[voice - 1] if voice else None
        low, high = RANGES[voice]
        return name == REST or (
            pitch is not None and low <= pitch <= (high if above is None else min(high, above))
        )


def sounding_pitches(grid: Grid) -> list[int | None]:
    """The pitch of each voice in the last sixteenth; None where it rests."""
    found: list[int | None] = [None] * 4
    for voice in range(4):
        for step in reversed(grid):
            if step[voice] != HOLD:
                found[voice] = int(step[voice]) if step[voice].isdigit() else None
                break
    return found


def notes_of(grid: Grid) -> Iterator[tuple[int, int, int, int]]:
    """(voice, first sixteenth, sixteenths, pitch) of every note."""
    for voice in range(4):
        column = [step[voice] for step in grid]
        for begin, token in enumerate(column):
            if token.isdigit():
                end = begin + 1
                while end < len(column) and column[end] == HOLD:
                    end += 1
                yield voice, begin, end - begin, int(token)


def parallels(grid: Grid) -> float:
    """Fifths and octaves (and their compounds) that two voices move to in parallel, in a hundred quarters."""
    rows = [sounding_pitches(grid[: n + 1]) for n in range(0, len(grid), STEPS)]
    count = 0
    for before, after in itertools.pairwise(rows):
        for high in range(4):
            for low in range(high + 1, 4):
                a, b, c, d = before[high], before[low], after[high], after[low]
                if a is not None and b is not None and c is not None and d is not None:
                    same = (a - b) % 12 == (c - d) % 12 and (a - b) % 12 in (0, 7)
                    count += same and a != c and (c - a) * (d - b) > 0
    return 100 * count / max(1, len(rows))


def write_midi(grid: Grid, path: Path, *, quarters_a_minute: int = 72) -> None:
    """A standard MIDI file of format 1: tempo, then a track for each voice."""
    tracks = [b"\x00\xff\x51\x03" + struct.pack(">I", 60_000_000 // quarters_a_minute)[1:]]
    for voice in range(4):
        events = [
            event
            for own, begin, length, pitch in notes_of(grid)
            if own == voice
            for event in ((begin, 0x90, pitch), (begin + length, 0x80, pitch))
        ]
        data, now = b"", 0
        for time, kind, pitch in sorted(events):  # what ends comes before what begins
            data += variable_length(time - now) + bytes((kind | voice, pitch, 64))
            now = time
        tracks.append(data)
    chunks = [b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), STEPS)]
    for data in tracks:
        data += b"\x00\xff\x2f\x00"
        chunks.append(b"MTrk" + struct.pack(">I", len(data)) + data)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(b"".join(chunks))
    partial.replace(path)


def variable_length(number: int) -> bytes:
    """Seven bits a byte, all but the last marked."""
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F | 0x80)
    return bytes(reversed(parts))


def draw_roll(grid: Grid, path: Path) -> None:
    """A piano roll: time from left to right, pitch from low to high, a colour for each voice."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4))
    axis = figure.subplots()
    for voice, begin, length, pitch in notes_of(grid):
        axis.barh(pitch, length / STEPS, left=begin / STEPS, height=0.8, color=f"C{voice}", edgecolor="white")
    axis.set_xlabel("quarters")
    axis.set_ylabel("MIDI pitch")
    figure.savefig(path, dpi=110, bbox_inches="tight")


def bigram_loss(training: Sequence[str], held_out: Sequence[str]) -> tuple[float, float]:
    """Nats per token of unigrams and of bigrams, of which each has one count more than it was seen."""
    lines = [[["\n", *line.split(), "\n"] for line in part] for part in (training, held_out)]
    single = Counter(token for line in lines[0] for token in line[1:])
    pairs = Counter(pair for line in lines[0] for pair in itertools.pairwise(line))
    firsts = Counter(token for line in lines[0] for token in line[:-1])
    size, tokens = len(single) + 1, sum(len(line) - 1 for line in lines[1])
    total, unigram, bigram = single.total(), 0.0, 0.0
    for line in lines[1]:
        for a, b in itertools.pairwise(line):
            unigram -= math.log((single[b] + 1) / (total + size))
            bigram -= math.log((pairs[a, b] + 1) / (firsts[a] + size))
    return unigram / tokens, bigram / tokens


def draw(run: Any) -> Grid:
    """A chorale of 16 to 48 quarters."""
    legal = Legal(run.model, run.tokenizer).eval()
    prompt = [torch.tensor([run.tokenizer.eos_id])]
    never = [] if run.tokenizer.unk_id is None else [run.tokenizer.unk_id]
    config = SamplingConfig(temperature=0.8, min_tokens=16 * PERIOD, max_tokens=48 * PERIOD, stop_at_eos=True)
    drawn = generate(
        legal,
        prompt,
        config,
        suppress_ids=never,
        eos_id=run.tokenizer.eos_id,
        generator=torch.Generator().manual_seed(0),
    )
    ids = [id for id in torch.cat(list(drawn)).tolist() if id != run.tokenizer.eos_id]
    return to_events(" ".join(legal.names[id] for id in ids))


def main(grids: Sequence[Grid], folder: Path, *, keys: bool = True, **settings: Any) -> dict[str, float]:
    """Train on nine of ten chorales in every key and write one; nats per token and rates of parallels."""
    shuffled = random.Random(0).sample(list(grids), len(grids))
    held_out, rest = shuffled[: len(grids) // 10], shuffled[len(grids) // 10 :]
    moved = [to_text(key) for grid in rest for key in (transposed(grid) if keys else [grid])]
    random.Random(1).shuffle(moved)
    validation = [to_text(grid) for grid in held_out]
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train.txt", moved), ("held-out.txt", validation)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {"text": str(folder / "train.txt"), "validation_text": str(folder / "held-out.txt")}
    job = make_job("language-model", {**data, "level": "word", "bptt_steps": 8 * PERIOD, **settings})
    run: Any = train(job, folder / "run")
    grid = draw(run)
    write_midi(grid, folder / "chorale.mid")
    (folder / "chorale.txt").write_text(to_text(grid) + "\n", encoding="utf-8")
    unigram, bigram = bigram_loss(moved, validation)
    return {
        "model": run.best.score,
        "unigram": unigram,
        "bigram": bigram,
        "quarters": len(grid) / STEPS,
        "parallels": parallels(grid),
        "parallels of Bach": sum(map(parallels, held_out)) / len(held_out),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="to write into")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    grids = list(read_corpus())
    print(f"{len(grids)} chorales")
    for name, value in main(grids, options.folder, epochs=options.epochs, num_layers=1).items():
        print(f"{name} {value:.3f}")
    draw_roll(to_events((options.folder / "chorale.txt").read_text()), options.folder / "chorale.png")
