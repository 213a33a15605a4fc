"""Settings of the whole suite: Hypothesis profiles, which tests run, and the root as a folder.

Unless ``--all`` is given, tests marked ``slow`` are left out, and of a grid of parameters those combinations run in
which every value of every parameter occurs.
"""

import ctypes
import functools
import gc
import importlib
import os
import pathlib

import hypothesis
import pytest

# Figures are drawn without a display; set before anything imports matplotlib.
os.environ.setdefault("MPLBACKEND", "Agg")


def driver_has_device() -> bool:
    """Whether there is a driver, and a device that it can use."""
    try:
        return bool(ctypes.CDLL("libcuda.so.1").cuInit(0) == 0)
    except OSError:
        return False


# Triton decides when it is imported whether its kernels are interpreted, as they are where there is no device.
if not driver_has_device():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# "short", the default, and "ci", that of --all, try the same examples every time without a deadline, since a first call
# may compile. HYPOTHESIS_PROFILE=explore looks further, differently each time.
hypothesis.settings.register_profile("short", deadline=None, derandomize=True, max_examples=20)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)

ROOT = pathlib.Path(__file__).parents[1]


class RootIsAFolder:
    """Keep pytest from importing the repository root, which has an __init__.py, as a package of tests.

    It would be named after the clone's folder: a second copy of the package at best, an import error at worst.
    """

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: pathlib.Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Collect the root as a plain folder and leave every other one to pytest."""
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


def pytest_configure(config: pytest.Config) -> None:
    """Register the rule for the root; as a hook of this file it would hold for what lies below tests/ only."""
    config.pluginmanager.register(RootIsAFolder())
    default = "ci" if config.getoption("all") else "short"
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", default))


@pytest.fixture
def compiled_small_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small systems are solved by compiled solves from the first one on."""
    monkeypatch.setattr("resolvent.solvers.linear.small.SYSTEMS_BEFORE", 0)


@pytest.fixture(autouse=True)
def small_solves_as_they_come(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small systems are solved by the driver, whatever ran before, unless compiled solves are asked for.

    To compile those takes seconds for each kind of system; with ``--all`` the seventeenth of a kind begins
    it, as for users.
    """
    if not request.config.getoption("all"):
        monkeypatch.setattr("resolvent.solvers.linear.small.SYSTEMS_BEFORE", float("inf"))


@functools.cache
def cuda_device_present() -> bool:
    """Whether torch or CuPy, as installed, sees a CUDA device."""
    try:
        if importlib.import_module("torch").cuda.is_available():
            return True
    except ImportError:
        pass  # torch is optional; CuPy may still see a device
    try:
        return importlib.import_module("cupy").cuda.is_available()
    except Exception:  # CuPy without a driver raises errors of its own
        return False


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all``: whole grids of parameters, and what takes long."""
    parser.addoption("--all", action="store_true", help="run slow tests and whole grids of parameters too")


def covering(items: list[pytest.Item]) -> list[pytest.Item]:
    """Of the items of one test function, those in which every value of every parameter occurs.

    They depart from the first in as few parameters as may be, one at a time where the grid is full: kernels are then
    compiled for each value, but not for each combination of them.
    """
    values = [{(name, id(value)) for name, value in item.callspec.params.items()} for item in items]
    missing = set().union(*values)
    chosen = []
    for index in sorted(range(len(items)), key=lambda index: len(values[0] - values[index])):
        if values[index] & missing:
            chosen.append(index)
            missing -= values[index]
    return [items[index] for index in sorted(chosen)]


def in_short(items: list[pytest.Item]) -> list[pytest.Item]:
    """What runs without ``--all``, in the order of collection."""
    functions: dict[tuple[pytest.Item, str], list[pytest.Item]] = {}
    kept = []
    for item in items:
        if item.get_closest_marker("slow"):
            continue
        if not hasattr(item, "callspec") or item.get_closest_marker("whole_grid"):
            kept.append(item)
        else:
            functions.setdefault((item.parent, item.originalname), []).append(item)
    chosen = {*kept, *(item for grid in functions.values() for item in covering(grid))}
    return [item for item in items if item in chosen]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only ``--all`` runs, unless it was named; skip what needs a device where there is none."""
    named = any("::" in argument for argument in config.args)
    if not (named or config.getoption("all")):
        kept = in_short(items)
        left_out = set(items).difference(kept)
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = kept
    skip_without_device(items)


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what lives as long as the session: thousands of collected tests."""
    gc.collect()
    gc.freeze()


def skip_without_device(items: list[pytest.Item]) -> None:
    """Skip the tests marked gpu where there is no device; ask for one only if such a test was collected."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and not cuda_device_present():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
