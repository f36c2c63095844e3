"""Invent names of a nationality, one to many: a language model whose first token is the nationality.

python examples/write_names.py names.tsv
OMP_NUM_THREADS=1 python examples/generate_names.py names.tsv

These commands printed, after 10 s on one thread, "perplexity of a character 7.05", and among others:
Finnish: Lehola, Lijkkonen, Kimano, Toiskonen, Alonen, Härvinen, Palinen, Holinen, Samäli, Hastinen
Italian: Vellunci, Nenterierlo, Dome, Bonatti, Sirani, Gila, Truri, Tresti, Graballi, Samelli
"""

from __future__ import annotations

import argparse
import math
from typing import Literal

import torch
from torch import Tensor

from pyrnn.data import PaddedBatches
from pyrnn.losses import IGNORE, sequence_cross_entropy
from pyrnn.models import LanguageModel, LanguageModelConfig
from pyrnn.search import FINISHED, SamplingConfig, generate
from pyrnn.text import Tokenizer, read_pairs, train_tokenizer


def loss_of(
    model: LanguageModel, batch: dict[str, Tensor], reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Cross-entropy of characters and ends, in nats."""
    logits, _ = model(batch["input"], lengths=batch["lengths"])
    return sequence_cross_entropy(logits, batch["output"], reduction=reduction)


def batches_of(names: list[Tensor], first: list[int], end: int, *, seed: int | None) -> PaddedBatches:
    """What the model reads, the nationality first, and what it is to write, the end last."""
    fields = {
        "input": [torch.cat([torch.tensor([id]), name]) for id, name in zip(first, names, strict=True)],
        "output": [torch.cat([name, torch.tensor([end])]) for name in names],
    }
    return PaddedBatches(fields, batch_size=32, seed=seed, fill={"output": IGNORE})


def invent(model: LanguageModel, tokenizer: Tokenizer, nation: int, never: list[int]) -> list[str]:
    """Ten names that the model draws behind the token of a nationality."""
    assert tokenizer.eos_id is not None
    config = SamplingConfig(temperature=0.7, max_tokens=30, stop_at_eos=True)
    prompts = [torch.tensor([nation])] * 10
    drawn = generate(model, prompts, config, suppress_ids=never, eos_id=tokenizer.eos_id)
    ends = (FINISHED, tokenizer.eos_id)
    return [
        tokenizer.decode(id for id in row if id not in ends) for row in torch.stack(list(drawn)).T.tolist()
    ]


def main(file: str, *, epochs: int = 12, hidden_size: int = 128) -> tuple[float, dict[str, list[str]]]:
    """Train, and return the perplexity of a character of every tenth name, and ten names a nationality."""
    torch.manual_seed(0)
    pairs = list(read_pairs(file))
    nations = sorted({nation for _, nation in pairs})
    tokenizer = train_tokenizer(lambda: (f"{name}\n" for name, _ in pairs), level="character")
    assert tokenizer.eos_id is not None
    V = len(tokenizer)  # nationalities are tokens behind the characters
    names, first = zip(*((tokenizer.encode(a), V + nations.index(b)) for a, b in pairs), strict=True)
    parts = [[n for n in range(len(pairs)) if (n % 10 == 0) == held_out] for held_out in (False, True)]
    training, held_out = (
        batches_of([names[n] for n in part], [first[n] for n in part], tokenizer.eos_id, seed=seed)
        for part, seed in zip(parts, (0, None), strict=True)
    )
    size = LanguageModelConfig(V + len(nations), architecture="gru", hidden_size=hidden_size, num_layers=1)
    model = LanguageModel(size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for step in range(epochs * len(training)):
        optimizer.zero_grad()
        loss_of(model, training[step]).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        total = sum(loss_of(model, batch, "sum").item() for batch in held_out)
    characters = sum(len(names[n]) + 1 for n in parts[1])
    never = [*range(V, V + len(nations)), *([] if tokenizer.unk_id is None else [tokenizer.unk_id])]
    drawn = {name: invent(model, tokenizer, V + n, never) for n, name in enumerate(nations)}
    return math.exp(total / characters), drawn


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file", help="of lines name TAB nationality")
    perplexity, drawn = main(parser.parse_args().file)
    print(f"perplexity of a character {perplexity:.2f}")
    for nation, names in drawn.items():
        print(f"{nation}: {', '.join(names)}")
