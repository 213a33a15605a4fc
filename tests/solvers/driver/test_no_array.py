"""A Solution that is taken for an array, a pair or a number says where the array is."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sparse

import resolvent as rv

A, B = np.diag([1.0, 2.0, 3.0]), np.ones(3)
SOLUTIONS = {
    "one system": rv.cg(A, B, backend="numpy"),
    "a batch": rv.cg(np.stack([A, 2 * A]), np.ones((2, 3)), backend="numpy"),
    "a fixed point": rv.picard(lambda x: x / 2, B, backend="numpy"),
    "a matrix function": rv.polar(A, backend="numpy"),
    "refinement": rv.refine(A, B, backend="numpy"),
}
USES = {
    "unpacking": lambda s: [*s],
    "indexing": lambda s: s[0],
    "a slice": lambda s: s[:2],
    "len": len,
    "bool": bool,
    "float": float,
    "int": int,
    "abs": abs,
    "asarray": np.asarray,
    "array": np.array,
    "a list of them": lambda s: np.array([s, s]),
    "A @ s": lambda s: A @ s,
    "A - s": lambda s: A - s,
    "A * s": lambda s: A * s,
    "A == s": lambda s: s == A,
    "s @ A": lambda s: s @ A,
    "s + 1": lambda s: s + 1,
    "1 - s": lambda s: 1 - s,
    "s < 1": lambda s: s < 1,
    "norm": np.linalg.norm,
    "sin": np.sin,
    "dot": lambda s: np.dot(A, s),
    "allclose": lambda s: np.allclose(s, 1.0),
    "concatenate": lambda s: np.concatenate([s, s]),
    "an assignment": lambda s: np.zeros(3).__setitem__(slice(None), s),
    "a sparse array @ s": lambda s: sparse.csr_array(A) @ s,
    "a sparse matrix * s": lambda s: sparse.csr_matrix(A) * s,
    "a sparse array - s": lambda s: sparse.csr_array(A) - s,
    "a right-hand side": lambda s: rv.cg(A, s, backend="numpy"),
}
TENSOR_USES = {
    "T @ s": lambda torch, s: torch.eye(3) @ s,
    "T - s": lambda torch, s: torch.eye(3) - s,
    "s @ T": lambda torch, s: s @ torch.eye(3),
    "matmul": lambda torch, s: torch.matmul(torch.eye(3), s),
    "as_tensor": lambda torch, s: torch.as_tensor(s),
    "norm": lambda torch, s: torch.linalg.norm(s),
}


@pytest.mark.parametrize("kind", SOLUTIONS)
@pytest.mark.parametrize("use", USES)
def test_every_use_as_an_array_names_x(kind, use):
    with pytest.raises(TypeError, match=r"its \.x \("):
        USES[use](SOLUTIONS[kind])


@pytest.mark.parametrize("use", TENSOR_USES)
def test_tensors_too(use):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"its \.x \("):
        TENSOR_USES[use](torch, SOLUTIONS["one system"])


def test_the_words_name_what_else_was_wanted():
    with pytest.raises(TypeError, match=r"\.converged and \.status"):
        _x, _info = SOLUTIONS["one system"]
    with pytest.raises(TypeError, match=r"\.systems\[i\]"):
        SOLUTIONS["a batch"][0]
    with pytest.raises(TypeError, match=r"\.U and \.H are the factors"):
        _u, _h = SOLUTIONS["a matrix function"]


@pytest.mark.parametrize(
    ("name", "ours"), [("info", "status"), ("success", "converged"), ("nit", "iterations"), ("message", "reason")]
)
def test_fields_of_other_libraries_are_answered_with_ours(name, ours):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'; did you mean '{ours}'\?"):
        getattr(SOLUTIONS["one system"], name)
    assert hasattr(SOLUTIONS["one system"], ours)


def test_methods_of_arrays_are_those_of_x():
    with pytest.raises(AttributeError, match=r"no attribute 'shape'; the array is its \.x$"):
        SOLUTIONS["one system"].shape  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'nowhere'$"):
        SOLUTIONS["one system"].nowhere  # noqa: B018


@pytest.mark.parametrize("kind", [kind for kind in SOLUTIONS if kind != "refinement"])
def test_what_an_object_can_do_it_still_can(kind):
    solution = SOLUTIONS[kind]
    assert solution == solution
    assert solution != 3
    assert solution in [solution]
    assert {solution: 1}[solution] == 1
    for other in (copy.copy(solution), pickle.loads(pickle.dumps(solution))):
        assert np.array_equal(other.x, solution.x)
    held = np.empty(2, object)
    held[0] = 1
    assert str(solution)
    assert repr(solution)
