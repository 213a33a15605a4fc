"""Derivatives of matrix functions against finite differences, closed forms, and each other."""

import warnings

import pytest

import resolvent as rv

torch = pytest.importorskip("torch")

from known_spectra import (  # noqa: E402
    definite,
    drawn,
    gradient,
    hermitian_part,
    off,
    orthonormal,
    with_eigenvalues,
    with_singular_values,
)
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

from resolvent import layers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("error::resolvent.ConvergenceWarning")

TALL, WIDE, SQUARE = (3, 2), (2, 3), (2, 2)
BATCH = (2, 2, 2)


def of_definite(function, **options):
    return lambda B: function(definite(B), **options)


CASES = {
    "orthogonalize, tall": (layers.orthogonalize, TALL),
    "orthogonalize, wide": (layers.orthogonalize, WIDE),
    "orthogonalize, square": (layers.orthogonalize, SQUARE),
    "orthogonalize, batch": (layers.orthogonalize, BATCH),
    "polar, right": (layers.polar, TALL),
    "polar, left": (lambda A: layers.polar(A, side="left"), TALL),
    "polar, wide": (lambda A: layers.polar(A)[1], WIDE),
    "matrix_sign": (lambda A: layers.matrix_sign(hermitian_part(A)), (3, 3)),
    "matrix_sign, not Hermitian": (lambda A: layers.matrix_sign(A, hermitian=False), SQUARE),
    "sqrtm": (of_definite(layers.sqrtm), BATCH),
    "sqrtm, by products": (of_definite(layers.sqrtm, equations="products"), SQUARE),
    "invsqrtm": (of_definite(layers.invsqrtm), BATCH),
    "inverse": (lambda A: layers.inverse(A + 3 * torch.eye(2)), BATCH),
    "inverse, positive": (of_definite(layers.inverse, positive=True), SQUARE),
    "pinv, tall": (layers.pinv, TALL),
    "pinv, wide": (layers.pinv, WIDE),
    "inverse_root, 1": (of_definite(layers.inverse_root, p=1), SQUARE),
    "inverse_root, 3": (of_definite(layers.inverse_root, p=3), SQUARE),
    "inverse_root, 4": (of_definite(layers.inverse_root, p=4), SQUARE),
}
functions = pytest.mark.parametrize(("function", "shape"), CASES.values(), ids=CASES)
kinds = pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)


@kinds
@functions
def test_first_derivatives(function, shape, dtype):
    A = drawn(*shape, dtype=dtype, seed=3).requires_grad_()
    assert gradcheck(function, A, check_forward_ad=True, fast_mode=True)


@kinds
@functions
def test_second_derivatives(function, shape, dtype):
    A = drawn(*shape, dtype=dtype, seed=3).requires_grad_()
    assert gradgradcheck(function, A, fast_mode=True, atol=1e-4)


def test_third_derivatives():
    """Of the trace of the root, t -> sum sqrt(lambda + t) along the identity."""
    A, t = with_eigenvalues([0.5, 1.0, 2.0]), torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = layers.sqrtm(A + t * torch.eye(3, dtype=torch.float64)).trace()
    for power, factor in ((-0.5, 0.5), (-1.5, -0.25), (-2.5, 0.375)):
        (value,) = torch.autograd.grad(value, t, create_graph=True)
        wanted = sum(factor * x**power for x in (0.5, 1.0, 2.0))
        assert abs(float(value.detach()) - wanted) < 1e-10 * abs(wanted)


# Closed forms, in the eigenvectors.


def divided_differences(name, x):
    """Of f at eigenvalues x, without differences."""
    s = x.sqrt()
    a, b = s[:, None], s[None, :]
    return {"sqrtm": 1 / (a + b), "invsqrtm": -1 / (a * b * (a + b)), "inverse": -1 / (a * b) ** 2}[name]


@pytest.mark.parametrize("equations", ["eigh", "products"])
@pytest.mark.parametrize("name", ["sqrtm", "invsqrtm"])
def test_gradients_of_roots_at_condition_1e3(name, equations):
    n, G = 64, drawn(64, 64, seed=7)
    x, V = torch.linalg.eigh(with_eigenvalues(torch.logspace(0, -3, n, dtype=torch.float64)))
    A = hermitian_part((V * x) @ V.mT)
    found = gradient(lambda A: getattr(layers, name)(A, equations=equations), A, G)
    wanted = V @ (divided_differences(name, x) * (V.mT @ hermitian_part(G) @ V)) @ V.mT
    assert off(found, wanted) < 1e-11


@pytest.mark.parametrize("name", ["sqrtm", "invsqrtm", "inverse"])
def test_multiple_eigenvalues_do_no_harm(name):
    x = torch.tensor([1.0, 1.0, 1.0, 4.0], dtype=torch.float64)
    V, G = orthonormal(4, 4), drawn(4, 4, seed=5)
    options = {"positive": True} if name == "inverse" else {}
    found = gradient(lambda A: getattr(layers, name)(A, **options), hermitian_part((V * x) @ V.mT), G)
    wanted = V @ (divided_differences(name, x) * (V.mT @ hermitian_part(G) @ V)) @ V.mT
    assert off(found, wanted) < 1e-11
    assert off(found, found.mT) < 1e-14


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)], ids=str)
def test_equal_singular_values_do_no_harm(shape):
    A = with_singular_values([2.0, 2.0, 2.0], *shape).requires_grad_()
    assert gradcheck(layers.orthogonalize, A, fast_mode=True)
    assert gradcheck(lambda A: layers.polar(A)[1], A, fast_mode=True)


def test_sign_jumps_nowhere_between_equal_signs():
    """In a basis of eigenvectors, entries of one sign do not change, and others by 2 / (|x| + |y|)."""
    x = torch.tensor([3.0, 1.0, -2.0], dtype=torch.float64)
    V, G = orthonormal(3, 3), hermitian_part(drawn(3, 3, seed=2))
    found = V.mT @ gradient(layers.matrix_sign, hermitian_part((V * x) @ V.mT), G) @ V
    inner = V.mT @ G @ V
    wanted = torch.where(x[:, None].sign() != x.sign(), 2 / (x[:, None].abs() + x.abs()) * inner, 0)
    assert off(found, wanted) < 1e-11


def test_gradient_of_the_nuclear_norm_is_the_orthogonal_factor():
    A = drawn(5, 3).requires_grad_()
    U, H = layers.polar(A)
    (found,) = torch.autograd.grad(H.diagonal().sum(), A)
    assert off(found, U.detach()) < 1e-11


def test_gradient_of_the_pseudo_inverse_is_that_of_the_normal_equations():
    A, G = drawn(5, 3), drawn(3, 5, seed=1)
    wanted = gradient(lambda A: torch.linalg.inv(A.mT @ A) @ A.mT, A, G)
    assert off(gradient(layers.pinv, A, G), wanted) < 1e-10


def test_gradient_of_the_sign_of_a_matrix_that_is_not_symmetric_is_in_full():
    A = torch.tensor([[2.0, 5.0], [0.0, -3.0]], dtype=torch.float64)
    found = gradient(lambda A: layers.matrix_sign(A, hermitian=False)[0, 1], A, torch.ones((), dtype=torch.float64))
    # sign [[a, c], [e, b]] has 2 c / sqrt((a - b)^2 + 4 c e) above the diagonal.
    assert torch.allclose(found, torch.tensor([[-0.4, 0.4], [-4.0 * 25 / 125, 0.4]], dtype=torch.float64))


# Transforms of torch.func, types and sizes.


def test_jacobians_by_vmap_are_those_of_each():
    A = drawn(3, 3, 2)
    together = torch.func.vmap(torch.func.jacrev(layers.orthogonalize))(A)
    for k in range(3):
        assert off(together[k], torch.func.jacfwd(layers.orthogonalize)(A[k])) < 1e-11


def test_hessians_by_all_mixtures_of_modes_agree():
    weights = drawn(2, 2, seed=1)

    def value(A):
        return (layers.invsqrtm(definite(A)) * weights).sum()

    A, first, second = drawn(2, 2, seed=3), torch.func.jacrev, torch.func.jacfwd
    reverse = first(first(value))(A)
    for mixture in (first(second(value)), second(first(value)), second(second(value))):
        assert off(mixture(A), reverse) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
def test_single_precision_stays_single(dtype):
    wide = torch.complex128 if dtype.is_complex else torch.float64
    G = drawn(6, 6, dtype=wide, seed=1)
    of_definite_ones = (layers.orthogonalize, layers.sqrtm, layers.invsqrtm, layers.inverse)
    for function in (*of_definite_ones, layers.matrix_sign):
        spectrum = [1.0, 0.5, 0.3, 0.2, 0.1, 0.05 if function in of_definite_ones else -0.05]
        A = with_eigenvalues(spectrum, wide)
        found = gradient(function, A.to(dtype), G.to(dtype))
        assert function(A.to(dtype)).dtype == found.dtype == dtype
        assert off(found.to(wide), gradient(function, A, G)) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_worked_on_in_single(dtype):
    A = torch.eye(3, dtype=dtype, requires_grad=True)
    S = layers.sqrtm(A)
    assert S.dtype == torch.float32
    (found,) = torch.autograd.grad(S.trace(), A)
    assert found.dtype == dtype
    assert found.tolist() == (0.5 * torch.eye(3)).tolist()


def test_autocast_is_switched_off_within():
    A = with_eigenvalues([1.0, 0.1, 0.01]).float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Z = layers.invsqrtm(A)
        (found,) = torch.autograd.grad(Z.sum(), A)
    assert Z.dtype == torch.float32
    assert off(found, gradient(lambda A: layers.invsqrtm(A).sum(), A, torch.ones(()))) < 1e-5


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 0)], ids=str)
def test_empty_stacks(shape):
    A = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    for function in (layers.orthogonalize, layers.sqrtm, layers.inverse, layers.pinv):
        assert torch.autograd.grad(function(A).sum(), A)[0].shape == shape


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_units_do_not_matter(scale):
    A, G = drawn(3, 2), drawn(3, 2, seed=1)
    assert off(scale * gradient(layers.orthogonalize, scale * A, G), gradient(layers.orthogonalize, A, G)) < 1e-12


@pytest.mark.parametrize(
    "function",
    [
        layers.sqrtm,
        lambda A: layers.sqrtm(A, equations="products"),
        lambda A: layers.matrix_sign(A, hermitian=False),
        layers.orthogonalize,
        layers.inverse,
        lambda A: layers.inverse_root(A, 3),
    ],
    ids=["sqrtm", "sqrtm, by products", "matrix_sign, not Hermitian", "orthogonalize", "inverse", "inverse_root"],
)
def test_members_of_a_stack_are_apart(function):
    """What is not finite in one cotangent is so in one gradient: loss scaling overflows on purpose."""
    A, G = torch.stack([with_eigenvalues([1.0, 2.0]), with_eigenvalues([3.0, 5.0])]), drawn(2, 2, 2)
    alone = gradient(function, A[1], G[1])
    G[0, 0, 1] = float("inf")
    found = gradient(function, A, G)
    assert not found[0].isfinite().any()
    assert torch.allclose(found[1], alone, rtol=1e-13, atol=1e-15)


def test_arguments_are_not_changed():
    A = definite(drawn(3, 3))
    kept = A.clone()
    for function in (layers.orthogonalize, layers.sqrtm, layers.invsqrtm, layers.inverse, layers.pinv):
        gradient(function, A, kept)
        assert torch.equal(A, kept)


def test_compiled_code_gives_the_same_numbers():
    A = drawn(3, 2)
    compiled = torch.compile(lambda A: 2 * layers.orthogonalize(A).sin(), backend="eager")
    wanted = gradient(lambda A: 2 * layers.orthogonalize(A).sin(), A, torch.ones_like(A))
    assert off(gradient(compiled, A, torch.ones_like(A)), wanted) < 1e-14


# What is said.


def test_a_tolerance_that_was_asked_for_and_missed_is_told():
    A = with_eigenvalues(torch.logspace(0, -8, 8, dtype=torch.float64))
    with pytest.warns(rv.ConvergenceWarning, match=r"^invsqrtm: "):
        layers.invsqrtm(A, rtol=1e-13)
    with pytest.warns(rv.ConvergenceWarning, match=r"^invsqrtm: "):  # also where none was asked for
        layers.invsqrtm(with_eigenvalues([1.0, 1.0, 1e-19]))


def test_the_default_tolerance_is_what_rounding_allows():
    A = with_eigenvalues(torch.logspace(0, -6, 8, dtype=torch.float64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Z = layers.invsqrtm(A)
    assert float(torch.linalg.norm(Z @ A @ Z - torch.eye(8))) < 1e-8


SQUARE_ALONE = (layers.sqrtm, layers.invsqrtm, layers.inverse, layers.matrix_sign)


@pytest.mark.parametrize("function", SQUARE_ALONE, ids=lambda function: function.__name__)
def test_matrices_that_are_not_square_are_refused(function):
    with pytest.raises(rv.InputError, match=r"A: found shape \(3, 2\); wanted a square matrix"):
        function(drawn(3, 2))


@pytest.mark.parametrize("function", [layers.sqrtm, layers.invsqrtm, layers.matrix_sign], ids=lambda f: f.__name__)
def test_matrices_that_are_not_hermitian_are_refused(function):
    with pytest.raises(rv.NotHermitianError, match="A: "):
        function(torch.tensor([[2.0, 1.0], [0.0, 2.0]]))


REFUSED = {
    "method": (layers.orthogonalize, {"method": "finite"}, "method: found 'finite'; wanted one of implicit, unrolled"),
    "singular": (layers.sqrtm, {"singular": "ignore"}, "singular: found 'ignore'; wanted one of raise, clamp, zero"),
    "equations": (layers.polar, {"equations": "qr"}, "equations: found 'qr'; wanted one of eigh, products"),
    "policy without eigenvectors": (
        layers.sqrtm, {"equations": "products", "singular": "zero"}, "singular: found 'zero' with equations="
    ),
    "aol": (layers.orthogonalize, {"scaling": "aol"}, "scaling: found 'aol'; wanted one of schatten-8"),
    "power": (
        layers.orthogonalize,
        {"scaling": "power", "method": "unrolled"},
        "scaling: found 'power'; wanted one of schatten-8, schatten-4, frobenius with method='unrolled'",
    ),
    "lower": (layers.invsqrtm, {"lower": 2.0}, "lower: found 2"),
    "unrolled lower": (layers.invsqrtm, {"lower": 2.0, "method": "unrolled"}, "lower: found 2"),
    "side": (layers.polar, {"side": "top"}, "side: found 'top'"),
    "root": (layers.inverse_root, {"p": 0}, "p: found 0; wanted an integer of at least 1"),
    "schedule of an inverse": (layers.inverse_root, {"p": 1, "schedule": 0}, "schedule: found one for p = 1"),
    "schedule for another root": (
        layers.inverse_root,
        {"p": 4, "method": "unrolled", "schedule": rv.newton_schulz.schedule(0.1, steps=1, degree=3)},
        "schedule: found one for root 1; wanted root=4",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_parameters_are_refused(function, options, message):
    with pytest.raises(rv.InputError) as refusal:
        function(torch.eye(2, dtype=torch.float64), **options)
    assert str(refusal.value).startswith(message)


def test_bad_tensors_are_refused():
    for value, message in (
        ([[1.0]], "A: found list; wanted a torch tensor"),
        (torch.ones(2, 2, dtype=torch.long), "A: found torch.int64; wanted a floating-point"),
        (torch.eye(2).to_sparse(), "A: found a tensor of layout torch.sparse_coo"),
    ):
        with pytest.raises(TypeError, match=message):
            layers.orthogonalize(value)
    with pytest.raises(TypeError, match="schedule: found int"):
        layers.orthogonalize(torch.eye(2), schedule=5, method="unrolled")
    with pytest.raises(rv.InputError, match=r"schedule: found 'moun'; .*did you mean 'muon'"):
        layers.orthogonalize(torch.eye(2), schedule="moun", method="unrolled")
    with pytest.raises(TypeError, match=r"p: found 2\.5"):
        layers.inverse_root(torch.eye(2), 2.5)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(rv.InputError, match="A: has"):
            layers.orthogonalize(torch.full((2, 2), bad))
    with pytest.raises(rv.InputError, match=r"A: found shape \(3,\)"):
        layers.orthogonalize(torch.ones(3))
