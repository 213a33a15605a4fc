"""Frames and series of pandas are the numbers that they hold, by position; x is an array."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sparse

import resolvent as rv

A = np.array([[4.0, 1, 0], [1, 3, 0], [0, 0, 2]])
B = np.array([1.0, 2.0, 3.0])
FRAME = pd.DataFrame(A, index=list("abc"), columns=list("abc"))
SERIES = pd.Series(B, index=list("cba"))

CALLS = {
    "cg": lambda A, b: rv.cg(A, b, x0=b, backend="numpy"),
    "solve": lambda A, b: rv.solve(A, b, backend="numpy"),
    "many": lambda A, b: rv.cg(A, A, backend="numpy"),
    "M": lambda A, b: rv.cg(A, b, M=A, backend="numpy"),
    "M by name": lambda A, b: rv.cg(A, b, M="jacobi", backend="numpy"),
    "lsmr": lambda A, b: rv.lsmr(A, b, x0=b, backend="numpy"),
    "prepare": lambda A, b: rv.prepare(A, method="cg", backend="numpy").update(2 * A).solve(b),
    "Sequence": lambda A, b: rv.Sequence("cg", backend="numpy").solve(A, b),
    "refine": lambda A, b: rv.refine(A, b, backend="numpy"),
    "polar": lambda A, b: rv.polar(A, backend="numpy"),
    "fixed_point": lambda A, b: rv.fixed_point(lambda x: x / 2 + 1, b, backend="numpy"),
}


@pytest.mark.parametrize("call", CALLS)
def test_they_are_taken_as_arrays(call):
    found, expected = CALLS[call](FRAME, SERIES), CALLS[call](A, B)
    assert type(found.x) is np.ndarray
    np.testing.assert_allclose(found.x, expected.x, rtol=1e-12)
    assert found.converged


def test_nothing_of_theirs_is_changed():
    frame, series = FRAME.copy(), SERIES.copy()
    rv.cg(frame, series, x0=series, backend="numpy")
    pd.testing.assert_frame_equal(frame, FRAME)
    pd.testing.assert_series_equal(series, SERIES)


@pytest.mark.parametrize("dtype", ["int64", "Int64", "Float32", pd.SparseDtype("float64", 0.0)])
def test_types_of_theirs(dtype):
    found = rv.cg(FRAME.astype(dtype), SERIES.astype(dtype), backend="numpy", rtol=1e-6)
    np.testing.assert_allclose(A @ found.x, B, rtol=1e-5)


def test_what_holds_no_numbers_is_refused():
    with pytest.raises(rv.InputError, match="b: entry 1 is not finite"):
        rv.cg(FRAME, pd.Series([1, None, 2], dtype="Int64"))
    with pytest.raises(TypeError, match="b: found Series; wanted an array of numbers"):
        rv.cg(FRAME, pd.Series(list("abc")))
    with pytest.raises(TypeError, match="A: found DataFrame; wanted an array of numbers"):
        rv.cg(FRAME.assign(a="text"), SERIES)


def test_everything_that_takes_a_matrix_takes_a_frame():
    assert rv.condition_number(FRAME).estimate == pytest.approx(np.linalg.cond(A))
    assert rv.as_operator(FRAME).shape == (3, 3)
    np.testing.assert_allclose(rv.precondition.jacobi(FRAME) @ B, B / A.diagonal())


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", [np.matrix, sparse.csc_array, sparse.coo_matrix])
def test_matrices_and_sparse_columns_are_right_hand_sides(kind):
    found = rv.cg(A, kind(B[:, None]), backend="numpy", rtol=1e-10)
    np.testing.assert_allclose(A @ np.asarray(found.x).reshape(-1), B, rtol=1e-8)
