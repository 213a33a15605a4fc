"""The operations a backend provides, and the compositions every backend inherits.

A method is written on both alone. Each returns its result, and may do so in place of the vector it names last: the
caller always rebinds (``y = backend.axpy(a, x, y)``), so that a library without in-place operations fits too.
The reductions are ``dot``, ``norm`` and ``max_abs``, and what is composed of them: ``residual_norm``, ``certify``,
``matvec_dot``, ``cg_update``, ``dots`` and ``dot_and_square``.

Many systems of one shape are a stack: vectors are (..., n), and what is a number for one system is an array (..., 1).
``axpy``, ``axpby``, ``multiply`` and ``momentum`` take both; the reductions of a stack are ``dots_each`` and
``norms_each``. What each system comes to is computed from its own numbers alone.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from ..operators import CSR, CSRStack, Facts, Operator, StencilStack
from ..operators.exchange import Exchange
from ..operators.ordering import Ordering
from ..precision import precision_facts
from ..precision import round as round_to
from ..precision.policy import Precision
from .block import CANCELLED, NEAR, Block

__all__ = ["Backend", "powers_of_two"]


class Backend(Exchange):
    """Vector operations of one array library; vectors have shape (n,), scalars are Python numbers.

    In a stack they have shape (..., n), and scalars may be arrays (..., 1) of the real type that belongs to x.
    """

    name: ClassVar[str]
    library: ClassVar[str]
    compiles_solves: ClassVar[bool] = False  # whole solves of small systems, as compiled calls on NumPy arrays
    steps_a_look: ClassVar[int] = 1  # of a compiled loop at least, where a look costs as much as some steps

    @abstractmethod
    def operator(self, A: Any, name: str = "A", square: bool = True) -> Operator:
        """A as an Operator on this backend's arrays; refused where it should be square and is not."""

    @abstractmethod
    def vector(self, b: Any, name: str) -> Any:
        """b as an array of this library, not copied; its dtype is ``numpy_dtype(b)``."""

    @abstractmethod
    def zeros(self, n: int, dtype: Any) -> Any:
        """n zeros, where this backend computes."""

    @abstractmethod
    def from_numpy(self, x: Any, dtype: Any) -> Any:
        """A host vector, where this backend computes."""

    @abstractmethod
    def copy(self, x: Any, dtype: Any = None) -> Any:
        """A contiguous copy of x, never x itself."""

    @abstractmethod
    def assign(self, x: Any, out: Any) -> Any:
        """x's values into out."""

    @abstractmethod
    def ldexp(self, x: Any, exponent: int) -> Any:
        """2**exponent x, exactly, in place of x."""

    @abstractmethod
    def max_abs(self, x: Any) -> float:
        """Largest modulus of an entry; NaN where an entry is NaN; 0 for an empty vector."""

    @abstractmethod
    def dot(self, x: Any, y: Any) -> complex:
        """Sum of conj(x_i) y_i: a float for real vectors."""

    @abstractmethod
    def norm(self, x: Any) -> float:
        """Euclidean norm."""

    @abstractmethod
    def axpy(self, a: Any, x: Any, y: Any) -> Any:
        """y + a x, in place of y."""

    @abstractmethod
    def axpby(self, a: Any, x: Any, b: Any, y: Any) -> Any:
        """a x + b y, in place of y."""

    @abstractmethod
    def multiply(self, d: Any, x: Any, out: Any) -> Any:
        """d_i x_i, in place of out."""

    @abstractmethod
    def matvec(self, A: Operator, x: Any, out: Any) -> Any:
        """A x, in place of out."""

    @abstractmethod
    def put(self, x: Any, rows: Any, values: Any) -> Any:
        """x with these values in the given (distinct) rows, in place of x."""

    @abstractmethod
    def stage_arrays(self, rows: Any, block: Any, inverse_diagonal: Any) -> tuple[Any, Any, Any]:
        """Row numbers, a SciPy CSR block of rows, and the inverse diagonal there, as this backend indexes with them."""

    @abstractmethod
    def stack(self, vectors: list[Any], shape: tuple[int, ...], columns: bool) -> Any:
        """Vectors of a batch as ``(*shape, n)``; the last axis of shape goes last when it counts columns."""

    def compressed_rows(self, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> Any:
        """A sparse matrix of arrays of this library, which multiplies columns by ``@``; None where it knows none."""
        return None

    def sparse_stack(self, A: Any) -> CSRStack | None:
        """Sparse matrices of one pattern, given in a form that this backend knows, as such; None for all else."""
        if isinstance(A, StencilStack):
            A = A.tocsr()
        return A if isinstance(A, CSRStack) and A.library in self.libraries else None

    def small_matrices(self, batch: Any) -> Any:
        """The matrices of a batch for kernels that solve small systems whole; None where this backend has none."""
        return None

    # What fits most libraries as it is.

    def unset(self, n: int, dtype: Any) -> Any:
        """n numbers of any value, to be written to before they are read."""
        return self.zeros(n, dtype)

    def keeping(self) -> Backend:
        """This backend for one system after the other, which may keep what the next one like the last can use."""
        return self

    def bound_to(self, arrays: Sequence[Any]) -> Backend:
        """This backend, for the namespace and device of the arrays (and operators) of one system.

        Raises
        ------
        BackendError
            Where they lie on several devices.
        """
        return self

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those whose arrays it takes."""
        return (self.library,)

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        """x in another shape, a view where possible; one length may be -1."""
        return x.reshape(shape)

    # Stacks of systems: reductions of each, and choices for each.

    def namespace(self, x: Any) -> Any:
        """The functions of x's library for what there is once a system: ``where``, ``any``, ``zeros_like``."""
        return array_namespace(x)

    def dots_each(self, x: Any, y: Any) -> Any:
        """Real part of x^H y of each system, (..., 1)."""
        values = self.namespace(x).vecdot(x, y)[..., None]
        return self.total(values.real if self.numpy_dtype(x).kind == "c" else values)

    def norms_each(self, x: Any) -> Any:
        """Euclidean norm of each system's vector, (..., 1)."""
        return self.namespace(x).sqrt(self.dots_each(x, x))

    def keep(self, which: Any, x: Any) -> Any:
        """x of the systems named by the booleans ``which``, (..., 1), zero of the others; in place of x."""
        xp = self.namespace(x)
        return xp.where(which, x, xp.zeros_like(x))

    def product_each(self, A: Operator) -> Callable[[Any, Any], Any] | None:
        """``product(x, out)``, A x of every vector of a stack; None for an A that only multiplies single ones."""
        matrix = A.tocsr() if isinstance(A, CSR) else getattr(A, "matrix", None)
        if matrix is None:
            return None

        def product(x: Any, out: Any) -> Any:
            xp = array_namespace(x)
            columns = xp.matrix_transpose(self.reshape(x, (-1, x.shape[-1])))
            return self.reshape(xp.matrix_transpose(matrix @ columns), tuple(x.shape))

        return product

    # Blocks of vectors, (k, n), and small matrices on the host: what block methods are made of.

    def gram(self, X: Any, Y: Any) -> np.ndarray:
        """X^H Y of the vectors of two blocks, (j, k), on the host in double precision."""
        xp = array_namespace(X)
        left = xp.conj(X) if self.numpy_dtype(X).kind == "c" else X
        products = self.to_numpy(xp.matmul(left, xp.matrix_transpose(Y)))
        return self.total(products.astype(np.result_type(products.dtype, np.float64)))

    def combinations(self, C: np.ndarray, X: Any) -> Any:
        """The sums over a of C[a, j] X[a], a new block, of which none may be asked for."""
        xp = array_namespace(X)
        return xp.matmul(self.from_numpy(np.ascontiguousarray(C.T), self.numpy_dtype(X)), X)

    def block_update(
        self, alpha: np.ndarray, S: Any, X: Any, xi: np.ndarray, Q: Any, W: Any
    ) -> tuple[Any, Any, np.ndarray]:
        """X with the combinations by alpha of S added, and W with those by xi of Q, in place of them, and W^H W."""
        X, W = X + self.combinations(alpha, S), W + self.combinations(xi, Q)
        return X, W, self.gram(W, W)

    def block_turn(self, C: np.ndarray, T: Any, Z: Any, zeta: np.ndarray, S: Any) -> tuple[Any, Any]:
        """The combinations by C of T, and those of Z with those by zeta of S added; in place of T and S where possible.

        Z may be T.
        """
        turned = self.combinations(C, Z) + self.combinations(zeta, S)
        return self.combinations(C, T), turned

    def put_each(self, x: Any, rows: np.ndarray, values: Any) -> Any:
        """x, (systems, k, n), with values, (systems, n), in these rows, one of each system or -1; in place of x."""
        here = (np.arange(x.shape[1]) == rows[:, None])[:, :, None]
        chosen = self.from_numpy(here.astype(float), np.dtype(np.float64)) > 0
        return self.namespace(x).where(chosen, values[:, None, :], x)

    # What a backend whose vectors are spread over processes has to provide besides: nothing else communicates.

    def total(self, value: Any) -> Any:
        """The sum over all processes of a number, or of each entry of a small NumPy array."""
        return value

    def greatest(self, value: float) -> float:
        """The largest of the numbers that the processes have; NaN where one of them is."""
        return value

    def local_length(self, n: int) -> int:
        """How many of the n entries of a vector lie in this process."""
        return n

    @property
    def rank(self) -> int:
        """The number of this process."""
        return 0

    def clock(self) -> float:
        """Seconds on a clock that all processes agree on, so that time limits end a solve in all of them."""
        return time.perf_counter()

    # Compositions: a backend overrides those that it can fuse into fewer passes over memory.

    def norms(self, *vectors: Any) -> tuple[float, ...]:
        """Euclidean norms, in one reduction where a backend can take them together."""
        return tuple(self.norm(x) for x in vectors)

    def dots(self, V: Sequence[Any], w: Any) -> np.ndarray:
        """V^H w, (k,), for a block V of k vectors; one reduction where a backend can take them together."""
        return np.array([self.dot(v, w) for v in V])

    def combine(self, V: Sequence[Any], y: Any, out: Any) -> Any:
        """V y for a block V of k vectors and k numbers, in place of out, which is none of the vectors."""
        first, *others = np.asarray(y).tolist()
        out = self.assign(V[0], out)
        out = self.axpby(0.0, V[0], first, out)
        for v, coefficient in zip(V[1:], others, strict=True):
            out = self.axpy(coefficient, v, out)
        return out

    def basis(self, k: int, n: int, dtype: Any) -> Block:
        """A block of k vectors of any value, to be written to before they are read; one array where that is faster."""
        return Block([self.unset(n, dtype) for _ in range(k)])

    def add_block(self, V: Sequence[Any], y: Any, w: Any) -> Any:
        """w + V y for a block V of k vectors and k numbers, in place of w, which is none of the vectors."""
        for v, coefficient in zip(V, np.asarray(y).tolist(), strict=True):
            w = self.axpy(coefficient, v, w)
        return w

    def block_dots(self, V: Block, W: Block) -> np.ndarray:
        """V^H W, (k, l), for blocks V of k and W of l vectors."""
        return np.stack([self.dots(V, w) for w in W], axis=1)

    def block_combine(self, V: Block, Y: np.ndarray, out: Block) -> Block:
        """V Y for a block V of k vectors and Y of shape (k, l), in place of out, none of whose l vectors is in V."""
        for j in range(len(out)):
            out[j] = self.combine(V, Y[:, j], out[j])
        return out

    def block_add(self, V: Block, Y: np.ndarray, out: Block) -> Block:
        """out + V Y for a block V of k vectors and Y of shape (k, l), in place of out, of which nothing is in V."""
        for j in range(len(out)):
            out[j] = self.add_block(V, Y[:, j], out[j])
        return out

    def orthogonalise(self, V: Block, k: int, unit_roundoff: float) -> tuple[np.ndarray, float]:
        """V[k] made orthogonal to the k vectors before it; the coefficients of what was taken away, and the norm left.

        What lies along the last two vectors is taken away first: where A is near to Hermitian, that is all but the new
        vector, and what the pass over the whole basis takes away is small. So that pass cancels nothing, and leaves the
        vector orthogonal to working precision; where it does cancel, by more than a factor of sqrt(2), a second one
        follows (Daniel, Gragg, Kaufman & Stewart 1976; that two suffice, Giraud, Langou, Rozloznik & van den Eshof
        2005).

        The norm is 0 where rounding has left nothing of the vector.
        """
        near = max(0, k - NEAR)
        h = np.zeros(k, np.complex128 if self.numpy_dtype(V[k]).kind == "c" else np.float64)
        h[near:] = self.dots(V[near:k], V[k])
        V[k] = self.add_block(V[near:k], -h[near:], V[k])
        *along, square = self.dots(V[: k + 1], V[k])
        before = math.sqrt(max(square.real, 0.0)) if square == square else math.nan
        h += along
        V[k] = self.add_block(V[:k], -np.array(along), V[k])
        rest = self.norm(V[k])
        if rest < CANCELLED * before:
            again = self.dots(V[:k], V[k])
            h += again
            V[k] = self.add_block(V[:k], -again, V[k])
            rest = self.norm(V[k])
        return h, 0.0 if rest <= 4 * unit_roundoff * float(np.linalg.norm(h)) else rest

    def rotate(self, c: complex, s: complex, x: Any, y: Any) -> tuple[Any, Any]:
        """c x + s y and conj(c) y - conj(s) x, in place of x and y."""
        before = self.copy(x)
        x = self.axpby(s, y, c, x)
        return x, self.axpby(-s.conjugate(), before, c.conjugate(), y)

    def difference(self, x: Any, y: Any, out: Any) -> Any:
        """x - y, in place of out, which is neither of them; rounded once, where x has more digits."""
        return self.axpby(1.0, self.copy(x, self.numpy_dtype(y)), -1.0, self.assign(y, out))

    def residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        """b - A x in working precision, in place of out."""
        return self.axpby(1.0, b, -1.0, self.matvec(A, x, out))

    def residual_norm(self, A: Operator, x: Any, b: Any, out: Any) -> tuple[Any, float]:
        """``residual`` and its norm."""
        out = self.residual(A, x, b, out)
        return out, self.norm(out)

    def accurate_residual(self, A: Operator, x: Any, b: Any, out: Any) -> Any:
        """b - A x, accumulated in twice the working precision where this backend can, rounded into out."""
        return self.residual(A, x, b, out)

    def certify(self, A: Operator, x: Any, b: Any, out: Any) -> tuple[Any, float]:
        """The accurate residual, in place of out, and its norm."""
        out = self.accurate_residual(A, x, b, out)
        return out, self.norm(out)

    def matvec_dot(self, A: Operator, p: Any, q: Any) -> tuple[Any, float]:
        """q = A p, in place of q, and the real part of p^H q."""
        q = self.matvec(A, p, q)
        return q, self.dot(p, q).real

    def cg_update(self, alpha: float, p: Any, q: Any, x: Any, r: Any) -> tuple[Any, Any, float, float]:
        """x + alpha p and r - alpha q, in place of x and r, and the norms of both."""
        x = self.axpy(alpha, p, x)
        r = self.axpy(-alpha, q, r)
        return x, r, *self.norms(x, r)

    def product_update(
        self, A: Operator, a: float, x: Any, b: float, y: Any, c: float = 0.0, z: Any = None
    ) -> tuple[Any, float]:
        """a A x + b y, and c z besides where there is a z, in place of y, and its norm."""
        product = self.matvec(A, x, self.unset(y.shape[0], self.numpy_dtype(y)))
        y = self.axpby(a, product, b, y)
        if z is not None:
            y = self.axpy(c, z, y)
        return y, self.norm(y)

    def lsmr_update(
        self, scale: float, v: Any, theta: float, h: Any, older: float, hbar: Any, step: float, x: Any
    ) -> tuple[Any, Any, Any, float]:
        """h + older hbar, x + step times that, and scale v + theta h, in place of hbar, x and h; the norm of x."""
        hbar = self.axpby(1.0, h, older, hbar)
        x = self.axpy(step, hbar, x)
        h = self.axpby(scale, v, theta, h)
        return hbar, x, h, self.norm(x)

    def axpbypcz(self, a: Any, x: Any, b: Any, y: Any, c: Any, z: Any) -> Any:
        """a x + b y + c z, in place of z."""
        return self.axpy(a, x, self.axpby(b, y, c, z))

    def dot_and_square(self, x: Any, y: Any) -> tuple[complex, float]:
        """x^H y and ||y||^2, in one reduction."""
        product, square = self.dots([x, y], y).tolist()
        return product, square.real

    def bicgstab_update(
        self, alpha: complex, p: Any, omega: complex, s: Any, t: Any, shadow: Any, x: Any, r: Any
    ) -> tuple[Any, Any, complex, float]:
        """x + alpha p + omega s and r - omega t, in place of x and r, shadow^H r thereafter and ||r||; s may be r."""
        x = self.axpbypcz(alpha, p, omega, s, 1.0, x)
        r = self.axpy(-omega, t, r)
        rho, square = self.dot_and_square(shadow, r)
        return x, r, rho, math.sqrt(square) if square >= 0 else math.nan

    def momentum(self, beta: Any, gamma: Any, x: Any, previous: Any, z: Any) -> Any:
        """x + beta (x - previous) + gamma z, in place of previous."""
        previous = self.axpby(1.0 + beta, x, -beta, previous)
        return self.axpy(gamma, z, previous)

    def sweep(self, ordering: Ordering, x: Any, b: Any, omega: float, reverse: bool) -> Any:
        """One SOR sweep over the stages of an ordering, forwards or backwards, in place of x.

        Rows of one stage do not depend on each other, so each stage is one product with its rows of A.
        """
        for stage in ordering.stages(self, reverse):
            x = stage.relax(x, b, omega)
        return x

    def facts(self, A: Operator) -> Facts | None:
        """What one look at the entries of A tells."""
        return A.facts()

    def prepare(self, A: Operator, facts: Facts | None) -> Operator:
        """A in the storage that this backend multiplies fastest; A itself where it has nothing better."""
        return A

    def arrays(self, A: Operator) -> Any:
        """The arrays of A that compiled loops take; None where this backend has no such loops for it."""
        return None

    def loop_rounding(self, dtype: Any) -> Any:
        """How compiled loops round each vector that they write."""
        return None

    # Where numbers are rounded to a format, for ``Rounded``, which overrides the first two.

    @property
    def exact(self) -> Backend:
        """This backend without emulation: computing in the carrier."""
        return self

    def store(self, A: Operator, dtype: Any) -> Operator:
        """A in this precision, as this backend keeps it."""
        stored = A.astype(np.dtype(dtype))
        if stored is not A:
            stored.rounded_from = A.rounded_from or (A, np.dtype(dtype).name)
        return stored

    def rounded(self, x: Any, precision: Precision, step: int) -> Any:
        """x rounded to a format, in place of x; ``step`` counts the roundings, for the stochastic ones."""
        host = np.array(self.to_numpy(x))
        round_to(host, precision.format, precision.rounding, out=host, seed=precision.seed, step=step)
        return self.from_numpy(host, host.dtype)

    def to_numpy(self, x: Any) -> Any:
        """x as a NumPy array on the host."""
        return x


@cache
def powers_of_two(exponent: int, dtype: Any) -> tuple[float, ...]:
    """Factors that multiply to 2**exponent, each within the range of a precision.

    Multiplying by them one after the other is exact unless the last result is subnormal or overflows.

    Examples
    --------
    >>> from resolvent.backends.protocol import powers_of_two
    >>> powers_of_two(3, "float32"), [f == 2.0**-100 for f in powers_of_two(-200, "float32")]
    ((8.0,), [True, True])
    """
    if exponent == 0:
        return ()
    most = -precision_facts(dtype).smallest_exponent
    parts = -(-abs(exponent) // most)
    share, rest = divmod(exponent, parts)
    return tuple(2.0 ** (share + (part < rest)) for part in range(parts))
