"""The command line: what it computes and writes, its exit codes, and one line instead of a traceback."""

import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sparse
from scipy.sparse.linalg import spsolve

import resolvent as rv
from resolvent.cli import completion
from resolvent.cli.main import main, parser
from resolvent.cli.system import FIELDS

HEADER = "%%MatrixMarket matrix coordinate real general\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a system in it, which is the current one."""
    monkeypatch.chdir(tmp_path)
    problem = rv.gallery.poisson((15, 12))
    scipy.io.mmwrite("A.mtx", problem.A)
    scipy.io.mmwrite("b.mtx", problem.b[:, None])
    return tmp_path


@pytest.fixture
def system(folder):
    """The same system in memory."""
    problem = rv.gallery.poisson((15, 12))
    return problem.A, problem.b


def process(*arguments, **options):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "resolvent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", **options)


# What a solve computes and writes.


def test_solve_prints_a_report(folder, capsys):
    assert main(["solve", "A.mtx", "b.mtx"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("✓ converged")
    assert len(out.splitlines()) <= 24
    assert err == ""


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz", ".npy"])
def test_written_solution_solves(system, suffix):
    A, b = system
    assert main(["solve", "A.mtx", "b.mtx", "--rtol", "1e-12", "--output", f"x{suffix}", "--quiet"]) == 0
    x = np.load("x.npy") if suffix == ".npy" else scipy.io.mmread(f"x{suffix}").ravel()
    np.testing.assert_allclose(x, spsolve(A.tocsc(), b), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["A.npz", "A.npy", "A.mtx.gz"])
def test_matrix_formats(system, name):
    A, b = system
    if name == "A.npz":
        sparse.save_npz(name, A)
        np.savez("b.npz", b)
        rhs = "b.npz"
    elif name == "A.npy":
        np.save(name, A.toarray())
        np.save("b.npy", b)
        rhs = "b.npy"
    else:
        main(["gallery", "poisson", "--size", "15", "12", "--output", name, "--rhs"])
        rhs = "A_b.mtx.gz"
    assert main(["solve", name, rhs, "--rtol", "1e-12", "--output", "x.npy", "--quiet"]) == 0
    np.testing.assert_allclose(np.load("x.npy"), spsolve(A.tocsc(), b), rtol=0, atol=1e-10)


def test_ones_by_default(system, capsys):
    A, _ = system
    assert main(["solve", "A.mtx", "--rtol", "1e-12", "--output", "x.npy"]) == 0
    np.testing.assert_allclose(A @ np.load("x.npy"), np.ones(A.shape[0]), rtol=1e-10)
    assert "wrote x.npy" in capsys.readouterr().out


def test_several_right_hand_sides(system, capsys):
    A, _ = system
    B = np.random.default_rng(0).standard_normal((A.shape[0], 3))
    scipy.io.mmwrite("B.mtx", B)
    assert main(["solve", "A.mtx", "B.mtx", "--rtol", "1e-12", "--output", "X.mtx", "--json", "r.json"]) == 0
    np.testing.assert_allclose(scipy.io.mmread("X.mtx"), spsolve(A.tocsc(), B), rtol=0, atol=1e-10)
    assert "all 3 systems converged" in capsys.readouterr().out
    assert len(strict_json("r.json")["systems"]) == 3


def test_complex_system(folder):
    A = np.array([[2, 1j], [-1j, 3]])
    scipy.io.mmwrite("C.mtx", sparse.csr_array(A))
    assert main(["solve", "C.mtx", "--rtol", "1e-12", "--output", "z.mtx", "--quiet"]) == 0
    np.testing.assert_allclose(scipy.io.mmread("z.mtx").ravel(), np.linalg.solve(A, np.ones(2)), rtol=1e-10)


@pytest.mark.parametrize("method", rv.METHODS)
def test_every_method_solves(folder, method):
    omega = ["--omega", "0.2"] if method == "richardson" else []
    assert main(["solve", "A.mtx", "b.mtx", "--method", method, "--maxiter", "5000", "--quiet", *omega]) == 0


@pytest.fixture
def tall(folder):
    """A rectangular system, of which there are files R.mtx and c.mtx as well."""
    A = sparse.random_array((12, 5), density=0.6, rng=np.random.default_rng(3)).tocsr()
    b = np.arange(1.0, 13.0)
    scipy.io.mmwrite("R.mtx", A)
    scipy.io.mmwrite("c.mtx", b[:, None])
    return A, b


@pytest.mark.parametrize("method", ["auto", "lsmr", "cgls", "lapack", "superlu"])
def test_rectangular_files_are_solved_by_least_squares(tall, method):
    A, b = tall
    arguments = ["--method", method, "--rtol", "1e-12", "--output", "x.npy", "--json", "r.json", "--quiet"]
    assert main(["solve", "R.mtx", "c.mtx", *arguments]) == 0
    np.testing.assert_allclose(np.load("x.npy"), np.linalg.lstsq(A.toarray(), b)[0], rtol=1e-8)
    found = strict_json("r.json")
    assert found["shape"] == [5]
    assert found["normr"] == pytest.approx(np.linalg.norm(b - A @ np.load("x.npy")))


def test_damping_and_columns_reach_least_squares(tall):
    A, b = tall
    arguments = ["--damp", "0.5", "--rtol", "1e-12", "--output", "x.npy", "--quiet", "--json", "r.json"]
    assert main(["solve", "R.mtx", "c.mtx", "--method", "lsmr", "--preconditioner", "jacobi", *arguments]) == 0
    R = A.toarray()
    np.testing.assert_allclose(np.load("x.npy"), np.linalg.solve(R.T @ R + 0.25 * np.eye(5), R.T @ b), rtol=1e-8)
    assert strict_json("r.json")["preconditioned"]


def test_a_square_file_is_damped(folder):
    assert main(["solve", "A.mtx", "b.mtx", "--damp", "0.5", "--json", "r.json", "--quiet"]) == 0
    assert strict_json("r.json")["damp"] == 0.5


@pytest.mark.parametrize("name", ["jacobi", "ssor", "chebyshev", "neumann"])
def test_every_preconditioner_is_used(folder, name, capsys):
    assert main(["solve", "A.mtx", "b.mtx", "--method", "cg", "--preconditioner", name]) == 0
    assert "preconditioned cg" in capsys.readouterr().out


def test_relaxations_are_accelerated(folder, capsys):
    arguments = ["solve", "A.mtx", "b.mtx", "--json", "r.json", "--quiet", "--accelerate", "anderson"]
    assert main([*arguments, "--method", "sor", "--omega", "1.2"]) == 0
    A, b = (rv.gallery.poisson((15, 12)).A, rv.gallery.poisson((15, 12)).b)
    found = strict_json("r.json")
    assert found["iterations"] == rv.sor(A, b, omega=1.2, accelerate="anderson").iterations
    assert found["method"] == "sor accelerated by anderson"
    assert main([*arguments, "--method", "cg"]) == 2
    assert "accelerate: cg has no such parameter" in capsys.readouterr().err


def test_omega_and_interval_reach_whom_they_belong_to(folder):
    def iterations(*arguments):
        assert main(["solve", "A.mtx", "b.mtx", "--json", "r.json", "--quiet", *arguments]) == 0
        return strict_json("r.json")["iterations"]

    A, b = (rv.gallery.poisson((15, 12)).A, rv.gallery.poisson((15, 12)).b)
    weak, strong = (
        iterations("--method", "cg", "--preconditioner", "ssor", "--omega", omega) for omega in ("0.1", "1.6")
    )
    assert strong < weak
    assert iterations("--method", "sor", "--omega", "1.3") == rv.sor(A, b, omega=1.3).iterations
    given = iterations("--method", "chebyshev", "--interval", "0.05", "8")
    assert given == rv.chebyshev(A, b, interval=(0.05, 8)).iterations
    M = rv.precondition.polynomial(A, kind="chebyshev", interval=(0.3, 8.0))
    both = iterations("--method", "cg", "--preconditioner", "chebyshev", "--interval", "0.3", "8")
    assert both == rv.cg(A, b, M=M).iterations


def test_plot_and_its_data(folder):
    assert main(["solve", "A.mtx", "b.mtx", "--plot", "p.png", "--json", "r.json", "--quiet"]) == 0
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
    with open("p.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["kind"] != "true"]
    found = strict_json("r.json")
    assert [float(row["residual_norm"]) for row in rows] == found["residual_norms"]
    assert [int(row["iteration"]) for row in rows] == found["residual_iterations"]


def strict_json(path):
    """JSON without the constants that JSON does not have."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    with open(path, encoding="utf-8") as stream:
        return json.load(stream, parse_constant=refuse)


def test_json_holds_every_field(folder):
    assert main(["solve", "A.mtx", "b.mtx", "--json", "r.json", "--quiet"]) == 0
    found = strict_json("r.json")
    assert set(FIELDS) <= set(found)
    assert found["status"] == "CONVERGED"
    assert found["converged"] is True
    assert (found["matrix"], found["rhs"], found["resolvent"]) == ("A.mtx", "b.mtx", rv.__version__)
    assert found["relative_residual"] <= found["tolerance"] == 1e-5


def test_json_of_what_is_not_a_number(folder):
    np.save("A.npy", np.eye(2) * 1e-200)
    np.save("b.npy", np.full(2, 1e200))
    assert main(["solve", "A.npy", "b.npy", "--json", "r.json", "--quiet"]) == 1
    assert strict_json("r.json")["status"] == "OVERFLOW"


def test_quiet_is_quiet(folder, capsys):
    assert main(["solve", "A.mtx", "b.mtx", "--quiet", "--output", "x.mtx"]) == 0
    assert capsys.readouterr() == ("", "")


def test_not_converging_is_said_by_report_and_status(folder, capsys, recwarn):
    assert main(["solve", "A.mtx", "b.mtx", "--maxiter", "2"]) == 1
    assert capsys.readouterr().out.startswith("! iteration limit reached")
    assert not [warning for warning in recwarn if issubclass(warning.category, rv.ConvergenceWarning)]


def test_interrupt_within_a_solve_gives_a_report(folder, capsys, monkeypatch):
    def interrupt(progress):
        raise KeyboardInterrupt

    solve = rv.solve
    monkeypatch.setattr(rv, "solve", lambda *args, **options: solve(*args, **options, callback=interrupt))
    assert main(["solve", "A.mtx", "b.mtx"]) == 1
    assert capsys.readouterr().out.startswith("! interrupted")


def test_interrupt_outside_a_solve(folder, capsys, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(rv, "solve", interrupt)
    assert main(["solve", "A.mtx", "b.mtx"]) == 130
    assert one_line(capsys.readouterr().err)


# Streams and devices.


class Stream:
    """Text over bytes, as the standard streams are."""

    def __init__(self, content=b""):
        self.buffer = io.BytesIO(content)

    def flush(self):
        pass


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_a_file(folder, name, pack, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stream(pack((folder / "A.mtx").read_bytes())))
    assert main(["solve", name, "b.mtx", "--quiet", "--output", "x.npy"]) == 0
    monkeypatch.setattr(sys, "stdin", Stream(pack((folder / "b.mtx").read_bytes())))
    assert main(["solve", "A.mtx", name, "--quiet", "--output", "y.npy"]) == 0
    np.testing.assert_array_equal(np.load("x.npy"), np.load("y.npy"))


def test_standard_output_holds_the_json_alone(folder, capfdbinary):
    assert main(["solve", "A.mtx", "b.mtx", "--json", "-"]) == 0
    out, err = capfdbinary.readouterr()
    assert json.loads(out)["status"] == "CONVERGED"
    assert err.decode().startswith("✓ converged")
    assert main(["solve", "A.mtx", "b.mtx", "--json", "-", "--quiet"]) == 0
    out, err = capfdbinary.readouterr()
    assert json.loads(out)["converged"]
    assert err == b""


def test_standard_output_holds_the_solution_alone(system, capfdbinary):
    A, b = system
    assert main(["solve", "A.mtx", "b.mtx", "--output", "-", "--rtol", "1e-12"]) == 0
    out, err = capfdbinary.readouterr()
    np.testing.assert_allclose(scipy.io.mmread(io.BytesIO(out)).ravel(), spsolve(A.tocsc(), b), rtol=0, atol=1e-10)
    assert err.decode().startswith("✓ converged")


def test_a_problem_through_standard_output(folder, capfdbinary):
    assert main(["gallery", "poisson", "--size", "15", "12", "--output", "-"]) == 0
    out, err = capfdbinary.readouterr()
    assert abs(scipy.io.mmread(io.BytesIO(out)) - rv.gallery.poisson((15, 12)).A).max() == 0
    assert b"eigenvalues in" in err


def test_a_full_disk_is_told_with_its_name(folder, capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("no full device here")
    assert main(["solve", "A.mtx", "--json", "/dev/full", "--quiet"]) == 2
    assert capsys.readouterr().err == "resolvent: /dev/full: No space left on device\n"


@pytest.mark.parametrize("fault", ["room", "permission"])
def test_outputs_are_looked_at_before_the_solve(folder, capsys, monkeypatch, fault):
    def never(*args, **options):
        raise AssertionError("solved before the output was looked at")

    monkeypatch.setattr(rv, "solve", never)
    if fault == "room":
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 100))
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        (folder / "x.npy").write_bytes(b"old")
    assert main(["solve", "A.mtx", "--output", "x.npy"]) == 2
    assert one_line(capsys.readouterr().err)


# In a low precision.


def test_solve_in_a_format(system, capsys):
    A, b = system
    assert main(["solve", "A.mtx", "b.mtx", "--rtol", "0.01", "--precision", "bf16", "--output", "x.npy"]) == 0
    assert "in bf16" in capsys.readouterr().out.splitlines()[0]
    x = np.load("x.npy")
    assert np.linalg.norm(b - A @ x) <= 0.01 * np.linalg.norm(b)
    np.testing.assert_array_equal(rv.precision.round(x, "bf16"), x)


@pytest.mark.parametrize("policy", ["storage", "op", "matvec", "tensor-core"])
def test_policy_and_rounding_reach_the_solver(system, policy):
    A, b = system
    line = f"solve A.mtx b.mtx --method cg --rtol 0.01 --precision bf16 --policy {policy} --rounding nearest-away"
    assert main([*line.split(), "--output", "x.npy", "--quiet"]) == 0
    precision = rv.Precision("bf16", policy=policy, rounding="nearest-away")
    np.testing.assert_array_equal(np.load("x.npy"), rv.cg(A, b, rtol=0.01, precision=precision).x)


def test_seed_of_stochastic_rounding(folder):
    def solved(*seed):
        line = "solve A.mtx b.mtx --method cg --rtol 0.01 --precision bf16 --rounding stochastic --quiet --output x.npy"
        assert main([*line.split(), *seed]) == 0
        return np.load("x.npy")

    np.testing.assert_array_equal(solved(), solved("--seed", "0"))
    assert not np.array_equal(solved(), solved("--seed", "1"))


def test_what_a_format_attains_is_in_the_json(folder):
    line = "solve A.mtx b.mtx --method cg --rtol 1e-6 --precision bf16 --json r.json --quiet"
    assert main(line.split()) == 1
    found = strict_json("r.json")
    assert found["status"] == "STAGNATED"
    assert found["precision"] == "bf16"
    assert found["unit_roundoff"] == 2.0**-8
    assert found["relative_residual"] <= 10 * found["attainable_residual"]
    assert found["attainable_error"] == found["condition"] * 2.0**-8


def test_refine_reaches_double_precision(system, capsys):
    A, b = system
    assert main(["refine", "A.mtx", "b.mtx", "--json", "r.json", "--output", "x.npy", "--plot", "p.png"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("✓ converged: refine")
    assert err == ""
    found = strict_json("r.json")
    assert found["backward_error"] <= 4e-16
    assert "bf16" in found["reason"]
    np.testing.assert_allclose(np.load("x.npy"), spsolve(A.tocsc(), b), rtol=0, atol=1e-13)


def test_refine_takes_what_the_inner_method_takes(system):
    A, b = system
    line = "refine A.mtx b.mtx --method chebyshev --interval 0.03 8 --precision fp16 --policy op --residual fp128"
    assert main([*line.split(), "--quiet", "--json", "r.json", "--output", "x.npy"]) == 0
    reason = strict_json("r.json")["reason"]
    assert "chebyshev" in reason
    assert "fp16" in reason
    same = rv.refine(
        A,
        b,
        inner="chebyshev",
        interval=(0.03, 8.0),
        inner_precision=rv.Precision("fp16", policy="op"),
        residual="fp128",
    )
    np.testing.assert_array_equal(np.load("x.npy"), same.x)


def test_refine_that_must_not_escalate_says_that_it_failed(folder, capsys):
    sparse.save_npz("hard.npz", sparse.csr_array(rv.gallery.randsvd(100, 1e6).A))
    assert main(["refine", "hard.npz", "--no-escalate"]) == 1
    assert "in bf16" in capsys.readouterr().out
    assert main(["refine", "hard.npz"]) == 0


# Comparisons.


def test_compare_prints_a_table_and_what_to_type(folder, capsys):
    arguments = ["--method", "cg", "jacobi", "--preconditioner", "none", "--backend", "numpy"]
    assert main(["compare", "A.mtx", "b.mtx", *arguments, "--json", "r.json"]) == 0
    out, err = capsys.readouterr()
    found = strict_json("r.json")
    best = found["rows"][found["best"]]
    assert out.splitlines()[0].startswith(f"✓ {best['method']}: 2 ways compared")
    assert out.splitlines()[-1].strip() == f"resolvent solve A.mtx b.mtx --method {best['method']} --rtol 1e-05"
    assert err == ""
    assert [row["method"] for row in found["rows"]] == ["cg", "jacobi"]
    assert best["seconds"] == min(row["seconds"] for row in found["rows"])


def test_compare_of_a_rectangular_file(tall):
    assert main(["compare", "R.mtx", "c.mtx", "--backend", "numpy", "--quiet", "--json", "r.json"]) == 0
    rows = strict_json("r.json")["rows"]
    assert {row["method"] for row in rows if row["status"] == "CONVERGED"} == {"lsmr", "cgls", "lapack", "superlu"}


def test_comparing_what_nothing_solves_is_said_by_the_status(folder, capsys):
    arguments = ["--method", "cg", "--maxiter", "2", "--backend", "numpy", "--preconditioner", "none", "--json", "-"]
    assert main(["compare", "A.mtx", "b.mtx", *arguments]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["best"] is None
    assert "nothing converged" in err


# What cannot be used.


def outside():
    """A sparse matrix with a column beyond its last."""
    stream = io.BytesIO()
    indptr, indices = np.arange(3, dtype=np.int32), np.array([0, 9], np.int32)
    np.savez(stream, format=b"csr", shape=(2, 2), data=np.ones(2), indices=indices, indptr=indptr)
    return stream.getvalue()


FILES = {
    "garbage.mtx": b"hello\n1 2 3\n",
    "nothing.mtx": b"",
    "binary.mtx": bytes(range(256)),
    "short.mtx": HEADER.encode() + b"2 2 3\n1 1 1\n",
    "outside.mtx": HEADER.encode() + b"2 2 1\n5 1 1\n",
    "nan.mtx": HEADER.encode() + b"2 2 2\n1 1 nan\n2 2 1\n",
    "inf.mtx": HEADER.encode() + b"2 2 2\n1 1 inf\n2 2 1\n",
    "wide.mtx": HEADER.encode() + b"2 3 2\n1 1 1\n2 2 1\n",
    "emptyrow.mtx": HEADER.encode() + b"3 3 2\n1 1 1\n2 2 1\n",
    "zerodiagonal.mtx": HEADER.encode() + b"2 2 2\n1 2 1\n2 1 1\n",
    "skew.mtx": HEADER.encode() + b"2 2 2\n1 2 1\n2 1 -1\n",
    "three.mtx": b"%%MatrixMarket matrix array real general\n3 1\n1\n2\n3\n",
    "nanb.mtx": b"%%MatrixMarket matrix array real general\n2 1\nnan\n2\n",
    "garbage.mtx.gz": b"not gzip",
    "garbage.npz": b"not zip",
    "garbage.npy": b"not numpy",
    "matrix.txt": b"1 0\n0 1\n",
    "huge.mtx": HEADER.encode() + b"2000000000 2000000000 1\n1 1 1\n",
    "huge.mtx.gz": gzip.compress(HEADER.encode() + b"2 2 2000000000\n1 1 1\n"),
    "outside.npz": outside(),
}

SOLVED = ("zerodiagonal.mtx", "wide.mtx", "three.mtx", "nanb.mtx", "emptyrow.mtx", "skew.mtx")  # or no matrices
BAD = [
    "solve nowhere.mtx",
    "solve .",
    "solve A.mtx nowhere.mtx",
    *(f"solve {name}" for name in FILES if name not in SOLVED),
    "solve emptyrow.mtx --method cg",
    "solve skew.mtx --method cg",
    "solve wide.mtx --method cg",
    "solve wide.mtx --method lsmr --omega 1",
    "solve wide.mtx --method lsmr --atol 1",
    "solve wide.mtx --preconditioner ssor",
    "solve wide.mtx --damp -1",
    "solve A.mtx --method sor --damp 1",
    "refine wide.mtx",
    "compare nowhere.mtx",
    "compare A.mtx three.mtx",
    "compare A.mtx --method lsmr",
    "compare wide.mtx --method cg",
    "compare A.mtx --preconditioner nonsense",
    "compare A.mtx --rtol 2",
    "compare A.mtx --time-limit 0",
    "compare A.mtx --json nowhere/r.json",
    "compare A.mtx --json A.mtx",
    "compare nan.mtx",
    "solve zerodiagonal.mtx --method jacobi",
    "solve zerodiagonal.mtx --method gauss_seidel",
    "solve zerodiagonal.mtx --method cg --preconditioner jacobi",
    "solve zerodiagonal.mtx --method cg --preconditioner ssor",
    "solve A.mtx three.mtx",
    "solve zerodiagonal.mtx nanb.mtx",
    "solve A.mtx garbage.npy",
    "solve A.mtx --method nonsense",
    "solve A.mtx --preconditioner nonsense",
    "solve A.mtx --backend nonsense",
    "solve A.mtx --omega 1.5",
    "solve A.mtx --method sor --omega 2.5",
    "solve A.mtx --method jacobi --omega -1",
    "solve A.mtx --method jacobi --preconditioner jacobi",
    "solve A.mtx --method chebyshev --interval 2 1",
    "solve A.mtx --method chebyshev --interval -1 1",
    "solve A.mtx --method cg --interval 1 2",
    "solve A.mtx --rtol -1",
    "solve A.mtx --rtol nan",
    "solve A.mtx --rtol much",
    "solve A.mtx --atol -1",
    "solve A.mtx --maxiter -1",
    "solve A.mtx --maxiter 1.5",
    "solve A.mtx --time-limit 0",
    "solve A.mtx --output nowhere/x.mtx",
    "solve A.mtx --output .",
    "solve A.mtx --output x.docx",
    "solve A.mtx --plot p.docx",
    "solve A.mtx --plot nowhere/p.png",
    "solve A.mtx --json nowhere/r.json",
    "solve A.mtx --nonsense",
    "solve A.mtx --precision bf17",
    "solve A.mtx --policy op",
    "solve A.mtx --rounding to-odd",
    "solve A.mtx --seed 1",
    "solve A.mtx --precision bf16 --policy nonsense",
    "solve A.mtx --precision bf16 --rounding nonsense",
    "solve A.mtx --precision bf16 --rounding stochastic --policy op",
    "solve A.mtx --precision bf16 --rounding stochastic --seed -1",
    "solve A.mtx --precision bf16 --seed 1.5",
    "solve A.mtx --precision mxfp4 --policy op",
    "solve A.mtx --precision fp64 --rounding to-odd",
    "solve A.mtx --method sor --precision bf16 --policy matvec",
    "solve - -",
    "solve /dev/stdin -",
    "solve A.mtx --output - --json -",
    "solve A.mtx --output x.mtx --json x.mtx",
    "solve A.mtx --output A.mtx",
    "solve A.mtx b.mtx --json ./b.mtx",
    "solve A.mtx --plot p.png --json p.csv",
    "solve A.mtx --output b.mtx/x.mtx",
    "solve huge.mtx",
    "solve A.mtx huge.mtx",
    "solve huge.mtx.gz",
    "solve outside.npz",
    "condition huge.mtx",
    "condition outside.npz",
    "advise huge.mtx --accuracy 1e-6",
    "gallery poisson --size 3 3 --output - --rhs -",
    "gallery poisson --size 3 3 --output - --rhs",
    "solve",
    "refine",
    "refine nowhere.mtx",
    "refine A.mtx --precision bf17",
    "refine A.mtx --residual fp32",
    "refine A.mtx --method auto",
    "refine A.mtx --maxiter -1",
    "refine A.mtx --rtol -1",
    "refine A.mtx --omega 1.5",
    "refine A.mtx --output x.docx",
    "refine A.mtx three.mtx",
    "condition nowhere.mtx",
    "condition garbage.mtx",
    "condition wide.mtx",
    "condition nan.mtx",
    "condition A.mtx --steps 0",
    "advise A.mtx",
    "advise --accuracy 1e-6",
    "advise A.mtx --accuracy 2",
    "advise A.mtx --accuracy nan",
    "advise A.mtx --accuracy 1e-6 --condition 0.5",
    "advise nowhere.mtx --accuracy 1e-6",
    "advise wide.mtx --accuracy 1e-6",
    "advise nan.mtx --accuracy 1e-6",
    "gallery",
    "gallery nonsense --size 3",
    "gallery poisson",
    "gallery poisson --size -3",
    "gallery poisson --size 0",
    "gallery kms --size 3 3",
    "gallery poisson --size 3 3 --rhs",
    "gallery poisson --size 3 3 --output A.docx",
    "gallery poisson --size 3 3 --output nowhere/A.mtx",
    "nonsense",
    "",
]


def one_line(err):
    """A message that starts with the program's name and is one line long."""
    return err.startswith("resolvent") and err.count("\n") == 1 and err.endswith("\n") and "Traceback" not in err


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line(folder, line, capsys):
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    before = set(folder.iterdir())
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert one_line(err), err
    assert out == ""
    assert set(folder.iterdir()) == before


def test_messages_name_what_is_wrong(folder, capsys):
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    for line, said in {
        "solve nowhere.mtx": "nowhere.mtx: no such file",
        "solve .": "directory",
        "solve nan.mtx": "(0, 0) is nan",
        "solve wide.mtx --method cg": "(2, 3)",
        "solve wide.mtx --method lsmr --omega 1": "--omega",
        "solve A.mtx --method sor --damp 1": "--damp",
        "solve emptyrow.mtx --method cg": "row 2",
        "solve A.mtx three.mtx": "(3,)",
        "solve garbage.npz": "begins with b'not zip'",
        "solve A.mtx --method sor --omega 2.5": "(0, 2)",
        "solve A.mtx --precision bf17": "--precision: found 'bf17'",
        "solve huge.mtx": "huge.mtx: announces 2000000000 rows",
        "solve outside.npz": "outside.npz: row 1 holds column 9; wanted columns 0 to 1",
        "solve A.mtx --policy op": "name a format with --precision",
    }.items():
        assert main(line.split()) == 2
        assert said in capsys.readouterr().err


# The other commands.


def numbers(line):
    """The first number of a line after its label."""
    return float(next(word for word in line.split() if word[0].isdigit() or word[0] == "-"))


def labelled(out):
    """The lines of a two-column output by their labels."""
    return {line[:24].strip(): line[24:] for line in out.splitlines()}


def test_condition_small_is_exact(folder, capsys):
    problem = rv.gallery.poisson((15, 12))
    assert main(["condition", "A.mtx"]) == 0
    said = labelled(capsys.readouterr().out)
    assert numbers(said["condition"]) == pytest.approx(problem.condition, rel=1e-5)
    assert "exact" in said["condition"]
    assert numbers(said["smallest eigenvalue"]) == pytest.approx(problem.spectrum[0], rel=1e-5)
    assert numbers(said["bound of |eigenvalues|"]) >= problem.spectrum[1]


def test_condition_large_is_a_lower_bound(folder, capsys):
    problem = rv.gallery.poisson((30, 30))
    sparse.save_npz("large.npz", problem.A * 2.0**600)
    assert main(["condition", "large.npz", "--steps", "60"]) == 0
    said = labelled(capsys.readouterr().out)
    found = float(said["condition"].split()[2])
    assert 0.5 * problem.condition < found <= problem.condition * (1 + 1e-5)
    assert "at least" in said["condition"]
    assert "2-norm" in said["condition"]


def test_condition_bounds_and_how_they_came_about(folder, capsys):
    problem = rv.gallery.poisson((30, 30))
    sparse.save_npz("large.npz", problem.A)
    assert main(["condition", "large.npz"]) == 0
    said = labelled(capsys.readouterr().out)
    words = said["condition"].split()
    assert float(words[2]) <= problem.condition <= float(words[6]) <= 1.1 * float(words[2])
    assert "but for a chance of 1e-06" in said["condition"]
    assert "Lanczos steps" in said["how"]
    low, high = (float(word) for word in said["smallest eigenvalue"].split(" to "))
    assert low <= problem.spectrum[0] <= high * (1 + 1e-5)
    assert main(["condition", "large.npz", "--norm", "1"]) == 0
    said = labelled(capsys.readouterr().out)
    assert float(said["condition"].split()[2]) == pytest.approx(np.linalg.cond(problem.A.toarray(), 1), rel=1e-5)
    assert "factorisation" in said["how"]


def test_condition_nonsymmetric(folder, capsys):
    for size, norm in ((8, 2), (25, 1)):
        A = rv.gallery.convection_diffusion((size, size)).A
        sparse.save_npz("N.npz", A)
        assert main(["condition", "N.npz"]) == 0
        said = labelled(capsys.readouterr().out)["condition"]
        assert f"{norm}-norm" in said
        found = float(said.split()[2 if norm == 1 else 0])
        assert found == pytest.approx(np.linalg.cond(A.toarray(), norm), rel=0.3 if norm == 1 else 1e-5)


@pytest.mark.parametrize("n", [30, 600])
def test_condition_of_singular_and_indefinite(folder, capsys, n):
    sparse.save_npz("singular.npz", sparse.diags_array(np.arange(0.0, n)))
    assert main(["condition", "singular.npz"]) == 0
    assert "infinite" in labelled(capsys.readouterr().out)["condition"]
    sparse.save_npz("indefinite.npz", sparse.diags_array(np.where(np.arange(n) % 2, 1.0, -4.0)))
    assert main(["condition", "indefinite.npz"]) == 0
    assert " 4 in the" in f" {labelled(capsys.readouterr().out)['condition']}".replace("at least ", "")


@pytest.mark.parametrize("options", [[], ["--condition", "1e5"]])
def test_advice_is_that_of_the_library(system, capsys, options):
    A, _ = system
    assert main(["advise", "A.mtx", "--accuracy", "1e-6", *options]) == 0
    out = capsys.readouterr().out
    assert out.rstrip("\n") == str(rv.precision_for(A, 1e-6, condition=1e5 if options else None))
    assert max(map(len, out.splitlines())) <= 120


def test_methods_table_is_generated(capsys):
    assert main(["methods"]) == 0
    out = capsys.readouterr().out
    for name, method in rv.METHODS.items():
        assert method.title in out
        cost = method.traffic
        row = next(line for line in out.splitlines() if line.startswith(f"{name} ") and method.title not in line)
        assert row.split()[-4:] == [str(n) for n in (cost.vectors, cost.passes, cost.reductions, cost.matvecs)]
    assert all(method.purpose for method in rv.METHODS.values())
    assert max(map(len, out.splitlines())) <= 120


def test_formats_table_is_generated(capsys):
    from resolvent.precision import BlockFormat
    from resolvent.precision.formats import FORMATS

    assert main(["formats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split() for line in lines if line and line.split()[0] in FORMATS}
    assert set(rows) == {format.name for format in FORMATS.values()}
    for name, row in rows.items():
        format = FORMATS[name]
        if isinstance(format, BlockFormat):
            assert row[1:3] == [format.element.name, str(format.block)]
            continue
        assert row[1:4] == [str(n) for n in (format.significand_bits, format.min_exponent, format.max_exponent)]
        sizes = (format.unit_roundoff, format.largest, format.smallest_normal, format.smallest)
        assert row[4:8] == [f"{size:.5g}" for size in sizes]
    assert "NaN" in rows["fp8_e4m3fn"]
    assert max(map(len, lines)) <= 120


def test_gallery_lists_and_writes(folder, capsys):
    assert main(["gallery", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in rv.gallery.GALLERY)
    assert main(["gallery", "anisotropic", "--size", "6", "7", "--output", "M.mtx", "--rhs", "r.npy"]) == 0
    problem = rv.gallery.anisotropic((6, 7))
    assert abs(scipy.io.mmread("M.mtx") - problem.A).max() == 0
    np.testing.assert_array_equal(np.load("r.npy"), problem.b)
    assert "eigenvalues in" in capsys.readouterr().out


def test_gallery_finite_elements(folder, capsys):
    pytest.importorskip("pyamg")
    assert main(["gallery", "airfoil", "--output", "M.npz"]) == 0
    assert "260 x 260" in capsys.readouterr().out
    assert main(["gallery", "airfoil", "--size", "3"]) == 2
    assert main(["solve", "M.npz", "--quiet"]) == 0


def test_info(capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert rv.__version__ in out
    assert np.__version__ in out
    assert all(name in out for name in rv.BACKENDS)
    assert "OMP_NUM_THREADS=2" in out


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["solve", "--help"]])
def test_help_is_success(arguments, capsys):
    assert main(arguments) == 0
    assert capsys.readouterr().out


# As a process.


@pytest.mark.slow
def test_process_exit_codes(folder):
    good = process("solve", "A.mtx", "b.mtx")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("✓ converged")
    assert "\x1b" not in good.stdout
    assert process("solve", "A.mtx", "--maxiter", "1").returncode == 1
    bad = process("solve", "nowhere.mtx")
    assert bad.returncode == 2
    assert one_line(bad.stderr)


@pytest.mark.slow
def test_process_in_a_terminal_without_greek(folder):
    done = process("solve", "A.mtx", env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_info_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from resolvent.cli.main import main; main(['info']); "
        "print(*sorted({'torch', 'cupy', 'numba', 'matplotlib', 'pyamg'} & set(sys.modules)), sep=',', end='')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("devices")


# Completion by the shell.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["--print-completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert all(word in out for word in ("fixed-point", "preconditioner", "gauss_seidel"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["so"], {"solve"}),
        (["solve", "--prec"], {"--precision", "--preconditioner"}),
        (["solve", "--method", "gau"], {"gauss_seidel"}),
        (["condition", "A"], {"A.mtx"}),
    ],
)
def test_bash_completes(typed, offered, folder, capsys):
    pytest.importorskip("shtab")
    assert main(["--print-completion", "bash"]) == 0
    words = " ".join(["resolvent", *typed])
    script = (
        f"{capsys.readouterr().out}\nCOMP_WORDS=({words})\nCOMP_CWORD={len(typed)}\n"
        f'_shtab_resolvent resolvent "{typed[-1]}"\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    run = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)
    assert run.stderr == ""
    assert set(run.stdout.split()) == offered


def test_completion_without_shtab_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert "resolvent[completion]" in capsys.readouterr().err


def test_completion_knows_the_arguments_that_are_files():
    assert set(completion.FILES) <= {action.dest for action in completion.actions_of(parser())}


def test_near_misses_are_suggested(folder, capsys):
    for line, said in {
        "slove A.mtx": "COMMAND: found 'slove'; wanted one of solve, compare, refine, .*; did you mean 'solve'?",
        "Solve A.mtx": "did you mean 'solve'?",
        "solve A.mtx --method gaus-seidel": "--method: found 'gaus-seidel'; wanted one of auto, cg, .*'gauss_seidel'?",
        "solve A.mtx --preconditioner jakobi": "--preconditioner: found 'jakobi'; .*did you mean 'jacobi'?",
        "solve A.mtx --backend gpu": "--backend: found 'gpu'; .*did you mean 'cupy'?",
        "solve A.mtx --precision bf17": "--precision: found 'bf17'; .*did you mean 'bf16'?",
        "solve A.mtx --precision bf16 --rounding nearest": "--rounding: found 'nearest'; .*did you mean 'nearest-",
        "solve A.mtx --maxitr 3": "resolvent solve: --maxitr: there is no such option; did you mean '--maxiter'?",
        "solve A.mtx --tolerance=3": "--tolerance=3: there is no such option",
        "solve A.mtx b.mtx c.mtx": "c.mtx: there is no such argument",
        "solve a.mxt": "a.mxt: no such file; did you mean 'A.mtx'?",
        f"solve {folder}/A.mt": f"no such file; did you mean '{folder}/A.mtx'?",
        "solve nowhere/A.mtx": "no such file; there is no folder nowhere",
        "condition A.mtx --norm 3": "--norm: found 3; wanted one of 1, 2",
        "gallery poison --size 3": "gallery: found 'poison'; .*did you mean 'poisson'?",
        "warm --storage danse": "did you mean 'dense'?",
        "fixed-point math:cosh2 A.mtx": "g: found nothing as cosh2 in math; .*did you mean 'cosh'?",
    }.items():
        assert main(line.split()) == 2, line
        out, err = capsys.readouterr()
        assert one_line(err), err
        assert out == ""
        assert re.search(said.replace("?", r"\?").replace(".mtx", r"\.mtx"), err), err


@pytest.mark.parametrize("short", ["--max 3", "--maxit 3", "--meth cg", "--q"])
def test_options_are_written_in_full(short, folder, capsys):
    assert main(["solve", "A.mtx", *short.split()]) == 2
    assert f"{short.split()[0]}: there is no such option" in capsys.readouterr().err


def test_words_of_options_are_taken_in_any_spelling(folder, capsys):
    line = "solve A.mtx --method Gauss-Seidel --backend NumPy --precision FP64 --preconditioner None"
    assert main(line.split()) == 0
    assert "gauss_seidel on numpy" in capsys.readouterr().out
