"""The figures of a GPU, each with its target: what is measured, on what, and against which peers.

A measurement takes a ``Place``, which says where arrays live, a timer, and sizes; it returns rows. On the host, with
small sizes and a timer that measures nothing, it runs as well: so it is tested.
"""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import resolvent as rv
from resolvent.backends import choose_backend

warnings.simplefilter("ignore", rv.ConvergenceWarning)  # solves are cut short on purpose

__all__ = ["MEASUREMENTS", "Place", "Row", "Timer"]

# From calls by name, each with as many variants as there are inputs to rotate, to medians in milliseconds by name.
Timer = Callable[[Mapping[str, Sequence[Callable[[], Any]]]], dict[str, float]]

# Over vectors, each read or written once where the method needs it anew; on a stencil A p is not kept.
CG_PASSES, CG_PASSES_ON_A_STENCIL, CHEBYSHEV_PASSES = 10, 8, 4


@dataclass(frozen=True)
class Row:
    """A figure: what was found, and what was promised of it.

    Attributes
    ----------
    what : str
    value : float or None
        None where it failed.
    unit : str
    least : float or None
        The target, if it has one.
    note : str
        How it came about, or why it failed.
    """

    what: str
    value: float | None
    unit: str
    least: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target is reached."""
        if self.value is None:
            return "failed"
        if self.least is None:
            return ""
        return "reached" if self.value >= self.least else "missed"


class Place:
    """Where arrays live: "cuda", with CuPy and torch, or "cpu", with NumPy and SciPy in CuPy's place."""

    def __init__(self, device: str) -> None:
        import torch

        self.device, self.torch = device, torch
        # On the host nothing is compiled, since nothing is timed.
        self.solving: dict[str, Any] = {} if device == "cuda" else {"backend": "numpy"}
        self.form = "auto" if device == "cuda" else "chunk"

    @property
    def on_device(self) -> bool:
        """Whether there is a device to be measured."""
        return self.device == "cuda"

    @property
    def xp(self) -> Any:
        """CuPy, or NumPy."""
        return importlib.import_module("cupy" if self.on_device else "numpy")

    @property
    def sparse(self) -> Any:
        """cupyx.scipy.sparse, or SciPy's."""
        return importlib.import_module("cupyx.scipy.sparse" if self.on_device else "scipy.sparse")

    @property
    def sparse_linalg(self) -> Any:
        """cupyx.scipy.sparse.linalg, or SciPy's."""
        return importlib.import_module(f"{self.sparse.__name__}.linalg")

    def tensor(self, *shape: int, dtype: Any = None, seed: int = 0) -> Any:
        """Normal random numbers."""
        generator = self.torch.Generator(self.device).manual_seed(seed)
        found = self.torch.randn(*shape, generator=generator, device=self.device)
        return found if dtype is None else found.to(dtype)

    def vector(self, n: int, seed: int = 0) -> Any:
        """Normal random numbers of float64, as CuPy's array."""
        return self.xp.random.default_rng(seed).standard_normal(n)


def copy_rate(place: Place, timer: Timer, values: int) -> float:
    """Bytes a millisecond of a copy of so many doubles: read and written."""
    x = [place.tensor(values, seed=seed).double() for seed in range(2)]
    y = place.torch.empty_like(x[0])
    return 16 * values / timer({"copy": [lambda x=x: y.copy_(x) for x in x]})["copy"]


def poisson(place: Place, m: int) -> Any:
    """The Laplacian of m^3 points in CSR, made where it is used."""
    sparse = place.sparse
    one = sparse.eye(m, format="csr", dtype=np.float64)
    line = sparse.diags([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], [-1, 0, 1], format="csr")
    plane = sparse.kron(one, line) + sparse.kron(line, one)
    return (sparse.kron(one, plane) + sparse.kron(line, sparse.kron(one, one))).tocsr()


def iteration_times(
    timer: Timer, runs: Mapping[str, Callable[[int, int], Any]], few: int, many: int
) -> dict[str, float]:
    """Milliseconds of an iteration: the difference of two runs, so that what comes before and after cancels."""
    calls = {
        f"{name} {count}": [lambda run=run, count=count, which=which: run(count, which) for which in range(2)]
        for name, run in runs.items()
        for count in (few, many)
    }
    times = timer(calls)
    return {name: (times[f"{name} {many}"] - times[f"{name} {few}"]) / (many - few) for name in runs}


def cg_on_csr(place: Place, timer: Timer, *, m: int = 256, few: int = 10, many: int = 60) -> Iterator[Row]:
    """CG for Poisson's equation in three dimensions, against CuPy's."""
    A = poisson(place, m)
    n = A.shape[0]
    b = [place.vector(n, seed) for seed in range(2)]
    theirs = place.sparse_linalg.cg
    tolerance = {name: 1e-14 for name in ("rtol", "tol") if name in inspect.signature(theirs).parameters}
    times = iteration_times(
        timer,
        {
            "ours": lambda count, which: rv.cg(A, b[which], rtol=1e-14, maxiter=count, **place.solving),
            "theirs": lambda count, which: theirs(A, b[which], maxiter=count, **tolerance),
        },
        few,
        many,
    )
    kind, moved = moved_by_cg(place, A)
    part = moved / times["ours"] / copy_rate(place, timer, n)
    title = f"CG, CSR, Poisson {m}^3, float64"
    yield Row(f"{title}: times as fast as CuPy's, an iteration", times["theirs"] / times["ours"], "x", 3.0)
    note = f"taken as {kind}: {moved / n:.0f} bytes a row"
    yield Row(f"{title}: bandwidth, of a copy's", part, "of 1", 0.75, note)


def moved_by_cg(place: Place, A: Any) -> tuple[str, float]:
    """As what A is stored for a solve, and the bytes that an iteration has to move then."""
    backend = choose_backend(place.solving.get("backend"), A)
    operator = backend.operator(A)
    operator = backend.prepare(operator, backend.facts(operator))
    n = operator.shape[0]
    vectors = 8.0 * n * (CG_PASSES_ON_A_STENCIL if operator.kind == "stencil" else CG_PASSES)
    if operator.kind == "csr":
        return "csr", 12.0 * A.nnz + 4 * (n + 1) + vectors
    return operator.kind, (0.0 if operator.kind == "stencil" else 8.0 * operator.entries) + vectors


def chebyshev_on_a_stencil(
    place: Place, timer: Timer, *, m: int = 256, few: int = 10, many: int = 110
) -> Iterator[Row]:
    """Chebyshev iteration for the same system, matrix-free."""
    A = rv.Stencil((m, m, m), 6.0, ((-1.0, -1.0),) * 3)
    b = [place.vector(m**3, seed) for seed in range(2)]
    ends = 12 * math.sin(math.pi / (2 * m + 2)) ** 2, 12.0

    def run(count: int, which: int) -> Any:
        return rv.chebyshev(A, b[which], interval=ends, rtol=1e-14, maxiter=count, **place.solving)

    time = iteration_times(timer, {"ours": run}, few, many)["ours"]
    part = 8 * CHEBYSHEV_PASSES * m**3 / time / copy_rate(place, timer, m**3)
    note = f"{8 * CHEBYSHEV_PASSES} bytes a row"
    yield Row(f"Chebyshev, stencil, Poisson {m}^3, float64: bandwidth, of a copy's", part, "of 1", 0.85, note)


def spd_systems(place: Place, count: int, n: int, condition: float) -> tuple[Any, Any]:
    """Matrices with that condition number and random eigenvectors, of float32, and right-hand sides."""
    torch = place.torch
    A = torch.diag(torch.logspace(0, math.log10(condition), n, device=place.device)).expand(count, n, n)
    for seed in range(3):
        v = torch.nn.functional.normalize(place.tensor(count, n, 1, seed=seed), dim=1)
        A = A - 2 * v @ (v.mT @ A)
        A = A - 2 * (A @ v) @ v.mT
    return (A + A.mT) / 2, place.tensor(count, n, seed=9)


def batched_dense(place: Place, timer: Timer, *, count: int = 100_000, n: int = 32) -> Iterator[Row]:
    """Many small dense systems in one call, against factorisations."""
    torch = place.torch
    A, b = spd_systems(place, count, n, 100.0)
    x = rv.cg(place.xp.from_dlpack(A), place.xp.from_dlpack(b), rtol=1e-4, **place.solving).x
    residual = torch.linalg.vector_norm(b - torch.einsum("kij,kj->ki", A, torch.from_dlpack(x)), dim=1)
    worst = float((residual / torch.linalg.vector_norm(b, dim=1)).max())

    def factored(b: Any) -> Any:
        return torch.cholesky_solve(b[..., None], torch.linalg.cholesky(A))

    sides = [b, b.flip(0)]
    arrays = place.xp.from_dlpack(A), [place.xp.from_dlpack(side.contiguous()) for side in sides]
    times = timer(
        {
            "CuPy": [lambda b=b: rv.cg(arrays[0], b, rtol=1e-4, **place.solving) for b in arrays[1]],
            "torch": [lambda b=b: rv.cg(A, b, rtol=1e-4, backend="torch") for b in sides],
            "factored": [lambda b=b: factored(b) for b in sides],
        }
    )
    for kind in ("CuPy", "torch"):
        what = f"{count} dense systems of {n}, condition 100, to 1e-4, {kind}: times as fast as Cholesky's"
        target = 1.0 if kind == "CuPy" else None
        yield Row(what, times["factored"] / times[kind], "x", target, f"largest relative residual {worst:.1e}")


def batched_tridiagonal(place: Place, timer: Timer, *, count: int = 100_000, n: int = 64) -> Iterator[Row]:
    """Many tridiagonal systems in one call, against dense factorisations."""
    torch, xp = place.torch, place.xp
    rows = np.arange(n)
    indptr = np.concatenate([[0], np.cumsum(3 - (rows == 0) - (rows == n - 1))])
    columns = rows[:, None] + np.array([-1, 0, 1])
    inside = (columns >= 0) & (columns < n)
    shift = place.tensor(count, 1, seed=1).abs()
    entries = torch.tensor(np.broadcast_to([-1.0, 2.1, -1.0], (n, 3))[inside], dtype=torch.float32).to(place.device)
    on_diagonal = torch.tensor((columns == rows[:, None])[inside]).to(place.device)
    values = entries + on_diagonal * shift
    A = rv.as_operator((xp.asarray(indptr), xp.asarray(columns[inside]), xp.from_dlpack(values)), (n, n))
    full = torch.zeros(count, n, n, device=place.device)
    places = torch.tensor(np.stack([np.repeat(rows, np.diff(indptr)), columns[inside]])).to(place.device)
    full[:, places[0], places[1]] = values
    sides = [place.tensor(count, n, seed=seed) for seed in (2, 3)]
    times = timer(
        {
            "ours": [lambda b=b: rv.cg(A, b, rtol=1e-4, **place.solving) for b in map(xp.from_dlpack, sides)],
            "factored": [lambda b=b: torch.cholesky_solve(b[..., None], torch.linalg.cholesky(full)) for b in sides],
        }
    )
    what = f"{count} tridiagonal systems of {n}: times as fast as dense factorisations"
    yield Row(what, times["factored"] / times["ours"], "x", 5.0)


def frobenius_steps(rtol: float, ridge_ratio: float = 0.02) -> int:
    """Chebyshev steps on [a F, (1 + a) F] that bring every residual below rtol.

    Examples
    --------
    >>> frobenius_steps(1e-2), frobenius_steps(1e-3)
    (19, 27)
    """
    sigma = (1 + 2 * ridge_ratio) / 1.0
    return math.ceil(math.acosh(1 / rtol) / math.acosh(sigma))


def gated_kalmanet(
    place: Place, timer: Timer, *, shape: tuple[int, int, int, int] = (8, 4096, 16, 128), dtype: str = "bfloat16"
) -> Iterator[Row]:
    """A regression at every token, forward and with its derivatives, against what can be imported of its peers."""
    from resolvent.layers.functional import gated_kalmanet as ours

    torch, (B, T, H, D) = place.torch, shape
    unit = torch.nn.functional.normalize
    kind = getattr(torch, dtype)
    given = []
    for seed in range(2):
        q, k = (unit(place.tensor(*shape, seed=seed + 10 * part), dim=-1).to(kind) for part in (1, 2))
        v = place.tensor(*shape, dtype=kind, seed=seed + 30)
        g = -0.02 * torch.sigmoid(place.tensor(B, T, H, seed=seed + 40))
        given.append([tensor.requires_grad_() for tensor in (q, k, v, g)])

    def called(function: Callable[..., Any], both: bool) -> list[Callable[[], Any]]:
        def call(q: Any, k: Any, v: Any, g: Any) -> None:
            with torch.set_grad_enabled(both):
                o = function(q, k, v, g)
            if both:
                torch.autograd.grad(o, (q, k, v, g), torch.ones_like(o))

        return [lambda given=given: call(*given) for given in given]

    for rtol in (1e-2, 1e-3):
        steps = frobenius_steps(rtol)
        functions = {"ours": lambda q, k, v, g, rtol=rtol: ours(q, k, v, g, g, rtol=rtol, form=place.form)[0]}
        *_, info = ours(
            *(x.detach() for x in given[0]), given[0][3].detach(), rtol=rtol, form=place.form, return_info=True
        )
        for name, function in gka_peers(torch, steps, int(info.iterations.max())).items():
            try:
                called(function, True)[0]()
            except Exception as error:  # whatever a peer raises is its own affair
                note = f"{type(error).__name__}: {error}"[:200]
                yield Row(f"Gated KalmaNet to {rtol:.0e}: {name}", None, "", None, note)
            else:
                functions[name] = function
        for both in (False, True):
            times = timer({name: called(function, both) for name, function in functions.items()})
            title = (
                f"Gated KalmaNet {B}x{H}x{T}x{D}, {dtype}, to {rtol:.0e}, {'with derivatives' if both else 'forward'}"
            )
            note = f"{times['ours']:.2f} ms; largest residual {float(info.relative_residual.max()):.1e}"
            yield Row(f"{title}: time", times["ours"], "ms", None, note)
            for name in functions:
                if name != "ours":
                    yield Row(f"{title}: times as fast as {name}", times[name] / times["ours"], "x", 1.5)
            if len(functions) == 1:
                yield Row(f"{title}: times as fast as its peers", None, "x", 1.5, "no peer could be imported")


def gka_peers(torch: Any, chebyshev_steps: int, cg_steps: int) -> dict[str, Callable[..., Any]]:
    """The released kernels that can be imported, with as many steps as equal accuracy takes."""

    def of_fla() -> Callable[..., Any]:
        from fla.ops.gka import chunk_gka

        return lambda q, k, v, g: chunk_gka(q, k, v, g, g, num_iter=chebyshev_steps)[0]

    def of_the_authors() -> Callable[..., Any]:
        from hmf.model.hybrid_zoo.layers.gated_kalmanet.ops.chebyshev.gka_chebyshev_solve import gka_chebyshev_gla

        def call(q: Any, k: Any, v: Any, g: Any) -> Any:
            return gka_chebyshev_gla(
                q=q,
                k=k,
                v=v,
                alpha=torch.ones_like(g),
                g=g,
                gk=g,
                gla_scale=q.shape[-1] ** -0.5,
                ridge_strength=0.02,
                solver_type="chebyshev",
                num_iter=chebyshev_steps,
                bp_lambda=True,
                chunk_size=64,
            )[0]

        return call

    def mesa_net() -> Callable[..., Any]:
        from fla.ops.mesa_net import chunk_mesa_net

        def call(q: Any, k: Any, v: Any, g: Any) -> Any:
            lamb = torch.ones(k.shape[2], k.shape[3], device=k.device)
            return chunk_mesa_net(q, k, v, g, torch.ones_like(g), lamb, max_CG_iteration=cg_steps)[0]

        return call

    makers = {"fla's Gated KalmaNet": of_fla, "its authors' Gated KalmaNet": of_the_authors, "fla's MesaNet": mesa_net}
    found: dict[str, Callable[..., Any]] = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ImportError:
            continue  # they are compared with where they are at hand
    return found


def newton_schulz(
    place: Place, timer: Timer, *, n: int = 4096, orders: Sequence[int] = (512, 1024, 2048, 4096)
) -> Iterator[Row]:
    """Polar factors in bfloat16 against the rate of plain products, and a step of Muon against PyTorch's."""
    from resolvent.layers.optim import Muon
    from resolvent.layers.optim.orthogonal import orthogonal
    from resolvent.solvers.matrix_functions.newton_schulz import preset

    torch = place.torch
    steps = preset("polar-express").coefficients[:5]
    X = [place.tensor(1, n, n, dtype=torch.bfloat16, seed=seed) for seed in range(2)]
    times = timer(
        {
            "product": [lambda x=x: x @ x for x in X],
            "polar": [lambda x=x: orthogonal(x.clone(), steps) for x in X],
        }
    )
    useful = 4 * n**3 * len(steps)  # X^T X and b A + c A^2 at half the work of 2 n^3, X h in full
    rate, plain = useful / times["polar"], 2 * n**3 / times["product"]
    note = f"{rate / 1e9:.0f} of {plain / 1e9:.0f} Tflop/s"
    yield Row(
        f"Polar factor of {n}x{n}, bfloat16: rate of useful work, of a plain product's",
        rate / plain,
        "of 1",
        0.75,
        note,
    )

    def updated(make: Callable[..., Any], seed: int) -> tuple[Callable[[], Any], float]:
        weight = torch.nn.Parameter(torch.zeros(n, n, device=place.device))
        weight.grad = place.tensor(n, n, seed=seed)
        optimizer = make([weight])
        optimizer.step()
        update = weight.detach() / -optimizer.param_groups[0]["lr"]
        error = torch.linalg.matrix_norm(update.mT @ update - torch.eye(n, device=place.device))
        return optimizer.step, float(error) / math.sqrt(n)

    def ours(weights: Any) -> Any:
        return Muon(weights, lr=1.0, weight_decay=0.0, ns_coefficients="polar-express", ns_steps=5)

    def theirs(weights: Any) -> Any:
        return torch.optim.Muon(weights, lr=1.0, weight_decay=0.0)

    (our_step, our_error), (their_step, their_error) = updated(ours, 0), updated(theirs, 0)
    times = timer({"ours": [our_step], "theirs": [their_step]})
    note = f"orthogonality errors {our_error:.3f} and {their_error:.3f}"
    target = 1.0 if our_error <= their_error else None
    yield Row(
        f"Step of Muon, {n}x{n}: times as fast as torch.optim.Muon's",
        times["theirs"] / times["ours"],
        "x",
        target,
        note,
    )
    yield from products(place, timer, orders)


def products(place: Place, timer: Timer, orders: Sequence[int]) -> Iterator[Row]:
    """Kernels by themselves: from which order on they pay."""
    torch = place.torch
    if not place.on_device:
        return
    from resolvent.gpu.triton.newton_schulz import orthogonal_small, product

    for n in orders:
        X = [place.tensor(1, n, n, dtype=torch.bfloat16, seed=seed) for seed in range(2)]
        times = timer(
            {
                "gram": [lambda x=x: product(x.mT, x, None, 1.0, 0.0, True) for x in X],
                "matmul": [lambda x=x: x.mT @ x for x in X],
                "step": [lambda x=x: product(x, x, x, 1.0, 1.5, False) for x in X],
                "baddbmm": [lambda x=x: torch.baddbmm(x, x, x, beta=1.5) for x in X],
            }
        )
        yield Row(f"X^T X of order {n}: times as fast as torch's", times["matmul"] / times["gram"], "x")
        yield Row(f"a X + X B of order {n}: times as fast as torch's", times["baddbmm"] / times["step"], "x")
    X = [place.tensor(10_000, 64, 64, dtype=torch.bfloat16, seed=seed) for seed in range(2)]
    time = timer({"small": [lambda x=x: orthogonal_small(x, [1.875, -1.25, 0.375] * 5, "frobenius", 1e-7) for x in X]})
    yield Row("10000 matrices of 64x64, five steps: time", time["small"], "ms")


def decode(place: Place, timer: Timer, *, batch: int = 256, heads: int = 16, dimension: int = 128) -> Iterator[Row]:
    """One token for each of many sequences: the states are read and written once."""
    from resolvent.layers.functional import gated_kalmanet as ours

    torch = place.torch
    shape = (batch, 1, heads, dimension)
    q, k, v = (place.tensor(*shape, dtype=torch.bfloat16, seed=seed) for seed in range(3))
    k = torch.nn.functional.normalize(k, dim=-1)
    g = -0.02 * torch.ones(batch, 1, heads, device=place.device)
    states = []
    for seed in range(2):
        keys = place.tensor(batch, heads, dimension, dimension, seed=seed) / dimension**0.5
        states.append((keys @ keys.mT, keys))

    def call(state: Any) -> Any:
        with torch.no_grad():
            return ours(q, k, v, g, g, initial_state=state, output_final_state=True, form=place.form)

    time = timer({"ours": [lambda state=state: call(state) for state in states]})["ours"]
    moved = 2 * sum(4 * part.numel() for part in states[0])
    part = moved / time / copy_rate(place, timer, states[0][0].numel())
    yield Row(
        f"Decode step at batch {batch}: bandwidth by its states, of a copy's", part, "of 1", 0.8, f"{time:.3f} ms"
    )


# name: (measurement, seconds that it may take)
MEASUREMENTS: dict[str, tuple[Callable[..., Iterator[Row]], int]] = {
    "cg": (cg_on_csr, 60),
    "chebyshev": (chebyshev_on_a_stencil, 45),
    "dense": (batched_dense, 40),
    "tridiagonal": (batched_tridiagonal, 40),
    "gka": (gated_kalmanet, 90),
    "newton-schulz": (newton_schulz, 60),
    "decode": (decode, 30),
}
