"""Random bits by counting: Philox4x32-10, a function of a key and a counter and of nothing else.

Which bits an element gets does not depend on the elements around it, hence neither on the backend, the number of
threads nor on how an array was cut into pieces. The functions work alike on Python's integers, on NumPy's and torch's
64-bit integer arrays, and compiled by Numba: every value stays below 2**50 until the last line, so that signed integers
never overflow.

Source: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011, section 3.3.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

__all__ = ["Stream", "philox", "random_bits", "stream"]

_WORD = 0xFFFFFFFF


class Stream(NamedTuple):
    """Seed and step in words of 32 bits, the low one first."""

    seed_low: int
    seed_high: int
    step_low: int
    step_high: int


def stream(seed: int, step: int) -> Stream:
    """The random bits of a seed and a step, both integers from 0 to below 2**64.

    Raises
    ------
    TypeError, ValueError
        For anything else.

    Examples
    --------
    >>> from resolvent.precision.philox import stream
    >>> stream(2**32 + 5, 7)
    Stream(seed_low=5, seed_high=1, step_low=7, step_high=0)
    """
    return Stream(*_words("seed", seed), *_words("step", step))


def _words(name: str, value: Any) -> tuple[int, int]:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: found {value!r}; wanted an integer") from None
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{name}: found {number}; wanted an integer from 0 to below 2**64")
    return number & _WORD, number >> 32


def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """Four random words of a counter of four words and a key of two: ten rounds of Philox4x32.

    Examples
    --------
    >>> from resolvent.precision.philox import philox
    >>> [hex(word) for word in philox(0, 0, 0, 0, 0, 0)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    for _ in range(10):
        # Both products of 32 by 32 bits, from products with the halves of the constants 0xD2511F53 and 0xCD9E8D57.
        low0, low1 = c0 * 0x1F53, c2 * 0x8D57
        high0, high1 = c0 * 0xD251 + (low0 >> 16), c2 * 0xCD9E + (low1 >> 16)
        c0, c2 = (high1 >> 16) ^ c1 ^ k0, (high0 >> 16) ^ c3 ^ k1
        c1 = ((high1 & 0xFFFF) << 16) | (low1 & 0xFFFF)
        c3 = ((high0 & 0xFFFF) << 16) | (low0 & 0xFFFF)
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return c0, c1, c2, c3


def random_bits(index: Any, key: Stream) -> Any:
    """63 random bits for each index: the first of the 64 in the first two words, the first word being the high one."""
    seed_low, seed_high, step_low, step_high = key
    first, second, _, _ = philox(index & _WORD, index >> 32, step_low, step_high, seed_low, seed_high)
    return (first << 31) | (second >> 1)
