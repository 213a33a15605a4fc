"""What rounding does to steps, emulated: the schedules of each precision hold where singular values lie at the ends."""

import numpy as np
import pytest

import resolvent as rv
from resolvent.precision import formats
from resolvent.precision import round as rounded
from resolvent.solvers.matrix_functions.step_rounding import cushion_for, noise

ns = rv.newton_schulz
N = 48


def at_the_top(lower):
    """Half the singular values at one, the others down to lower."""
    return np.concatenate([np.ones(N // 2), np.geomspace(1, lower, N - N // 2)])


def evenly(lower):
    """Many where the first steps have their lowest values."""
    return np.linspace(lower, 1, N)


def polar_error(schedule, values, precision):
    """Every product is rounded to the format, as if its sums were exact."""
    format = formats.FORMATS[precision]

    def fl(M):
        return np.asarray(rounded(M, format), np.float64)

    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((N, N)))[0] for _ in range(2))
    X = fl((U * values) @ V)
    with np.errstate(all="ignore"):
        for a0, *more in schedule.coefficients:
            A = fl(X @ X.T)
            if len(more) == 1:
                B = fl(more[0] * A)
            elif len(more) == 2:
                B = fl(more[0] * A + more[1] * (A @ A))
            elif len(more) == 4:
                A2 = fl(A @ A)
                B = fl(fl(more[3] * A2 + more[2] * A) @ A2 + more[1] * A2 + more[0] * A)
            else:
                f = ns.degree_17_factors((a0, *more))
                A2 = fl(A @ A)
                y = fl(fl(f.s * A2 + f.t * A) @ A2)
                left, right = fl(y + f.d2 * A2 + f.d1 * A), fl(y + f.e2 * A2)
                B = fl(left @ right + f.e0 * y + f.a2 * A2 + f.a1 * A)
            X = fl(a0 * X + B @ X)
    return np.linalg.norm(X - U @ V, 2) if np.isfinite(X).all() else np.inf


@pytest.mark.parametrize(
    ("precision", "lower", "arguments", "most"),
    [
        ("bf16", 1e-2, {"products": 15}, 0.15),
        ("bf16", 1e-3, {"products": 15}, 0.6),  # rounding the matrix alone moves its polar factor by 0.3
        ("fp16", 1e-3, {"products": 16}, 0.1),
        ("fp16", 1e-3, {"degree": 9, "steps": 4}, 0.2),
        ("tf32", 1e-3, {"products": 18}, 0.1),
        ("fp32", 1e-3, {"products": 15}, 0.03),
        ("fp32", 1e-3, {"products": 12}, 0.42),
        ("fp32", 1e-5, {"tolerance": 1e-4}, 0.03),
        ("fp64", 1e-8, {"tolerance": 1e-10}, 1e-6),
        ("fp64", 1e-8, {"degree": 5, "tolerance": 1e-10}, 1e-6),
    ],
)
def test_schedules_hold_in_their_precision(precision, lower, arguments, most):
    schedule = ns.schedule(lower, precision=precision, **arguments)
    assert schedule.error_bound < most
    assert polar_error(schedule, at_the_top(lower), precision) < most


@pytest.mark.parametrize(("precision", "lower", "steps"), [("bf16", 1e-3, 5), ("fp32", 1e-6, 12), ("fp64", 1e-12, 21)])
def test_without_safety_they_diverge(precision, lower, steps):
    """Rounding alone carries singular values at the upper end beyond it, in single and double precision too."""
    pure = ns.schedule(lower, degree=5, steps=steps, cushion=0, safety=1)
    assert pure.error_bound < 0.2
    assert polar_error(pure, at_the_top(lower), precision) > 10


@pytest.mark.parametrize(("precision", "degree", "steps"), [("bf16", 5, 7), ("fp16", 9, 5)])
def test_without_cushion_signs_are_lost(precision, degree, steps):
    bare = ns.schedule(1e-4, degree=degree, steps=steps, cushion=0, safety=1.01)
    kept = ns.schedule(1e-4, degree=degree, steps=steps, precision=precision)
    assert max(bare.error_bound, kept.error_bound) < 0.2
    assert polar_error(bare, evenly(1e-4), precision) > 1.8
    assert polar_error(kept, evenly(1e-4), precision) < 0.2


def test_the_cushion_is_where_the_lowest_value_is_its_error():
    for name, degree in (("bf16", 2), ("fp16", 4), ("fp32", 8), ("fp64", 1)):
        format = formats.FORMATS[name]
        f = ns.schedule(cushion_for(degree, 2, format), degree=2 * degree + 1, steps=1, cushion=0, safety=1)
        assert 1 - f.error_bound == pytest.approx(noise(degree, 2, format), rel=0.02)
    assert cushion_for(8, 2, formats.fp16) == np.inf
