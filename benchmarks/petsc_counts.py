"""Iterations that PETSc takes on problems of the gallery, which tests hold Resolvent to.

    python benchmarks/petsc_counts.py problems FOLDER     where Resolvent is installed: writes the problems
    python3 benchmarks/petsc_counts.py count FOLDER FILE  where petsc4py is: counts, and writes them as JSON

On Debian, petsc4py is the package python3-petsc4py. Both sides stop where ||b - A x|| <= rtol ||b||, from x = 0, by the
same parameters; what PETSc would find by itself (the interval of Chebyshev) is given to both. SOR is PETSc's Richardson
iteration with a forward sweep as preconditioner.

How far a count is defined at all, PETSc says as well: each is counted again with b and the diagonal of A changed by a
unit roundoff, in ways drawn at random, and the fewest and the most are recorded.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

DEFINITE = ("poisson", "poisson_3d", "anisotropic", "diffusion", "kms", "graph")
NONSYMMETRIC = ("convection", "strong_convection", "convection_3d")
INDEFINITE = ("shifted",)
RTOLS = (1e-4, 1e-8)
RESTART = 30
CHANGES = 20
MAXITER = 1000

# What is counted, on which problems: method, preconditioner.
CASES = [
    *(("cg", M, name) for M in ("none", "jacobi", "ssor") for name in DEFINITE),
    *(("minres", "none", name) for name in (*DEFINITE, *INDEFINITE)),
    *(("gmres", M, name) for M in ("none", "jacobi") for name in (*NONSYMMETRIC, "poisson", "diffusion")),
    *(("bicgstab", M, name) for M in ("none", "jacobi") for name in (*NONSYMMETRIC, "poisson", "diffusion")),
    *(("chebyshev", "none", name) for name in ("poisson", "poisson_3d", "anisotropic", "kms")),
    *(("sor", "none", name) for name in ("poisson", "poisson_3d", "diffusion", *NONSYMMETRIC)),
]


def problems() -> dict[str, Any]:
    """The problems by name: a Problem of the gallery, or a pair of A and b."""
    import scipy.sparse as sparse

    from resolvent import gallery

    made: dict[str, Any] = {
        "poisson": gallery.poisson((31, 24)),
        "poisson_3d": gallery.poisson((9, 8, 7)),
        "anisotropic": gallery.anisotropic((20, 20), epsilon=0.05),
        "diffusion": gallery.diffusion((20, 20), contrast=100.0),
        "kms": gallery.kms(60, 0.7),
        "convection": gallery.convection_diffusion((20, 20), (20.0, 10.0)),
        "strong_convection": gallery.convection_diffusion((20, 20), (200.0, -100.0)),
        "convection_3d": gallery.convection_diffusion((8, 8, 8), (15.0, 5.0, -10.0)),
    }
    square = gallery.poisson((20, 20))
    made["shifted"] = square.A - 0.3 * sparse.eye_array(400), square.b
    made["graph"] = made["diffusion"].A + sparse.diags_array(np.linspace(0, 3, 400)), np.cos(np.arange(400.0))
    return made


def parts(problem: Any) -> tuple[Any, Any]:
    """A and b."""
    return problem if isinstance(problem, tuple) else (problem.A, problem.b)


def parameters(method: str, problem: Any) -> dict[str, Any]:
    """What both sides are given."""
    if method == "chebyshev":
        return {"interval": [float(end) for end in problem.spectrum]}
    if method == "sor":
        return {"omega": 1.4}
    return {"restart": RESTART} if method == "gmres" else {}


def write(folder: Path) -> None:
    """The problems as arrays, and what is given besides."""
    import scipy.sparse as sparse

    made = problems()
    for name, problem in made.items():
        A, b = parts(problem)
        A = sparse.csr_array(A)
        A.sort_indices()
        np.savez(folder / f"{name}.npz", indptr=A.indptr, indices=A.indices, data=A.data, b=b)
    given = [[*case, parameters(case[0], made[case[2]])] for case in CASES]
    (folder / "cases.json").write_text(json.dumps(given), encoding="utf-8")


def counted(PETSc: Any, method: str, M: str, given: dict[str, Any], rtol: float, arrays: Any) -> tuple[int, int]:
    """Iterations of one solve, and PETSc's reason for ending it."""
    n = arrays["b"].size
    csr = (arrays["indptr"].astype(PETSc.IntType), arrays["indices"].astype(PETSc.IntType), arrays["data"])
    A = PETSc.Mat().createAIJ(size=(n, n), csr=csr)
    b, x = PETSc.Vec().createWithArray(arrays["b"].astype(float)), PETSc.Vec().createSeq(n)
    options: dict[str, Any] = {}
    solver = PETSc.KSP().create()
    solver.setOperators(A)
    solver.setType({"bicgstab": "bcgs", "sor": "richardson"}.get(method, method))
    solver.getPC().setType("sor" if "sor" in (method, M) or M == "ssor" else M)
    solver.setTolerances(rtol=rtol, atol=1e-300, divtol=1e300, max_it=MAXITER)
    if method in ("gmres", "bicgstab"):
        solver.setPCSide(PETSc.PC.Side.RIGHT)
    if method == "gmres":
        solver.setGMRESRestart(given["restart"])
    if method != "minres":  # which has the preconditioned norm alone: the same, without a preconditioner
        solver.setNormType(PETSc.KSP.NormType.UNPRECONDITIONED)
    if method == "chebyshev":
        options["ksp_chebyshev_eigenvalues"] = ",".join(map(repr, given["interval"]))
    if method == "sor":
        solver.setMonitor(lambda *_: None)  # without it all sweeps are taken before a residual is looked at
        options |= {"pc_sor_forward": None, "pc_sor_omega": repr(given["omega"])}
    if M == "ssor":
        options["pc_sor_symmetric"] = None
    for name, value in options.items():
        PETSc.Options().setValue(name, value)
    solver.setFromOptions()
    for name in options:
        PETSc.Options().delValue(name)
    x.set(0.0)
    solver.solve(b, x)
    return solver.getIterationNumber(), int(solver.getConvergedReason())


def count(folder: Path) -> dict[str, Any]:
    """What PETSc takes; of each problem the norms of A and b, by which another problem of that name is told."""
    import petsc4py

    petsc4py.init([])
    from petsc4py import PETSc

    rows, sizes = [], {}
    random = np.random.default_rng(0)
    for method, M, name, given in json.loads((folder / "cases.json").read_text(encoding="utf-8")):
        arrays = dict(np.load(folder / f"{name}.npz"))
        sizes[name] = [float(np.linalg.norm(arrays[one])) for one in ("data", "b")]
        row = np.repeat(np.arange(arrays["b"].size), np.diff(arrays["indptr"]))
        on_diagonal = row == arrays["indices"]
        for rtol in RTOLS:
            iterations, reason = counted(PETSc, method, M, given, rtol, arrays)
            others = []
            for _ in range(CHANGES):
                changed = dict(arrays)
                for one, where in (("b", slice(None)), ("data", on_diagonal)):
                    changed[one] = arrays[one].copy()
                    signs = random.integers(-1, 2, changed[one][where].size)
                    changed[one][where] *= 1 + signs * np.finfo(float).eps
                others.append(counted(PETSc, method, M, given, rtol, changed)[0])
            known = {"problem": name, "method": method, "preconditioner": M, "rtol": rtol, "parameters": given}
            span = [min(iterations, *others), max(iterations, *others)]
            rows.append({**known, "iterations": iterations, "span": span, "reason": reason})
    version = ".".join(map(str, PETSc.Sys.getVersion()))
    return {
        "petsc": version,
        "counted": datetime.date.today().isoformat(),
        "maxiter": MAXITER,
        "problems": sizes,
        "rows": rows,
    }


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["problems", "count"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.what == "problems":
        write(arguments.folder)
        return
    found = count(arguments.folder)
    lines = ",\n  ".join(json.dumps(row) for row in found.pop("rows"))
    head = json.dumps(found)[1:-1]
    arguments.file.write_text(f'{{{head}, "rows": [\n  {lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
