"""Which layers can keep track of a state: trained on short words, asked on long ones.

A word over a group is read, and after each token its product so far is asked for. One layer and a small network that
reads it out are trained on words of 16 tokens; the accuracy is that on the last eighth of words up to eight times as
long. A state that is multiplied by numbers in [0, 1] forgets, but never turns: such layers stay at chance. Reflections,
which beta up to 2 allows, count to two; two reflections a token make a rotation, which permutes.

    python examples/state_tracking.py [--tasks parity S3] [--layers ...] [--steps 300] [--seeds 1] [--csv table.csv]

Ten to twenty seconds a task and layer on one core.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from resolvent import layers
from resolvent.gallery import state_tracking

WIDTH, HEADS, LENGTH = 64, 8, 16
FACTORS = (1, 2, 4, 8)  # of the length trained on, at which accuracy is measured
TASKS = ("parity", "mod3", "S3", "A5_generators")
COMMON = {"hidden_size": WIDTH, "num_heads": HEADS, "use_short_conv": False}
SIZED = {**COMMON, "head_dim": WIDTH // HEADS, "expand_v": 1.0}
LAYERS = {
    "Mamba-2": lambda: layers.Mamba2(num_heads=HEADS, head_dim=WIDTH // HEADS, hidden_size=WIDTH, expand=1),
    "Gated KalmaNet": lambda: layers.GatedKalmaNet(hidden_size=WIDTH, num_heads=HEADS, head_dim=WIDTH // HEADS),
    "Longhorn": lambda: layers.Longhorn(**COMMON),
    "Gated DeltaNet": lambda: layers.GatedDeltaNet(**SIZED),
    "DeltaNet": lambda: layers.DeltaNet(**COMMON),
    "DeltaNet, beta to 2": lambda: layers.DeltaNet(**COMMON, allow_neg_eigval=True),
    "KDA, beta to 2": lambda: layers.KimiDeltaAttention(**SIZED, allow_neg_eigval=True),
    "DeltaProduct of 2": lambda: layers.DeltaProduct(**SIZED, allow_neg_eigval=False),
    "DeltaProduct of 2, beta to 2": lambda: layers.DeltaProduct(**SIZED),
}


class Tracker(nn.Module):
    """Embedding, one layer, and a network that reads its output and the token; a first token of its own starts it."""

    def __init__(self, layer, task):
        super().__init__()
        self.start = len(task.alphabet)
        self.embedding = nn.Embedding(self.start + 1, WIDTH)
        self.layer = layer
        self.read = nn.Sequential(nn.Linear(2 * WIDTH, 128), nn.ReLU(), nn.Linear(128, task.order))

    def forward(self, tokens):
        x = self.embedding(nn.functional.pad(tokens, (1, 0), value=self.start))
        return self.read(torch.cat([self.layer(x)[0], x], dim=-1))[:, 1:]


def words(task, count, length, random):
    """Tokens and labels as tensors."""
    return (torch.from_numpy(x) for x in task.sample(count, length, seed=random))


def accuracy(model, task, length, random):
    """On the last eighth of 256 words never trained on."""
    tokens, labels = words(task, 256, length, random)
    with torch.no_grad():
        right = model(tokens).argmax(-1) == labels
    return float(right[:, -max(length // 8, 1) :].float().mean())


def train(name, task, steps=300, seed=0, factors=FACTORS):
    """A layer of the table on a task: accuracies at multiples of the length trained on."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Tracker(LAYERS[name](), task)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        tokens, labels = words(task, 64, LENGTH, random)
        loss = cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    return [accuracy(model, task, LENGTH * factor, random) for factor in factors]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=list(state_tracking.STATE_TRACKING))
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), choices=list(LAYERS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="a file to write the table to")
    options = parser.parse_args()
    lengths = [f"{LENGTH * factor} tokens" for factor in FACTORS]
    rows = []
    for task_name in options.tasks:
        task = state_tracking.by_name(task_name)
        title = f"{task_name}: chance {task.chance:.3f}, without order {task.commutative_ceiling:.3f}"
        print(f"\n{title:60}" + "".join(f"{length:>12}" for length in lengths) + f"{'seconds':>10}")
        for name in options.layers:
            for seed in range(options.seeds):
                start = time.perf_counter()
                found = train(name, task, options.steps, seed)
                seconds = time.perf_counter() - start
                cells = "".join(f"{value:>12.3f}" for value in found)
                print(f"  {name:58}{cells}{seconds:>10.0f}", flush=True)
                rows.append((task_name, name, seed, *(f"{value:.3f}" for value in found)))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("task", "layer", "seed", *lengths), *rows])


if __name__ == "__main__":
    main()
