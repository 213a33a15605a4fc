"""Registers, spills and shared memory of every Triton kernel, compiled to machine code where there is no device.

    python benchmarks/compiled_kernels.py            compiles all and says where they differ from those on record
    python benchmarks/compiled_kernels.py --write    records them, in results/compiled_kernels.json
    python benchmarks/compiled_kernels.py --only X   those alone whose name has X in it

The record holds for the version of Triton that is written in it, which has its own compiler to machine code.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.pop("TRITON_INTERPRET", None)  # what is interpreted cannot be compiled

import triton

from resolvent.gpu.triton.table import ARCHITECTURES, Row, rows

RECORD = Path(__file__).parent / "results" / "compiled_kernels.json"
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
TENSOR_CORES = re.compile(r"\b(wgmma\.mma_async|tcgen05\.mma|mma\.sync)\b")

# Bytes that a block may share, and columns of 128 words in which sm_100 keeps what tensor cores sum.
MOST_SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10}
MOST_COLUMNS = 512

Resources = dict[str, int | str]
Record = dict[str, dict[str, Resources]]


def resources(row: Row, architecture: int) -> Resources:
    """Of one thread: registers, and bytes of the stack, which is where spilled registers go; of a block: shared bytes.

    ``tensor_cores`` is the instruction by which it multiplies matrices, or nothing; ``columns`` of their memory.
    """
    compiled = row.compiled(architecture)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        listed = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", listed)}
    multiplied = TENSOR_CORES.search(compiled.asm["ptx"])
    return {
        "registers": found["REG"],
        "spilled": found["STACK"] + found["LOCAL"],
        "shared": compiled.metadata.shared,
        "columns": compiled.metadata.tmem_size,
        "tensor_cores": multiplied.group() if multiplied else "",
    }


def compiled(only: str = "") -> Iterator[tuple[str, dict[str, Resources]]]:
    """Names of kernels, or of those with ``only`` in them, and what they take by architecture."""
    for name, row in rows().items():
        if only in name:
            yield name, {f"sm_{architecture}": resources(row, architecture) for architecture in ARCHITECTURES}


def too_large(record: Record) -> list[str]:
    """Kernels that no device of their architecture can start."""
    return [
        f"{name} for {architecture}: {found}"
        for name, by_architecture in record.items()
        for architecture, found in by_architecture.items()
        if int(found["shared"]) > MOST_SHARED[architecture] or int(found["columns"]) > MOST_COLUMNS
    ]


def written(record: Record) -> str:
    """The record as JSON, a line for each kernel and architecture."""
    kernels = []
    for name, by_architecture in sorted(record.items()):
        lines = (f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in by_architecture.items())
        kernels.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    head = f' "triton": {json.dumps(triton.__version__)},\n "kernels": {{\n'
    return "{\n" + head + ",\n".join(kernels) + "\n }\n}\n"


def differences(found: Record, recorded: Record, only: str = "") -> list[str]:
    """In which lines two records differ, where names have ``only`` in them."""
    told = []
    for name in sorted(name for name in {*found, *recorded} if only in name):
        if found.get(name) != recorded.get(name):
            told.append(f"{name}: found {found.get(name)}; on record {recorded.get(name)}")
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record what is found")
    parser.add_argument("--only", default="", metavar="X", help="kernels with X in their names")
    options = parser.parse_args()
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {"triton": triton.__version__, "kernels": {}}
    if options.write:
        same = recorded["triton"] == triton.__version__
        kept = {name: value for name, value in recorded["kernels"].items() if same and name in rows()}
        for name, by_architecture in compiled(options.only):
            kept[name] = by_architecture
            RECORD.write_text(written(kept))
        return 0
    found = dict(compiled(options.only))
    if recorded["triton"] != triton.__version__:
        print(f"Recorded with Triton {recorded['triton']}, this is {triton.__version__}: not compared")
        return 0
    told = differences(found, recorded["kernels"], options.only)
    told += [f"does not fit: {line}" for line in too_large(found)]
    print("\n".join(told) or f"{len(found)} kernels, as recorded")
    return len(told) > 0


if __name__ == "__main__":
    sys.exit(main())
