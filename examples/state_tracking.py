"""Which memories can keep track of a state: trained on short words, asked on long ones.

A word over a group is read, and after each token its product so far is asked for. One recurrent layer and a small
network that reads it out are trained on words of 16 tokens; the accuracy is that on the last eighth of words up to
eight times as long. A state that is multiplied by numbers from 0 to 1 forgets, but never turns: it stays at chance.
Reflections, which beta up to 2 allows, count to two; two reflections a token make a rotation, which permutes.

    python examples/state_tracking.py [--tasks parity S3] [--steps 300] [--seeds 1] [--csv table.csv]

Some ten seconds a task and memory on one core.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from resolvent.gallery import state_tracking
from resolvent.layers.functional import chunk_gated_delta_product, chunk_simple_gla

WIDTH, HEADS, D, LENGTH = 64, 8, 8, 16
FACTORS = (1, 2, 4, 8)  # of the length trained on, at which accuracy is measured
TASKS = ("parity", "mod3", "S3", "A5_generators")
# Corrections a token, none being gated linear attention, which is Mamba-2's memory; and the largest beta.
MEMORIES = {
    "gated linear attention": (0, 1.0),
    "DeltaNet, beta to 1": (1, 1.0),
    "DeltaNet, beta to 2": (1, 2.0),
    "DeltaProduct of 2, beta to 1": (2, 1.0),
    "DeltaProduct of 2, beta to 2": (2, 2.0),
}


class Tracker(nn.Module):
    """Embedding, one layer that begins in a state of its own, and a network that reads its output and the token."""

    def __init__(self, corrections, largest, task):
        super().__init__()
        self.corrections, self.largest = corrections, largest
        times = max(corrections, 1)
        self.embedding = nn.Embedding(len(task.alphabet), WIDTH)
        self.q = nn.Linear(WIDTH, HEADS * D)
        self.k, self.v = nn.Linear(WIDTH, times * HEADS * D), nn.Linear(WIDTH, times * HEADS * D)
        self.gate = nn.Linear(WIDTH, times * HEADS)
        self.initial = nn.Parameter(torch.randn(HEADS, D, D) / D**0.5)
        self.read = nn.Sequential(nn.Linear(HEADS * D + WIDTH, 128), nn.ReLU(), nn.Linear(128, task.order))

    def forward(self, tokens):
        x = self.embedding(tokens)
        return self.read(torch.cat([self.layer(x), x], dim=-1))

    def layer(self, x):
        """The recurrence over the tokens."""
        batch = len(x)
        q, k, v = (project(x).view(batch, -1, HEADS, D) for project in (self.q, self.k, self.v))
        q, k, gate = normalize(q, dim=-1), normalize(k, dim=-1), self.gate(x).view(batch, -1, HEADS)
        how = {"scale": 1.0, "initial_state": self.initial.expand(batch, -1, -1, -1)}
        if self.corrections:
            beta = self.largest * gate.sigmoid()
            o = chunk_gated_delta_product(q, k, v, None, beta, self.corrections, **how)[0]
        else:
            o = chunk_simple_gla(q, k, v, logsigmoid(gate), **how)[0]
        return o.flatten(2)


def words(task, count, length, random):
    """Tokens and labels as tensors."""
    return (torch.from_numpy(x) for x in task.sample(count, length, seed=random))


def accuracy(model, task, length, random):
    """On the last eighth of 256 words never trained on."""
    tokens, labels = words(task, 256, length, random)
    with torch.no_grad():
        right = model(tokens).argmax(-1) == labels
    return float(right[:, -max(length // 8, 1) :].float().mean())


def train(memory, task, steps=300, seed=0, factors=FACTORS):
    """Accuracies of a memory of the table at multiples of the length trained on."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = Tracker(*MEMORIES[memory], task)
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=max(steps, 20), pct_start=0.1)
    for _ in range(steps):
        tokens, labels = words(task, 64, LENGTH, random)
        loss = cross_entropy(model(tokens).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return [accuracy(model, task, LENGTH * factor, random) for factor in factors]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=list(state_tracking.STATE_TRACKING))
    parser.add_argument("--memories", nargs="+", default=list(MEMORIES), choices=list(MEMORIES))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="a file to write the table to")
    options = parser.parse_args()
    lengths = [f"{LENGTH * factor} tokens" for factor in FACTORS]
    rows = []
    for task_name in options.tasks:
        task = state_tracking.by_name(task_name)
        title = f"{task_name}: chance {task.chance:.3f}, without order {task.commutative_ceiling:.3f}"
        print(f"\n{title:54}" + "".join(f"{length:>12}" for length in lengths) + f"{'seconds':>10}")
        for name in options.memories:
            for seed in range(options.seeds):
                start = time.perf_counter()
                found = train(name, task, options.steps, seed)
                seconds = time.perf_counter() - start
                cells = "".join(f"{value:>12.3f}" for value in found)
                print(f"  {name:52}{cells}{seconds:>10.0f}", flush=True)
                rows.append((task_name, name, seed, *(f"{value:.3f}" for value in found)))
    if options.csv:
        with options.csv.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("task", "memory", "seed", *lengths), *rows])


if __name__ == "__main__":
    main()
