"""What is loaded when: next to nothing by the import, by a solve what it uses, a public name when it is asked for."""

import ast
import importlib
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg as sparse_linalg

import resolvent as rv
from resolvent.lazy import Rows, lazy_names, loaded, place_of
from resolvent.solvers.compiled_loops import LOOPS
from resolvent.solvers.fixed_point.iterates import STEPS
from resolvent.solvers.linear.choose import candidates
from resolvent.solvers.linear.schemes import SMALL
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.methods import STAGES
from resolvent.solvers.stacked_loops import STACKED

LAZY = [rv, rv.precision]


def loaded_by(code, folder):
    """The modules of this package that an interpreter has loaded after the code, without the package's name."""
    told = f"{code}\nimport sys\nprint(*(name for name in sys.modules if name.startswith('resolvent')))"
    run = subprocess.run([sys.executable, "-c", told], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {name.removeprefix("resolvent").lstrip(".") for name in run.stdout.splitlines()[-1].split()}


def test_the_import_loads_nothing(tmp_path):
    assert loaded_by("import resolvent", tmp_path) == {"", "lazy"}


def test_a_solve_loads_what_it_uses(tmp_path):
    code = (
        "import numpy as np, resolvent as rv, scipy.sparse as sparse\n"
        "A = sparse.diags_array([-1.0, 2.5, -1.0], offsets=[-1, 0, 1], shape=(50, 50)).tocsr()\n"
        "assert rv.solve(A, np.ones(50)).converged"
    )
    names = loaded_by(code, tmp_path)
    rooms = {name for name in names if name.count(".") == (1 if name.startswith("solvers") else 0)}
    below = {"", "compilation", "errors", "kernels", "lazy", "naming", "precision", "operators", "backends", "solvers"}
    assert rooms - below == {
        "solvers.driver",
        "solvers.linear",
        "solvers.krylov",
        "solvers.relaxation",  # which is asked whether A is triangular, or dominant
        "solvers.chebyshev",  # the steps that Jacobi's iteration shares
        "solvers.preconditioners",
        "solvers.spectra",
        "solvers.methods",
        "solvers.compiled_loops",
    }
    aside = {"chebyshev.chebyshev", "krylov.ssor_cg", "relaxation.accelerated", "linear.prepare", "linear.refine"}
    aside |= {"linear.stacked", "spectra.condition", "spectra.advice"}
    assert not names & {f"solvers.{name}" for name in aside}
    assert not names & {"precision.ridge", "precision.equilibration", "backends.array_api_backend"}


def test_one_method_loads_no_other(tmp_path):
    code = "import numpy as np, resolvent as rv\nrv.cg(np.diag([1.0, 2.0]), np.ones(2), backend='numpy')"
    names = loaded_by(code, tmp_path)
    assert not {name for name in names if name.startswith(("solvers.relaxation.", "solvers.chebyshev"))}
    assert not {name for name in names if name.startswith("backends.compiled.")} - {"backends.compiled.found"}


def imports_for_type_checkers(module):
    """name: place, of the imports under ``if TYPE_CHECKING``."""
    (block,) = (
        node
        for node in ast.parse(pathlib.Path(module.__file__).read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    found = {}
    for node in block.body:
        for alias in node.names:
            inside = ".".join(filter(None, (node.module, alias.name)))
            is_module = importlib.util.find_spec(f"{module.__name__}.{node.module or alias.name}") and (
                node.module is None or _is_module(f"{module.__name__}.{inside}")
            )
            found[alias.asname or alias.name] = inside if is_module else f"{node.module}:{alias.name}"
    return found


def _is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_names_are_where_type_checkers_are_told(module):
    assert dict(module.PLACES) == imports_for_type_checkers(module)
    assert set(module.__all__) <= set(module.PLACES)
    assert sorted(module.PLACES) == dir(module)


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_no_name_is_hidden_by_a_module(module):
    """An import of resolvent.precision.formats sets the attribute formats of the package, whatever that was before."""
    for name, place in module.PLACES.items():
        assert place == name or not _is_module(f"{module.__name__}.{name}"), name


def test_star_import(tmp_path):
    names = {}
    exec("from resolvent import *", names)
    assert set(rv.__all__) <= set(names)
    assert "layers" not in names


def test_pickled_by_reference():
    for name in ("cg", "Solution", "CSRStack", "Precision"):
        assert pickle.loads(pickle.dumps(getattr(rv, name))) is getattr(rv, name)


def test_a_name_is_found_once():
    get, names = lazy_names("resolvent", {"cg": "solvers.krylov.cg:cg"})
    assert get("cg") is vars(rv)["cg"] is rv.cg
    assert names() == ["cg"]


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match=r"^module 'resolvent' has no attribute 'zebra'$") as caught:
        rv.zebra  # noqa: B018
    assert caught.value.name == "zebra"
    assert caught.value.obj is rv


OF_SCIPY = (
    *("LinearOperator", "aslinearoperator", "bicg", "bicgstab", "cgs", "eigs", "eigsh", "factorized", "gcrotmk"),
    *("gmres", "lgmres", "lobpcg", "lsmr", "lsqr", "minres", "qmr", "spilu", "splu", "spsolve", "svds", "tfqmr"),
)


@pytest.mark.parametrize("name", [name for name in OF_SCIPY if name not in rv.PLACES])
def test_what_scipy_has_names_what_does_it_here(name):
    assert not hasattr(rv, name)
    words = rf"no attribute {name!r}: {name} is not built here; what does it is rv\.\w+, or scipy\.[\w.]+\.{name}$"
    with pytest.raises(AttributeError, match=words) as caught:
        getattr(rv, name)
    assert hasattr(rv, str(caught.value).partition("rv.")[2].partition(",")[0])
    assert hasattr(sparse_linalg, name)


def test_rows_are_loaded_when_read():
    rows = Rows("resolvent.solvers", {"cg": "krylov.cg:CG", "none": "nowhere:at_all"})
    assert list(rows) == ["cg", "none"]
    assert "none" in rows
    assert rows["cg"] is rv.METHODS["cg"]
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        rows["none"]
    with pytest.raises(KeyError, match="gc"):
        rows["gc"]


def test_methods_go_by_their_names():
    assert {name: kind.name for name, kind in rv.METHODS.items()} == {name: name for name in rv.METHODS}


def test_tables_are_of_classes_that_are_there():
    places = {place for place, _, _ in LOOPS} | set(SMALL) | set(STACKED) | set(STEPS)
    assert {place_of(loaded(*place.split(".", 1))) for place in places} == places


N = 12
LAPLACE = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(N, N)).tocsr()
UNSYMMETRIC = sparse.diags_array([-1.0, 4.0, -2.0], offsets=[-1, 0, 1], shape=(N, N)).tocsr()


@pytest.mark.parametrize(
    "A",
    [
        LAPLACE,
        -LAPLACE,
        LAPLACE - 0.5 * sparse.eye_array(N),
        UNSYMMETRIC,
        UNSYMMETRIC - 4 * sparse.eye_array(N),
        sparse.tril(LAPLACE),
        sparse.triu(LAPLACE),
        sparse.diags_array(np.arange(1.0, N + 1)),
        np.eye(N)[::-1].copy(),
    ],
)
def test_the_others_recommend_nothing(A):
    others = [kind for name, kind in rv.METHODS.items() if not any(name in stage for stage in STAGES)]
    assert not candidates(LinearSystem(A, np.ones(N)), others)


def test_those_that_are_asked_say_something():
    assert all("candidates" in vars(kind) for stage in STAGES for kind in stage.values())
