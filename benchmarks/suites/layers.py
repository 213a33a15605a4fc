"""Gated KalmaNet, and the family of the delta rule, against what one would write in PyTorch. Needs torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from resolvent.layers import functional
from resolvent.layers.functional import gated_kalmanet
from resolvent.layers.recurrence.layout import Layout
from resolvent.layers.regression.regression import regression
from resolvent.layers.regression.solving import Solver

from . import measure


def tokens(length: int, heads: int, dimension: int, seed: int = 0) -> list[torch.Tensor]:
    """q and k of unit length, v, log decays of 0.98 to 1, and alpha, in float32; batch 1."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, length, heads, dimension)
    q, k, v = (torch.randn(shape, generator=generator) for _ in range(3))
    q, k = torch.nn.functional.normalize(q, dim=-1), torch.nn.functional.normalize(k, dim=-1)
    decay, alpha = torch.rand(2, 1, length, heads, generator=generator)
    return [q, k, v, (0.98 + 0.02 * decay).log(), alpha]


def plain_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    alpha: torch.Tensor,
    H: torch.Tensor,
    U: torch.Tensor,
    steps: int = 30,
    ridge_ratio: float = 0.02,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One token in plain PyTorch: Chebyshev steps on the Frobenius interval, whose weights are numbers known before.

    Vectors are rows: PyTorch multiplies stacks of rows by matrices ten times as fast as matrices by columns.
    """
    q, k, v = (part[0, 0].unsqueeze(-2) for part in (q, k, v))
    decay, alpha = g[0, 0].exp()[:, None, None], alpha[0, 0][:, None, None]
    H = torch.addcmul(k.mT * k, decay, H[0])
    U = torch.addcmul(k.mT * v, decay, U[0])
    norm = torch.linalg.matrix_norm(H)[:, None, None]
    shift = ridge_ratio * norm
    size = 2 / (2 * shift + norm)
    rho = 1 / (1 + 2 * ridge_ratio)
    x, previous, omega = size * q, torch.zeros_like(q), 2.0
    for _ in range(steps):
        omega = 4 / (4 - rho * rho * omega)
        residual = torch.bmm(x, H).addcmul_(shift, x).sub_(q)
        previous.mul_(1 - omega).add_(x, alpha=omega).addcmul_(size, residual, value=-omega)
        x, previous = previous, x
    o = q.shape[2] ** -0.5 * torch.bmm(torch.lerp(q, x, alpha), U)
    return o.transpose(0, 1)[None], H[None], U[None]


class Decode:
    """One more token, D = 128, 16 heads, batch 1, float32, after a prompt of 512."""

    params = (["chebyshev", "cg"],)
    param_names = ("solver",)

    def setup(self, solver: str) -> None:
        """The state after the prompt, and a token; both ways of continuing agree."""
        q, k, v, g, alpha = tokens(512, 16, 128)
        _, self.state = gated_kalmanet(q, k, v, g, g, alpha, output_final_state=True)
        self.token = tokens(1, 16, 128, seed=1)
        difference = self.ours(solver)[0] - self.plain()[0]
        if not difference.abs().max() < 1e-2:
            raise RuntimeError(f"the two ways differ by {float(difference.abs().max())}")

    def ours(self, solver: str) -> Any:
        """The operation as a user calls it."""
        q, k, v, g, alpha = self.token
        with torch.inference_mode():
            return gated_kalmanet(
                q, k, v, g, g, alpha, solver=solver, initial_state=self.state, output_final_state=True
            )

    def plain(self) -> Any:
        """The step in plain PyTorch."""
        with torch.inference_mode():
            return plain_step(*self.token, *self.state)

    def times(self, solver: str) -> dict[str, measure.Times]:
        """The step in plain PyTorch with 30 steps, and ours."""
        return measure.call_times({"other": self.plain, "ours": lambda: self.ours(solver)})

    def track_against_plain(self, solver: str) -> float:
        """The step in plain PyTorch over ours."""
        found = self.times(solver)
        return measure.ratio(found["other"], found["ours"])[0]

    track_against_plain.unit = "times faster"  # type: ignore[attr-defined]


def cholesky_loop(q: torch.Tensor, k: torch.Tensor, g: torch.Tensor, ridge_ratio: float = 0.02) -> torch.Tensor:
    """The regression of every token by a batched factorisation of all heads, token by token; x, (B, T, H, D)."""
    x, H = torch.empty_like(q), q.new_zeros(q.shape[2], q.shape[3], q.shape[3])
    eye = torch.eye(q.shape[3])
    for t in range(q.shape[1]):
        H = torch.addcmul(k[0, t, :, :, None] * k[0, t, :, None, :], g[0, t].exp()[:, None, None], H)
        A = H + (ridge_ratio * torch.linalg.matrix_norm(H))[:, None, None] * eye
        x[0, t] = torch.cholesky_solve(q[0, t, :, :, None], torch.linalg.cholesky(A))[..., 0]
    return x


class Prefill:
    """T = 4096, 8 heads, batch 1, float32, every relative residual at most 1e-3."""

    params = ([64, 128], ["cg", "chebyshev"])
    param_names = ("dimension", "solver")
    timeout = 600

    def setup(self, dimension: int, solver: str) -> None:
        """Tokens; the accuracy that is claimed is there."""
        self.tokens = tokens(4096, 8, dimension)
        q, k, _, g, _ = self.tokens
        self.layout = Layout((4096,), 64, q.device)
        self.q, self.k, self.g = (self.layout.split(part) for part in (q, k, g))
        self.none = torch.zeros(1, 8, dimension, dimension)
        self.solver = Solver(solver, rtol=1e-3 if solver == "chebyshev" else 9.9e-4)
        _, _, facts = regression(self.q, self.k, self.g, torch.tensor(0.02), self.none, self.layout, self.solver, True)
        if not facts.relative_residual.max() <= 1e-3:
            raise RuntimeError(f"the worst residual is {float(facts.relative_residual.max())}")

    def solves(self, solver: Solver | None = None) -> Any:
        """The regressions alone, from and to tokens as they come."""
        with torch.inference_mode():
            q, k, _, g, _ = self.tokens
            split = self.layout.split
            x, _, _ = regression(
                split(q), split(k), split(g), torch.tensor(0.02), self.none, self.layout, solver or self.solver
            )
            return self.layout.join(x, q.shape)

    def cholesky(self) -> dict[str, measure.Times]:
        """A loop over tokens of batched Cholesky factorisations, and ours."""
        q, k, _, g, _ = self.tokens
        difference = (cholesky_loop(q, k, g) - self.solves()).norm() / self.solves().norm()
        if not difference < 1e-2:
            raise RuntimeError(f"the two differ by {float(difference)}")
        return measure.call_times({"other": lambda: cholesky_loop(q, k, g), "ours": self.solves}, 10.0)

    def frobenius(self) -> dict[str, measure.Times]:
        """30 steps on the interval of the Frobenius norm, in the same code, and ours."""
        paper = Solver("chebyshev", "frobenius", 30, None)
        return measure.call_times({"other": lambda: self.solves(paper), "ours": self.solves}, 5.0)

    def backward(self) -> dict[str, measure.Times]:
        """Forward and backward of the whole operation, and the forward without gradients."""
        leaves = [part.clone().requires_grad_() for part in self.tokens]
        ones = torch.ones_like(self.tokens[2])

        def forward(q: Any, k: Any, v: Any, g: Any, alpha: Any) -> Any:
            return gated_kalmanet(q, k, v, g, g, alpha, solver=self.solver.name, rtol=1e-3, form="chunk")[0]

        def inference() -> Any:
            with torch.inference_mode():
                return forward(*self.tokens)

        def both() -> Any:
            return torch.autograd.grad(forward(*leaves), leaves, ones)

        return measure.call_times({"both": both, "forward": inference}, 5.0)

    def track_against_cholesky(self, dimension: int, solver: str) -> float:
        """The loop of factorisations over ours."""
        found = self.cholesky()
        return measure.ratio(found["other"], found["ours"])[0]

    def track_against_frobenius(self, dimension: int, solver: str) -> float:
        """30 steps on the interval of the Frobenius norm over ours."""
        found = self.frobenius()
        return measure.ratio(found["other"], found["ours"])[0]

    def track_backward(self, dimension: int, solver: str) -> float:
        """Forward and backward over the forward without gradients."""
        found = self.backward()
        return measure.ratio(found["both"], found["forward"])[0]

    track_against_cholesky.unit = track_against_frobenius.unit = "times faster"  # type: ignore[attr-defined]
    track_backward.unit = "forwards"  # type: ignore[attr-defined]


class Recurrence:
    """The delta rule and its kin in chunks, T = 4096, 8 heads, D = V = 64, batch 1, float32."""

    params = (["delta_rule", "gated_delta_rule", "kda", "gated_delta_product"],)
    param_names = ("operation",)
    timeout = 600

    def setup(self, operation: str) -> None:
        """Tokens, with two corrections each for the last; what is claimed to be the same is."""
        q, k, v, g, beta = tokens(4096, 8, 64)
        _, other, _, _, again = tokens(4096, 8, 64, seed=1)
        pairs = [torch.stack(pair, 2).flatten(1, 2) for pair in ((k, other), (v, v), (beta, again))]
        self.given = {
            "delta_rule": (q, k, v, beta),
            "gated_delta_rule": (q, k, v, g, beta),
            "kda": (q, k, v, g[..., None] * torch.linspace(0, 2, 64), beta),
            "gated_delta_product": (q, pairs[0], pairs[1], g, pairs[2], 2),
        }[operation]
        self.chunk = getattr(functional, f"chunk_{operation}")
        self.loop = getattr(functional, f"fused_recurrent_{operation}")
        difference = self.chunk(*self.given)[0] - self.loop(*self.given)[0]
        if not difference.abs().max() < 1e-3:
            raise RuntimeError(f"the two forms differ by {float(difference.abs().max())}")

    def forward_and_backward(self) -> Any:
        """The gradients of all that is given."""
        given = [part.detach().requires_grad_() if isinstance(part, torch.Tensor) else part for part in self.given]
        o, _ = self.chunk(*given)
        return torch.autograd.grad(o, [part for part in given if isinstance(part, torch.Tensor)], torch.ones_like(o))

    def times(self, operation: str) -> dict[str, measure.Times]:
        """Token by token, in chunks, and in chunks with the gradient."""
        calls = {
            "loop": lambda: self.loop(*self.given),
            "chunks": lambda: self.chunk(*self.given),
            "gradient": self.forward_and_backward,
        }
        return measure.call_times(calls)

    def track_against_loop(self, operation: str) -> float:
        """Chunks over token by token."""
        found = self.times(operation)
        return 1 / measure.ratio(found["loop"], found["chunks"])[0]

    def track_backward(self, operation: str) -> float:
        """Forward and backward over forward."""
        found = self.times(operation)
        return measure.ratio(found["gradient"], found["chunks"])[0]

    track_against_loop.unit = "of the loop"  # type: ignore[attr-defined]
    track_backward.unit = "forwards"  # type: ignore[attr-defined]


class Length:
    """Cost and memory as sequences get longer; 2 heads, D = 64, float32, conjugate gradients."""

    def times(self) -> dict[int, measure.Times]:
        """Forward and backward at both lengths."""
        return measure.call_times({length: _both(length) for length in (4096, 32768)}, 5.0)

    def track_time_per_token(self) -> float:
        """Per token at T = 32768 over T = 4096, forward and backward."""
        found = self.times()
        return measure.ratio(found[32768], found[4096])[0] / 8

    def track_memory(self) -> float:
        """Peak of forward and backward beyond what there was before, at T = 32768, in sizes of q, k, v; on Linux."""
        program = (
            "import gc, re; from suites.layers import _both; _both(64)(); call = _both(32768); gc.collect();"
            "open('/proc/self/clear_refs', 'w').write('5');"  # the peak is now what there is
            "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]);"
            "before = peak(); call(); print(1024 * (peak() - before) / (4 * 3 * 32768 * 2 * 64))"
        )
        folder = Path(__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
        return float(done.stdout)

    track_time_per_token.unit = "times"  # type: ignore[attr-defined]
    track_memory.unit = "sizes of q, k, v"  # type: ignore[attr-defined]


def _both(length: int) -> Callable[[], Any]:
    """Forward and backward over so many tokens."""
    leaves = [part.requires_grad_() for part in tokens(length, 2, 64)]
    ones = torch.ones(1, length, 2, 64)

    def call() -> Any:
        q, k, v, g, alpha = leaves
        o = gated_kalmanet(q, k, v, g, g, alpha, solver="cg", rtol=1e-3, form="chunk", validate=False)[0]
        return torch.autograd.grad(o, leaves, ones)

    return call
