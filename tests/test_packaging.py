"""What an installed package promises: a light import, types, a version, and public names that are explained."""

import importlib.metadata
import importlib.resources
import inspect
import pathlib
import subprocess
import sys
import tomllib

import pytest

import resolvent

ROOT = pathlib.Path(__file__).parents[1]


def test_import_is_light(tmp_path):
    # Run elsewhere, so that it is the installed package that is imported, by an interpreter that has imported nothing.
    code = (
        "import sys, resolvent; "
        "print(*sorted({'torch', 'cupy', 'triton', 'numba', 'matplotlib', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == ""


def test_typed():
    assert (importlib.resources.files("resolvent") / "py.typed").is_file()


def test_version():
    assert resolvent.__version__ == importlib.metadata.version("resolvent")


@pytest.mark.parametrize("name", resolvent.__all__)
def test_public_name_is_documented(name):
    assert inspect.getdoc(getattr(resolvent, name))


def test_public_names_are_listed_once():
    assert len(set(resolvent.__all__)) == len(resolvent.__all__)
    assert set(resolvent.__all__) <= set(dir(resolvent))


def test_a_source_distribution_holds_what_the_suite_needs():
    """Of folders outside the package, setuptools takes what MANIFEST.in names."""
    grafted = {line.split()[1] for line in (ROOT / "MANIFEST.in").read_text().splitlines() if line.startswith("graft")}
    assert grafted == {"tests", "docs", "examples", "benchmarks"}
    included = {word for line in (ROOT / "MANIFEST.in").read_text().splitlines() for word in line.split()}
    assert {"Makefile", "constraints.txt", "CHANGELOG.md", "CONTRIBUTING.md"} <= included


def test_every_package_is_listed():
    """A folder that pyproject.toml does not list works in an editable install and is missing from the wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    aside = {"tests", "examples", "benchmarks", "docs", "build", "dist"}
    found = {"resolvent"}
    for init in ROOT.glob("[!.]*/**/__init__.py"):
        parts = init.relative_to(ROOT).parts[:-1]
        if parts[0] not in aside:
            found.add(".".join(("resolvent", *parts)))
    assert sorted(found) == sorted(listed)
