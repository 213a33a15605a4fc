"""The house: floors, no circles, torch and cupy only where they may be, files that fit a reader, packages all named."""

import ast
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).parents[1]
OUTSIDE = ("tests", "docs", "benchmarks", "examples", "build", "dist")

# From the ground up; a file imports from its own floor and those below.
FLOORS = {
    name: floor
    for floor, names in enumerate(
        (
            ("compilation", "errors"),
            ("naming",),
            ("kernels", "lazy"),
            ("precision",),
            ("operators",),
            ("backends", "io"),
            ("solvers",),
            ("compat",),
            ("gallery", "layers"),
            ("gpu",),  # the kernels of layers among it, which compute what those define
            ("",),
            ("cli",),
            ("__main__",),
        )
    )
    for name in names
}
MOST_LINES = 550

TORCH = ("backends.torch_backend", "backends.torch_matrices", "backends.torch_views", "precision.rounding_torch")

# Registries that load what needs a device when it is asked for.
ON_DEMAND = {
    ("precision.rounding", "gpu.cupy.rounding"),
    ("precision.rounding", "gpu.triton.rounding"),
    ("layers.regression.operators", "gpu.triton.gated_kalmanet.pieces"),
    ("layers.recurrence.accelerated", "gpu.triton.delta_rule.operation"),
}


def package_files():
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if parts[0] in OUTSIDE or any(part.startswith(".") or part.endswith(".egg-info") for part in parts):
            continue
        found.append(path)
    return found


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in package_files()}


def is_type_checking(node):
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def import_nodes(tree):
    """All imports, those inside functions included, those for type checkers alone not."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and is_type_checking(node):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def imports_of(path):
    """(module of this package, or top name of another one with a dot before it), line; by file, not by package."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in import_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield f".{alias.name.partition('.')[0]}", node.lineno
            continue
        if not node.level:
            yield f".{(node.module or '').partition('.')[0]}", node.lineno
            continue
        base = package.split(".") if package else []
        base = base[: len(base) - (node.level - 1)]
        target = ".".join([*base, *((node.module or "").split(".") if node.module else [])])
        for alias in node.names:
            inner = f"{target}.{alias.name}".lstrip(".")
            yield (inner if inner in FILES else target), node.lineno


ARROWS = {module: sorted(set(imports_of(path))) for module, path in FILES.items()}


def test_the_files_are_found():
    assert {"errors", "solvers.driver.iterate", "backends.protocol", "operators.base", "layers", ""} <= set(FILES)
    assert ("solvers.driver.method", 0) not in ARROWS["solvers.driver.iterate"]
    assert "solvers.driver.method" in {target for target, _ in ARROWS["solvers.driver.iterate"]}


def test_every_folder_has_a_floor():
    assert {module.partition(".")[0] for module in FILES} <= set(FLOORS)


def test_imports_run_down():
    up = [
        f"{module or '__init__'}:{line} -> {target}"
        for module, arrows in ARROWS.items()
        for target, line in arrows
        if not target.startswith(".")
        and FLOORS[target.partition(".")[0]] > FLOORS[module.partition(".")[0]]
        and (module, target) not in ON_DEMAND
    ]
    assert not up


def test_rooms_of_one_floor_are_apart():
    """gallery and layers do not know each other."""
    across = [
        f"{module}:{line} -> {target}"
        for module, arrows in ARROWS.items()
        for target, line in arrows
        if not target.startswith(".")
        and target.partition(".")[0] != module.partition(".")[0]
        and FLOORS[target.partition(".")[0]] == FLOORS[module.partition(".")[0]]
        and module
    ]
    assert not across


def test_there_are_no_circles():
    """Strongly connected components of the files, by Tarjan's algorithm."""
    graph = {module: {target for target, _ in arrows if target in FILES} for module, arrows in ARROWS.items()}
    index, low, stack, circles = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while True:
                component.append(stack.pop())
                if component[-1] == node:
                    break
            if len(component) > 1 or node in graph[node]:
                circles.append(sorted(component))

    for module in graph:
        if module not in index:
            visit(module)
    assert not circles


def test_the_driver_knows_no_linear_system():
    for module, arrows in ARROWS.items():
        if module.startswith("solvers.driver"):
            targets = [target for target, _ in arrows if target.startswith(("solvers.", "operators", "backends"))]
            allowed = ("solvers.driver", "solvers.report", "solvers.spectra.ritz", "backends")
            assert all(target.startswith(allowed) for target in targets), (module, targets)


def test_torch_cupy_and_triton_stay_where_they_may_be():
    may = {
        ".torch": lambda module: module.startswith(("layers", "gpu.triton")) or module in TORCH,
        ".cupy": lambda module: module.startswith("gpu"),
        ".cupyx": lambda module: module.startswith("gpu"),
        ".triton": lambda module: module.startswith("gpu"),
    }
    wrong = [
        f"{module}:{line} imports {target[1:]}"
        for module, arrows in ARROWS.items()
        for target, line in arrows
        if target in may and not may[target](module)
    ]
    assert not wrong


def test_files_fit_a_reader():
    long = {module: lines for module, path in FILES.items() if (lines := path.read_text().count("\n")) > MOST_LINES}
    assert not long


def test_every_folder_is_among_the_packages():
    with open(ROOT / "pyproject.toml", "rb") as stream:
        named = tomllib.load(stream)["tool"]["setuptools"]["packages"]
    folders = {module_of(path) for path in FILES.values() if path.name == "__init__.py"}
    assert {("resolvent." + folder).rstrip(".") for folder in folders} == set(named)
    assert {module_of(path.with_name("__init__.py")) for path in FILES.values()} <= folders | {""}
