"""What the kernels' form takes, and what it says of the rest."""

import pytest

torch = pytest.importorskip("torch")

from resolvent.errors import InputError  # noqa: E402
from resolvent.layers.functional import gated_kalmanet  # noqa: E402
from resolvent.layers.regression import accelerated  # noqa: E402
from resolvent.layers.regression.accelerated import keeps_16_bits, refusal  # noqa: E402
from resolvent.layers.regression.solving import Solver  # noqa: E402


@pytest.fixture
def interpreted(monkeypatch):
    monkeypatch.setattr(accelerated, "INSTALLED", True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def tokens(dtype=torch.float32, D=8, V=8):
    return torch.ones(1, 2, 1, D, dtype=dtype), torch.ones(1, 2, 1, V, dtype=dtype)


def test_what_is_taken(interpreted):
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for name in ("chebyshev", "cg"):
            assert refusal(*tokens(dtype, 256, 256), Solver(name)) is None


@pytest.mark.parametrize(
    ("given", "solver", "told"),
    [
        (tokens(torch.float64), "chebyshev", "float64; wanted float16, bfloat16 or float32"),
        (tokens(D=257), "chebyshev", "D = 257 and V = 8; wanted at most 256"),
        (tokens(V=300), "chebyshev", "D = 8 and V = 300; wanted at most 256"),
        (tokens(), "exact", "solver='exact'; wanted 'chebyshev' or 'cg'"),
    ],
)
def test_what_is_not(interpreted, given, solver, told):
    q, v = given
    with pytest.raises(InputError, match=f"form='triton': found .*{told}, or form='chunk'"):
        gated_kalmanet(q, q, v, solver=solver, form="triton")


def test_tensors_on_a_cpu(monkeypatch):
    monkeypatch.setattr(accelerated, "INSTALLED", True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    q, v = tokens()
    with pytest.raises(InputError, match="form='triton': found tensors on cpu; wanted them on a CUDA device"):
        gated_kalmanet(q, q, v, form="triton")


def test_no_triton(monkeypatch):
    monkeypatch.setattr(accelerated, "INSTALLED", False)
    q, v = tokens()
    with pytest.raises(InputError, match="form='triton': found no Triton; wanted it installed: pip install triton"):
        gated_kalmanet(q, q, v, form="triton")


def test_16_bits_are_kept_where_the_kernels_get_them(interpreted):
    for dtype, kept in ((torch.bfloat16, True), (torch.float16, True), (torch.float32, False)):
        q, v = tokens(dtype)
        assert keeps_16_bits(q, q, v, None, Solver(), anywhere=True) == kept
        assert not keeps_16_bits(q, q, v, None, Solver(), anywhere=False)  # not on a CUDA device
        assert not keeps_16_bits(q, q.double(), v, None, Solver(), anywhere=True)
        # Beside beta, products of float16 might be too small for its range.
        assert keeps_16_bits(q, q, v, q[..., 0], Solver(), anywhere=True) == (dtype == torch.bfloat16)
    assert not keeps_16_bits([1.0], q, v, None, Solver(), anywhere=True)
