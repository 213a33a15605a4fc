"""Stochastic rounding: the generator's known answers, means, and bits that depend on seed, step and position alone."""

import numpy as np
import pytest

from resolvent.precision import FixedPoint, Format, formats, round
from resolvent.precision.philox import philox, random_bits, stream

# Random123's known answers for philox4x32-10: counter, key, output.
KNOWN = [
    ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
BACKENDS = pytest.mark.parametrize("backend", ["numba", "numpy"])


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN)
def test_known_answers(counter, key, wanted):
    assert philox(*counter, *key) == wanted
    assert tuple(int(word[0]) for word in philox(*(np.array([word]) for word in counter), *key)) == wanted


def test_random_bits_are_the_first_64_but_the_last():
    seed, step, index = 0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88
    assert random_bits(index, stream(seed, step)) == 0xD16CFE0994FDCCEB >> 1


def by_definition(x, format, seed, step, index):
    """The lower neighbour, or the upper one if the random bits carry, in Python's integers."""
    numerator, denominator = abs(float(x)).as_integer_ratio()
    e = numerator.bit_length() - denominator.bit_length()
    unit = max(e, format.min_exponent) - format.significand_bits + 1
    bits = 1074 + 52  # enough to make x an integer
    total = (numerator << bits) // denominator
    discarded = unit + bits
    below, lost = divmod(total, 1 << discarded)
    # How many bits of x's own significand are lost: the random bits are aligned with these.
    carrier = np.finfo(x.dtype)
    own = max(e, carrier.minexp) - carrier.nmant
    s = unit - own
    random = random_bits(index, stream(seed, step))
    first = lost >> (own + bits)
    if s > 63:
        first, s = first >> (s - 63), 63
    up = first + (random >> (63 - s)) >= 1 << s
    return np.copysign(float((below + up) * 2.0**unit), x)


@BACKENDS
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["bf16", "fp16", "fp8_e5m2", "fp4_e2m1"])
def test_by_definition(name, dtype, backend):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(300) * 2.0 ** rng.uniform(-40, 2, 300)).astype(dtype)
    x = np.sign(x) * np.exp2(np.floor(np.log2(np.abs(x)))) * (1 + rng.random(300).astype(dtype))
    x = x[np.abs(x) < formats.FORMATS[name].largest].astype(dtype)
    seed, step = 2**63 + 11, 2**35 + 7
    found = round(x, name, "stochastic", seed=seed, step=step, backend=backend)
    wanted = [by_definition(value, formats.FORMATS[name], seed, step, i) for i, value in enumerate(x)]
    np.testing.assert_array_equal(found, np.array(wanted, dtype))


@BACKENDS
@pytest.mark.parametrize(
    ("x", "format", "low", "high"),
    [
        (1.3, "fp4_e2m1", 1.0, 1.5),
        (-2.1, "fp4_e2m1", -3.0, -2.0),
        (0.1, "fp4_e2m1", 0.0, 0.5),
        (1 + 0.3 * 2.0**-7, "bf16", 1.0, 1 + 2.0**-7),
        (3e-8, "fp16", 0.0, 2.0**-24),
        (2.7, FixedPoint(3, 0), 2.0, 3.0),
        (-7.4, FixedPoint(3, 1, overflow="wrap"), -7.5, -7.0),
    ],
    ids=str,
)
def test_mean(x, format, low, high, backend):
    """Within four standard deviations of x, over a million draws where they are cheap."""
    n = 1_000_000 if backend == "numba" else 50_000
    found = round(np.full(n, x), format, "stochastic", seed=7, backend=backend)
    assert set(np.unique(found)) == {low, high}
    p = (x - low) / (high - low)
    assert abs(found.mean() - x) < 4 * (high - low) * np.sqrt(p * (1 - p) / n)
    # Steps give other draws of the same kind, independent of these.
    other = round(np.full(n, x), format, "stochastic", seed=7, step=1, backend=backend)
    both = np.mean((found == high) & (other == high))
    assert abs(both - p * p) < 4 * np.sqrt(p * p * (1 - p * p) / n)


@BACKENDS
def test_numbers_of_the_format_stay(backend):
    for name in ("bf16", "fp16", "fp8_e4m3fn", "fp4_e2m1"):
        x = round(np.random.default_rng(1).standard_normal(5000) * 3, name)
        for step in range(3):
            assert np.array_equal(round(x, name, "stochastic", step=step, backend=backend), x)


@BACKENDS
def test_overflow_is_as_likely_as_it_is_near(backend):
    halfway = 448 + 16.0
    found = round(np.full(40_000, halfway), "fp8_e4m3fn", "stochastic", backend=backend)
    assert abs(np.isnan(found).mean() - 0.5) < 4 * 0.5 / 200
    assert set(found[~np.isnan(found)]) == {448.0}
    assert (round(np.full(1000, halfway), "fp6_e3m2", "stochastic", backend=backend) == 28).all()
    assert np.isnan(round(np.full(1000, 480.0), "fp8_e4m3fn", "stochastic", backend=backend)).all()


@BACKENDS
def test_smaller_than_any_random_bit_is_zero(backend):
    """Below 2**-63 of the smallest number no draw rounds up, and the sign stays."""
    x = np.array([-(2.0**-24) * 2.0**-64, 5e-324, -5e-324])
    found = round(np.tile(x, 1000), "fp16", "stochastic", backend=backend)
    assert (found == 0).all()
    assert np.array_equal(np.signbit(found), np.signbit(np.tile(x, 1000)))
    flushing = Format(4, -6, 7, subnormals=False)
    assert set(round(np.full(1000, 2.0**-6 * 0.9), flushing, "stochastic", backend=backend)) == {0.0, 2.0**-6}


@BACKENDS
def test_position_is_all_that_counts(backend):
    """The same bits however an array is shaped or laid out, and other bits for another seed or step."""
    x = np.random.default_rng(2).standard_normal((70, 300))
    found = round(x, "fp8_e5m2", "stochastic", seed=1, step=2, backend=backend)
    flat = round(x.reshape(-1), "fp8_e5m2", "stochastic", seed=1, step=2, backend=backend)
    assert np.array_equal(found.reshape(-1), flat)
    assert np.array_equal(round(np.asfortranarray(x), "fp8_e5m2", "stochastic", seed=1, step=2, backend=backend), found)
    assert np.array_equal(round(x[:50], "fp8_e5m2", "stochastic", seed=1, step=2, backend=backend), found[:50])
    for seed, step in ((2, 2), (1, 3), (2, 1), (1 + 2**32, 2), (1, 2 + 2**32)):
        other = round(x, "fp8_e5m2", "stochastic", seed=seed, step=step, backend=backend)
        assert 0.1 < np.mean(other != found) < 0.9
    z = round(x + 1j * x, "fp8_e5m2", "stochastic", seed=1, backend=backend)
    parts = round(np.repeat(x, 2, axis=1), "fp8_e5m2", "stochastic", seed=1, backend=backend)
    assert np.array_equal(z.view(float), parts)


@BACKENDS
@pytest.mark.parametrize("mode", ["nearest-even", "stochastic"])
def test_where_an_array_begins_does_not_count(mode, backend):
    """Wherever in a cache line, for arrays long enough for that to be looked at."""
    n = 40_000
    memory = np.random.default_rng(4).standard_normal(n + 20).astype(np.float32)
    for begin in (0, 1, 3, 8, 15):
        x, out = memory[begin : begin + n], np.full(n + 20, np.nan, np.float32)
        for name in ("bf16", "fp16"):
            round(x, name, mode, out=out[begin + 2 : begin + 2 + n], backend=backend)
            wanted = round(x.reshape(200, 200).T.copy().T, name, mode, backend="numpy").reshape(-1)
            assert np.array_equal(out[begin + 2 : begin + 2 + n], wanted)
            assert np.isnan(out[: begin + 2]).all()
            assert np.isnan(out[begin + 2 + n :]).all()


def test_pieces_do_not_count(monkeypatch):
    from resolvent.precision import rounding_numpy

    x = np.random.default_rng(3).standard_normal(3000)
    wanted = round(x, "fp8_e5m2", "stochastic", backend="numba")
    for size in (1, 7, 1000, 4096):
        monkeypatch.setattr(rounding_numpy, "PATTERNS", size)
        assert np.array_equal(round(x, "fp8_e5m2", "stochastic", backend="numpy"), wanted)
        monkeypatch.setattr(rounding_numpy, "SIGNIFICANDS", size)
        bf16 = round(x.astype("f4"), "bf16", backend="numpy")
        assert np.array_equal(bf16, round(x.astype("f4"), "bf16", backend="numba"))
