"""Say what a picture shows, as "a red circle above a blue square": convolutions, then attention.

OMP_NUM_THREADS=1 python examples/caption_pictures.py

The script draws the pictures, and keeps every fifth combination of things for the test: of these it captioned
0.9828 right, word for word, after 18 s on one thread.
"""

from __future__ import annotations

import itertools
import random

import torch
from torch import Tensor, nn

from pyrnn.losses import sequence_cross_entropy
from pyrnn.models import Seq2Seq, Seq2SeqConfig, Source
from pyrnn.search import SearchConfig, beam_search

SIZE = 24  # pixels of a side
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
SHAPES = ("circle", "square", "triangle")
WORDS = ("<eos>", "a", *COLOURS, *SHAPES, "above", "before")
Scene = tuple[str, str, str, str, str]  # colour and shape, "above" or "before", colour and shape


def caption(scene: Scene) -> Tensor:
    """[8] ids, the end last."""
    return torch.tensor([WORDS.index(word) for word in ("a", *scene[:3], "a", *scene[3:], "<eos>")])


def draw(scene: Scene) -> Tensor:
    """A picture [3, SIZE, SIZE], the things below or behind one another at places of chance."""
    picture, line = torch.zeros(3, SIZE, SIZE), random.randint(6, 17)
    along, across = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    for colour, shape, begin in ((*scene[:2], 5), (*scene[3:], 16)):
        y, x = along - begin - random.randint(0, 2), across - line - random.randint(-1, 1)
        if scene[2] == "before":
            y, x = x.T, y.T
        inside = {
            "circle": y**2 + x**2 <= 16,
            "square": torch.maximum(y.abs(), x.abs()) <= 3,
            "triangle": (y.abs() <= 4) & (2 * x.abs() <= y + 4),
        }[shape]
        picture[:, inside] = torch.tensor(COLOURS[colour]).float()[:, None]
    return picture


class Captioner(nn.Module):
    """A convolution net, whose vectors at S places of a picture are the source of a `Seq2Seq`."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        layers = [(nn.Conv2d(n, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ReLU()) for n in (3, 32)]
        self.pictures = nn.Sequential(*itertools.chain(*layers))
        size = Seq2SeqConfig(len(WORDS), "gru", hidden_size=hidden_size, num_layers=1, vector_input=32)
        self.captions = Seq2Seq(size)

    def source(self, scenes: list[Scene]) -> Source:
        """Vectors [S, B, F] of new pictures, row by row."""
        vectors = self.pictures(torch.stack([draw(scene) for scene in scenes])).flatten(2).permute(2, 0, 1)
        return Source(vectors, torch.full((len(scenes),), len(vectors)))


def main(*, steps: int = 800, hidden_size: int = 128, colours: int = 4) -> float:
    """Train, and return how many captions of new combinations are right."""
    torch.manual_seed(0)
    random.seed(0)
    things = list(itertools.product(list(COLOURS)[:colours], SHAPES))
    scenes: list[Scene] = [
        (*a, relation, *b) for a in things for relation in ("above", "before") for b in things
    ]
    random.shuffle(scenes)
    held_out, training = scenes[::5], [scene for number, scene in enumerate(scenes) if number % 5]
    model = Captioner(hidden_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(steps):
        chosen = random.choices(training, k=32)
        target = torch.stack([caption(scene) for scene in chosen], 1)  # [T, B]
        logits = model.captions(*model.source(chosen), torch.cat([target[-1:], target[:-1]]))
        optimizer.zero_grad()
        sequence_cross_entropy(logits, target).backward()
        optimizer.step()
    with torch.no_grad():
        state = model.eval().captions.start(model.source(held_out))
    begin, config = [torch.tensor([0])] * len(held_out), SearchConfig(max_tokens=10)
    found = beam_search(model.captions, begin, config, eos_id=0, state=state)
    right = [list(best.tokens) == caption(s).tolist() for s, (best,) in zip(held_out, found, strict=True)]
    return sum(right) / len(right)


if __name__ == "__main__":
    print(f"right, of combinations that were not trained on: {main():.4f}")
