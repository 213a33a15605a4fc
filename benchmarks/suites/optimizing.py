"""Muon's step against PyTorch's. Needs torch."""

from __future__ import annotations

import torch

from resolvent.layers.optim import Muon

from . import measure

# A transformer of 12 layers of width 256: query, key, value, output, and both halves of a perceptron of width 1024.
SHAPES = 12 * ([(256, 256)] * 4 + [(1024, 256), (256, 1024)])
LR = 0.02


def parameters() -> list[torch.nn.Parameter]:
    """The matrices, and gradients, both normal."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    for p in found:
        p.grad = torch.randn(p.shape, generator=generator)
    return found


def defect(optimizer: torch.optim.Optimizer, matrices: list[torch.nn.Parameter]) -> float:
    """Root mean square over the matrices of ||I - O^T O||_F / ||I||_F, where O is what a step adds."""
    before = [p.detach().clone() for p in matrices]
    optimizer.step()
    squares = []
    for p, old in zip(matrices, before, strict=True):
        O = (old - p.detach()) / (LR * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)
        O = O if O.shape[0] >= O.shape[1] else O.mT
        squares.append((torch.eye(O.shape[1]) - O.mT @ O).square().sum() / O.shape[1])
    return float(torch.stack(squares).mean().sqrt())


class MuonStep:
    """One step over the weights of a small transformer, float32, no less orthogonal than by PyTorch."""

    params = (["muon", "you"],)
    param_names = ("schedule",)

    def setup(self, schedule: str) -> None:
        """Both optimizers; ours adds matrices that are no less orthogonal."""
        ours, theirs = parameters(), parameters()
        self.ours = Muon(ours, LR, weight_decay=0.0, ns_coefficients=schedule)
        self.theirs = torch.optim.Muon(theirs, LR, weight_decay=0.0)
        found, wanted = defect(self.ours, ours), defect(self.theirs, theirs)
        if not found <= 1.01 * wanted:
            raise RuntimeError(f"the defect is {found}, that of torch.optim.Muon {wanted}")

    def times(self, seconds: float = 5.0) -> dict[str, measure.Times]:
        """A step of each."""
        return measure.call_times({"other": self.theirs.step, "ours": self.ours.step}, seconds)

    def track_against_torch(self, schedule: str) -> float:
        """A step of ``torch.optim.Muon`` over ours."""
        found = self.times()
        return measure.ratio(found["other"], found["ours"])[0]

    track_against_torch.unit = "times faster"  # type: ignore[attr-defined]
