"""The four working precisions: what they are, and which one a system is solved in."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resolvent.precision import precision_facts, supported_dtypes, working_dtype

NAMES = ("float32", "float64", "complex64", "complex128")
TAKEN = (
    "float16", "float32", "float64", "complex64", "complex128",
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip


def test_there_are_four():
    assert [dtype.name for dtype in supported_dtypes] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_facts_by_their_definitions(name):
    facts = precision_facts(name)
    real = np.empty(0, name).real.dtype.type
    u = real(facts.unit_roundoff)
    assert facts.name == name
    # Half the distance from one to the next number: adding it is lost in a tie to even, adding more is not.
    assert real(1) + u == real(1)
    assert real(1) + u * real(1.5) > real(1)
    largest = np.finfo(real).max
    assert np.frexp(largest)[1] - 1 == facts.largest_exponent
    smallest = np.finfo(real).smallest_normal
    assert float(smallest) == 2.0**facts.smallest_exponent
    # Four factors of a comfortable size, two of them from a squared norm, stay finite, with room for a long sum.
    assert 3 * facts.comfortable_exponent + 20 <= facts.largest_exponent
    assert facts.comfortable_exponent > 2 * -np.log2(facts.unit_roundoff) / 2


def test_complex_facts_are_those_of_their_parts():
    for real, complex_ in (("float32", "complex64"), ("float64", "complex128")):
        one, other = precision_facts(real), precision_facts(complex_)
        assert one.unit_roundoff == other.unit_roundoff
        assert one.largest_exponent == other.largest_exponent
        assert one.smallest_exponent == other.smallest_exponent


def test_facts_accept_every_spelling_and_are_frozen():
    facts = precision_facts(np.float64)
    assert facts == precision_facts("float64") == precision_facts(np.dtype("d")) == precision_facts(float)
    with pytest.raises(AttributeError):
        facts.unit_roundoff = 0.0


@pytest.mark.parametrize("one", TAKEN)
@pytest.mark.parametrize("other", TAKEN)
def test_the_working_precision_holds_both(one, other):
    found = working_dtype(one, other)
    assert found in supported_dtypes
    assert found == working_dtype(other, one)
    kinds = [np.dtype(one), np.dtype(other)]
    assert (found.kind == "c") == any(kind.kind == "c" for kind in kinds)
    wide = any(kind.kind in "biu" or kind.name in ("float64", "complex128") for kind in kinds)
    names = ("complex64", "complex128") if found.kind == "c" else ("float32", "float64")
    assert found.name == names[wide]


@given(st.lists(st.sampled_from(TAKEN), min_size=1, max_size=4))
def test_order_and_repetition_do_not_matter(names):
    found = working_dtype(*names)
    assert found == working_dtype(*sorted(names))
    assert found == working_dtype(*names, *names)
    assert found == working_dtype(found, *names)


def test_byte_order_is_the_machines():
    for name in (">f8", "<f8", ">c16", ">i4"):
        assert working_dtype(name).isnative


@pytest.mark.parametrize("bad", ["object", "S3", "U3", "datetime64[s]", "timedelta64[s]", "V8"])
@pytest.mark.parametrize("good", ["float64", None])
def test_other_kinds_are_refused_by_name(bad, good):
    for kinds in itertools.permutations([bad] if good is None else [bad, good]):
        with pytest.raises(TypeError, match=r"is not a working precision; wanted float32"):
            working_dtype(*kinds)


@pytest.mark.parametrize("wide", [np.longdouble, np.clongdouble])
def test_extended_precision_is_refused_where_it_is_wider(wide):
    if np.dtype(wide).itemsize in (8, 16) and np.finfo(wide).eps == np.finfo(float).eps:
        pytest.skip("long double is double here")
    with pytest.raises(TypeError, match="working precision"):
        working_dtype(wide)
