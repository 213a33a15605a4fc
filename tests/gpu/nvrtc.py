"""CUDA's own compiler, which needs no device: what its wheel, or a toolkit, has of it."""

import ctypes
import functools
import importlib.util
import pathlib
import re

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
_USED = re.compile(
    r"Compiling entry function '(\w+)' for '\w+'.*?(\d+) bytes spill stores.*?Used (\d+) registers", re.S
)


@functools.cache
def library() -> ctypes.CDLL | None:
    """NVRTC; None where it is not installed."""
    try:
        found = importlib.util.find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        found = None
    places = [pathlib.Path(place, "lib") for place in (found.submodule_search_locations if found else ())]
    names = [str(file) for place in places for file in sorted(place.glob("libnvrtc.so.*"))]
    for name in (*names, "libnvrtc.so.13", "libnvrtc.so.12"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


@functools.cache
def quickly() -> tuple[str, ...]:
    """What has it compile in a third of the time, into worse code: of interest where only errors are looked for."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return ("--Ofast-compile=max",) if (major.value, minor.value) >= (12, 8) else ()


@functools.cache
def architectures() -> tuple[str, ...]:
    """Those of ``ARCHITECTURES`` that it knows."""
    count = ctypes.c_int()
    library().nvrtcGetNumSupportedArchs(ctypes.byref(count))
    known = (ctypes.c_int * count.value)()
    library().nvrtcGetSupportedArchs(known)
    return tuple(name for name in ARCHITECTURES if int(name[3:]) in known[:])


def compiled(text: str, architecture: str, options: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> str:
    """The machine code of a text is made and forgotten; returns what the compiler says, in which used registers are.

    Raises
    ------
    SyntaxError
        With what it says, where that is an error or a warning.
    """
    nvrtc, program = library(), ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    for name in names:
        nvrtc.nvrtcAddNameExpression(program, name.encode())
    given = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v", *options]
    failed = nvrtc.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*map(str.encode, given)))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    said = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, said)
    code = ctypes.c_size_t()
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(code))
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    log = said.value.decode()
    if failed or code.value == 0 or "warning" in log:
        raise SyntaxError(f"{log}\n{text}")
    return log


def used(log: str) -> dict[str, tuple[int, int]]:
    """Of each kernel the registers a thread uses, and the bytes it spills."""
    return {name: (int(registers), int(spilled)) for name, spilled, registers in _USED.findall(log)}
