"""Eps is recorded as written, and refused outside of (0, 100]."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.eps import Eps

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=60)


@pytest.mark.parametrize("text", ["8/255", "0.5", "0.031", "16/510", "1", "3.5", "1e-3", "8 / 255"])
def test_the_text_is_unchanged(text):
    assert Eps(text).text == text
    assert str(Eps(text)) == text


def test_sizes_written_in_another_way_are_unequal():
    assert Eps("8/255") != Eps("16/510")
    assert Eps("8/255").value == Eps("16/510").value == Eps("8 / 255").value


@SETTINGS
@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_fraction_is_exact_or_out_of_range(numerator, denominator):
    text = f"{numerator}/{denominator}"
    if numerator <= 100 * denominator:
        assert Eps(text).value == float(Fraction(numerator, denominator))
    else:
        with pytest.raises(InputError, match="out of range"):
            Eps(text)


@SETTINGS
@given(st.floats(min_value=0, max_value=1, exclude_min=True))
def test_a_decimal_number_is_exact(size):
    assert Eps(str(size)).value == size


@pytest.mark.parametrize("text", ["0", "0/255", "0.0", "-8/255", "-0.1", "100.001", "25501/255", "1e9"])
def test_a_size_out_of_range_is_refused(text):
    with pytest.raises(InputError) as caught:
        Eps(text)
    assert text in str(caught.value)
    assert "0 < eps <= 1" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", " ", "eight", "8/", "/255", "1/0", "8/255/2", "nan", "inf", "-inf", "0x1"]
)
def test_a_text_that_is_no_number_is_refused_with_an_example(text):
    with pytest.raises(InputError) as caught:
        Eps(text)
    assert repr(text) in str(caught.value)
    assert "8/255" in str(caught.value)


def test_a_size_that_rounds_to_zero_is_refused():
    with pytest.raises(InputError):
        Eps("1e-400")
