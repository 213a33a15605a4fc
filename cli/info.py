"""``resolvent info``: what is installed here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable

from .console import CONVERGED, table

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "versions, backends and devices found here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command."""
    return None


def run(arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status."""
    import platform

    from .. import __version__

    # As distributions are called; CuPy's name tells the CUDA version it was built for.
    packages = {"cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy")}
    rows = [("resolvent", __version__), ("python", f"{platform.python_version()} on {platform.platform()}")]
    for name in ("numpy", "scipy", "numba", "torch", "cupy", "pyamg", "matplotlib"):
        rows.append((name, _version(packages.get(name, (name,)))))
    devices = _cuda_devices()
    print(table(rows))
    print("\nbackends")
    print(table([(f"  {name}", said) for name, said in _backends(bool(devices))]))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"\nthreads    {processors} processors for this process")
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            print(f"           {name}={os.environ[name]}")
    print(f"devices    {', '.join(devices) or 'no CUDA device'}")
    return CONVERGED


def _version(names: Iterable[str]) -> str:
    """Of the first of these distributions that is installed, without importing it."""
    from importlib.metadata import PackageNotFoundError, version

    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not installed"


def _backends(device: bool) -> list[tuple[str, str]]:
    """Which backends can be used here, told without importing the libraries."""
    from importlib.util import find_spec

    from .. import BACKENDS

    needs = {"numpy": "scipy", "array_api": "array_api_compat"}
    rows = []
    for name, (module, _) in BACKENDS.items():
        library = needs.get(name, name)
        if find_spec(library) is None:
            said = f"no: {library} is not installed"
        elif find_spec(f"..{module}", __package__) is None:
            said = "no: not part of this installation"
        elif name == "cupy" and not device:
            said = "no: there is no CUDA device"
        else:
            said = "yes"
        rows.append((name, said))
    return rows


def _cuda_devices() -> list[str]:
    """Names and memory of the CUDA devices, asked of the driver itself, which takes no library to be imported."""
    import ctypes

    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        count, device, size = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return []
        names = []
        for index in range(count.value):
            name = ctypes.create_string_buffer(256)
            driver.cuDeviceGet(ctypes.byref(device), index)
            driver.cuDeviceGetName(name, len(name), device)
            driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
            names.append(f"{name.value.decode(errors='replace')} ({size.value / 2**30:.0f} GiB)")
        return names
    except (OSError, AttributeError):  # no driver, or one that is too old to have these functions
        return []
