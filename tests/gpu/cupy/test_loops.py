"""Loops that stay on the device, held to the textbook's steps and to NumPy's solves."""

import importlib

import numpy as np
import pytest
import scipy.sparse

import resolvent as rv
from resolvent.solvers.compiled_loops import LOOPS
from resolvent.solvers.driver.loops import compiled_loop
from resolvent.solvers.linear.system import LinearSystem
from resolvent.solvers.methods import METHODS, method_named

from .. import cuda_on_host, host_cupy

GRID = (19, 16)  # two tiles
ROWS = 304
STORAGES = ("csr", "diagonals", "stencil")
LOOPED = {
    "cg": {},
    "minres": {},
    "bicgstab": {},
    "chebyshev": {"interval": (0.05, 8.0)},
    "richardson": {"omega": 0.2},
    "jacobi": {"omega": 0.8},
    "sor": {"omega": 1.5, "order": "multicolor"},
    "ssor": {"omega": 1.3, "order": "multicolor"},
    "gauss_seidel": {"order": "multicolor", "sweep": "backward"},
}


def matrix(cupy, storage, dtype="float64", grid=GRID):
    """The five-point matrix of a grid, on the device."""
    sparse = importlib.import_module("cupyx.scipy.sparse")
    if storage == "stencil":
        return rv.Stencil(grid, 4.0, ((-1.0, -1.0), (-1.0, -1.0)), dtype)
    A = scipy.sparse.csr_matrix(rv.gallery.poisson(grid).A.astype(dtype))
    if storage == "csr":
        return sparse.csr_matrix(A)
    return sparse.dia_matrix(scipy.sparse.dia_matrix(A))


def rhs(cupy, dtype="float64", n=ROWS):
    return cupy.asarray(np.random.default_rng(3).standard_normal(n).astype(dtype))


def begun(cupy, name, storage, dtype="float64", M=None):
    """A system and a state before the first step."""
    A = matrix(cupy, storage, dtype)
    preconditioner = None if M is None else rv.precondition.jacobi(matrix(cupy, "csr", dtype))
    system = LinearSystem(A, rhs(cupy, dtype), M=preconditioner)
    system.prepare()
    method = method_named(name, LOOPED[name])
    state = method.start(system)
    if name == "cg":
        state.gap.unit_roundoff = state.gap.per_solution = 0.0  # the residual is never to be replaced
    return system, method, state


def vectors(state):
    """The vectors of a state that the next step is made of, by name."""
    names = ("x", "r", "p", "v", "v_before", "w", "w_before", "previous", "shadow")
    return {name: getattr(state, name).get() for name in names if getattr(state, name, None) is not None}


def hold_to_the_textbook(name, storage, cupy):
    """Iterate by iterate, the vectors, norms and numbers of a loop are those of the textbook's steps."""
    system, method, state = begun(cupy, name, storage)
    other, _, textbook = begun(cupy, name, storage)
    loop = compiled_loop(method, system, state)
    for steps in (1, 1, 2, 7):
        stretch = loop(steps, 0.0)
        assert (stretch.taken, stretch.broke) == (steps, False)
        for _ in range(steps):
            method.step(other, textbook)
        found, wanted = vectors(state), vectors(textbook)
        assert found.keys() == wanted.keys()
        for key in wanted:
            scale = np.abs(wanted[key]).max()
            np.testing.assert_allclose(found[key], wanted[key], rtol=0, atol=1e-11 * scale, err_msg=key)
        if textbook.residual_norm is not None:
            assert stretch.norms[-1] == pytest.approx(textbook.residual_norm, rel=1e-9)
    for numbers in ("alphas", "betas", "diagonal", "off"):
        if hasattr(state, numbers):
            np.testing.assert_allclose(getattr(state, numbers), getattr(textbook, numbers), rtol=1e-9)


def hold_graphs_to_single_launches(name, storage, cupy):
    """The same bits after single iterations as after a stretch with a rest, and after graphs with a rest."""
    system, method, state = begun(cupy, name, storage)
    other, _, single = begun(cupy, name, storage)
    loop, one = compiled_loop(method, system, state), compiled_loop(method, other, single)
    for steps in (21, 59):
        norms = loop(steps, 0.0).norms
        alone = [norm for _ in range(steps) for norm in one(1, 0.0).norms]
        assert norms == alone[-len(norms) :]
        for key, wanted in vectors(single).items():
            np.testing.assert_array_equal(vectors(state)[key], wanted, err_msg=key)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", LOOPED)
def test_iterates_are_those_of_the_textbook(name, storage, cupy):
    hold_to_the_textbook(name, storage, cupy)


@pytest.mark.parametrize("name", LOOPED)
def test_graphs_launch_what_single_launches_do(name, cupy):
    hold_graphs_to_single_launches(name, "csr", cupy)


def test_graphs_of_a_stencil(cupy):
    hold_graphs_to_single_launches("cg", "stencil", cupy)


@pytest.mark.gpu
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", LOOPED)
def test_loops_on_a_device(name, storage):
    cupy = pytest.importorskip("cupy")
    hold_to_the_textbook(name, storage, cupy)
    hold_graphs_to_single_launches(name, storage, cupy)


@pytest.mark.parametrize("name", ["cg", "bicgstab", "chebyshev", "richardson"])
def test_preconditioned_by_a_diagonal(name, cupy):
    system, method, state = begun(cupy, name, "csr", M="jacobi")
    other, _, textbook = begun(cupy, name, "csr", M="jacobi")
    loop = compiled_loop(method, system, state)
    loop(18, 0.0)
    for _ in range(18):
        method.step(other, textbook)
    for key, wanted in vectors(textbook).items():
        np.testing.assert_allclose(vectors(state)[key], wanted, rtol=0, atol=1e-9 * np.abs(wanted).max(), err_msg=key)


@pytest.mark.parametrize("name", ["cg", "minres", "bicgstab", "chebyshev", "sor"])
def test_single_precision(name, cupy):
    b, A = rhs(cupy, "float32"), rv.gallery.poisson(GRID).A + scipy.sparse.eye_array(ROWS)
    host = scipy.sparse.csr_matrix(A.astype("float32"))
    parameters = {} if name == "chebyshev" else LOOPED[name]
    found = rv.solve(
        importlib.import_module("cupyx.scipy.sparse").csr_matrix(host), b, method=name, rtol=1e-4, **parameters
    )
    plain = rv.solve(host, b.get(), method=name, rtol=1e-4, backend="numpy", **parameters)
    assert found.converged
    assert found.x.dtype == np.float32
    assert abs(found.iterations - plain.iterations) <= 1
    np.testing.assert_allclose(found.x.get(), plain.x, rtol=0, atol=1e-2)


def test_a_loop_stops_where_the_textbook_does_and_what_is_launched_beyond_changes_nothing(cupy):
    system, method, state = begun(cupy, "cg", "csr")
    other, _, textbook = begun(cupy, "cg", "csr")
    loop = compiled_loop(method, system, state)
    target = 1e-3 * state.residual_norm
    stretch = loop(4096, target)
    while textbook.residual_norm > target:
        method.step(other, textbook)
    assert stretch.taken == len(stretch.norms) == len(textbook.alphas)
    assert stretch.norms[-2] > target >= stretch.norms[-1]
    assert stretch.taken % 16  # the stretch went on beyond it
    np.testing.assert_allclose(state.x.get(), textbook.x.get(), rtol=1e-10, atol=1e-12)
    assert loop(4096, 0.5 * target).taken > 0  # and it goes on from there


@pytest.mark.parametrize("name", ["cg", "minres", "bicgstab"])
def test_the_host_waits_once_a_stretch(name, cupy):
    system, method, state = begun(cupy, name, "csr")
    loop = compiled_loop(method, system, state)
    loop(36, 0.0)
    before = host_cupy.SEEN.synchronisations
    loop(64, 0.0)
    few = host_cupy.SEEN.synchronisations
    loop(128, 0.0)
    stretch = 18 if name == "minres" else 16
    assert few - before <= -(-64 // stretch) + 4  # and for what is put there first, and for three lists at the end
    assert host_cupy.SEEN.synchronisations - few <= -(-128 // stretch) + 4


def test_no_number_of_a_chebyshev_stretch_comes_to_the_host(cupy):
    system, method, state = begun(cupy, "chebyshev", "stencil")
    loop = compiled_loop(method, system, state)
    loop(32, 0.0)
    before, launches = host_cupy.SEEN.synchronisations, host_cupy.SEEN.launches
    loop(16, 0.0)
    assert host_cupy.SEEN.launches - launches == 17  # one an iteration, and the residual
    assert host_cupy.SEEN.synchronisations - before <= 2  # the coefficients that go there, and its norm


@pytest.mark.parametrize("name", ["cg", "minres", "bicgstab", "chebyshev", "sor"])
def test_a_run_is_the_same_bits_whatever_the_order_of_threads(name, cupy, monkeypatch):
    found = []
    for backwards in (False, True):
        monkeypatch.setattr(cuda_on_host.Module, "backwards", backwards)
        system, method, state = begun(cupy, name, "csr")
        compiled_loop(method, system, state)(20, 0.0)
        found.append(state.x.get())
    np.testing.assert_array_equal(*found)


def test_few_blocks_with_many_tiles_each(cupy, monkeypatch):
    sources = importlib.import_module("resolvent.gpu.cupy.sources")
    monkeypatch.setattr(sources, "MOST_BLOCKS", 1)
    plain = rv.cg(rv.gallery.poisson(GRID).A, rhs(cupy).get(), rtol=1e-10, backend="numpy")
    for storage in STORAGES:
        solution = rv.cg(matrix(cupy, storage), rhs(cupy), rtol=1e-10)
        assert solution.converged
        np.testing.assert_allclose(solution.x.get(), plain.x, rtol=0, atol=1e-8)


def test_graphs_are_kept_by_the_vectors_they_were_captured_on(cupy):
    system, method, state = begun(cupy, "cg", "csr")
    other, _, textbook = begun(cupy, "cg", "csr")
    loop = compiled_loop(method, system, state)
    plain = compiled_loop(method, other, textbook)
    loop(48, 0.0)
    state.x, state.r, state.p = state.x.copy(), state.r.copy(), state.p.copy()
    loop(48, 0.0)
    plain(96, 0.0)
    np.testing.assert_array_equal(state.x.get(), textbook.x.get())


def test_rows_of_the_table(cupy):
    """Every loop is made for matrices by rows, diagonals and stencils; a full matrix takes the textbook's steps."""
    rows = {(method, storage) for method, storage, _ in LOOPS if storage.startswith("cupy ")}
    assert {storage for _, storage in rows} == {f"cupy {storage}" for storage in STORAGES}
    assert len(rows) == 5 * len(STORAGES)
    system = LinearSystem(cupy.asarray(np.eye(4)), cupy.asarray(np.ones(4)))
    method = METHODS["cg"]()
    assert compiled_loop(method, system, method.start(system)) is None


@pytest.mark.filterwarnings("ignore::resolvent.ConvergenceWarning")
def test_natural_order_of_many_levels_is_left_to_single_sweeps(cupy):
    A, b = rv.gallery.poisson((100,)).A, np.random.default_rng(0).standard_normal(100)
    sparse = importlib.import_module("cupyx.scipy.sparse")
    found = rv.sor(sparse.csr_matrix(scipy.sparse.csr_matrix(A)), cupy.asarray(b), omega=1.9, rtol=1e-3, maxiter=20)
    plain = rv.sor(A, b, omega=1.9, rtol=1e-3, maxiter=20, backend="numpy")
    assert found.status is plain.status
    np.testing.assert_allclose(found.x.get(), plain.x, rtol=1e-10)


def test_a_second_stretch_on_the_same_vectors_is_captured(cupy, monkeypatch):
    resident = importlib.import_module("resolvent.gpu.cupy.resident")
    captured, capture = [], resident.Replay._captured
    monkeypatch.setattr(resident.Replay, "_captured", lambda self: captured.append(None) or capture(self))
    system, method, state = begun(cupy, "cg", "csr")
    loop = compiled_loop(method, system, state)
    for steps, graphs in ((16, 0), (15, 0), (17, 1), (64, 1)):
        loop(steps, 0.0)
        assert len(captured) == graphs, steps


def test_an_error_while_capturing_ends_the_capture(cupy):
    resident = importlib.import_module("resolvent.gpu.cupy.resident")
    told = []

    def launch(k):
        told.append(k)
        if len(told) == 2 * resident.STRETCH + 3:
            raise KeyboardInterrupt

    replay = resident.Replay(launch)
    with replay.running():
        replay.play(16, ())
        with pytest.raises(KeyboardInterrupt):
            replay.play(16, ())
    assert not replay.stream.is_capturing()
