"""What the package uses of CuPy, on NumPy arrays: the same names, refusals and kernels, without a device.

Arrays are of a type of their own, so nothing passes between them and NumPy unasked; results of reductions are arrays of
no dimensions, whose numbers reach the host by ``item``, ``get`` and their like alone, each counted in ``SEEN``. Kernels
are compiled from their text for the host. A stream that is capturing records what is asked of it and does none of it,
and refuses what would wait for the device; the graph does it at each launch, on the same memory.
"""

import contextlib
import sys
import types

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from . import cuda_on_host


class Seen:
    """How often there was what.

    Attributes
    ----------
    launches : int
        Of kernels.
    synchronisations : int
        Numbers or arrays that the host has waited for.
    """

    def __init__(self) -> None:
        self.launches = self.synchronisations = 0


SEEN = Seen()
_captured: list | None = None  # what a stream has recorded, while it is capturing
_device, _streams = 0, []


class CUDARuntimeError(RuntimeError):
    """An error of the CUDA runtime."""


CUDARuntimeError.__module__ = "cupy_backends.cuda.api.runtime"


def _wait() -> None:
    if _captured is not None:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")
    SEEN.synchronisations += 1


def _inner(x):
    """What lies beneath; refused where it lies on the host."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, Matrix):
        return x._held
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, tuple):
        return tuple(map(_inner, x))
    if isinstance(x, list):
        return list(map(_inner, x))
    return x


def _outer(x):
    """What was computed, as it lies on the device."""
    if isinstance(x, (np.ndarray, np.generic)):
        return ndarray._of(np.asarray(x))
    if scipy.sparse.issparse(x):
        return _KINDS[x.format]._of(x)
    if type(x) in (tuple, list):
        return type(x)(map(_outer, x))
    return x


def _do(function, arguments, named, out=None):
    """Call a function of NumPy's, or record the call."""
    arguments, named = _inner(tuple(arguments)), {key: _inner(value) for key, value in named.items()}
    if _captured is None:
        return _outer(function(*arguments, **named))
    if out is not None:
        _captured.append(lambda: function(*arguments, **named))
        return out
    result = function(*arguments, **named)  # of what is there by now: its shape and type are right
    if isinstance(result, (np.ndarray, np.generic)):
        held = np.asarray(result)
        if not any(isinstance(a, np.ndarray) and np.shares_memory(a, held) for a in arguments):
            _captured.append(lambda: np.copyto(held, function(*arguments, **named)))
        return ndarray._of(held)
    return _outer(result)


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """``cupy.ndarray``."""

    __module__ = "cupy"
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C") -> None:
        self._host, self._device = np.empty(shape, dtype, order=order), _device

    @classmethod
    def _of(cls, host):
        self = object.__new__(cls)
        self._host, self._device = host, _device
        return self

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *arguments, out=None, **named):
        if out is not None:
            named["out"] = out if isinstance(out, tuple) else (out,)
        result = _do(getattr(ufunc, method), arguments, named, out and named["out"][0])
        return out[0] if out is not None and ufunc.nout == 1 else result

    def __array_function__(self, function, kinds, arguments, named):
        return _do(function, arguments, named, named.get("out"))

    def __array_namespace__(self, *, api_version=None):
        return sys.modules["cupy"]

    shape = property(lambda self: self._host.shape, lambda self, shape: setattr(self._host, "shape", shape))
    real = property(lambda self: ndarray._of(self._host.real), lambda self, x: self.real.__setitem__(..., x))
    imag = property(lambda self: ndarray._of(self._host.imag), lambda self, x: self.imag.__setitem__(..., x))
    T = property(lambda self: ndarray._of(self._host.T))
    mT = property(lambda self: ndarray._of(self._host.mT))
    device = property(lambda self: Device(self._device))

    def __getattr__(self, name):
        if name in ("dtype", "ndim", "size", "nbytes", "itemsize", "flags", "strides"):
            return getattr(self._host, name)
        if name == "data":
            return types.SimpleNamespace(ptr=self._host.ctypes.data)
        if name.startswith("_") or not callable(getattr(np.ndarray, name, None)):
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}", name=name)

        def method(*arguments, **named):
            def function(host, *rest, **options):
                return getattr(host, name)(*rest, **options)

            return _do(function, (self, *arguments), named, named.get("out"))

        return method

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, (ndarray, list, np.ndarray)) for part in index):
            return _do(lambda host, key: host[key], (self, tuple(_index(part) for part in index)), {})
        return ndarray._of(self._host[index if Ellipsis in index else (*index, ...)])

    def __setitem__(self, index, value):
        index = index if isinstance(index, tuple) else (index,)

        def put(host, key, given):
            host[key] = given

        if isinstance(value, np.ndarray):  # CuPy copies from the host what has no dimensions
            if value.ndim:
                raise TypeError("Unsupported type <class 'numpy.ndarray'>")
            value = value[()]
        _do(put, (self, tuple(_index(part) for part in index), value), {}, self)

    def fill(self, value):
        self[...] = value

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[k] for k in range(len(self)))

    def get(self, stream=None, order="C", out=None, blocking=True):
        _wait()
        return self._host.copy()

    def set(self, host, stream=None):
        _wait()
        self._host[...] = host

    def item(self, *index):
        _wait()
        return self._host.item(*index)

    def tolist(self):
        _wait()
        return self._host.tolist()

    def __bool__(self):
        _wait()
        return bool(self._host)

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __index__(self):
        return self.item().__index__()

    def __complex__(self):
        return complex(self.item())

    def __repr__(self):
        return repr(self._host)


def _index(part):
    if isinstance(part, np.ndarray):  # CuPy takes these, and copies them
        return ndarray._of(part)
    return part


class Matrix:
    """What CuPy's sparse matrices share: SciPy's, on arrays of the device."""

    __array_ufunc__ = None
    __array_priority__ = 100
    format = ""

    def __init__(self, given, shape=None, dtype=None, copy=False) -> None:
        held = given if scipy.sparse.issparse(given) else _inner(given)
        self._held = _HELD[self.format](held, shape=shape, dtype=dtype, copy=copy)
        if self._held.dtype.char not in "?fdFD":
            raise ValueError("Only bool, float32, float64, complex64 and complex128 are supported")

    @classmethod
    def _of(cls, held):
        self = object.__new__(cls)
        self._held = held
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self._held, name)
        if not callable(value):
            return _outer(value) if not isinstance(value, tuple) else value
        return lambda *arguments, **named: _do(value, arguments, named)

    def __setattr__(self, name, value):
        if name == "_held":
            object.__setattr__(self, name, value)
        else:
            setattr(self._held, name, _inner(value))

    def get(self, stream=None):
        _wait()
        return self._held.copy()

    def toarray(self, order=None, out=None):
        return _outer(self._held.toarray())

    def __matmul__(self, other):
        return _do(lambda a, b: a @ b, (self, other), {})

    def __mul__(self, other):
        return _do(lambda a, b: a * b, (self, other), {})

    def __rmul__(self, other):
        return _do(lambda a, b: b * a, (self, other), {})

    def __add__(self, other):
        return _do(lambda a, b: a + b, (self, other), {})

    def __sub__(self, other):
        return _do(lambda a, b: a - b, (self, other), {})

    def __neg__(self):
        return _outer(-self._held)

    def __getitem__(self, index):
        return _do(lambda a, key: a[key], (self, index), {})


_HELD = {"csr": scipy.sparse.csr_matrix, "csc": scipy.sparse.csc_matrix, "coo": scipy.sparse.coo_matrix}
_HELD["dia"] = scipy.sparse.dia_matrix
_KINDS = {
    name: type(f"{name}_matrix", (Matrix,), {"format": name, "__module__": "cupyx.scipy.sparse"}) for name in _HELD
}


class Device:
    """``cupy.cuda.Device``."""

    count = 1

    def __init__(self, device=None) -> None:
        self.id = _device if device is None else int(device)

    def __int__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self):
        return hash(self.id)

    def __enter__(self):
        global _device
        self._before, _device = _device, self.id
        return self

    def __exit__(self, *why):
        global _device
        _device = self._before

    def use(self):
        global _device
        _device = self.id

    def synchronize(self):
        _wait()

    compute_capability = "90"

    @property
    def attributes(self):
        return {"MultiProcessorCount": 132, "MaxSharedMemoryPerBlockOptin": 232448, "L2CacheSize": 52428800}


class Stream:
    """``cupy.cuda.Stream``."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None) -> None:
        self.null, self.ptr = null, id(self)

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *why):
        _streams.pop()

    def use(self):
        _streams.append(self)
        return self

    def synchronize(self):
        _wait()

    done = True

    def begin_capture(self, mode=None):
        global _captured
        if self.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if _captured is not None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is capturing")
        _captured = []

    def is_capturing(self):
        return _captured is not None

    def end_capture(self):
        global _captured
        recorded, _captured = _captured, None
        if recorded is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        return Graph(recorded)

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        pass


class Graph:
    """``cupy.cuda.Graph``."""

    def __init__(self, recorded) -> None:
        self.recorded = recorded

    def launch(self, stream=None):
        for call in self.recorded:
            call()

    def upload(self, stream=None):
        pass


class Event:
    """``cupy.cuda.Event``."""

    def __init__(self, *arguments, **named) -> None:
        self.done = True

    def record(self, stream=None):
        pass

    def synchronize(self):
        _wait()


Stream.null = Stream(null=True)


def _launch(call) -> None:
    def counted():
        SEEN.launches += 1
        call()

    if _captured is None:
        counted()
    else:
        _captured.append(counted)


class ElementwiseKernel:
    """``cupy.ElementwiseKernel``."""

    def __init__(self, *arguments, **named) -> None:
        self.kernel = cuda_on_host.Elementwise(*arguments, **named)
        self.name = self.kernel.name

    def __call__(self, *arguments, size=None, block_size=128, stream=None):
        call, made = self.kernel.prepared([_inner(a) for a in arguments], size)
        _launch(call)
        given = arguments[len(self.kernel.given) :] or tuple(map(_outer, made))
        return given[0] if len(given) == 1 else tuple(given)


class ReductionKernel:
    """``cupy.ReductionKernel``."""

    def __init__(self, *arguments, **named) -> None:
        self.kernel = cuda_on_host.Reduction(*arguments, **named)
        self.name = self.kernel.name

    def __call__(self, *arguments, out=None, axis=None, keepdims=False, stream=None):
        call, made = self.kernel.prepared([_inner(a) for a in arguments], axis, keepdims, _inner(out))
        _launch(call)
        given = arguments[len(self.kernel.given) :] or (() if out is None else (out,)) or tuple(map(_outer, made))
        return given[0] if len(given) == 1 else tuple(given)


class RawModule:
    """``cupy.RawModule``."""

    def __init__(
        self,
        *,
        code=None,
        path=None,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        enable_cooperative_groups=False,
        name_expressions=None,
        jitify=False,
    ) -> None:
        self.module = cuda_on_host.Module(code, options, name_expressions)

    def compile(self, log_stream=None):
        pass

    def get_function(self, name):
        return RawFunction(self.module, name)


class RawFunction:
    """A kernel of a module."""

    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, module, name) -> None:
        self.module, self.name = module, name
        module.signature(name)

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDARuntimeError(f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of shared memory")
        call, _ = self.module.prepared(self.name, grid, block, [_inner(a) for a in args])
        _launch(call)


class RawKernel(RawFunction):
    """``cupy.RawKernel``."""

    def __init__(
        self,
        code,
        name,
        options=(),
        backend="nvrtc",
        translate_cucomplex=False,
        *,
        enable_cooperative_groups=False,
        jitify=False,
    ) -> None:
        super().__init__(cuda_on_host.Module(code, options), name)


def _asarray(x, dtype=None, order=None, *, copy=None, blocking=False):
    if isinstance(x, ndarray):
        return _do(np.asarray, (x,), {"dtype": dtype, "order": order}) if dtype or order else x
    if _captured is not None and isinstance(x, np.ndarray):
        _wait()
    return ndarray._of(np.array(_from(x), dtype=dtype, order=order))


def _array(x, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(x, ndarray):
        return _do(np.array, (x,), {"dtype": dtype, "copy": copy or None, "order": order, "ndmin": ndmin})
    return ndarray._of(np.array(_from(x), dtype=dtype, order=order, ndmin=ndmin))


def _from(x):
    """Nested lists may hold arrays of the device."""
    return [_from(part) for part in x] if isinstance(x, (list, tuple)) else x._host if isinstance(x, ndarray) else x


def _asnumpy(x, *arguments, **named):
    return x.get() if isinstance(x, (ndarray, Matrix)) else np.asarray(x)


def _spmv(a, x, y=None, alpha=1, beta=0, transa=False):
    """alpha A x + beta y, in place of y."""

    def product(A, vector, into=None):
        result = alpha * ((A.T if transa else A) @ vector)
        if into is None:
            return result
        into[...] = result if beta == 0 else result + beta * into
        return into

    if y is None:
        return _do(product, (a, x), {})
    _do(product, (a, x, y), {}, y)
    return y


class LinearOperator:
    """``cupyx.scipy.sparse.linalg.LinearOperator``."""

    __module__ = "cupyx.scipy.sparse.linalg"
    __array_ufunc__ = None

    def __init__(self, shape, matvec, rmatvec=None, matmat=None, dtype=None, rmatmat=None) -> None:
        self.shape, self.matvec, self._adjoint = shape, matvec, rmatvec
        self.dtype = np.dtype(float if dtype is None else dtype)

    def rmatvec(self, x):
        if self._adjoint is None:
            raise NotImplementedError("rmatvec is not defined")
        return self._adjoint(x)

    def __matmul__(self, x):
        return self.matvec(x)

    def __neg__(self):
        return LinearOperator(self.shape, lambda x: -self.matvec(x), dtype=self.dtype)


def _aslinearoperator(A):
    if isinstance(A, LinearOperator):
        return A
    if isinstance(A, (ndarray, Matrix)):
        return LinearOperator(A.shape, lambda x: A @ x, lambda x: A.conj().T @ x, dtype=A.dtype)
    if hasattr(A, "shape") and hasattr(A, "matvec"):
        return LinearOperator(A.shape, A.matvec, getattr(A, "rmatvec", None), dtype=getattr(A, "dtype", None))
    raise TypeError("type not understood")


# The signatures of CuPy 14.


def _cg(A, b, x0=None, *, rtol=1e-5, atol=0.0, maxiter=None, M=None, callback=None):
    raise AssertionError("CuPy's own")


_bicgstab = _cgs = _cg


def _gmres(
    A, b, x0=None, *, rtol=1e-5, atol=0.0, restart=None, maxiter=None, M=None, callback=None, callback_type=None
):
    raise AssertionError("CuPy's own")


def _minres(A, b, x0=None, shift=0.0, tol=1e-5, maxiter=None, M=None, callback=None, check=False):
    raise AssertionError("CuPy's own")


def _lsmr(A, b, x0=None, damp=0.0, atol=1e-6, btol=1e-6, conlim=1e8, maxiter=None):
    raise AssertionError("CuPy's own")


def _spsolve(A, b):
    return _do(lambda a, c: scipy.sparse.linalg.spsolve(a.tocsc(), c), (A, b), {})


_LINALG = {
    "LinearOperator": LinearOperator,
    "aslinearoperator": _aslinearoperator,
    "cg": _cg,
    "cgs": _cgs,
    "bicgstab": _bicgstab,
    "gmres": _gmres,
    "minres": _minres,
    "lsmr": _lsmr,
    "spsolve": _spsolve,
}


def _standing_in(name, source, **own):
    """A module with these names, and the functions of another one for arrays of the device."""
    module = types.ModuleType(name)
    module.__dict__.update(own)

    def missing(attribute):
        if attribute.startswith("__") or not hasattr(source, attribute):
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}", name=attribute)
        value = getattr(source, attribute)
        if not callable(value) or isinstance(value, type):
            return value

        def function(*arguments, **named):
            return _do(value, arguments, named, named.get("out"))

        function.__name__ = attribute
        return function

    module.__getattr__ = missing
    module.__path__ = []
    if source is not None:
        module.__all__ = [n for n in dir(source) if not n.startswith("_") and n not in ("char", "rec", "test")]
        module.__all__ = sorted({*module.__all__, *(n for n in own if not n.startswith("_"))})
    return module


def modules() -> dict[str, types.ModuleType]:
    """What stands for CuPy's modules, by their names."""
    cuda = _standing_in(
        "cupy.cuda",
        None,
        Device=Device,
        Stream=Stream,
        Graph=Graph,
        Event=Event,
        is_available=lambda: True,
        get_current_stream=lambda: _streams[-1] if _streams else Stream.null,
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=lambda: Device.count,
            streamCaptureModeGlobal=0,
            streamCaptureModeThreadLocal=1,
            streamCaptureModeRelaxed=2,
        ),
        get_device_id=lambda: _device,
    )
    device = _standing_in("cupy.cuda.device", None, Device=Device)
    linalg, fft = _standing_in("cupy.linalg", np.linalg), _standing_in("cupy.fft", np.fft)
    cupy = _standing_in(
        "cupy",
        np,
        ndarray=ndarray,
        asarray=_asarray,
        array=_array,
        asnumpy=_asnumpy,
        ascontiguousarray=lambda x, dtype=None: _asarray(x, dtype, "C"),
        ElementwiseKernel=ElementwiseKernel,
        ReductionKernel=ReductionKernel,
        RawKernel=RawKernel,
        RawModule=RawModule,
        cuda=cuda,
        linalg=linalg,
        fft=fft,
        get_default_memory_pool=lambda: types.SimpleNamespace(free_all_blocks=lambda: None),
        get_array_module=lambda *arrays: sys.modules[
            "cupy" if any(isinstance(a, ndarray) for a in arrays) else "numpy"
        ],
        __version__="14.2.0",
    )
    sparse = _standing_in(
        "cupyx.scipy.sparse",
        scipy.sparse,
        issparse=lambda x: isinstance(x, Matrix),
        spmatrix=Matrix,
        **{f"{name}_matrix": kind for name, kind in _KINDS.items()},
        **{f"isspmatrix_{name}": (lambda x, kind=kind: isinstance(x, kind)) for name, kind in _KINDS.items()},
    )
    solvers = sparse.linalg = _standing_in("cupyx.scipy.sparse.linalg", None, **_LINALG)
    scipy_part = _standing_in("cupyx.scipy", None, sparse=sparse)
    cusparse = _standing_in("cupyx.cusparse", None, spmv=_spmv)
    cupyx = _standing_in("cupyx", None, scipy=scipy_part, cusparse=cusparse)
    found = (cupy, cuda, device, linalg, fft, cupyx, scipy_part, sparse, solvers, cusparse)
    return {module.__name__: module for module in found}


@contextlib.contextmanager
def installed():
    """CuPy's modules stood in for, and the package's own that use them imported anew; all as it was thereafter."""
    global SEEN, _captured
    from resolvent import backends
    from resolvent.precision import rounding

    def ours(name):
        made_for_it = name.startswith(("resolvent.gpu.cupy", "array_api_compat.cupy"))
        return made_for_it or name.partition(".")[0] in ("cupy", "cupyx")

    def forget():
        for cached in (backends.backend_named, backends._made):
            cached.cache_clear()
        rounding._engines.pop("cupy", None)
        import resolvent.gpu

        vars(resolvent.gpu).pop("cupy", None)

    before = {name: sys.modules.pop(name) for name in list(sys.modules) if ours(name)}
    held = modules()
    sys.modules.update(held)
    forget()
    SEEN.__init__()
    try:
        yield held["cupy"]
    finally:
        _captured = None
        for name in [name for name in sys.modules if ours(name)]:
            del sys.modules[name]
        forget()
        sys.modules.update(before)
