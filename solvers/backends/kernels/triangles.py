"""Products and substitutions with the triangles of a matrix, a few rows at a time.

A Hermitian A = L + D + L^H is taken apart into its strictly lower and upper triangles and its diagonal. Rows are
processed in blocks of at most ``span(A)``, which is so small that what a block needs of the rows before lies before
the block wherever a storage knows its distances: those contributions are subtracted by vectorised loops, and only the
nearest neighbours are left to the recurrence from row to row, one multiply-add a row where there is one of them. Each
entry is computed by the same operations wherever blocks begin, so that the order of blocks is free within what the
substitution allows, and the bits do not depend on it.
"""

from __future__ import annotations

from numba.extending import overload

from .products import BandArrays, CSRArrays, DenseArrays, StencilArrays, SymmetricBandArrays, is_kind

__all__ = ["add_lower", "block_diagonal", "span", "substitute"]

LONGEST = 512  # rows a block: what it needs of half a dozen vectors fits the first-level cache
NEAR = 16  # distances below are left to the recurrence: blocks as short as that would cost more than they save


def span(A):  # type: ignore[no-untyped-def]
    """The largest number of rows in a block."""
    raise NotImplementedError


def block_diagonal(A, low, high, d):  # type: ignore[no-untyped-def]
    """The diagonal of rows low..high, which is real, written to d."""
    raise NotImplementedError


def substitute(A, z, low, high, c, e, backward):  # type: ignore[no-untyped-def]
    """Rows low..high of the substitution with D / omega + L, backward with D / omega + L^H, in place of z.

    z holds the right-hand side there, and the solution in the rows before (backward: after); c = omega / D in the rows
    of the block; e is room for as many numbers.
    """
    raise NotImplementedError


def add_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    """Rows low..high of L y, added to out, which has as many entries."""
    raise NotImplementedError


def _dispatch(function, table):  # type: ignore[no-untyped-def]
    """Register the implementation of each storage, told apart by the type of A when compiling."""

    @overload(function)
    def choose(A, *arguments):  # type: ignore[no-untyped-def]
        for kind, implementation in table.items():
            if is_kind(A, kind):
                return implementation
        return None


# Compressed sparse rows: columns are sorted, and the diagonal is there.


def _csr_span(A):  # type: ignore[no-untyped-def]
    return 128  # the entries of a block are read twice, the second time from the first-level cache


def _csr_diagonal(A, low, high, d):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        k = A.indptr[i]
        while A.indices[k] < i:
            k += 1
        d[i - low] = A.data[k].real


def _csr_substitute(A, z, low, high, c, e, backward):  # type: ignore[no-untyped-def]
    if backward:
        for i in range(high - 1, low - 1, -1):
            total = z[i]
            k = A.indptr[i + 1] - 1
            while A.indices[k] > i:
                total -= A.data[k] * z[A.indices[k]]
                k -= 1
            z[i] = total * c[i - low]
    else:
        for i in range(low, high):
            total = z[i]
            k = A.indptr[i]
            while A.indices[k] < i:
                total -= A.data[k] * z[A.indices[k]]
                k += 1
            z[i] = total * c[i - low]


def _csr_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        total = out[i - low]
        k = A.indptr[i]
        while A.indices[k] < i:
            total += A.data[k] * y[A.indices[k]]
            k += 1
        out[i - low] = total


# Full matrices.


def _dense_span(A):  # type: ignore[no-untyped-def]
    return 8


def _dense_diagonal(A, low, high, d):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        d[i - low] = A.matrix[i, i].real


def _dense_substitute(A, z, low, high, c, e, backward):  # type: ignore[no-untyped-def]
    for k in range(high - low):
        i = high - 1 - k if backward else low + k
        row, known = (A.matrix[i, i + 1 :], z[i + 1 :]) if backward else (A.matrix[i, :i], z[:i])
        total = z.dtype.type(0)
        for j in range(known.size):
            total += row[j] * known[j]
        z[i] = (z[i] - total) * c[i - low]


def _dense_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    for i in range(low, high):
        row, known = A.matrix[i, :i], y[:i]
        total = y.dtype.type(0)
        for j in range(i):
            total += row[j] * known[j]
        out[i - low] += total


# Diagonals.


def _band_span(A):  # type: ignore[no-untyped-def]
    rows = LONGEST
    for d in range(A.offsets.size):
        distance = abs(A.offsets[d])
        if distance >= NEAR:
            rows = min(rows, distance)
    return rows


def _band_diagonal(A, low, high, d):  # type: ignore[no-untyped-def]
    for k in range(A.offsets.size):
        if A.offsets[k] == 0:
            band = A.data[k, low:high]
            for i in range(high - low):
                d[i] = band[i].real


def _band_substitute(A, z, low, high, c, e, backward):  # type: ignore[no-untyped-def]
    side = 1 if backward else -1
    near, nearest = 0, -1
    for d in range(A.offsets.size):
        distance = side * A.offsets[d]
        if distance >= NEAR:
            begin, end = max(low, -A.offsets[d]), min(high, z.size - A.offsets[d])
            if begin < end:
                band, here = A.data[d, begin:end], z[begin:end]
                known = z[begin + A.offsets[d] : end + A.offsets[d]]
                for i in range(end - begin):
                    here[i] -= band[i] * known[i]
        elif distance > 0:
            near += 1
            nearest = d if distance == 1 else -1
    here = z[low:high]
    if near == 1 and nearest >= 0:
        band = A.data[nearest, low:high]
        for i in range(high - low):
            here[i] *= c[i]
            e[i] = band[i] * c[i]
        _recur(z, low, high, e, backward)
        return
    for k in range(high - low):
        i = high - 1 - k if backward else low + k
        total = z[i]
        for d in range(A.offsets.size):
            if 0 < side * A.offsets[d] < NEAR and 0 <= i + A.offsets[d] < z.size:
                total -= A.data[d, i] * z[i + A.offsets[d]]
        z[i] = total * c[i - low]
