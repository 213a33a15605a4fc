"""The kernels of the forward pass, interpreted or on a device, against plain PyTorch in double precision."""

import math
import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from resolvent.gpu.triton.gated_kalmanet.pieces import pieces, precision_for  # noqa: E402
from resolvent.layers.recurrence.layout import Layout  # noqa: E402
from resolvent.layers.regression.plain import PLAIN  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="compiled here")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
LENGTHS = [20, 0, 1]
HEADS = 2
SIZE = 16  # tokens of a chunk
SOLVERS = [Solver("chebyshev", rtol=1e-2), Solver("cg", rtol=1e-2)]
RIDGE = torch.tensor([0.02, 0.1], dtype=torch.float64)
# What products with operands of so many bits leave, for sums of some tens of numbers of size one.
LIMITS = {"ieee": 1e-6, "tf32x3": 1e-6, "bf16x3": 3e-5, "tf32": 1e-3, "bf16": 1e-2}


class Given:
    """Tokens of three sequences, one of them empty, of two heads, and states; float64 that the kernels' types hold."""

    def __init__(self, device, D=24, V=40, dtype=torch.float32, seed=0):
        self.device, self.dtype = device, dtype
        self.layouts = {name: Layout(LENGTHS, SIZE, torch.device(name)) for name in ("cpu", device)}
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape, dtype=torch.float32):
            return torch.randn(*shape, generator=generator).to(dtype).double()

        tokens = (1, sum(LENGTHS), HEADS)
        self.q, self.k = (draw(*tokens, D, dtype=dtype) for _ in range(2))
        self.k = (self.k / D**0.5).to(dtype).double()
        self.v, self.x = draw(*tokens, V, dtype=dtype), draw(*tokens, D)
        self.alpha, self.gates = (draw(*tokens).sigmoid().float().double() for _ in range(2))
        self.gates *= -0.2
        self.gates[0, 11, 0] = self.gates[0, 0, 1] = -math.inf
        root = draw(len(LENGTHS), HEADS, D, 5)
        self.H, self.U = (root @ root.mT / D).float().double(), draw(len(LENGTHS), HEADS, D, V)
        self.ratio = RIDGE

    def plain(self, *names):
        layout = self.layouts["cpu"]
        return [PLAIN.split(part, layout) if len(part) == 1 else part for part in self.parts(names)]

    def rows(self, *names):
        types = dict.fromkeys("qkv", self.dtype)
        return [
            (part.flatten(0, 1) if len(part) == 1 else part).to(self.device, types.get(name, torch.float32))
            for name, part in zip(names, self.parts(names), strict=True)
        ]

    def parts(self, names):
        return [getattr(self, name) for name in names]

    def joined(self, part):
        return PLAIN.join(part, (1, sum(LENGTHS)), self.layouts["cpu"]).flatten(0, 1)

    def states(self, precision="tf32x3"):
        """H before each chunk: of the plain pieces, and of the kernels."""
        k, gates = self.plain("k", "gates")
        before, _ = PLAIN.states(k, k, gates, self.H, self.layouts["cpu"])
        k, gates, H = self.rows("k", "gates", "H")
        return before, pieces(precision).states(k, k, gates, H, self.layouts[self.device])[0]

    def solve(self, solver, precision="tf32x3", facts=True):
        """By the plain pieces, to the last digit, and by the kernels."""
        before, found_before = self.states(precision)
        q, k, gates = self.plain("q", "k", "gates")
        exactly = Solver("exact", solver.interval)
        wanted = PLAIN.solve(q, k, gates, self.ratio, before, self.layouts["cpu"], exactly, facts)
        q, k, gates, ratio = self.rows("q", "k", "gates", "ratio")
        layout = self.layouts[self.device]
        return wanted, pieces(precision).solve(q, k, gates, ratio, found_before, layout, solver, facts)


def error(found, wanted):
    return ((found.cpu().double() - wanted).norm() / wanted.norm()).item()


@pytest.fixture(params=DEVICES)
def given(request):
    return lambda **options: Given(request.param, **options)


# --- states ---


@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float32, "tf32x3"), (torch.float16, "tf32"), (torch.bfloat16, "bf16x3"), (torch.bfloat16, "bf16")],
    ids=str,
)
@pytest.mark.parametrize(("D", "V"), [(24, 40), (70, 10)])
def test_states(given, dtype, precision, D, V):
    here = given(D=D, V=V, dtype=dtype)
    wanted = PLAIN.states(*here.plain("k", "v", "gates"), here.U, here.layouts["cpu"])
    found = pieces(precision).states(*here.rows("k", "v", "gates", "U"), here.layouts[here.device])
    assert found[0].dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert found[1].dtype == torch.float32
    assert error(found[0], wanted[0]) <= (4e-3 if precision == "bf16" else 3e-5)
    assert error(found[1], wanted[1]) <= 3e-5  # carried in single precision, whatever is stored on the way


# --- norms, intervals ---


@pytest.mark.parametrize("interval", ["frobenius", "wolkowicz_styan"])
def test_norms_and_intervals(given, interval):
    here = given()
    wanted, found = here.solve(Solver("chebyshev", interval, 1, None))
    assert error(found.norms, here.joined(wanted.norms)) <= 1e-6
    assert error(found.uppers, here.joined(wanted.uppers)) <= 1e-5
    assert error(found.facts.condition, here.joined(wanted.facts.condition)) <= 1e-5


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_norms_neither_overflow_nor_underflow(given, size):
    """Squares of entries of H would, in single precision."""
    here, solver = given(), SOLVERS[0]
    wanted, _ = here.solve(solver)
    here.k, here.H = here.k * size, here.H * size**2
    _, found = here.solve(solver)
    assert error(found.norms, here.joined(wanted.norms) * size**2) <= 1e-6
    assert error(found.x * size**2, here.joined(wanted.x)) <= solver.rtol
    assert found.facts.relative_residual.max() <= solver.rtol


# --- solves ---


@pytest.mark.parametrize("name", ["chebyshev", "cg"])
@pytest.mark.parametrize("D", [24, *(pytest.param(D, marks=pytest.mark.slow) for D in (128, 150))])
def test_solutions(given, name, D):
    """To the tolerance that was asked for, though the products of Chebyshev iteration are of bfloat16."""
    here = given(D=D)
    wanted, found = here.solve(Solver(name, rtol=3e-5))
    assert error(found.x, here.joined(wanted.x)) <= 3e-5
    assert found.facts.relative_residual.max() <= 3.1e-5
    assert found.facts.iterations.dtype == torch.int32


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_a_state_read_in_blocks(given, monkeypatch, solver):
    """As one of more than 128 rows is."""
    from resolvent.gpu.triton.gated_kalmanet import solve

    here = given()
    whole = here.solve(solver)[1]
    for precision in solve.WHOLE_UP_TO:
        monkeypatch.setitem(solve.WHOLE_UP_TO, precision, 16)
    monkeypatch.setattr(solve, "BLOCK", 16)
    assert error(here.solve(solver)[1].x, whole.x.cpu().double()) <= solver.rtol


@pytest.mark.parametrize("steps", [1, 5])
def test_as_many_steps_as_asked_for(given, steps):
    """The same iterates as the plain form's, not merely nearly the same solutions."""
    here, solver = given(), Solver("chebyshev", "frobenius", steps, None)
    before, _ = here.states()
    q, k, gates = here.plain("q", "k", "gates")
    wanted = PLAIN.solve(q, k, gates, here.ratio, before, here.layouts["cpu"], solver, True)
    _, found = here.solve(solver)
    assert error(found.x, here.joined(wanted.x)) <= 2e-6
    assert (found.facts.iterations == steps).all()


def test_every_token_takes_the_steps_that_its_condition_asks_for(given):
    """With products of one precision alone, those of the plain form; refined, no more than twice as many."""
    here, solver = given(), Solver(rtol=0.1)
    before, _ = here.states()
    q, k, gates = here.plain("q", "k", "gates")
    wanted = PLAIN.solve(q, k, gates, here.ratio, before, here.layouts["cpu"], solver, True)
    steps = here.joined(wanted.facts.iterations)
    assert len(set(steps.flatten().tolist())) > 1
    _, found = here.solve(solver, "ieee")
    assert (found.facts.iterations.cpu() != steps).float().mean() <= 0.02  # where rounding decides
    assert error(found.x, here.joined(wanted.x)) <= 1e-2
    _, found = here.solve(solver, "tf32x3")
    assert found.facts.relative_residual.max() <= 0.1
    assert (found.facts.iterations.cpu() <= 2 * steps + 2).all()


def test_conjugate_gradients_stand_still_once_done(given):
    here = given(D=10)
    here.q[0, 5] = 0
    few, many = (here.solve(Solver("cg", num_iter=steps, rtol=None))[1] for steps in (20, 60))
    assert torch.equal(few.x, many.x)
    assert torch.equal(few.facts.iterations, many.facts.iterations)
    assert many.facts.iterations.max() < 20
    assert many.facts.iterations[5].max() == 0
    assert not many.x[5].any()


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("size", [2.0**13, 2.0**-100])
def test_solutions_scale_with_the_right_hand_side(given, solver, size):
    here = given()
    _, one = here.solve(solver)
    here.q = here.q * size
    _, scaled = here.solve(solver)
    assert torch.equal(scaled.x.cpu().double() / size, one.x.cpu().double())
    assert torch.equal(one.facts.iterations, scaled.facts.iterations)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_nothing_seen_gives_zero(given, solver):
    here = given()
    here.H *= 0
    here.k[:, :9] = 0
    _, found = here.solve(solver)
    assert not any(part[:9].any() for part in (found.x, found.norms, found.uppers, found.facts.relative_residual))
    assert (found.facts.condition[:9] == 1).all()
    assert found.x.isfinite().all()
    assert found.x[9:].all()


@pytest.mark.parametrize(("precision", "rtol"), [("bf16x3", 1e-2), ("tf32x3", 3e-4)])
def test_tolerances_are_kept_where_one_product_of_bfloat16_keeps_none(given, precision, rtol):
    """Where few keys were seen, x is fifty times as long as what H makes of it, and rounding as much larger."""
    here = given(dtype=torch.bfloat16)
    _, found = here.solve(Solver(rtol=rtol), "bf16")
    assert 0.1 <= found.facts.relative_residual.max() <= 0.6
    wanted, found = here.solve(Solver(rtol=rtol), precision)
    assert found.facts.relative_residual.max() <= rtol
    assert error(found.x, here.joined(wanted.x)) <= rtol


def test_a_ridge_too_small_for_products_of_bfloat16(given):
    here = given()
    here.ratio = torch.tensor([1e-3, 0.1], dtype=torch.float64)
    wanted, found = here.solve(Solver(rtol=0.1))
    assert found.facts.relative_residual.max() <= 0.1
    assert error(found.x, here.joined(wanted.x)) <= 0.1


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
def test_adjoint_solves(given, solver):
    """The right-hand side is another, norms and intervals those found before; with two inner products."""
    here = given()
    before, found_before = here.states()
    wanted, forward = here.solve(solver, facts=False)
    q, x, k, gates = here.plain("q", "x", "k", "gates")
    layout = here.layouts["cpu"]
    known = (here.ratio, wanted.norms, wanted.uppers, before, layout)
    z = PLAIN.solve_adjoint(q, x, k, gates, *known, Solver("exact"))
    q, x, k, gates, ratio = here.rows("q", "x", "k", "gates", "ratio")
    known = (ratio, forward.norms, forward.uppers, found_before, here.layouts[here.device])
    found = pieces("tf32x3").solve_adjoint(q, x, k, gates, *known, solver)
    for part, part_wanted in zip(found, z, strict=True):
        assert error(part, here.joined(part_wanted)) <= solver.rtol


# --- readout ---


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize(
    ("dtype", "precision"),
    [(torch.float32, "tf32x3"), (torch.float16, "tf32"), (torch.bfloat16, "bf16x3"), (torch.bfloat16, "bf16")],
    ids=str,
)
def test_readout(given, dtype, precision, mixed):
    here = given(D=70, V=20, dtype=dtype)
    names = ("x", "q", "alpha", "k", "v", "gates")
    plain, rows = here.plain(*names), here.rows(*names)
    if not mixed:
        plain[1:3] = rows[1:3] = None, None
    before, _ = PLAIN.states(plain[3], plain[4], plain[5], here.U, here.layouts["cpu"])
    wanted = PLAIN.read(*plain, before, here.layouts["cpu"], 0.3)
    stored = before.to(here.device, torch.bfloat16 if precision == "bf16" else torch.float32)
    found = pieces(precision).read(*rows, stored, here.layouts[here.device], 0.3)
    assert found.dtype == dtype
    assert error(found, here.joined(wanted)) <= max(LIMITS[precision], torch.finfo(dtype).eps)


# --- all together ---


@pytest.mark.parametrize(
    ("solver", "dtype", "precision"),
    [
        (Solver(rtol=1e-2), torch.float32, "bf16x3"),
        (Solver(rtol=1e-3), torch.bfloat16, "tf32x3"),
        (Solver("cg", rtol=1e-6), torch.float16, "tf32x3"),
        (Solver(num_iter=30, rtol=None), torch.bfloat16, "bf16x3"),
        (Solver(num_iter=30, rtol=None), torch.float32, "tf32x3"),
    ],
    ids=str,
)
def test_the_tolerance_chooses_the_products(solver, dtype, precision):
    assert precision_for(dtype, solver) == precision


def test_the_same_bits_again(given):
    here = given()
    for solver in SOLVERS:
        once, again = (here.solve(solver)[1] for _ in range(2))
        assert torch.equal(once.x, again.x)
        assert all(map(torch.equal, once.facts, again.facts))
