"""Every promised figure of a GPU in one table, with the device, the date, the commit and the versions.

    python benchmarks/gpu_figures.py                    all figures, in at most five minutes, into benchmarks/results
    python benchmarks/gpu_figures.py --only cg decode   some of them
    python benchmarks/gpu_figures.py --tests FILE       with the last line of what pytest said, as gpu_check.sh does

Each measurement runs in a process of its own with its peers, so that one that fails takes no other with it: it is a row
that says so. Times are medians of CUDA events, calls in turns, inputs rotated. Ends with 0 if all was measured, 1 if
something failed, 2 where there is no device.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from gpu_measurements import MEASUREMENTS, Place, Row

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
VERSIONS = ("resolvent", "torch", "triton", "cupy-cuda12x", "cupy-cuda13x", "numpy", "flash-linear-attention")
NO_DEVICE = 2


@dataclass(frozen=True)
class Setting:
    """Where and when figures were taken."""

    device: str
    date: str
    commit: str
    versions: dict[str, str]
    tests: str = ""

    @property
    def stem(self) -> str:
        """Of the files that hold them."""
        return f"gpu-{re.sub(r'[^a-z0-9]+', '-', self.device.lower()).strip('-')}-{self.date}"


class CudaTimer:
    """Medians of CUDA events, milliseconds: calls in turns, each time with the next of its inputs.

    Parameters
    ----------
    seconds : float
        For all rounds together, after two that warm up; at least five rounds.
    """

    def __init__(self, seconds: float = 3.0) -> None:
        self.seconds = seconds

    def __call__(self, calls: Mapping[str, Sequence[Callable[[], Any]]]) -> dict[str, float]:
        import torch

        def once(call: Callable[[], Any]) -> float:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            begin.record()
            call()
            end.record()
            torch.cuda.synchronize()
            return float(begin.elapsed_time(end))

        for variant in range(2):
            for variants in calls.values():
                once(variants[variant % len(variants)])
        found: dict[str, list[float]] = {name: [] for name in calls}
        until, rounds = time.monotonic() + self.seconds, 0
        while rounds < 5 or (time.monotonic() < until and rounds < 200):
            for name, variants in calls.items():
                found[name].append(once(variants[rounds % len(variants)]))
            rounds += 1
        return {name: statistics.median(times) for name, times in found.items()}


def has_device() -> bool:
    """Whether torch sees a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def setting(tests: str = "") -> Setting:
    """Of this machine, now."""
    import torch

    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Setting(torch.cuda.get_device_name(), date, git.stdout.strip() or "unknown", versions, tests)


def measured(name: str, limit: float) -> list[Row]:
    """The rows of a measurement, taken in a process of its own; one that fails has a row that says how."""
    command = [sys.executable, __file__, "--measure", name]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        out, why = error.stdout or b"", f"took longer than {limit:.0f} s"
        text = out.decode(errors="replace") if isinstance(out, bytes) else out
    else:
        said = run.stderr.strip().splitlines()
        text, why = run.stdout, "" if run.returncode == 0 else (said[-1] if said else f"ended with {run.returncode}")
    rows = [Row(**json.loads(line)) for line in text.splitlines() if line.startswith("{")]
    return [*rows, Row(name, None, "", None, why)] if why else rows


def table(rows: Sequence[Row]) -> str:
    """Rows in Markdown."""
    lines = ["| figure | found | target | | note |", "|---|---|---|---|---|"]
    for row in rows:
        found = "" if row.value is None else f"{row.value:.3g} {row.unit}"
        target = "" if row.least is None else f"{row.least:g} {row.unit}"
        note = row.note.replace("|", "/").replace("\n", " ")
        lines.append(f"| {row.what} | {found} | {target} | {row.verdict} | {note} |")
    return "\n".join(lines)


def written(folder: Path, where: Setting, rows: Sequence[Row]) -> Path:
    """Both files, written anew; returns the one in Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    head = f"{where.device}, {where.date}, commit {where.commit}; {versions}."
    tests = f"\n\nTests marked `gpu`: {where.tests}" if where.tests else ""
    folder.mkdir(parents=True, exist_ok=True)
    text = {"setting": asdict(where), "rows": [asdict(row) for row in rows]}
    (folder / f"{where.stem}.json").write_text(json.dumps(text, indent=1) + "\n")
    page = folder / f"{where.stem}.md"
    page.write_text(f"{head}{tests}\n\n{table(rows)}\n")
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MEASUREMENTS), default=list(MEASUREMENTS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=300.0, help="for all of them together")
    parser.add_argument("--tests", type=Path, help="what pytest printed")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--measure", choices=list(MEASUREMENTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not has_device():
        print("No CUDA device that torch can use: nothing was measured", file=sys.stderr)
        return NO_DEVICE
    if options.measure:
        for row in MEASUREMENTS[options.measure][0](Place("cuda"), CudaTimer()):
            print(json.dumps(asdict(row)), flush=True)
        return 0
    said = options.tests.read_text().strip().splitlines() if options.tests and options.tests.exists() else []
    where, rows = setting(said[-1] if said else ""), []
    until = time.monotonic() + options.seconds
    for name in options.only:
        left = until - time.monotonic()
        limit = min(MEASUREMENTS[name][1], left)
        rows += measured(name, limit) if left > 5 else [Row(name, None, "", None, "no time was left for it")]
        page = written(options.out, where, rows)
    print(page.read_text())
    return int(any(row.value is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
