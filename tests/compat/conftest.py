"""How SciPy's own tests are collected: those of our solvers, and what is known to fail strictly so."""

import pytest

from .suite import DEVIATIONS

# What they are marked with, in one version of SciPy or another.
MARKS = (
    "fail_slow",
    "iterations",
    "parallel_threads",
    "parallel_threads_limit",
    "thread_unsafe",
    "xfail_on_32bit",
    "xslow",
)


def pytest_configure(config):
    for mark in MARKS:
        config.addinivalue_line("markers", f"{mark}: of SciPy's tests")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    kept, left_out = [], []
    for item in items:
        suite = getattr(getattr(item, "module", None), "SUITE", None)
        (kept if suite is None or suite.concerns_us(item) else left_out).append(item)
        if suite is not None and item.name in suite.slow:
            item.add_marker(pytest.mark.slow)
        if suite is not None and item.name in DEVIATIONS:
            item.add_marker(pytest.mark.xfail(reason=DEVIATIONS[item.name], strict=True))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
