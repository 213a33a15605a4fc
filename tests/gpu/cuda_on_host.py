"""CUDA kernels on the host: their text compiled as C++ and run on NumPy arrays, by the calls that CuPy has for them.

Elementwise kernels and reductions are loops; of raw kernels every block is run, its threads taking turns at barriers
(``cuda_on_host.h``). Where NVRTC is installed, the text is compiled for a device as well, and a warning is an error: so
whatever a test runs here has been compiled for one. What is compiled is kept under ``build/kernels``, by its text.
"""

import ctypes
import functools
import hashlib
import json
import math
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile

import numpy as np

from . import nvrtc

HERE = pathlib.Path(__file__).parent
KEPT = pathlib.Path(__file__).parents[2] / "build" / "kernels"
COMPILER = shutil.which("c++") or shutil.which("g++")
FLAGS = (
    "-std=c++17",
    "-O1",
    "-march=native",
    "-fexpensive-optimizations",
    "-shared",
    "-fPIC",
    "-fvisibility=hidden",
    "-w",
)
# What every kernel is compiled for: this one, quickly; with --all each architecture that is known, as for use.
KINDS: tuple[str, ...] = ()
QUICK = "sm_90"
C_TYPES = {
    "bool": "bool",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
    "complex64": "complex<float>",
    "complex128": "complex<double>",
}
COMPLEX = "\n".join(
    f'template <> struct on_host::Name<complex<{real}>> {{ static const char* of() {{ return "{name}"; }} }};'
    for real, name in (("float", "complex64"), ("double", "complex128"))
)
_CUPY = re.compile(r"#include\s*[<\"]cupy/complex.cuh[>\"]")
_DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s+)?([\w:<> ]+?)\s+(\w+)\s*\[\s*\]\s*;")
_GLOBAL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s+)?(\w+)\s*\(')


@functools.cache
def header() -> str:
    """What stands before every kernel's text."""
    numbers = (HERE / "complex_numbers.h").read_text().replace("HOST_DEVICE ", "")
    return (HERE / "cuda_on_host.h").read_text() + numbers + COMPLEX + "\n"


@functools.cache
def compiled(source: str, options: tuple[str, ...] = ()) -> ctypes.CDLL:
    """The library of a text, compiled where no earlier run has, for this machine.

    As on a device, products are added without being rounded, unless ``--fmad=false`` is among the options.
    """
    whole = header() + source
    flags = [*FLAGS, f"-ffp-contract={'off' if '--fmad=false' in options else 'fast'}"]
    name = hashlib.sha256("\0".join([whole, *flags, platform.node()]).encode()).hexdigest()[:32]
    library = KEPT / f"{name}.so"
    if not library.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            text, made = pathlib.Path(folder, "kernel.cpp"), pathlib.Path(folder, "kernel.so")
            text.write_text(whole)
            done = subprocess.run([COMPILER, *flags, "-o", made, text], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SyntaxError(f"{done.stderr}\n{source}")
            os.replace(made, library)
    return ctypes.CDLL(str(library))


@functools.cache
def for_devices(
    code: str, options: tuple[str, ...] = (), names: tuple[str, ...] = (), kinds: tuple[str, ...] | None = None
) -> dict[str, dict] | None:
    """Compile a text for these architectures, by default ``KINDS``, unless an earlier run has; None without NVRTC.

    Where there are none it is compiled for ``QUICK`` with what makes that quick, and registers say nothing.

    Returns
    -------
    dict
        Of each architecture and kernel, the registers of a thread and the bytes it spills.
    """
    if nvrtc.library() is None:
        return None
    kinds = KINDS if kinds is None else kinds
    if not kinds:
        kinds, options = (QUICK,), (*options, *nvrtc.quickly())
    numbers = (HERE / "complex_numbers.h").read_text().replace("HOST_DEVICE ", "__device__ ")
    text = numbers + _CUPY.sub("", code)
    name = hashlib.sha256("\0".join([text, *options, *names, *kinds]).encode()).hexdigest()[:32]
    told = KEPT / f"{name}.json"
    if not told.exists():
        used = {kind: nvrtc.used(nvrtc.compiled(text, kind, options, names)) for kind in kinds}
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            made = pathlib.Path(folder, "used.json")
            made.write_text(json.dumps(used))
            os.replace(made, told)
    return json.loads(told.read_text())


def on_host_text(code: str) -> str:
    """A kernel's text as the host's compiler takes it."""
    code = _CUPY.sub("", code)
    return _DYNAMIC.sub(r"\1* \2 = reinterpret_cast<\1*>(on_host::dynamic_shared);", code)


class Parameter:
    """One of an elementwise kernel or reduction: "T x", "raw float64 y"."""

    def __init__(self, text: str) -> None:
        *words, self.kind, self.name = text.split()
        self.raw = "raw" in words
        self.fixed = not (len(self.kind) == 1 and self.kind.isupper())


def parameters(text: str) -> list[Parameter]:
    return [Parameter(part) for part in text.split(",") if part.strip()]


class _Array(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("dimensions", ctypes.c_longlong), ("shape", ctypes.c_void_p))
    _fields_ += (("strides", ctypes.c_void_p),)


def _handed(arrays: list[np.ndarray]) -> tuple:
    """The arrays as the loops take them, with what must outlive the call."""
    numbers = [np.array([*a.shape, *a.strides], np.int64) for a in arrays]
    rows = [
        _Array(a.ctypes.data, a.ndim, n.ctypes.data, n.ctypes.data + 8 * a.ndim)
        for a, n in zip(arrays, numbers, strict=True)
    ]
    return (_Array * len(rows))(*rows), numbers


_INDEXING = """
#include <new>
struct Indices { long long count; long long size() const { return count; } };
template <class T> struct Flat {
    const on_host::Array& array;
    T& operator[](long long i) const {
        char* at = array.data;
        for (long long k = array.dimensions; k-- > 0; i /= array.shape[k]) at += i % array.shape[k] * array.strides[k];
        return *(T*)at;
    }
    long long size() const {
        long long count = 1;
        for (long long k = 0; k < array.dimensions; ++k) count *= array.shape[k];
        return count;
    }
};
"""


_ON_DEVICE = """
struct Indices { long long count; __device__ long long size() const { return count; } };
template <class T> struct Flat {
    T* data;
    long long count;
    __device__ T& operator[](long long i) const { return data[i]; }
    __device__ long long size() const { return count; }
};
"""


class Fused:
    """What elementwise kernels and reductions share: how types are found, and scalars and arrays brought together."""

    def __init__(self, in_params: str, out_params: str, name: str, preamble: str, options: tuple[str, ...]) -> None:
        self.given, self.made, self.options = parameters(in_params), parameters(out_params), tuple(options)
        self.parameters, self.name, self.preamble = self.given + self.made, name, preamble

    def types(self, arguments: list) -> dict[str, np.dtype]:
        """The type of each kind of parameter; arrays decide, and must agree."""
        found: dict[str, np.dtype] = {p.kind: np.dtype(p.kind) for p in self.parameters if p.fixed}
        for parameter, argument in zip(self.parameters, arguments, strict=False):
            if isinstance(argument, np.ndarray):
                known = found.setdefault(parameter.kind, argument.dtype)
                if known != argument.dtype:
                    raise TypeError(
                        f"Type is mismatched. {parameter.name} {argument.dtype.name} {known.name} ({self.name})"
                    )
        for parameter, argument in zip(self.parameters, arguments, strict=False):
            if parameter.kind not in found:  # scalars decide where no array does
                found[parameter.kind] = np.result_type(argument)
        return found

    def typedefs(self, types: dict[str, np.dtype]) -> str:
        return "".join(f"typedef {C_TYPES[t.name]} {kind};\n" for kind, t in types.items() if len(kind) == 1)

    def as_arrays(self, arguments: list, types: dict[str, np.dtype]) -> list[np.ndarray]:
        return [
            a if isinstance(a, np.ndarray) else np.asarray(a, types[p.kind])
            for p, a in zip(self.parameters, arguments, strict=False)
        ]

    def on_device(self, types: dict[str, np.dtype], code: str, index: str) -> str:
        """A kernel with these parameters and a body that goes by ``index``, much as CuPy writes it."""
        handed = ", ".join(f"{C_TYPES[types[p.kind].name]}* {p.name}_" for p in self.parameters)
        lines = []
        for p in self.parameters:
            kind, constant = C_TYPES[types[p.kind].name], "const " if p in self.given else ""
            if p.raw:
                lines.append(f"const Flat<{constant}{kind}> {p.name}{{{p.name}_, n}};")
            else:
                lines.append(f"{constant}{kind}{'' if constant else '&'} {p.name} = {p.name}_[{index}];")
        return (
            f"{_ON_DEVICE}{self.typedefs(types)}{self.preamble}\n"
            f'extern "C" __global__ void {self.name}({handed}, long long n) {{ {code.replace("@", " ".join(lines))} }}'
        )

    def declared(self, types: dict[str, np.dtype], index: str, only: list[Parameter], first: int = 0) -> str:
        """What a kernel's body finds under the names of its parameters."""
        lines = []
        for k, p in enumerate(only, first):
            kind, constant = C_TYPES[types[p.kind].name], "const " if p in self.given else ""
            flat = f"Flat<{constant}{kind}>{{arrays[{k}]}}"
            lines.append(f"auto {p.name} = {flat};" if p.raw else f"{constant}{kind}& {p.name} = ({flat})[{index}];")
        return " ".join(lines)


class Elementwise(Fused):
    """``cupy.ElementwiseKernel``."""

    def __init__(
        self,
        in_params,
        out_params,
        operation,
        name="kernel",
        reduce_dims=True,
        preamble="",
        no_return=False,
        *,
        options=(),
        loop_prep="",
        after_loop="",
    ):
        super().__init__(in_params, out_params, name, preamble, options)
        self.operation, self.around = operation, (loop_prep, after_loop)

    def prepared(self, arguments: list, size: int | None = None) -> tuple:
        """What to call, and its results."""
        if len(arguments) not in (len(self.given), len(self.parameters)):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(arguments)}")
        types = self.types(arguments)
        arrays = self.as_arrays(arguments, types)
        spread = [a.shape for a, p in zip(arrays, self.parameters, strict=False) if not p.raw]
        if size is not None and any(math.prod(shape) > 1 for shape in spread):
            raise ValueError("Specified 'size' can be used only if all of the ndarray are 'raw'.")
        shape = (size,) if size is not None else np.broadcast_shapes(*spread)
        looped = [
            a for p, a in zip(self.parameters, arguments, strict=False) if isinstance(a, np.ndarray) and not p.raw
        ]
        if size is None and not looped:
            raise ValueError("Loop size is undecided.")
        if len(arrays) == len(self.given):
            arrays += [np.empty(shape, types[p.kind]) for p in self.made]
        made = arrays[len(self.given) :]
        for array, parameter in zip(made, self.made, strict=True):
            if not parameter.raw and array.shape != shape:
                raise ValueError(f"Out shape is mismatched: {array.shape} and {shape} ({self.name})")
        laid = [
            a if p.raw else np.broadcast_to(a, shape) if k < len(self.given) else a
            for k, (a, p) in enumerate(zip(arrays, self.parameters, strict=True))
        ]
        before, after = self.around
        text = (
            f"{_INDEXING}{self.typedefs(types)}{on_host_text(self.preamble)}\n"
            'extern "C" __attribute__((visibility("default"))) void run(long long n, const on_host::Array* arrays) {'
            f"Indices _ind{{n}}; {before}; for (ptrdiff_t i = 0; i < n; ++i) {{"
            f"{self.declared(types, 'i', self.parameters)} {self.operation}; }} {after}; }}"
        )
        loop = "for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)"
        body = f"[[maybe_unused]] Indices _ind{{n}}; {before}; {loop} {{ @ {self.operation}; }} {after};"
        for_devices(self.on_device(types, body, "i"), self.options)
        run = compiled(text, self.options).run

        def call() -> None:
            handed, _kept = _handed(laid)
            run(ctypes.c_longlong(math.prod(shape)), handed)

        return call, made


class Reduction(Fused):
    """``cupy.ReductionKernel``."""

    def __init__(
        self,
        in_params,
        out_params,
        map_expr,
        reduce_expr,
        post_map_expr,
        identity,
        name="kernel",
        reduce_type=None,
        reduce_dims=True,
        preamble="",
        options=(),
    ):
        super().__init__(in_params, out_params, name, preamble, options)
        self.expressions, self.identity, self.reduce_type = (
            (map_expr, reduce_expr, post_map_expr),
            identity,
            reduce_type,
        )

    def prepared(self, arguments: list, axis=None, keepdims: bool = False, out=None) -> tuple:
        """What to call, and its results."""
        if len(arguments) not in (len(self.given), len(self.parameters)):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(arguments)}")
        results = list(arguments[len(self.given) :]) or ([] if out is None else [out])
        types = self.types([*arguments[: len(self.given)], *results])
        arrays = self.as_arrays(arguments[: len(self.given)], types)
        shape = np.broadcast_shapes(*(a.shape for a, p in zip(arrays, self.given, strict=True) if not p.raw))
        axes = tuple(range(len(shape))) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, len(shape))
        rest = [k for k in range(len(shape)) if k not in axes]
        order = (*rest, *sorted(axes))
        laid = [
            a if p.raw else np.transpose(np.broadcast_to(a, shape), order)
            for a, p in zip(arrays, self.given, strict=True)
        ]
        outer, inner = [shape[k] for k in rest], math.prod(shape[k] for k in axes)
        kept = [1 if k in axes else shape[k] for k in range(len(shape))] if keepdims else outer
        if not results:
            results = [np.empty(kept, types[p.kind]) for p in self.made]
        for array in results:
            if list(array.shape) != list(kept):
                raise ValueError(f"Out shape is mismatched: {array.shape} and {tuple(kept)} ({self.name})")
        if inner == 0 and self.identity in (None, ""):
            raise ValueError(f"zero-size array to reduction operation {self.name} which has no identity")
        mapped, reduced, after = self.expressions
        of = self.reduce_type or self.made[0].kind
        kind = C_TYPES[types[of].name] if of in types else C_TYPES.get(of, of)
        first = f"type_reduce _s = type_reduce({self.identity});" if self.identity not in (None, "") else ""
        begin = "_j = 0" if first else "_j = 1"
        one = f"{{ {self.declared(types, '(_i * inner + _j)', self.given)} _a = static_cast<type_reduce>({mapped}); }}"
        if not first:
            first = f"type_reduce _s; {{ const long long _j = 0; type_reduce _a; {one} _s = _a; }}"
        text = (
            f"{_INDEXING}{self.typedefs(types)}{on_host_text(self.preamble)}\ntypedef {kind} type_reduce;\n"
            "static type_reduce reduce(type_reduce a, type_reduce b) { return " + reduced + "; }\n"
            'extern "C" __attribute__((visibility("default"))) void run('
            "long long outer, long long inner, const on_host::Array* arrays) {"
            f"for (long long _i = 0; _i < outer; ++_i) {{ {first}"
            f"for (long long {begin}; _j < inner; ++_j) {{ type_reduce _a; {one} _s = reduce(_s, _a); }}"
            f"{{ type_reduce a = _s; {self.declared(types, '_i', self.made, len(self.given))} {after}; }} }} }}"
        )
        body = (
            f"typedef {kind} type_reduce; const long long _j = threadIdx.x;"
            f"@ type_reduce b = static_cast<type_reduce>({mapped}); type_reduce a = b; a = ({reduced}); {after};"
        )
        for_devices(self.on_device(types, body, "_j"), self.options)
        run = compiled(text, self.options).run

        def call() -> None:
            handed, _kept = _handed(laid + results)
            run(ctypes.c_longlong(math.prod(outer)), ctypes.c_longlong(inner), handed)

        return call, results


class Module:
    """``cupy.RawModule``: the kernels of a text, by their names or as instances of templates.

    Attributes
    ----------
    backwards : bool
        Whether the threads of a block take turns from the last to the first. What depends on it lacks a barrier.
    """

    backwards = False

    def __init__(self, code: str, options=(), name_expressions=()) -> None:
        self.names = [*_GLOBAL.findall(code), *(name_expressions or ())]
        text = [on_host_text(code), '#define EXPORTED extern "C" __attribute__((visibility("default")))']
        for k, name in enumerate(self.names):
            text.append(
                f"EXPORTED int launch_{k}(const unsigned* grid, const unsigned* block, void** given, int backwards) {{"
                f"on_host::backwards = backwards; return on_host::launch(&{name}, grid, block, given); }}\n"
                f"EXPORTED int signature_{k}(int* sizes, int* pointers, const char** names) {{"
                f"return on_host::signature(&{name}, sizes, pointers, names); }}"
            )
        self.used = for_devices(code, tuple(options), tuple(name_expressions or ()))
        self.library = compiled("\n".join(text), tuple(options))

    def signature(self, name: str) -> list[tuple[int, bool, str]]:
        """Of each argument its size, whether it is a pointer, and the type's name."""
        sizes, pointers, names = (ctypes.c_int * 64)(), (ctypes.c_int * 64)(), (ctypes.c_char_p * 64)()
        count = getattr(self.library, f"signature_{self.names.index(name)}")(sizes, pointers, names)
        return [(sizes[k], bool(pointers[k]), (names[k] or b"").decode()) for k in range(count)]

    def prepared(self, name: str, grid, block, arguments) -> tuple:
        """What to call, and what it keeps alive."""
        wanted = self.signature(name)
        if len(wanted) != len(arguments):
            raise TypeError(f"{name}: found {len(arguments)} arguments; wanted {len(wanted)}")
        held, pointers = [], (ctypes.c_void_p * len(wanted))()
        for k, ((size, pointer, kind), argument) in enumerate(zip(wanted, arguments, strict=True)):
            if isinstance(argument, np.ndarray) != pointer:
                raise TypeError(f"{name}: argument {k} is {type(argument).__name__}; wanted {kind}{'*' * pointer}")
            if pointer:
                if kind and argument.dtype.name != kind:
                    raise TypeError(f"{name}: argument {k} holds {argument.dtype.name}; wanted {kind}")
                value = np.array([argument.ctypes.data], np.uintp)
            else:
                value = np.array([argument])  # Python's numbers have 64 bits, as CuPy passes them
                if kind and value.dtype.name != kind:
                    raise TypeError(f"{name}: argument {k} is of {value.dtype.name}; wanted {kind}")
                if value.nbytes != size:
                    raise TypeError(f"{name}: argument {k} has {value.nbytes} bytes; wanted {size}")
            held.append((value, argument))
            pointers[k] = value.ctypes.data
        sides = [(ctypes.c_uint * 3)(*side, *(1,) * (3 - len(side))) for side in (grid, block)]
        if math.prod(block) > 1024:
            raise ValueError(f"{name}: blocks of {math.prod(block)} threads; at most 1024 fit")
        launch = getattr(self.library, f"launch_{self.names.index(name)}")

        def call() -> None:
            if held is not None and launch(*sides, pointers, int(self.backwards)):
                raise RuntimeError(f"{name}: threads wait at a barrier that others of their block never reach")

        return call, held
