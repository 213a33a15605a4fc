"""A fixed-point problem: what x0 and g may be, what is refused, what an evaluation costs, and what certifies x."""

import importlib.util
import math
from collections import namedtuple

import numpy as np
import pytest

import resolvent as rv
from resolvent.solvers.driver.status import Cause, Status
from resolvent.solvers.fixed_point.problem import FixedPointProblem

DOTTIE = 0.739085133215160641655312087673873404013411758900757464966
BACKENDS = [("numpy", "numpy"), ("numba", "numpy"), ("torch", "torch"), ("numba", "torch"), ("array_api", "array_api")]


class Counted:
    """A map that counts its evaluations."""

    def __init__(self, g):
        self.g, self.calls = g, 0

    def __call__(self, x):
        self.calls += 1
        return self.g(x)


def array_of(library, values, dtype="float64"):
    if library == "torch":
        torch = pytest.importorskip("torch")
        return torch.tensor(np.asarray(values, dtype))
    if library == "array_api":
        xp = pytest.importorskip("array_api_strict")
        return xp.asarray(np.asarray(values, dtype), copy=True)
    return np.asarray(values, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex64", "complex128"])
@pytest.mark.parametrize(("backend", "library"), BACKENDS)
def test_arrays_of_any_library_shape_and_type(backend, library, dtype):
    shift = np.arange(6.0).reshape(2, 3) + (1j if dtype.startswith("complex") else 0)
    b = array_of(library, shift, dtype)
    solution = rv.picard(lambda x: 0.25 * x + b, array_of(library, np.zeros((2, 3)), dtype), rtol=1e-6, backend=backend)
    assert solution.converged
    assert type(solution.x) is type(b)
    assert solution.x.dtype == b.dtype
    assert tuple(solution.x.shape) == (2, 3)
    np.testing.assert_allclose(np.asarray(solution.x), shift / 0.75, rtol=3e-6)
    assert solution.backend == backend
    assert solution.precision == dtype


def test_the_caller_s_array_is_left_alone():
    x0 = np.ones(3)
    rv.picard(np.cos, x0)
    np.testing.assert_array_equal(x0, np.ones(3))


@pytest.mark.parametrize(
    ("x0", "dtype"), [(np.array([1, 1]), "float64"), (np.ones(2, np.float16), "float32"), ([1, 1], "float64")]
)
def test_promotion(x0, dtype):
    seen = set()

    def g(x):
        seen.add((type(x), x.dtype, x.shape))
        return np.cos(x)

    solution = rv.picard(g, x0, rtol=1e-3)
    assert solution.x.dtype == dtype
    assert seen == {(np.ndarray, np.dtype(dtype), (2,))}


def test_numbers_come_back_as_numbers():
    solution = rv.picard(math.cos, 1.0, rtol=1e-12)
    assert type(solution.x) is float
    assert solution.x == pytest.approx(DOTTIE, abs=1e-12)
    solution = rv.picard(lambda z: 0.5j * z + 1, 0j, rtol=1e-12)
    assert type(solution.x) is complex
    assert solution.x == pytest.approx(1 / (1 - 0.5j), abs=1e-12)
    solution = rv.picard(np.cos, np.array(1.0), rtol=1e-12)
    assert solution.x.shape == ()
    assert float(solution.x) == pytest.approx(DOTTIE, abs=1e-12)


Pair = namedtuple("Pair", "first second")


@pytest.mark.parametrize("make", [lambda a, b: (a, b), lambda a, b: [a, b], Pair])
def test_sequences_of_arrays(make):
    def g(v):
        assert type(v) is type(x0)
        return v[1].sum() / 4 * np.ones(1), 1 - np.full((2, 2), v[0][0]) / 2

    x0 = make(np.zeros(1), np.zeros((2, 2)))
    solution = rv.picard(g, x0, rtol=1e-12)
    assert type(solution.x) is type(x0)
    np.testing.assert_allclose(solution.x[0], [2 / 3], atol=1e-11)
    np.testing.assert_allclose(solution.x[1], np.full((2, 2), 2 / 3), atol=1e-11)


def test_dicts_of_arrays_and_numbers():
    def g(v):
        assert list(v) == ["a", "b"]
        assert type(v["a"]) is float
        return {"b": 1 - v["a"] * np.ones(2) / 2, "a": v["b"].sum() / 4}

    solution = rv.picard(g, {"a": 0.0, "b": np.zeros(2)}, rtol=1e-12)
    assert type(solution.x["a"]) is float
    assert solution.x["a"] == pytest.approx(0.4, abs=1e-12)
    np.testing.assert_allclose(solution.x["b"], [0.8, 0.8], atol=1e-12)


@pytest.mark.parametrize(("backend", "library"), BACKENDS)
def test_complex_blocks_beside_real_ones(backend, library):
    """The norm is that of all numbers: a complex one counts with both of its parts."""

    def g(v):
        z, x = v["z"], v["x"]
        assert "complex128" in str(z.dtype)
        assert "float64" in str(x.dtype)
        return {"z": 0.5j * z + (1 + 1j), "x": 0.5 * x + 1}

    x0 = {"z": array_of(library, [0, 1j], "complex128"), "x": array_of(library, [[1.0]], "float32")}
    problem = FixedPointProblem(g, x0, backend=backend)
    f = np.abs([1 + 1j, 0.5j * 1j + 1 + 1j - 1j, 1.5 - 1.0])
    assert problem.initial()[2] == pytest.approx(np.linalg.norm(f))
    solution = rv.picard(g, x0, rtol=1e-12, backend=backend)
    np.testing.assert_allclose(np.asarray(solution.x["z"]), np.full(2, (1 + 1j) / (1 - 0.5j)), atol=1e-11)
    np.testing.assert_allclose(np.asarray(solution.x["x"]), [[2.0]], atol=1e-11)


@pytest.mark.parametrize(
    ("g", "x0", "said"),
    [
        (lambda x: x[:2], np.ones(3), r"g: its value has shape \(2,\); wanted \(3,\), the shape of x0"),
        (lambda x: x[:, None], np.ones(3), r"shape \(3, 1\); wanted \(3,\)"),
        (lambda x: np.ones(1), 1.0, r"shape \(1,\); wanted \(\)"),
        (lambda x: x + 1j, np.ones(2), "is complex128; wanted real numbers. Pass a complex x0"),
        (lambda x: x * 1j, 1.0, "its value is complex; wanted a real number"),
        (lambda x: x.real, np.ones(2) + 0j, "its value is float64; wanted complex128"),
        (lambda x: x.astype(np.float32), np.ones(2), r"float32, whose digits cannot tell how small g\(x\) - x is"),
        (lambda x: x.astype(int), np.ones(2), "int64, whose digits cannot tell"),
        (lambda x: (x, x), np.ones(2), r"g: its value has shape \(2, 2\)"),
        (lambda x: {"a": x}, np.ones(2), "g: its value is a dict; wanted one array, as x0 is"),
        (lambda v: v["a"], {"a": np.ones(2)}, "g: its value is a ndarray; wanted what x0 is, a dict of 'a'"),
        (lambda v: {"b": v["a"]}, {"a": np.ones(2)}, "has the keys 'b'; wanted what x0 is, 'a'"),
        (lambda v: v[0], (np.ones(2), np.ones(1)), "wanted what x0 is, 2 arrays"),
        (lambda v: v[:1], (np.ones(2), np.ones(1)), "has 1 parts; wanted what x0 is, 2"),
        (lambda v: (v[0], v[0]), (np.ones(2), np.ones(1)), r"g\(x\)\[1\]: its value has shape \(2,\); wanted \(1,\)"),
        (np.cos, np.array([1.0, np.nan]), "x0: has NaN entries"),
        (np.cos, np.array([1.0, np.inf]), "x0: has infinite entries"),
        (np.cos, np.ones(0), "x0: found no entries"),
        (np.cos, [], "x0: found no entries"),
        (lambda v: v, {}, "x0: found no entries"),
        (lambda v: v, (np.ones(2), [np.ones(2)]), r"x0\[1\]: found a list within another"),
    ],
)
def test_what_is_refused(g, x0, said):
    with pytest.raises(rv.InputError, match=said):
        rv.picard(g, x0)


@pytest.mark.parametrize(
    ("g", "x0", "said"),
    [
        (3, np.ones(2), "g: found int; wanted a callable"),
        (np.cos, "one", "x0: found str; wanted an array"),
        (np.cos, None, "x0: found NoneType"),
        (np.cos, True, "x0: found a bool"),
        (np.cos, np.array(["a"]), "x0: dtype"),
        (np.cos, np.ones(2, np.longdouble), "x0: dtype"),
        (lambda x: None, np.ones(2), r"g: its value has shape \(\)|NoneType"),
    ],
)
def test_what_is_of_another_type(g, x0, said):
    with pytest.raises((TypeError, rv.InputError), match=said):
        rv.picard(g, x0)


def test_mixed_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(rv.BackendError, match="numpy and torch"):
        rv.picard(lambda v: v, (np.ones(2), torch.ones(2)))


def test_a_type_that_changes_between_calls_is_refused():
    calls = iter(range(9))
    with pytest.raises(rv.InputError, match="float32, whose digits"):
        rv.picard(lambda x: np.cos(x).astype(np.float32 if next(calls) == 3 else np.float64), np.ones(2))


def test_a_map_cannot_write_to_what_it_is_handed():
    def g(x):
        x += 1.0
        return x

    with pytest.raises(ValueError, match="read-only"):
        rv.picard(g, np.ones(2))


@pytest.mark.parametrize(("backend", "library"), BACKENDS)
def test_a_map_may_return_the_memory_of_its_argument_and_its_own(backend, library):
    """It writes to its argument where it can, keeps what it was handed, and returns one buffer again and again."""
    kept = []
    buffer = np.zeros(2)

    def g(x):
        if library == "torch":
            x.mul_(0.5).add_(1.0)
            kept.append(x)
            for old in kept[:-1]:
                old.fill_(math.nan)
            return x
        if library == "array_api":
            return 0.5 * x + 1.0
        np.multiply(x, 0.5, out=buffer)
        np.add(buffer, 1.0, out=buffer)
        return buffer

    solution = rv.picard(g, array_of(library, [0.0, 1.0]), rtol=1e-12, backend=backend)
    assert solution.converged
    np.testing.assert_allclose(np.asarray(solution.x), [2.0, 2.0], atol=1e-11)


def test_the_identity_is_solved_at_once():
    g = Counted(lambda x: x)
    solution = rv.picard(g, np.ones(2))
    assert solution.converged
    assert (solution.iterations, g.calls, solution.residual_norm) == (0, 1, 0.0)


def test_no_gradients_are_followed():
    torch = pytest.importorskip("torch")
    scale = torch.tensor(0.5, requires_grad=True)
    for backend in ("torch", None):
        solution = rv.picard(lambda x: scale * x + 1, torch.zeros(3, requires_grad=True), backend=backend)
        assert solution.converged
        assert not solution.x.requires_grad


@pytest.mark.parametrize("rtol", [1e-3, 1e-9])
def test_an_evaluation_certifies_its_point(rtol):
    g = Counted(np.cos)
    solution = rv.picard(g, np.ones(4), rtol=rtol)
    assert solution.evaluations == solution.matvecs == g.calls == solution.iterations + 1
    assert solution.residual_norm == np.linalg.norm(np.cos(solution.x) - solution.x)
    assert solution.tolerance == rtol
    assert solution.relative_residual == pytest.approx(solution.residual_norm / 2.0)  # ||x0|| = 2 > ||cos x0||


def test_the_target_is_that_of_a_linear_system_for_a_guess_of_zero():
    A, b = np.array([[1.0, 0.3], [0.2, 0.9]]), np.array([3.0, 4.0])
    solution = rv.picard(lambda x: x + b - A @ x, np.zeros(2), rtol=1e-6)
    assert solution.reference == 5.0
    assert np.linalg.norm(b - A @ solution.x) <= 1e-6 * 5
    assert solution.relative_residual == pytest.approx(np.linalg.norm(b - A @ solution.x) / 5, rel=1e-6)
    absolute = rv.picard(lambda x: x + b - A @ x, np.zeros(2), rtol=0, atol=1e-3)
    assert absolute.residual_norm <= 1e-3
    assert absolute.tolerance == pytest.approx(1e-3 / 5)
    assert absolute.iterations < solution.iterations


def test_a_residual_that_falls_suddenly_is_looked_at_twice():
    """At its sixth evaluation g returns its argument."""

    def g(x):
        return x if lying.calls == 6 else 0.5 * x + 1

    lying = Counted(g)
    solution = rv.picard(lying, np.zeros(2), rtol=1e-6)
    assert solution.converged
    np.testing.assert_allclose(solution.x, [2.0, 2.0], rtol=1e-5)
    assert solution.residual_norm > 0


def test_a_sudden_fall_that_is_true_costs_one_evaluation():
    g = Counted(lambda x: np.ones(2))
    solution = rv.picard(g, np.zeros(2))
    assert solution.converged
    assert (solution.iterations, solution.evaluations) == (1, 3)


def test_values_that_are_not_finite_are_stepped_back_from_once():
    """sqrt of negative numbers: from 1 the map leads to -1, and half way, to 0, it is finite."""
    seen = []

    def g(x):
        seen.append(float(x[0]))
        return np.sqrt(x) - 2 if x[0] == 1 else np.sqrt(x) / 4 + 0.1

    solution = rv.picard(g, np.ones(1), rtol=1e-8)
    assert solution.converged
    assert seen[:3] == [1.0, -1.0, 0.0]
    assert solution.evaluations == solution.iterations + 2


def test_values_that_stay_infinite_end_it_with_the_iterate_before():
    def g(x):
        return np.where(x > 3, np.nan, 2.0 * x + 1)

    with pytest.warns(rv.ConvergenceWarning):
        solution = rv.picard(g, np.array([-1.5]))  # -2, -3, -5, -9, ... leaves without limit
    assert solution.status is Status.DIVERGED
    with pytest.warns(rv.ConvergenceWarning, match="not finite at the next iterate, nor half way"):
        solution = rv.picard(lambda x: np.where(x > 3, np.nan, 9 - x / 2), np.array([3.0]))
    assert solution.status is Status.DIVERGED
    assert solution.cause is Cause.NOT_FINITE
    assert solution.x[0] == 3.0


def test_arithmetic_errors_count_as_values_that_are_not_finite():
    with pytest.warns(rv.ConvergenceWarning, match="OverflowError"):
        solution = rv.picard(lambda x: math.exp(x) + 10, 1.0)
    assert solution.status is Status.DIVERGED
    assert solution.x == 1.0
    with pytest.raises(ZeroDivisionError):
        rv.picard(lambda x: 1 / x, 0.0)
    with pytest.raises(KeyError):
        rv.picard(lambda x: {}["a"], 1.0)


def test_a_first_value_that_is_not_finite():
    with pytest.warns(rv.ConvergenceWarning, match=r"g\(x0\) is NaN or infinite"):
        solution = rv.picard(np.log, np.array([-1.0, 2.0]))
    assert (solution.status, solution.cause) == (Status.DIVERGED, Cause.NOT_FINITE)
    np.testing.assert_array_equal(solution.x, [-1.0, 2.0])


@pytest.mark.parametrize("noise", [1e-3, 1e-8])
def test_a_map_that_varies_stagnates_at_its_noise(noise):
    rng = np.random.default_rng(3)
    g = Counted(lambda x: 0.5 * x + 1 + noise * rng.standard_normal(20))
    with pytest.warns(rv.ConvergenceWarning, match="varies from one call to the next"):
        solution = rv.picard(g, np.zeros(20), rtol=1e-14)
    assert (solution.status, solution.cause) == (Status.STAGNATED, Cause.NOISE)
    assert solution.residual_norm < 20 * noise
    assert g.calls < 600


def test_noise_is_not_found_where_there_is_none():
    """A residual that does not fall for long is no noise: each doubt costs one evaluation, and they grow rare."""
    g = Counted(lambda x: 1 - x)
    with pytest.warns(rv.ConvergenceWarning):
        solution = rv.picard(g, np.zeros(2), maxiter=1000)
    assert solution.status is Status.MAX_ITERATIONS
    assert g.calls <= 1001 + math.ceil(math.log2(1000 / 50))


def test_a_second_look_leaves_the_first_value_as_it_was():
    problem = FixedPointProblem(np.cos, np.ones(3), backend="numpy")
    x, residual, norm = problem.initial()
    _, noise = problem.varies(x, residual, np.zeros(3))
    assert noise == 0
    found, certified = problem.certify(x, np.zeros(3))
    np.testing.assert_array_equal(found, np.cos(np.ones(3)) - 1)
    assert certified == norm


def test_rounding_is_the_end():
    G = np.random.default_rng(0).standard_normal((30, 30)) / 12
    with pytest.warns(rv.ConvergenceWarning, match="float64 can do no better.*times the rounding of x"):
        solution = rv.picard(lambda x: G @ x + 1, np.zeros(30), rtol=1e-18)
    assert solution.status is Status.STAGNATED
    assert solution.relative_residual < 1e-15
    assert solution.iterations < 300


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_units_do_not_matter(scale):
    plain = rv.picard(lambda x: np.cos(x), np.ones(3), rtol=1e-10)
    scaled = rv.picard(lambda x: scale * np.cos(x / scale), scale * np.ones(3), rtol=1e-10)
    assert scaled.iterations == plain.iterations
    np.testing.assert_allclose(scaled.x, scale * plain.x, rtol=1e-12)
    assert scaled.residual_norm == pytest.approx(scale * plain.residual_norm, rel=1e-3)
    assert "changes no digit" in scaled.reason


def test_lower_precision_is_certified_in_that_of_the_data():
    types = []

    def g(x):
        types.append(x.dtype)
        return np.cos(x)

    solution = rv.picard(g, np.ones(3), rtol=1e-6, precision="fp32")
    assert solution.converged
    assert solution.x.dtype == np.float64
    assert set(types) == {np.dtype("float32"), np.dtype("float64")}
    assert types[-1] == np.float64
    assert solution.residual_norm == np.linalg.norm(np.cos(solution.x) - solution.x)


def test_emulated_precision_rounds_iterates_and_says_where_its_digits_end():
    solution = rv.picard(np.cos, np.ones(3), rtol=1e-2, precision="bf16")
    assert solution.converged
    np.testing.assert_array_equal(solution.x, rv.precision.round(solution.x, "bf16"))
    assert solution.residual_norm == np.linalg.norm(np.cos(solution.x) - solution.x)
    with pytest.warns(rv.ConvergenceWarning, match="bf16 can do no better"):
        solution = rv.picard(np.cos, np.ones(3), rtol=1e-6, precision="bf16")
    assert solution.status is Status.STAGNATED


@pytest.mark.parametrize("precision", ["fp16", "fp8_e4m3"])
def test_narrow_formats_are_fitted(precision):
    if importlib.util.find_spec("torch") is None and precision.startswith("fp8"):
        pytest.skip("needs torch")
    solution = rv.picard(lambda x: x / 4 + 3e6, np.zeros(3), rtol=0.2, precision=precision)
    assert solution.converged
    np.testing.assert_allclose(solution.x, 4e6, rtol=0.3)


def test_the_report_speaks_of_fixed_points():
    solution = rv.picard(np.cos, np.ones(3))
    text = str(solution)
    assert f"evaluations of g  {solution.evaluations}" in text
    assert "max(||x0||, ||g(x0)||)" in text
    for word in ("A x", "||b||", "products", "backward error", "spectrum"):
        assert word not in text


def test_callbacks_see_iterates_in_the_structure_of_x0():
    seen = []

    def callback(progress):
        seen.append(progress.x["a"].copy())
        progress.x["a"][:] = 7
        return progress.iteration == 3

    with pytest.warns(rv.ConvergenceWarning):
        solution = rv.picard(lambda v: {"a": np.cos(v["a"])}, {"a": np.ones(2)}, rtol=1e-12, callback=callback)
    assert solution.status is Status.STOPPED
    x = np.ones(2)
    for found in seen:
        x = np.cos(x)
        np.testing.assert_allclose(found, x, rtol=1e-15)
    assert len(seen) == 3


@pytest.mark.parametrize("method", rv.FIXED_POINT_METHODS)
def test_an_interruption_keeps_the_iterate_and_costs_no_further_evaluation(method):
    d = np.linspace(0.1, 0.9, 30)

    def g(x):
        if counted.calls == 6:
            raise KeyboardInterrupt
        return d * x + 1

    counted = Counted(g)
    with pytest.warns(rv.ConvergenceWarning, match="Interrupted"):
        solution = rv.fixed_point(counted, np.zeros(30), method=method, rtol=1e-12)
    assert solution.status is Status.INTERRUPTED
    assert counted.calls == 6
    assert solution.iterations == 4
    assert solution.residual_norm == np.linalg.norm(d * solution.x + 1 - solution.x)


@pytest.mark.parametrize("method", rv.FIXED_POINT_METHODS)
def test_a_map_that_lies_once_is_found_out(method):
    d = np.linspace(0.1, 0.9, 30)

    def g(x):
        return x if counted.calls == 7 else d * x + 1

    counted, rtol = Counted(g), 5e-3 if method == "halpern" else 1e-7
    solution = rv.fixed_point(counted, np.zeros(30), method=method, rtol=rtol)
    assert solution.converged
    # ||x - x*|| <= ||g(x) - x|| / (1 - 0.9), and the residual is relative to ||g(0)||.
    assert np.linalg.norm(solution.x - 1 / (1 - d)) <= 10.001 * rtol * np.sqrt(30)


def test_a_first_step_that_is_no_surprise_is_evaluated_once():
    with pytest.warns(rv.ConvergenceWarning):
        assert rv.picard(lambda x: 0.8 * x + 1, np.zeros(3), maxiter=1).evaluations == 2
    with pytest.warns(rv.ConvergenceWarning):
        assert rv.picard(lambda x: 1e-4 * x + 1, np.zeros(3), rtol=0.0, maxiter=1).evaluations == 3


def test_another_first_guess_of_the_same_problem():
    calls = []

    def g(x):
        calls.append(x.copy())
        return x / 2 + 1e200

    problem = FixedPointProblem(g, np.full(3, 1e200))
    reference = problem.reference
    problem.begin_at(np.full(3, 1.5e200))
    x, residual, norm = problem.initial()
    assert problem.reference == reference
    assert np.array_equal(problem.unscaled(x), np.full(3, 1.5e200))
    assert np.allclose(problem.unscaled(residual), 0.25e200, rtol=1e-14)
    assert math.isclose(math.ldexp(norm, problem.exponent), 0.25e200 * math.sqrt(3))
    assert [call[0] for call in calls] == [1e200, 1.5e200]
    assert problem.matvecs == 2
