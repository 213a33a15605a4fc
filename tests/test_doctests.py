"""Every example in the package's docstrings runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import resolvent

OPTIONAL = {"cupy", "cupyx", "triton", "torch", "matplotlib", "pyamg"}
# An editable install maps the package onto the repository root, where these folders lie beside the real subpackages.
NOT_OURS = {"tests", "examples", "benchmarks", "docs", "build", "dist"}


def names_in(path: list[str], prefix: str) -> list[str]:
    """Dotted names of all modules under path, without importing any."""
    names = []
    for module in pkgutil.iter_modules(path):
        if prefix == "resolvent." and module.name in NOT_OURS:
            continue
        name = prefix + module.name
        names.append(name)
        if module.ispkg:
            spec = module.module_finder.find_spec(module.name)
            names += names_in(list(spec.submodule_search_locations), name + ".")
    return names


MODULES = ["resolvent", *names_in(list(resolvent.__path__), "resolvent.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        pytest.skip(f"needs {error.name}")
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
