"""A name that there is not is answered with the one that was meant."""

import pathlib
import warnings

import numpy as np
import pytest

import resolvent as rv
from resolvent.naming import SPELLINGS, choice, named_in, suggestion

A, B = np.diag([1.0, 2.0, 3.0]), np.ones(3)
PREPARED = rv.prepare(A, method="cg", backend="numpy")

# Of each kind of function one, called with a keyword.
CALLS = {
    "cg": lambda **one: rv.cg(A, B, **one),
    "sor": lambda **one: rv.sor(A, B, omega=1.0, **one),
    "solve": lambda **one: rv.solve(A, B, **one),
    "solve by name": lambda **one: rv.solve(A, B, method="cg", **one),
    "refine": lambda **one: rv.refine(A, B, **one),
    "fixed_point": lambda **one: rv.fixed_point(np.cos, B, **one),
    "picard": lambda **one: rv.picard(np.cos, B, **one),
    "extragradient": lambda **one: rv.extragradient(np.sin, B, **one),
    "momentum": lambda **one: rv.momentum(np.sin, B, smoothness=1.0, **one),
    "sqrtm": lambda **one: rv.sqrtm(A, **one),
    "a prepared solver": lambda **one: PREPARED.solve(B, **one),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("given", "ours"),
    [("tol", "rtol"), ("show", "progress"), ("max_iter", "maxiter"), ("maxitr", "maxiter"), ("verbose", "progress")],
)
def test_names_of_other_libraries_are_answered_with_ours(call, given, ours):
    with pytest.raises(TypeError, match=rf"did you mean '{ours}'\?$") as raised:
        CALLS[call](**{given: 1})
    assert isinstance(raised.value, rv.ParameterError)
    assert isinstance(raised.value, rv.InputError)
    assert given in str(raised.value)


@pytest.mark.parametrize("given", ["prec", "P", "Minv", "preconditioner", "M1"])
def test_a_preconditioner_is_called_M(given):
    with pytest.raises(TypeError, match=r"did you mean 'M'\?$"):
        rv.cg(A, B, **{given: A})
    with pytest.raises(TypeError, match=r"did you mean 'M'\?$"):
        rv.solve(A, B, **{given: A})
    with pytest.raises(TypeError) as raised:  # which has none
        rv.picard(np.cos, B, **{given: A})
    assert "'M'" not in str(raised.value)


def test_a_spelling_is_answered_only_where_the_function_has_ours():
    for name in ("tol", "show", "guess"):
        with pytest.raises(rv.ParameterError) as raised:
            rv.precondition.jacobi(A, **{name: 1})
        assert "did you mean" not in str(raised.value)
    with pytest.raises(TypeError, match=r"^Sequence.solve\(\) has no parameter 'guess'; did you mean 'x0'\?"):
        rv.Sequence("cg").solve(A, B, guess=B)
    with pytest.raises(TypeError, match=r"^prec: .*did you mean 'M'\?"):
        rv.prepare(A, prec=A)
    with pytest.raises(TypeError, match=r"^condition_number\(\) has no parameter 'tol'; did you mean 'rtol'\?"):
        rv.condition_number(A, tol=0.1)


def test_no_spelling_is_answered_with_itself():
    assert all(ours for ours in SPELLINGS.values())
    assert not any(ours == (name,) for name, ours in SPELLINGS.items())


@pytest.mark.parametrize("name", ["gauss_seidel", "Gauss-Seidel", "gauss seidel", "GaussSeidel", "GAUSS_SEIDEL"])
def test_methods_are_found_whatever_the_spelling(name):
    found = rv.solve(A, B, method=name, backend="NumPy")
    assert found.converged
    assert (found.method, found.backend) == ("gauss_seidel", "numpy")


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: rv.solve(A, B, method="gaus_seidel"), "did you mean 'gauss_seidel'"),
        (lambda: rv.solve(A, B, method="lsqr"), "scipy.sparse.linalg.lsqr"),
        (lambda: rv.solve(A, B, method=rv.cg), "found the function cg; wanted its name, 'cg'"),
        (lambda: rv.fixed_point(np.cos, B, method="andersen"), "did you mean 'anderson'"),
        (lambda: rv.extragradient(np.sin, B, method="extragradiant"), "did you mean 'extragradient'"),
        (lambda: rv.momentum(np.sin, B, smoothness=1.0, scheme="heavyball2"), "did you mean 'heavy_ball'"),
        (lambda: rv.cg(A, B, backend="nunba"), "did you mean 'numba'"),
        (lambda: rv.cg(A, B, precision="bf17"), "did you mean 'bf16'"),
        (lambda: rv.Precision("bf16", policy="store"), "did you mean 'storage'"),
        (lambda: rv.Precision("bf16", rounding="nearest"), "did you mean 'nearest-"),
        (lambda: rv.prepare(A, method="chebychev"), "did you mean 'chebyshev'"),
        (lambda: rv.refine(A, B, inner="cgs"), "did you mean 'cg'"),
        (lambda: rv.Sequence("ssorcg2"), "did you mean 'ssor_cg'"),
        (lambda: rv.condition_number(A, method="lanzcos"), "did you mean 'lanczos'"),
    ],
)
def test_near_misses_are_suggested(call, meant):
    with pytest.raises((ValueError, TypeError), match=meant):
        call()


# Of arguments that are one of several words, each with how it is called, one of its words, and one that is near.
CHOICES = {
    "sweep": (lambda sweep: rv.sor(A, B, backend="numpy", omega=1.0, sweep=sweep), "symmetric", "symetric"),
    "order": (lambda order: rv.sor(A, B, backend="numpy", omega=1.0, order=order), "multicolor", "multicolour"),
    "order of ssor_cg": (lambda order: rv.ssor_cg(A, B, backend="numpy", omega=1.0, order=order), "natural", "naturel"),
    "order of ssor": (lambda order: rv.precondition.ssor(A, order=order), "natural", "naturel"),
    "kind": (lambda kind: rv.precondition.polynomial(A, kind=kind, backend="numpy"), "neumann", "neuman"),
    "errors": (lambda errors: rv.cg(A, B, backend="numpy", errors=errors), "collect", "colect"),
    "method of lstsq": (lambda method: rv.lstsq(A, B, backend="numpy", method=method), "lapack", "lapak"),
    "accelerate": (lambda accelerate: rv.jacobi(A, B, backend="numpy", accelerate=accelerate), "anderson", "andersen"),
    "type": (lambda type: rv.anderson(np.cos, B, backend="numpy", type=type), "II", "I I I"),
    "beta": (lambda beta: rv.anderson(np.cos, B, backend="numpy", beta=beta), "adaptive", "adapt"),
    "warm_start": (lambda kind: rv.Sequence("cg", warm_start=kind), "extrapolate", "extrapolat"),
    "warm_start of maps": (lambda kind: rv.FixedPointSequence("picard", warm_start=kind), "previous", "prevous"),
    "cost": (lambda cost: rv.Sequence("cg", cost=cost), "iterations", "iteration"),
    "family": (lambda family: rv.tuning.Spectral("sor", family=family), "shift", "shfit"),
    "side": (lambda side: rv.polar(A, side=side), "left", "lef"),
    "form": (lambda form: rv.orthogonalize(A, form=form), "gram", "gramm"),
    "scaling": (lambda scaling: rv.matrix_sign(A, scaling=scaling), "schatten-8", "schaten8"),
    "schedule": (lambda schedule: rv.polar(A, schedule=schedule), "polar-express", "polar_expres"),
    "method of a ridge": (lambda how: rv.precision.ridge_for_condition(A, 2.0, how), "guaranteed", "guarantee"),
    "method of equilibrate": (lambda how: rv.precision.equilibrate(A, method=how), "jacobi", "jakobi"),
    "rounding": (lambda how: rv.precision.round(B, "bf16", how, backend="numpy"), "nearest-even", "nearest"),
    "library that rounds": (lambda name: rv.precision.round(B, "bf16", backend=name), "numpy", "numpie"),
    "overflow": (lambda how: rv.precision.FixedPoint(4, 4, overflow=how), "wrap", "wrapp"),
    "device": (lambda name: rv.Precision("bf16", policy="tensor-core", device=name), "A100", "A1000"),
    "policy": (lambda policy: rv.Precision("bf16", policy=policy), "tensor-core", "tensorcores"),
    "inner_precision": (lambda name: rv.refine(A, B, backend="numpy", inner_precision=name), "fp16", "fp61"),
    "residual": (lambda name: rv.refine(A, B, backend="numpy", residual=name), "fp128", "fp46"),
    "storages": (lambda name: rv.warm(name, methods="nothing"), None, "danse"),
    "kind of a graph": (lambda kind: rv.gallery.graph_laplacian(kind, 4), "cycle", "cycl"),
    "name in the gallery": (lambda name: rv.gallery.by_name(name, 4), "kms", "kns"),
}


@pytest.mark.parametrize("what", CHOICES)
def test_words_are_taken_in_any_spelling_and_near_misses_suggested(what):
    call, word, near = CHOICES[what]
    if word is not None:
        call(f" {word.swapcase().replace('-', '_')}")
    with pytest.raises(ValueError, match="wanted") as raised:
        call(near)
    assert repr(near) in str(raised.value)
    assert "did you mean" in str(raised.value) or what in ("type", "beta")


def test_nothing_lists_choices_by_itself():
    for path, text in sources():
        assert "wanted one of {', '.join" not in text, path


def sources():
    root = pathlib.Path(rv.__file__).parent
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).parts
        outside = parts[0] in ("tests", "docs", "benchmarks", "examples", "build", "dist") or parts[0].startswith(".")
        if not outside and path.name not in ("naming.py", "market_files.py"):  # the mechanism; words of a file's header
            yield path, path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("given", "name"),
    [(np.float32, "float32"), (np.dtype("f8"), "float64"), ("FP32", "float32"), (float, "float64"), ("BF16", "bf16")],
)
def test_precisions_may_be_dtypes(given, name):
    assert rv.cg(A, B, precision=given, backend="numpy", rtol=1e-2).precision == name


def test_precisions_may_be_dtypes_of_other_libraries():
    dtypes = pytest.importorskip("ml_dtypes")
    formats = rv.precision.formats
    assert formats.format_named(dtypes.bfloat16) == formats.bf16
    assert formats.format_named(np.dtype(dtypes.float8_e4m3fn)) == formats.fp8_e4m3fn
    torch = pytest.importorskip("torch")
    assert formats.format_named(torch.bfloat16) == formats.bf16
    assert formats.format_named(torch.float16) == formats.fp16
    with pytest.raises(ValueError, match="format: found 'int64'"):
        formats.format_named(torch.int64)


def test_what_is_not_built_names_what_does_it():
    for name in ("bicg", "lgmres", "qmr", "lsqr"):
        with pytest.raises(AttributeError, match=rf"scipy\.sparse\.linalg\.{name}"):
            getattr(rv, name)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing_like_it'$"):
        rv.nothing_like_it  # noqa: B018


def test_names():
    names = ("gauss_seidel", "cg", "ssor_cg")
    assert named_in("Gauss - Seidel", names) == "gauss_seidel"
    assert named_in("", names) is None
    assert named_in(3, names) is None
    assert suggestion("zzz", names) == ""
    assert suggestion(3, names) == ""
    with pytest.raises(rv.BackendError, match=r"^what: found 3; wanted one of cg$"):
        choice("what", 3, ["cg"], error=rv.BackendError)


def test_tensors_that_require_gradients_are_warned_of_however_they_are_given():
    torch = pytest.importorskip("torch")
    a, b = torch.tensor(A, requires_grad=True), torch.tensor(B, requires_grad=True)
    plain, options = (a.detach(), b.detach()), {"rtol": 1e-8}
    for args, named in (
        ((a, plain[1]), {}),
        ((plain[0],), {"b": b}),
        ((), {"A": a, "b": plain[1]}),
        (plain, {"x0": b}),
        (plain, {"M": a}),
    ):
        with pytest.warns(rv.GradientWarning, match=r"^cg: no gradients flow") as heard:
            rv.cg(*args, **named, **options)
        assert len(heard) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", rv.GradientWarning)
        rv.cg(*plain, x0=plain[1])
        with torch.no_grad():
            rv.cg(a, b=b)
