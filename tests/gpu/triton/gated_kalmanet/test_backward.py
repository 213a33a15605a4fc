"""The kernels of the adjoints, interpreted or on a device, against plain PyTorch in double precision."""

import math
import os

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from resolvent.gpu.triton.gated_kalmanet import backward  # noqa: E402
from resolvent.gpu.triton.gated_kalmanet.pieces import sums_precision_for  # noqa: E402
from resolvent.layers.recurrence.layout import Layout  # noqa: E402
from resolvent.layers.regression.plain import PLAIN  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="compiled here")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]
LENGTHS = [20, 0, 1, 33]
HEADS = 2
SCALE = 0.3
# What products with operands of so many bits leave, for sums of some tens of numbers of size one.
LIMITS = {"ieee": 1e-6, "tf32x3": 1e-6, "bf16x3": 3e-5, "bf16": 1.5e-2}


class Given:
    """What the pieces take, drawn at random, as rows of either kind."""

    def __init__(self, device, D, V, size=16, dtype=torch.float32):
        self.generator, self.device, self.dtype = torch.Generator().manual_seed(0), device, dtype
        self.layouts = {kind: Layout(LENGTHS, size, torch.device(kind)) for kind in ("cpu", device)}
        self.layout = self.layouts["cpu"]
        for names, width in (("xzkqm", (D,)), ("vo", (V,)), (("do",), (V,)), (("weight", "curvature", "alpha"), ())):
            for name in names:
                setattr(self, name, self.draw(1, sum(LENGTHS), HEADS, *width))
        self.alpha = self.alpha.sigmoid()
        self.gates = -0.2 * self.alpha.flip(1)
        self.gates[0, 22, 0] = -math.inf
        self.H0, self.dH = (self.symmetric(n, D) for n in (self.layout.chunks, len(LENGTHS)))
        self.U0, self.dU = (self.draw(n, HEADS, D, V) for n in (self.layout.chunks, len(LENGTHS)))
        self.P, self.R = self.symmetric(self.layout.chunks, D), self.draw(self.layout.chunks, HEADS, D, V)

    def draw(self, *shape):
        """Numbers that both kinds of rows hold exactly."""
        numbers = torch.randn(*shape, generator=self.generator)
        return (numbers.to(self.dtype) if len(shape) == 4 and shape[0] == 1 else numbers).double()

    def symmetric(self, count, D):
        W = self.draw(count, HEADS, D, D)
        return (W @ W.mT / D).float().double()

    def plain(self, *names):
        return [PLAIN.split(part, self.layout) if part.shape[0] == 1 else part for part in self.parts(names)]

    def rows(self, *names):
        tokens = {"k", "q", "v", "o", "do"}  # the types of the others do not depend on what a user gives
        return [
            part.flatten(0, 1).to(self.device, self.dtype if name in tokens else torch.float32)
            if part.shape[0] == 1
            else part.to(self.device, torch.float32)
            for name, part in zip(names, self.parts(names), strict=True)
        ]

    def parts(self, names):
        return [getattr(self, name) for name in names]

    def errors(self, found, wanted):
        """Relative, of each result."""
        told = []
        for one, other in zip(found, wanted, strict=True):
            if one is None or other is None:
                assert one is other
                continue
            if one.shape != other.shape:
                other = PLAIN.join(other, (1, sum(LENGTHS)), self.layout).flatten(0, 1)
            told.append(((one.cpu().double() - other).norm() / other.norm()).item())
        return told


@pytest.fixture(params=DEVICES)
def given(request):
    return lambda D=24, V=40, **options: Given(request.param, D, V, **options)


def check(given, name, names, *rest, precision="ieee", optional=()):
    """One piece of both kinds."""
    left_out = [None] * len(optional)
    plain, rows = given.plain(*names), given.rows(*names)
    for place, none in zip(optional, left_out, strict=True):
        plain.insert(place, none)
        rows.insert(place, none)
    wanted = getattr(PLAIN, name)(*plain, given.layout, *rest)
    found = getattr(backward, name)(*rows, given.layouts[given.device], *rest, precision=precision)
    errors = given.errors(found, wanted)
    assert max(errors) <= LIMITS[precision], errors
    return found


PIECES = {
    "states_adjoint": ("x", "z", "weight", "k", "gates", "H0", "dH"),
    "rows_adjoint": ("x", "z", "weight", "curvature", "k", "gates", "H0", "P"),
    "read_states_adjoint": ("do", "x", "q", "alpha", "gates", "dU"),
    "read_rows_adjoint": ("do", "o", "x", "q", "alpha", "k", "v", "gates", "U0", "R"),
}


@pytest.mark.parametrize("precision", ["ieee", "bf16x3", "bf16"])
@pytest.mark.parametrize("name", PIECES)
def test_each_piece(given, name, precision):
    check(given(), name, PIECES[name], *([SCALE] if "read" in name else []), precision=precision)


@pytest.mark.parametrize("name", ["read_states_adjoint", "read_rows_adjoint"])
def test_a_readout_of_the_solution_alone(given, name):
    names = tuple(part for part in PIECES[name] if part not in ("q", "alpha"))
    place = names.index("x") + 1
    check(given(), name, names, SCALE, optional=(place, place + 1))


@pytest.mark.slow
@pytest.mark.parametrize(("D", "V", "size"), [(16, 16, 16), (72, 100, 32), (160, 16, 64)])
@pytest.mark.parametrize("name", PIECES)
def test_widths_beyond_a_block_and_chunks_that_are_not_full(given, name, D, V, size):
    check(given(D, V, size=size), name, PIECES[name], *([SCALE] if "read" in name else []))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PIECES)
def test_tokens_of_16_bits(given, name, dtype):
    """What is rounded is the gradient that is given back, in the type of its token."""
    drawn = given(dtype=dtype)
    plain, rows = drawn.plain(*PIECES[name]), drawn.rows(*PIECES[name])
    rest = [SCALE] if "read" in name else []
    found = getattr(backward, name)(*rows, drawn.layouts[drawn.device], *rest, precision="ieee")
    errors = drawn.errors(found, getattr(PLAIN, name)(*plain, drawn.layout, *rest))
    for part, error in zip(found, errors, strict=True):
        assert part.dtype in (torch.float32, dtype)
        assert error <= (1e-6 if part.dtype == torch.float32 else torch.finfo(dtype).eps / 2)


@pytest.mark.parametrize("name", PIECES)
def test_a_second_time_the_same_bits(given, name):
    rest = [SCALE] if "read" in name else []
    first, again = (check(given(), name, PIECES[name], *rest) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_gates_of_minus_infinity_have_no_gradient(given):
    _, d_gates = check(given(), "rows_adjoint", PIECES["rows_adjoint"])
    assert d_gates[22, 0] == 0
    assert d_gates[22, 1] != 0


@pytest.mark.parametrize(
    ("dtype", "solver", "precision"),
    [
        (torch.bfloat16, Solver(), "bf16x3"),
        (torch.float32, Solver(rtol=1e-3), "bf16x3"),
        (torch.float32, Solver(rtol=1e-6), "tf32x3"),
        (torch.float32, Solver(num_iter=30, rtol=None), "tf32x3"),
        (torch.float16, Solver(num_iter=30, rtol=None), "bf16x3"),
    ],
    ids=str,
)
def test_products_are_as_precise_as_the_tolerance_needs(dtype, solver, precision):
    assert sums_precision_for(dtype, solver) == precision
