"""Products and substitutions with the triangles of a matrix, a few rows at a time.

A Hermitian A = L + D + L^H is taken apart into its strictly lower and upper triangles and its diagonal. Rows are
processed in blocks of at most ``span(A)``, which is so small that what a block needs of the rows before lies before
the block wherever a storage knows its distances: those contributions are subtracted by vectorised loops, and only the
nearest neighbours are left to the recurrence from row to row, one multiply-add a row where there is one of them. Each
entry is computed by the same operations wherever blocks begin, so that the order of blocks is free within what the
substitution allows, and the bits do not depend on it.
"""

from __future__ import annotations

from numba.extending import overload, register_jitable

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
    if near > 1 or (near == 1 and nearest < 0):
        for k in range(high - low):
            i = high - 1 - k if backward else low + k
            total = z[i]
            for d in range(A.offsets.size):
                if 0 < side * A.offsets[d] < NEAR and 0 <= i + A.offsets[d] < z.size:
                    total -= A.data[d, i] * z[i + A.offsets[d]]
            z[i] = total * c[i - low]
        return
    here = z[low:high]
    for i in range(high - low):
        here[i] *= c[i]
    if near == 1:
        band = A.data[nearest, low:high]
        for i in range(high - low):
            e[i] = band[i] * c[i]
        _recur(z, low, high, e, backward)


def _band_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    for d in range(A.offsets.size):
        if A.offsets[d] < 0:
            begin = max(low, -A.offsets[d])
            if begin < high:
                band, known = A.data[d, begin:high], y[begin + A.offsets[d] : high + A.offsets[d]]
                here = out[begin - low :]
                for i in range(high - begin):
                    here[i] += band[i] * known[i]


# Diagonals of a symmetric matrix, those above alone.


def _symmetric_diagonal(A, low, high, d):  # type: ignore[no-untyped-def]
    band = A.data[0, low:high]
    for i in range(high - low):
        d[i] = band[i]


def _symmetric_substitute(A, z, low, high, c, e, backward):  # type: ignore[no-untyped-def]
    near, nearest = 0, -1
    for d in range(1, A.offsets.size):
        distance = A.offsets[d]
        if distance >= NEAR:
            begin, end = (low, min(high, z.size - distance)) if backward else (max(low, distance), high)
            if begin < end:
                here = z[begin:end]
                if backward:
                    band, known = A.data[d, begin:end], z[begin + distance : end + distance]
                    for i in range(end - begin):
                        here[i] -= band[i] * known[i]
                else:
                    band, known = A.data[d, begin - distance : end - distance], z[begin - distance : end - distance]
                    for i in range(end - begin):
                        here[i] -= band[i] * known[i]
        else:
            near += 1
            nearest = d if distance == 1 else -1
    if near > 1 or (near == 1 and nearest < 0):
        for k in range(high - low):
            i = high - 1 - k if backward else low + k
            total = z[i]
            for d in range(1, A.offsets.size):
                distance = A.offsets[d]
                if distance < NEAR:
                    if backward and i + distance < z.size:
                        total -= A.data[d, i] * z[i + distance]
                    elif not backward and i >= distance:
                        total -= A.data[d, i - distance] * z[i - distance]
            z[i] = total * c[i - low]
        return
    here = z[low:high]
    for i in range(high - low):
        here[i] *= c[i]
    if near == 1:
        if backward:
            band = A.data[nearest, low:high]
            for i in range(high - low):
                e[i] = band[i] * c[i]
        else:
            first = 1 if low == 0 else 0
            band, factor, scaled = A.data[nearest, low + first - 1 : high - 1], c[first:], e[first:]
            for i in range(high - low - first):
                scaled[i] = band[i] * factor[i]
        _recur(z, low, high, e, backward)


def _symmetric_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    for d in range(1, A.offsets.size):
        distance = A.offsets[d]
        begin = max(low, distance)
        if begin < high:
            band, known = A.data[d, begin - distance : high - distance], y[begin - distance : high - distance]
            here = out[begin - low :]
            for i in range(high - begin):
                here[i] += band[i] * known[i]


# Stencils: a block holds parts of two lines at most, and no two neighbours of different lines.


def _stencil_span(A):  # type: ignore[no-untyped-def]
    return min(LONGEST, A.points) if A.lines * A.planes > 1 else LONGEST


def _stencil_diagonal(A, low, high, d):  # type: ignore[no-untyped-def]
    for i in range(high - low):
        d[i] = A.center.real


def _stencil_substitute(A, z, low, high, c, e, backward):  # type: ignore[no-untyped-def]
    begin = low
    while begin < high:
        line = begin // A.points
        end = min(high, (line + 1) * A.points)
        here = z[begin:end]
        if backward:
            if line % A.lines < A.lines - 1:
                known = z[begin + A.points : end + A.points]
                for i in range(end - begin):
                    here[i] -= A.line_upper * known[i]
            if line // A.lines < A.planes - 1:
                plane = A.lines * A.points
                known = z[begin + plane : end + plane]
                for i in range(end - begin):
                    here[i] -= A.plane_upper * known[i]
        else:
            if line % A.lines > 0:
                known = z[begin - A.points : end - A.points]
                for i in range(end - begin):
                    here[i] -= A.line_lower * known[i]
            if line // A.lines > 0:
                plane = A.lines * A.points
                known = z[begin - plane : end - plane]
                for i in range(end - begin):
                    here[i] -= A.plane_lower * known[i]
        for i in range(end - begin):
            here[i] *= c[i]
        factor = (A.upper if backward else A.lower) * c[0]
        if backward:
            previous = here[end - begin - 1]
            if end < (line + 1) * A.points:
                previous -= factor * z[end]
                here[end - begin - 1] = previous
            for i in range(end - begin - 2, -1, -1):
                previous = here[i] - factor * previous
                here[i] = previous
        else:
            previous = here[0]
            if begin > line * A.points:
                previous -= factor * z[begin - 1]
                here[0] = previous
            for i in range(1, end - begin):
                previous = here[i] - factor * previous
                here[i] = previous
        begin = end


def _stencil_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    begin = low
    while begin < high:
        line = begin // A.points
        end = min(high, (line + 1) * A.points)
        here = out[begin - low : end - low]
        if line // A.lines > 0:
            plane = A.lines * A.points
            known = y[begin - plane : end - plane]
            for i in range(end - begin):
                here[i] += A.plane_lower * known[i]
        if line % A.lines > 0:
            known = y[begin - A.points : end - A.points]
            for i in range(end - begin):
                here[i] += A.line_lower * known[i]
        first = max(begin, line * A.points + 1)
        if first < end:
            known, after = y[first - 1 : end - 1], out[first - low : end - low]
            for i in range(end - first):
                after[i] += A.lower * known[i]
        begin = end


@register_jitable
def _recur(z, low, high, e, backward):  # type: ignore[no-untyped-def]
    """z_i <- z_i - e_i z_(i-1) in rows low..high one after the other; backward with z_(i+1) from the last row up."""
    here = z[low:high]
    count = high - low
    if backward:
        previous = here[count - 1]
        if high < z.size:
            previous -= e[count - 1] * z[high]
            here[count - 1] = previous
        for i in range(count - 2, -1, -1):
            previous = here[i] - e[i] * previous
            here[i] = previous
    else:
        previous = here[0]
        if low > 0:
            previous -= e[0] * z[low - 1]
            here[0] = previous
        for i in range(1, count):
            previous = here[i] - e[i] * previous
            here[i] = previous


_SPANS = {
    CSRArrays: _csr_span,
    DenseArrays: _dense_span,
    BandArrays: _band_span,
    SymmetricBandArrays: _band_span,
    StencilArrays: _stencil_span,
}
_DIAGONALS = {
    CSRArrays: _csr_diagonal,
    DenseArrays: _dense_diagonal,
    BandArrays: _band_diagonal,
    SymmetricBandArrays: _symmetric_diagonal,
    StencilArrays: _stencil_diagonal,
}
_SUBSTITUTIONS = {
    CSRArrays: _csr_substitute,
    DenseArrays: _dense_substitute,
    BandArrays: _band_substitute,
    SymmetricBandArrays: _symmetric_substitute,
    StencilArrays: _stencil_substitute,
}
_LOWER = {
    CSRArrays: _csr_lower,
    DenseArrays: _dense_lower,
    BandArrays: _band_lower,
    SymmetricBandArrays: _symmetric_lower,
    StencilArrays: _stencil_lower,
}


def _of_kind(table, A):  # type: ignore[no-untyped-def]
    """The implementation for the storage that a Numba type stands for, or None."""
    return next((function for kind, function in table.items() if is_kind(A, kind)), None)


@overload(span)
def _span(A):  # type: ignore[no-untyped-def]
    return _of_kind(_SPANS, A)


@overload(block_diagonal)
def _block_diagonal(A, low, high, d):  # type: ignore[no-untyped-def]
    return _of_kind(_DIAGONALS, A)


# Forced into their caller, where the direction is a constant.
@overload(substitute, jit_options={"forceinline": True})
def _substitute(A, z, low, high, c, e, backward):  # type: ignore[no-untyped-def]
    return _of_kind(_SUBSTITUTIONS, A)


@overload(add_lower)
def _add_lower(A, y, low, high, out):  # type: ignore[no-untyped-def]
    return _of_kind(_LOWER, A)
