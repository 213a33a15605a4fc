"""Products and substitutions with the triangles of a matrix, a few rows at a time.

A Hermitian A = L + D + L^H is taken apart into its strictly lower and upper triangles and its diagonal. Rows are
processed in blocks of at most ``span(A)``, short enough that what a row needs of distant ones lies outside of its block
wherever a storage knows the distances: those contributions are subtracted by vectorised loops, and only the nearest
neighbours are left to the recurrence from row to row, one multiply-add a row where there is one of them. A processor
then works on the vectorised loops of a block while it waits for the recurrence of the one before, which it could not
if blocks were longer. Each loop runs the way the rows are visited, which is the way data are fetched ahead.

Every value is computed by the same operations wherever a block begins: the order of blocks is free within what the
substitution allows, and the bits do not depend on it.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from ...kernels import kernel
from .products import BandArrays, CSRArrays, DenseArrays, StencilArrays, SymmetricBandArrays, is_kind

__all__ = [
    "ORDERED",
    "add_lower",
    "block_factors",
    "fetch",
    "fetch_rows",
    "solve_lower",
    "solve_upper",
    "span",
]

LONGEST = 64  # rows a block
NEAR = 16  # distances below are left to the recurrence: blocks as short as that would cost more than they save
LINE = 64  # bytes of a line of the cache

# Vectors are to be the same bits in whichever variant they are computed: nothing is reassociated.
ORDERED = frozenset({"contract"})
_ordered = kernel(fastmath=set(ORDERED))


def span(A):  # type: ignore[no-untyped-def]
    """The largest number of rows in a block."""
    raise NotImplementedError


def block_factors(A, low, high, omega, s, c, f, down):  # type: ignore[no-untyped-def]
    """c = omega / D and f = s D in rows low..high, from the last on if that is how rows are visited.

    Not D itself: a loop that copies becomes a call, which fetches from both ends at once.
    """
    raise NotImplementedError


def solve_lower(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    """Rows low..high of the substitution with D / omega + L, in place of z.

    z holds the right-hand side there, and the solution in the rows before; c = omega / D in the rows of the block; e
    is room for as many numbers.
    """
    raise NotImplementedError


def solve_upper(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    """The same from the last row up with D / omega + L^H; the rows after hold the solution."""
    raise NotImplementedError


def add_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    """Rows low..high of L y, added to out."""
    raise NotImplementedError


def fetch_rows(A, low, high):  # type: ignore[no-untyped-def]
    """Begin to load the entries of rows low..high into the cache."""
    raise NotImplementedError


@intrinsic
def _touch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Begin to load the line of the cache that array[index] lies in."""

    def build(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(function, [address, word(0), word(2), word(1)])  # to read, into the second level, data
        return context.get_dummy_value()

    return types.void(array, types.intp), build


@_ordered
def fetch(x, low, high):  # type: ignore[no-untyped-def]
    """Begin to load x[low:high] into the cache."""
    for i in range(low, high, LINE // x.itemsize):
        _touch(x, i)


# Loops over some rows, up and down. They are told the rows and cut the vectors themselves: a view that is made where
# many loops follow each other is counted as a reference, atomically, which costs more than it is used for. Downwards
# the index is unsigned: LLVM would not know that it is not negative, and scatter what it could store.


@_ordered
def _subtract(z, low, high, distance, data, d, shift):  # type: ignore[no-untyped-def]
    """z_i -= data[d, i + shift] z_(i + distance) in rows low..high."""
    here, known, band = z[low:high], z[low + distance : high + distance], data[d, low + shift : high + shift]
    for i in range(here.size):
        here[i] -= band[i] * known[i]


@_ordered
def _subtract_down(z, low, high, distance, data, d):  # type: ignore[no-untyped-def]
    here, known, band = z[low:high], z[low + distance : high + distance], data[d, low:high]
    for k in range(here.size):
        i = np.uint64(here.size - 1 - k)
        here[i] -= band[i] * known[i]


@_ordered
def _add(out, start, y, low, high, distance, data, d, shift):  # type: ignore[no-untyped-def]
    """data[d, i + shift] y_(i + distance) in rows low..high, added to out, which begins with row ``start``."""
    here, known = out[low - start : high - start], y[low + distance : high + distance]
    band = data[d, low + shift : high + shift]
    for i in range(here.size):
        here[i] += band[i] * known[i]


@_ordered
def _recur(z, low, high, c, e, data, d, shift, near):  # type: ignore[no-untyped-def]
    """z_i <- c_i (z_i - near data[d, i + shift] z_(i - 1)) in rows low..high; ``near`` is 1, or 0 for nothing."""
    if low == 0 and high > 0:
        z[0] *= c[0]
    first = max(low, 1)
    here, band, factors = z[first:high], data[d, first + shift : high + shift], c[first - low :]
    for i in range(here.size):
        here[i] *= factors[i]
        e[i] = near * factors[i] * band[i]
    previous = z[first - 1]
    for i in range(here.size):
        previous = here[i] - e[i] * previous
        here[i] = previous


@_ordered
def _recur_down(z, low, high, c, e, data, d, near):  # type: ignore[no-untyped-def]
    """z_i <- c_i (z_i - near data[d, i] z_(i + 1)) in rows low..high from the last on."""
    if high == z.size and high > low:
        z[high - 1] *= c[high - 1 - low]
    last = min(high, z.size - 1)
    here, band = z[low:last], data[d, low:last]
    for k in range(here.size):
        i = np.uint64(here.size - 1 - k)
        here[i] *= c[i]
        e[i] = near * c[i] * band[i]
    previous = z[last]
    for k in range(here.size):
        i = np.uint64(here.size - 1 - k)
        previous = here[i] - e[i] * previous
        here[i] = previous


# Compressed sparse rows. Columns are sorted and the diagonal is there. What a row needs of the one just computed is
# kept in a register: through memory it would come too late.


def _csr_span(A):  # type: ignore[no-untyped-def]
    return LONGEST


def _csr_factors(A, low, high, omega, s, c, f, down):  # type: ignore[no-untyped-def]
    for step in range(high - low):
        i = high - 1 - step if down else low + step
        k = A.indptr[i]
        while A.indices[k] < i:
            k += 1
        c[i - low] = omega / A.data[k].real
        f[i - low] = s * A.data[k].real


def _csr_solve_lower(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    previous = z[low - 1] if low > 0 else z.dtype.type(0)
    for i in range(low, high):
        total, link = z[i], z.dtype.type(0)
        k = A.indptr[i]
        while A.indices[k] < i:
            j = A.indices[k]
            if j == i - 1:
                link = A.data[k]
            else:
                total -= A.data[k] * z[j]
            k += 1
        factor = c[i - low]
        previous = total * factor - (link * factor) * previous
        z[i] = previous


def _csr_solve_upper(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    previous = z[high] if high < z.size else z.dtype.type(0)
    for i in range(high - 1, low - 1, -1):
        total, link = z[i], z.dtype.type(0)
        k = A.indptr[i + 1] - 1
        while A.indices[k] > i:
            j = A.indices[k]
            if j == i + 1:
                link = A.data[k]
            else:
                total -= A.data[k] * z[j]
            k -= 1
        factor = c[i - low]
        previous = total * factor - (link * factor) * previous
        z[i] = previous


def _csr_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        total = out[i - low]
        k = A.indptr[i]
        while A.indices[k] < i:
            total += A.data[k] * y[A.indices[k]]
            k += 1
        out[i - low] = total


def _csr_fetch(A, low, high):  # type: ignore[no-untyped-def]
    fetch(A.indptr, low, high)
    fetch(A.indices, A.indptr[low], A.indptr[high])
    fetch(A.data, A.indptr[low], A.indptr[high])


# Full matrices.


def _dense_span(A):  # type: ignore[no-untyped-def]
    return 8


def _dense_factors(A, low, high, omega, s, c, f, down):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        c[i - low] = omega / A.matrix[i, i].real
        f[i - low] = s * A.matrix[i, i].real


@kernel(fastmath={"reassoc", "contract"})
def _product(row, known):  # type: ignore[no-untyped-def]
    total = known.dtype.type(0)
    for j in range(known.size):
        total += row[j] * known[j]
    return total


def _dense_solve_lower(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        z[i] = (z[i] - _product(A.matrix[i, :i], z[:i])) * c[i - low]


def _dense_solve_upper(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    for i in range(high - 1, low - 1, -1):
        z[i] = (z[i] - _product(A.matrix[i, i + 1 :], z[i + 1 :])) * c[i - low]


def _dense_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        out[i - low] += _product(A.matrix[i, :i], y[:i])


def _dense_fetch(A, low, high):  # type: ignore[no-untyped-def]
    pass


# Diagonals.


@_ordered
def _from_diagonal(data, d, low, high, omega, s, c, f, down):  # type: ignore[no-untyped-def]
    band = data[d, low:high]
    if down:
        for k in range(band.size):
            last = np.uint64(band.size - 1 - k)
            c[last] = omega / band[last].real
            f[last] = s * band[last].real
    else:
        for i in range(band.size):
            c[i] = omega / band[i].real
            f[i] = s * band[i].real


def _band_span(A):  # type: ignore[no-untyped-def]
    rows = LONGEST
    for d in range(A.offsets.size):
        distance = abs(A.offsets[d])
        if distance >= NEAR:
            rows = min(rows, distance)
    return rows


def _band_factors(A, low, high, omega, s, c, f, down):  # type: ignore[no-untyped-def]
    for k in range(A.offsets.size):
        if A.offsets[k] == 0:
            _from_diagonal(A.data, k, low, high, omega, s, c, f, down)


# Of a symmetric matrix only the diagonals above are there: the one below is the same, shifted.


def _below(A, d):  # type: ignore[no-untyped-def]
    """How far below the main diagonal number d lies, and by how much its entry of row i is shifted from place i."""
    raise NotImplementedError


@overload(_below, jit_options={"forceinline": True})
def _place_below(A, d):  # type: ignore[no-untyped-def]
    if is_kind(A, SymmetricBandArrays):
        return lambda A, d: (A.offsets[d], -A.offsets[d])
    return lambda A, d: (-A.offsets[d], 0)


def _band_solve_lower(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    near, nearest = 0, 0
    for d in range(A.offsets.size):
        distance, shift = _below(A, d)
        if distance >= NEAR:
            _subtract(z, max(low, distance), high, -distance, A.data, d, shift)
        elif distance > 0:
            near, nearest = (1, d) if near == 0 and distance == 1 else (2, d)
        elif distance == 0 and near == 0:
            nearest = d  # to be multiplied by zero: of other diagonals, what lies beyond the ends may be NaN
    if near < 2:
        _recur(z, low, high, c, e, A.data, nearest, _below(A, nearest)[1], near)
    else:
        for i in range(low, high):
            total = z[i]
            for d in range(A.offsets.size):
                distance, shift = _below(A, d)
                if 0 < distance < NEAR and i >= distance:
                    total -= A.data[d, i + shift] * z[i - distance]
            z[i] = total * c[i - low]


def _band_solve_upper(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    near, nearest = 0, 0
    for d in range(A.offsets.size):
        distance = A.offsets[d]
        if distance >= NEAR:
            _subtract_down(z, low, min(high, z.size - distance), distance, A.data, d)
        elif distance > 0:
            near, nearest = (1, d) if near == 0 and distance == 1 else (2, d)
        elif distance == 0 and near == 0:
            nearest = d  # to be multiplied by zero: of other diagonals, what lies beyond the ends may be NaN
    if near < 2:
        _recur_down(z, low, high, c, e, A.data, nearest, near)
    else:
        for i in range(high - 1, low - 1, -1):
            total = z[i]
            for d in range(A.offsets.size):
                distance = A.offsets[d]
                if 0 < distance < NEAR and i + distance < z.size:
                    total -= A.data[d, i] * z[i + distance]
            z[i] = total * c[i - low]


def _band_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    for d in range(A.offsets.size):
        distance, shift = _below(A, d)
        begin = max(low, distance)
        if distance > 0 and begin < high:
            _add(out, low, y, begin, high, -distance, A.data, d, shift)


def _band_fetch(A, low, high):  # type: ignore[no-untyped-def]
    for d in range(A.offsets.size):
        fetch(A.data[d], low, high)


# Stencils: a block holds parts of two lines at most, and no two neighbours of different lines.


def _stencil_span(A):  # type: ignore[no-untyped-def]
    return min(LONGEST, A.points) if A.lines * A.planes > 1 else LONGEST


def _stencil_factors(A, low, high, omega, s, c, f, down):  # type: ignore[no-untyped-def]
    for i in range(high - low):
        c[i] = omega / A.center.real
        f[i] = s * A.center.real


@_ordered
def _subtract_multiple(z, low, high, distance, factor):  # type: ignore[no-untyped-def]
    here, known = z[low:high], z[low + distance : high + distance]
    for i in range(here.size):
        here[i] -= factor * known[i]


@_ordered
def _subtract_multiple_down(z, low, high, distance, factor):  # type: ignore[no-untyped-def]
    here, known = z[low:high], z[low + distance : high + distance]
    for k in range(here.size):
        i = np.uint64(here.size - 1 - k)
        here[i] -= factor * known[i]


@_ordered
def _add_multiple(out, start, y, low, high, distance, factor):  # type: ignore[no-untyped-def]
    here, known = out[low - start : high - start], y[low + distance : high + distance]
    for i in range(here.size):
        here[i] += factor * known[i]


@_ordered
def _recur_evenly(z, begin, first, high, c, factor):  # type: ignore[no-untyped-def]
    """z_i <- c (z_i - factor z_(i - 1)) in rows begin..high; without neighbour before ``first``."""
    here = z[begin:high]
    for i in range(here.size):
        here[i] *= c
    here = z[first:high]
    previous, factor = z[first - 1], c * factor
    for i in range(here.size):
        previous = here[i] - factor * previous
        here[i] = previous


@_ordered
def _recur_evenly_down(z, low, last, high, c, factor):  # type: ignore[no-untyped-def]
    """The same with z_(i + 1) from the last row on; without neighbour from ``last`` on."""
    here = z[low:high]
    for k in range(here.size):
        i = np.uint64(here.size - 1 - k)
        here[i] *= c
    here = z[low:last]
    previous, factor = z[last], c * factor
    for k in range(here.size):
        i = np.uint64(here.size - 1 - k)
        previous = here[i] - factor * previous
        here[i] = previous


def _stencil_solve_lower(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    plane = A.lines * A.points
    begin = low
    while begin < high:
        line = begin // A.points
        end = min(high, (line + 1) * A.points)
        if line >= A.lines:
            _subtract_multiple(z, begin, end, -plane, A.plane_lower)
        if line % A.lines > 0:
            _subtract_multiple(z, begin, end, -A.points, A.line_lower)
        _recur_evenly(z, begin, max(begin, line * A.points + 1), end, c[0], A.lower)
        begin = end


def _stencil_solve_upper(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    plane = A.lines * A.points
    end = high
    while end > low:
        line = (end - 1) // A.points
        begin = max(low, line * A.points)
        if line < A.lines * (A.planes - 1):
            _subtract_multiple_down(z, begin, end, plane, A.plane_upper)
        if line % A.lines < A.lines - 1:
            _subtract_multiple_down(z, begin, end, A.points, A.line_upper)
        _recur_evenly_down(z, begin, min(end, (line + 1) * A.points - 1), end, c[0], A.upper)
        end = begin


def _stencil_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    plane = A.lines * A.points
    begin = low
    while begin < high:
        line = begin // A.points
        end = min(high, (line + 1) * A.points)
        if line >= A.lines:
            _add_multiple(out, low, y, begin, end, -plane, A.plane_lower)
        if line % A.lines > 0:
            _add_multiple(out, low, y, begin, end, -A.points, A.line_lower)
        _add_multiple(out, low, y, begin if begin > line * A.points else begin + 1, end, -1, A.lower)
        begin = end


def _stencil_fetch(A, low, high):  # type: ignore[no-untyped-def]
    pass


_BAND = (_band_span, _band_factors, _band_solve_lower, _band_solve_upper, _band_lower, _band_fetch)
_TABLE = {
    CSRArrays: (_csr_span, _csr_factors, _csr_solve_lower, _csr_solve_upper, _csr_lower, _csr_fetch),
    DenseArrays: (_dense_span, _dense_factors, _dense_solve_lower, _dense_solve_upper, _dense_lower, _dense_fetch),
    BandArrays: _BAND,
    SymmetricBandArrays: _BAND,
    StencilArrays: (
        _stencil_span,
        _stencil_factors,
        _stencil_solve_lower,
        _stencil_solve_upper,
        _stencil_lower,
        _stencil_fetch,
    ),
}
_FUNCTIONS = (span, block_factors, solve_lower, solve_upper, add_lower, fetch_rows)


def _implementation(function, A):  # type: ignore[no-untyped-def]
    """That of a function for the storage which a Numba type stands for, or None."""
    made = next((row for kind, row in _TABLE.items() if is_kind(A, kind)), None)
    return made and made[_FUNCTIONS.index(function)]


@overload(span, jit_options={"forceinline": True})
def _span(A):  # type: ignore[no-untyped-def]
    return _implementation(span, A)


@overload(block_factors, jit_options={"forceinline": True})
def _block_factors(A, low, high, omega, s, c, f, down):  # type: ignore[no-untyped-def]
    return _implementation(block_factors, A)


@overload(solve_lower, jit_options={"forceinline": True})
def _solve_lower(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    return _implementation(solve_lower, A)


@overload(solve_upper, jit_options={"forceinline": True})
def _solve_upper(A, z, low, high, c, e):  # type: ignore[no-untyped-def]
    return _implementation(solve_upper, A)


@overload(add_lower, jit_options={"forceinline": True})
def _add_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    return _implementation(add_lower, A)


@overload(fetch_rows, jit_options={"forceinline": True})
def _fetch_rows(A, low, high):  # type: ignore[no-untyped-def]
    return _implementation(fetch_rows, A)
