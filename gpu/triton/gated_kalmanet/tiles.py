"""What the kernels share: tiles of rows and of states, and the decay between the tokens of a chunk.

Row t of a chunk and head lies ``H`` rows after the one before it, (B T, H, width); ``base`` is the number of its first
row, of which there are ``count``. What lies beyond ``count`` or ``width`` is read as zero and not written.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def chunk_rows(table, chunk, H, head):  # type: ignore[no-untyped-def]
    """The number of the first row of a chunk and head, and how many there are."""
    first = tl.load(table + 2 * chunk)
    return first * H + head, tl.load(table + 2 * chunk + 1) - first


@triton.jit
def _places(rows, columns, count, H, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Distances from the first row, which take half the registers of addresses, and which of them there are."""
    places = (rows * H)[:, None] * width + columns[None, :]
    return places, (rows < count)[:, None] & (columns < width)[None, :]


@triton.jit
def load_rows(pointer, base, rows, columns, count, H, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows of tokens; 0 beyond them."""
    places, inside = _places(rows, columns, count, H, width)
    return tl.load(pointer + base * width + places, mask=inside, other=0.0)


@triton.jit
def load_written_rows(pointer, base, rows, columns, count, H, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of what the same program wrote: not by copies ahead of time past the cache in which that may still be."""
    places, inside = _places(rows, columns, count, H, width)
    return tl.load(pointer + base * width + places, mask=inside, other=0.0, volatile=True)


@triton.jit
def store_rows(pointer, base, rows, columns, count, H, width: tl.constexpr, values):  # type: ignore[no-untyped-def]
    """Rows of tokens, as what the pointer points to."""
    places, inside = _places(rows, columns, count, H, width)
    tl.store(pointer + base * width + places, values.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def load_numbers(pointer, base, rows, count, H):  # type: ignore[no-untyped-def]
    """One number a row, in single precision."""
    return tl.load(pointer + base + rows.to(tl.int64) * H, mask=rows < count, other=0.0).to(tl.float32)


@triton.jit
def store_numbers(pointer, base, rows, count, H, values):  # type: ignore[no-untyped-def]
    """One number a row."""
    tl.store(pointer + base + rows.to(tl.int64) * H, values, mask=rows < count)


@triton.jit
def load_block(pointer, base, rows, columns, height: tl.constexpr, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a state, (height, width), that begins at ``base``."""
    inside = (rows < height)[:, None] & (columns < width)[None, :]
    return tl.load(pointer + base + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def store_block(pointer, base, rows, columns, height: tl.constexpr, width: tl.constexpr, values):  # type: ignore[no-untyped-def]
    """Of a state, (height, width), that begins at ``base``."""
    inside = (rows < height)[:, None] & (columns < width)[None, :]
    values = values.to(pointer.dtype.element_ty)
    tl.store(pointer + base + rows[:, None] * width + columns[None, :], values, mask=inside)


@triton.jit
def mixed_rows(x, q, alpha, base, rows, columns, count, H, width: tl.constexpr, MIXED: tl.constexpr):  # type: ignore[no-untyped-def]
    """q + alpha (x - q), or x, and x - q."""
    X = load_rows(x, base, rows, columns, count, H, width).to(tl.float32)
    if MIXED:
        Q = load_rows(q, base, rows, columns, count, H, width).to(tl.float32)
        share = load_numbers(alpha, base, rows, count, H)
        return Q + share[:, None] * (X - Q), X - Q
    else:
        return X, X


@triton.jit
def log_decays(gates, base, rows, count, H, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sums of the gates of a chunk up to each token and over all of it, in double precision."""
    total = tl.cumsum(tl.maximum(load_numbers(gates, base, rows, count, H).to(tl.float64), -800.0), 0)
    return total, tl.sum(tl.where(rows == C - 1, total, 0.0), 0)


@triton.jit
def decay_between(total, rows):  # type: ignore[no-untyped-def]
    """M_tj = exp(total_t - total_j) for j <= t, else 0."""
    return decay_since(total, rows, total, rows)


@triton.jit
def decay_since(total, rows, sooner, columns):  # type: ignore[no-untyped-def]
    """M_tj = exp(total_t - sooner_j) for the tokens t of ``rows`` and j of ``columns``, j <= t, else 0.

    The differences are of two parts in single precision, which is as accurate as one in double precision rounded.
    """
    high, high_j = total.to(tl.float32), sooner.to(tl.float32)
    low, low_j = (total - high.to(tl.float64)).to(tl.float32), (sooner - high_j.to(tl.float64)).to(tl.float32)
    difference = (high[:, None] - high_j[None, :]) + (low[:, None] - low_j[None, :])
    before = rows[:, None] >= columns[None, :]
    return tl.where(before, tl.exp(tl.where(before, difference, 0.0)), 0.0)


@triton.jit
def multiply(a, b, total, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """total + a b, both float32 or of 16 bits.

    "bf16" rounds both; "bf16x3" multiplies two parts of each, which keep 16 bits; others are those of ``tl.dot``.
    """
    if PRECISION == "bf16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), total)
    elif PRECISION == "bf16x3":
        high, other = a.to(tl.bfloat16), b.to(tl.bfloat16)
        if a.dtype != tl.bfloat16:
            total = tl.dot((a.to(tl.float32) - high.to(tl.float32)).to(tl.bfloat16), other, total)
        if b.dtype != tl.bfloat16:
            total = tl.dot(high, (b.to(tl.float32) - other.to(tl.float32)).to(tl.bfloat16), total)
        return tl.dot(high, other, total)
    else:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision=PRECISION)


@triton.jit
def store_gate_gradient(d_gates, gates, base, rows, count, H, terms, end):  # type: ignore[no-untyped-def]
    """dgate_t = terms_t + dgate_{t+1} within a chunk, from ``end`` on, in double precision; 0 for a gate of -inf."""
    found = (tl.cumsum(terms, 0, reverse=True) + end.to(tl.float64)).to(tl.float32)
    shut = load_numbers(gates, base, rows, count, H) == float("-inf")
    store_numbers(d_gates, base, rows, count, H, tl.where(shut, 0.0, found))
