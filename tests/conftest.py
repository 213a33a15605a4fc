"""Settings of the whole suite: Hypothesis profiles, skipping what needs an absent device, and the root as a folder."""

import functools
import importlib
import os
import pathlib

import hypothesis
import pytest

# Figures are drawn without a display; set before anything imports matplotlib.
os.environ.setdefault("MPLBACKEND", "Agg")

# "ci", the default, tries the same examples every time and has no deadline, since a first call may compile.
# HYPOTHESIS_PROFILE=explore looks further, differently each time.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked gpu where there is no device; ask for one only if such a test was collected."""
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and not cuda_device_present():
        for item in needing:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
