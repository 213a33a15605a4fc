"""``resolvent fixed-point``: a function of the caller's and a first guess from files."""

import json

import numpy as np
import pytest

from resolvent.cli.main import main

MAP = """
import numpy as np

def cosine(x):
    return np.cos(x)

class maps:
    half = staticmethod(lambda x: x / 2 + 1)

number = 3

def stretched(x):
    return 3 * x + 1

def moved(x):
    return x + 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module of maps and a first guess, which is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given_maps.py").write_text(MAP)
    np.save("x0.npy", np.ones((2, 3, 1)))
    return tmp_path


@pytest.mark.parametrize("source", ["given_maps", "given_maps.py"])
def test_a_solution_is_written_in_the_shape_of_the_guess(folder, source, capsys):
    line = ["fixed-point", f"{source}:cosine", "x0.npy", "--method", "picard", "--rtol", "1e-10", "--output", "x.npy"]
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert "converged" in out
    assert "max(||x0||, ||g(x0)||)" in out
    assert err == ""
    assert np.allclose(np.load("x.npy"), np.full((2, 3, 1), 0.7390851332151607), rtol=1e-9)


def test_parameters_reach_the_method(folder):
    line = [
        "fixed-point",
        "given_maps:maps.half",
        "x0.npy",
        "--method",
        "anderson",
        "--set",
        "depth=1",
        "--set",
        "type=I",
    ]
    assert main([*line, "--json", "report.json", "--quiet"]) == 0
    report = json.loads((folder / "report.json").read_text())
    assert report["map"] == "given_maps:maps.half"
    assert report["x0"] == "x0.npy"
    assert report["method"] == "anderson"
    assert report["matvecs"] == 3


def test_no_convergence_is_the_exit_status(folder):
    assert main(["fixed-point", "given_maps:stretched", "x0.npy", "--method", "picard", "--quiet"]) == 1


def test_a_map_without_fixed_points_is_reported(folder, capsys):
    assert main(["fixed-point", "given_maps:moved", "x0.npy", "--output", "x.npy"]) == 1
    out, err = capsys.readouterr()
    assert "no fixed point" in " ".join(out.split())
    assert err == ""
    assert np.load("x.npy").shape == (2, 3, 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["given_maps", "x0.npy"], "module:function"),
        (["nowhere:g", "x0.npy"], "nowhere cannot be imported"),
        (["nowhere.py:g", "x0.npy"], "nowhere.py cannot be imported"),
        (["given_maps:absent", "x0.npy"], "found nothing as absent"),
        (["given_maps:number", "x0.npy"], "found a int as number"),
        (["given_maps:cosine", "absent.npy"], "absent.npy"),
        (["given_maps:cosine", "x0.npy", "--set", "depth"], "NAME=VALUE"),
        (["given_maps:cosine", "x0.npy", "--method", "picard", "--set", "depht=3"], "depht"),
        (["given_maps:cosine", "x0.npy", "--method", "picard", "--set", "damping='a'"], "damping"),
        (["given_maps:cosine", "x0.npy", "--output", "x0.npy"], "x0"),
        (["given_maps:cosine", "x0.npy", "--precision", "fp9"], "--precision"),
    ],
)
def test_bad_input_is_one_line(folder, line, said, capsys):
    assert main(["fixed-point", *line]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert err.startswith("resolvent")
