"""Tables made of the package's own tables: of the methods, what they cost, and where they run.

A Sphinx extension: a page writes ```{resolvent-table} methods```. The README's table of methods lies between two
markers in the file itself: python docs/tables.py --check README.md, or --write.
"""

from __future__ import annotations

import argparse
import csv
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import resolvent as rv
from resolvent.lazy import place_of
from resolvent.precision import BlockFormat, supported_dtypes
from resolvent.precision.formats import FORMATS
from resolvent.precision.policy import POLICIES
from resolvent.precision.tensor_core import TENSOR_CORES
from resolvent.solvers.compiled_loops import LOOPS
from resolvent.solvers.matrix_functions.presets import PRESETS

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
MARKERS = re.compile(r"(<!-- methods:begin[^>]*-->\n)(.*?)(<!-- methods:end -->)", re.DOTALL)


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]], right: Iterable[int] = ()) -> str:
    """Markdown; ``right`` are the columns of numbers."""
    head = list(head)
    rules = ["---:" if column in set(right) else "---" for column in range(len(head))]
    lines = [head, rules, *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def readme_table() -> str:
    """The methods, as the README lists them."""
    rows = []
    for name, method in rv.METHODS.items():
        cost = method.traffic
        rows.append(
            (f"`rv.{name}`", method.title, method.purpose, method.needs(), cost.matvecs, cost.reductions, cost.vectors)
        )
    head = ("call", "method", "for", "needs", "products", "reductions", "vectors kept")
    return _table(head, rows, right=(4, 5, 6))


def methods_table() -> str:
    """The methods with links to their pages."""
    rows = [
        (f"[{method.title}]({name}.md)", f"{{func}}`rv.{name} <resolvent.{name}>`", method.purpose)
        for name, method in rv.METHODS.items()
    ]
    return _table(("method", "call", "for"), rows)


def costs_table() -> str:
    """What an iteration costs, from each method's declared traffic; the tests count it."""
    rows = []
    for name, method in rv.METHODS.items():
        cost = method.traffic
        preconditioner = "yes" if method.takes_preconditioner else "no"
        rows.append(
            (
                f"`{name}`",
                method.needs(),
                preconditioner,
                cost.vectors,
                cost.matvecs,
                cost.reductions,
                cost.passes,
                cost.compiled_passes,
                8 * cost.compiled_passes,
            )
        )
    head = ("method", "needs", "M", "vectors", "products", "reductions", "passes", "compiled", "bytes")
    return _table(head, rows, right=range(3, 9))


def has_loop(name: str, backend: str = "numba") -> bool:
    """Whether the step of a method is among those that a backend has compiled loops for."""
    own = "ssor" if name == "ssor_cg" else "none"  # what it preconditions with when it is not told to
    known = {
        place
        for place, storage, preconditioner in LOOPS
        if preconditioner == own and storage.startswith("cupy ") == (backend == "cupy")
    }
    return any(place_of(kind) in known for kind in rv.METHODS[name].__mro__)


def support_table() -> str:
    """Every method on every backend in every working precision."""
    dtypes = ", ".join(dtype.name for dtype in supported_dtypes)
    rows = []
    for name in rv.METHODS:
        cells = [
            "compiled loop" if backend in ("numba", "cupy") and has_loop(name, backend) else "step"
            for backend in rv.BACKENDS
        ]
        rows.append((f"`{name}`", *cells))
    rows.append(("precisions", *[dtypes] * len(rv.BACKENDS)))
    return _table(("", *(f"`{backend}`" for backend in rv.BACKENDS)), rows)


def statuses_table() -> str:
    """How a solve may end."""
    return _table(("`status`", "in words"), [(f"`{status.name}`", status.value) for status in rv.Status])


def gallery_table() -> str:
    """The problems that a size is enough for."""
    rows = []
    for name, make in rv.gallery.GALLERY.items():
        function = getattr(make, "func", make)
        first = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
        link = f"{{func}}`~resolvent.gallery.{function.__name__}`"
        rows.append((f"`{name}`", link, first))
    return _table(("name", "function", "what it is"), rows)


def fixed_points_table() -> str:
    """The maps that need no arguments, with the fewest evaluations published for each."""
    rows = []
    for name, make in rv.gallery.fixed_points.FIXED_POINTS.items():
        problem, function = make(), getattr(make, "func", make)
        link = f"{{func}}`~resolvent.gallery.fixed_points.{function.__name__}`"
        published = "" if problem.best_published is None else problem.best_published
        constant = "" if problem.lipschitz is None else f"{problem.lipschitz:.6g}"
        text = problem.description + ("" if problem.feasible else "; no fixed point")
        rows.append((f"`{name}`", link, text, problem.x0.size, constant, problem.norm, published))
    head = ("name", "function", "what it is", "unknowns", "Lipschitz", "norm", "evaluations")
    return _table(head, rows, right=(3, 4, 6))


def state_tracking_table() -> str:
    """The word problems, and what a guess and who ignores the order come to."""
    rows = []
    for name, make in rv.gallery.state_tracking.STATE_TRACKING.items():
        task = make()
        rows.append(
            (f"`{name}`", len(task.alphabet), task.order, f"{task.chance:.3f}", f"{task.commutative_ceiling:.3f}")
        )
    return _table(("name", "tokens", "states", "chance", "without order"), rows, right=range(1, 5))


def formats_table() -> str:
    """The floating-point formats that have a name."""
    beyond = {"infinity": "infinity", "saturate": "stays the largest", "nan": "NaN"}
    rows = []
    for format in dict.fromkeys(FORMATS.values()):
        if isinstance(format, BlockFormat):
            continue
        names = ", ".join(f"`{name}`" for name, named in FORMATS.items() if named is format)
        bits = (format.significand_bits, format.min_exponent, format.max_exponent)
        sizes = (format.unit_roundoff, format.largest, format.smallest_normal, format.smallest)
        rows.append((names, *bits, *(f"{size:.5g}" for size in sizes), beyond[format.overflow]))
    head = ("names", "p", "emin", "emax", "u", "largest", "smallest normal", "smallest", "beyond the largest")
    return _table(head, rows, right=range(1, 8))


def blocks_table() -> str:
    """The block formats that have a name."""
    rows = []
    for name, format in FORMATS.items():
        if isinstance(format, BlockFormat):
            scale = "a power of two" if format.scale is None else f"`{format.scale}`, and one of the tensor in `fp32`"
            rows.append((f"`{name}`", f"`{format.element}`", format.block, scale))
    return _table(("name", "elements", "to a block", "scale of a block"), rows, right=(2,))


def policies_table() -> str:
    """Where an emulated solve is rounded."""
    return _table(("`policy`", "what is rounded"), [(f"`{name}`", text) for name, text in POLICIES.items()])


def cores_table() -> str:
    """The tensor cores that are modelled."""
    found: dict[tuple[str, str, int], list[str]] = {}
    for device, cores in TENSOR_CORES.items():
        for core in cores.values():
            found.setdefault((core.input, core.output, core.block), []).append(device)
    rows = [(f"`{source}`", f"`{result}`", block, ", ".join(names)) for (source, result, block), names in found.items()]
    return _table(("`input`", "`output`", "products to a block", "`device`"), sorted(rows), right=(2,))


def delays_table() -> str:
    """What examples/precision_figures.py found on Strakoš's matrices."""
    file = Path(__file__).parent / "images" / "strakos_delays.csv"
    head, *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    shown, before = [], ""
    for matrix, *cells in rows:
        shown.append(("" if matrix == before else matrix.replace("rho", "ρ"), *cells))
        before = matrix
    return _table(head, shown, right=range(2, len(head)))


def fixed_point_counts_table() -> str:
    """Evaluations of g on the gallery of maps, as measured; the fewest in bold."""
    with (Path(__file__).parent / "images" / "fixed_point_evaluations.csv").open() as stream:
        head, *rows = list(csv.reader(stream))

    def cells(row: list[str]) -> list[str]:
        fewest = min((int(cell) for cell in row[3:] if cell), default=0)
        counts = [f"**{cell}**" if cell == str(fewest) else cell or "-" for cell in row[3:]]
        return [f"`{row[0]}`", row[1], row[2] or "-", *counts]

    return _table(head, map(cells, rows), right=range(1, len(head)))


def newton_schulz_table(name: str) -> str:
    """One of the tables that benchmarks/newton_schulz_tables.py makes."""
    with (Path(__file__).parent / "images" / f"newton_schulz_{name}.csv").open(encoding="utf-8") as stream:
        head, *rows = list(csv.reader(stream))
    return _table(head, rows, right=range(1, len(head)))


def newton_schulz_presets_table() -> str:
    """The published schedules, with what to know before using one."""
    rows = []
    for name, known in PRESETS.items():
        products = rv.newton_schulz.preset(name, allow_sign_flip=True).products
        rows.append((f"`{name}`", len(known.coefficients), products, known.source, known.note))
    return _table(("name", "steps", "products", "read in", "what to know"), rows, right=(1, 2))


def family_table() -> str:
    """The layers of sequences: what each assumes, keeps and costs."""
    from resolvent.layers.recurrence.family import FAMILY

    rows = []
    for member in FAMILY.values():
        made = f"{{class}}`~resolvent.layers.{member.module}`" if member.module else f"`{member.functions[0]}`"
        numbers = (f"${member.state}$".replace(" ", "\\,"), member.cost)
        rows.append((member.title, made, member.assumes, *numbers))
    return _table(("", "in `layers`", "assumes", "state", "cost"), rows)


def transitions_table() -> str:
    """The same: by what a token multiplies the state, and what that can track."""
    from resolvent.layers.recurrence.family import FAMILY

    rows = [(member.title, member.eigenvalues, member.tracks) for member in FAMILY.values()]
    return _table(("", "eigenvalues", "tracks"), rows)


def kept_table(name: str, numbers: int = 0) -> str:
    """A table that an example or a benchmark wrote; ``numbers`` columns at its end are aligned to the right."""
    with (Path(__file__).parent / "images" / f"{name}.csv").open(encoding="utf-8") as stream:
        head, *rows = list(csv.reader(stream))
    return _table(head, rows, right=range(len(head) - numbers, len(head)))


def gpu_figures_table(folder: Path = RESULTS) -> str:
    """What `make gpu-check` wrote, the newest of each device."""
    head, newest = ("figure", "found", "target", "note"), {}
    for path in sorted(folder.glob("gpu-*.json"), key=lambda path: path.stem[-10:]):
        kept = json.loads(path.read_text(encoding="utf-8"))
        newest[kept["setting"]["device"]] = kept
    if not newest:
        return _table(head, [("none taken on a GPU so far", "", "", "")])
    parts = []
    for device, kept in newest.items():
        where = kept["setting"]
        versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
        rows = []
        for row in kept["rows"]:
            if row["value"] is None:
                found = "failed"
            else:
                found = f"{row['value']:.3g} {row['unit']}"
            target = "" if row["least"] is None else f"{row['least']:g} {row['unit']}"
            rows.append((row["what"], found, target, row["note"]))
        table = _table(head, rows, right=(1, 2))
        parts.append(f"{device}, {where['date']}, commit {where['commit']}; {versions}:\n\n{table}")
    return "\n".join(parts)


def kernels_table() -> str:
    """What each Triton kernel takes of a device, as on record."""
    record = json.loads((RESULTS / "compiled_kernels.json").read_text(encoding="utf-8"))
    rows = []
    for name, by_architecture in record["kernels"].items():
        cells = []
        for found in by_architecture.values():
            spilled = f" + {found['spilled']}" if found["spilled"] else ""
            cells.append(f"{found['registers']}{spilled}, {found['shared'] / 1024:.3g}")
        rows.append((f"`{name}`", *cells))
    architectures = [f"`{name}`" for name in next(iter(record["kernels"].values()))]
    return _table(("kernel", *architectures), rows, right=range(1, 1 + len(architectures)))


def recurrences_table() -> str:
    """The linear recurrences with matrix states: what each writes, erases and reads with."""
    from resolvent.layers.recurrence.family import FAMILY  # which needs torch

    rows = [
        (
            member.title,
            ", ".join(f"`{name}`" for name in member.functions),
            member.decay,
            f"`{member.write}`",
            f"`{member.erase}`",
            f"`{member.read}`",
            member.source,
        )
        for member in FAMILY.values()
    ]
    return _table(("member", "function", "decay", "writes", "erases", "reads with", "source"), rows)


def properties_by_class() -> dict[str, list[str]]:
    """The properties of each public class, by its dotted name, as the templates of the reference list them."""
    found = {}
    for home in (rv, rv.gallery, rv.gallery.fixed_points, rv.gallery.state_tracking, rv.newton_schulz, rv.precision):
        space = home.__name__
        for name in home.__all__:
            thing = getattr(home, name)
            if isinstance(thing, type):
                kinds = (property, cached_property)
                found[f"{space}.{name}"] = [key for key, value in vars(thing).items() if isinstance(value, kinds)]
    return found


TABLES: dict[str, Callable[[], str]] = {
    "methods": methods_table,
    "costs": costs_table,
    "support": support_table,
    "statuses": statuses_table,
    "gallery": gallery_table,
    "fixed_points": fixed_points_table,
    "state_tracking": state_tracking_table,
    "fixed_point_counts": fixed_point_counts_table,
    "formats": formats_table,
    "blocks": blocks_table,
    "policies": policies_table,
    "cores": cores_table,
    "delays": delays_table,
    "presets": newton_schulz_presets_table,
    "family": family_table,
    "recall": partial(kept_table, "recall", 5),
    "tracked": partial(kept_table, "state_tracking", 4),
    "against_fla": partial(kept_table, "peers_fla", 6),
    "profile": partial(kept_table, "performance_profile", 6),
    "gpu_figures": gpu_figures_table,
    "kernels": kernels_table,
    "recurrences": recurrences_table,
    "transitions": transitions_table,
    "schedule_errors": partial(newton_schulz_table, "errors"),
    "schedule_tolerances": partial(newton_schulz_table, "tolerances"),
    "schedule_budgets": partial(newton_schulz_table, "budgets"),
    "schedule_precisions": partial(newton_schulz_table, "precisions"),
    "schedule_ranges": partial(newton_schulz_table, "presets"),
}


def renewed(readme: str) -> str:
    """The README with its table of methods as it ought to be.

    Examples
    --------
    >>> "rv.cg" in renewed("<!-- methods:begin -->\\n<!-- methods:end -->")
    True
    """
    if not MARKERS.search(readme):
        raise ValueError("no table between the markers <!-- methods:begin --> and <!-- methods:end -->")
    return MARKERS.sub(lambda found: f"{found[1]}\n{readme_table()}\n{found[3]}", readme)


def main(argv: list[str] | None = None) -> int:
    """0 when the file's table is current, or was made so; 1 when it is not."""
    parser = argparse.ArgumentParser(description="The README's table of methods.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="exit 1 when the table is out of date")
    what.add_argument("--write", action="store_true", help="bring it up to date")
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args(argv)
    found = arguments.file.read_text(encoding="utf-8")
    wanted = renewed(found)
    if arguments.write:
        arguments.file.write_text(wanted, encoding="utf-8")
    elif found != wanted:
        print(
            f"{arguments.file}: the table of methods is out of date; run python docs/tables.py --write", file=sys.stderr
        )
        return 1
    return 0


def setup(app: Any) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    from sphinx.util.docutils import SphinxDirective

    class ResolventTable(SphinxDirective):
        """A table of TABLES, by name."""

        required_arguments = 1

        def run(self) -> list[Any]:
            self.env.note_reread()  # the tables change with the code, not with the page
            return self.parse_text_to_nodes(TABLES[self.arguments[0]]())

    app.add_directive("resolvent-table", ResolventTable)
    return {"version": "1", "parallel_read_safe": True}


if __name__ == "__main__":
    sys.exit(main())
