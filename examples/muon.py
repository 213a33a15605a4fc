"""Train a small network by Muon with several schedules: what more products buy, in orthogonality and in loss.

The network classifies points as another one does, whose weights are random. Every row starts from the same weights and
sees the same points; the last one is AdamW alone.

    python examples/muon.py [--steps 100] [--seed 0]

Half a minute on two cores.
"""

import argparse
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import resolvent as rv
from resolvent.layers.optim import Muon

INPUTS, WIDTH, CLASSES, POINTS = 32, 128, 16, 256


class Block(nn.Module):
    """x + B silu(A x)."""

    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.inner = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.outer = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        return x + self.outer(nn.functional.silu(self.inner(self.norm(x))))


def network():
    """Two blocks between a projection in and one out."""
    return nn.Sequential(nn.Linear(INPUTS, WIDTH), Block(), Block(), nn.RMSNorm(WIDTH), nn.Linear(WIDTH, CLASSES))


def points(teacher, generator):
    """Some points and their classes."""
    x = torch.randn(POINTS, INPUTS, generator=generator)
    with torch.no_grad():
        return x, teacher(x).argmax(-1)


def orthogonality(optimizer, model):
    """The mean of ||I - O^T O||_F / ||I||_F over the steps O of the matrices of Muon's first group."""
    group = optimizer.param_groups[0]
    before = [p.detach().clone() for p in group["params"]]
    optimizer.step()
    defects = []
    for p, old in zip(group["params"], before, strict=True):
        O = (old * (1 - group["lr"] * group["weight_decay"]) - p.detach()) / group["lr"]
        O = O / max(1, O.shape[0] / O.shape[1]) ** 0.5
        O = O if O.shape[0] >= O.shape[1] else O.mT
        defects.append(torch.linalg.matrix_norm(torch.eye(O.shape[1]) - O.mT @ O) / O.shape[1] ** 0.5)
    return float(torch.stack(defects).mean())


def train(make, steps, seed):
    """The loss over the last tenth of the steps, the defect of one more step, and seconds of the optimizer a step."""
    torch.manual_seed(seed)
    teacher, model = network(), network()
    with torch.no_grad():
        teacher[0].weight *= 4  # a rougher function than the model's weights stand for at the start
    optimizer = make(model)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / (steps + 1))
    generator = torch.Generator().manual_seed(seed + 1)
    losses, seconds = [], 0.0
    for _ in range(steps):
        x, classes = points(teacher, generator)
        loss = cross_entropy(model(x), classes)
        optimizer.zero_grad()
        loss.backward()
        start = time.perf_counter()
        optimizer.step()
        seconds += time.perf_counter() - start
        rates.step()
        losses.append(loss.item())
    defect = orthogonality(optimizer, model) if isinstance(optimizer, Muon) else float("nan")
    last = max(steps // 10, 1)
    return sum(losses[-last:]) / last, defect, seconds / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    schedules = {
        "muon": rv.newton_schulz.preset("muon"),
        "cubic5": rv.newton_schulz.preset("cubic5"),
        "you": rv.newton_schulz.preset("you"),
        "polar-express": rv.newton_schulz.preset("polar-express"),
        "minimax, 10 products": rv.newton_schulz.schedule(1e-2, products=10, precision="fp32"),
        "minimax, 15 products": rv.newton_schulz.schedule(1e-3, products=15, precision="fp32"),
        "minimax, 18 products": rv.newton_schulz.schedule(1e-3, products=18, precision="fp32"),
    }
    train(by_muon(schedules["muon"]), 1, 0)  # what is done once is not counted
    print("  schedule               products     loss   ||I - O'O|| / ||I||   ms a step")
    for name, schedule in schedules.items():
        found = train(
            lambda m, s=schedule: Muon.for_module(m, adamw=["4"], lr=0.02, ns_coefficients=s), **vars(options)
        )
        report(name, schedule.products, *found)
    report("AdamW", 0, *train(lambda m: torch.optim.AdamW(m.parameters(), lr=3e-3), **vars(options)))


def by_muon(schedule):
    """Muon with a schedule; the last layer goes by AdamW."""
    return lambda model: Muon.for_module(model, adamw=["4"], lr=0.02, ns_coefficients=schedule)


def report(name, products, loss, defect, seconds):
    """One row."""
    print(f"  {name:22s} {products:8d}   {loss:6.3f}   {defect:19.3g}   {1e3 * seconds:9.2f}")


if __name__ == "__main__":
    main()
