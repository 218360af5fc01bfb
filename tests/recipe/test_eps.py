"""Eps is recorded as written, and refused outside of (0, 100]."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_tickets.base.errors import InputError
from robust_tickets.recipe.eps import Eps

SETTINGS = settings(deadline=None, derandomize=True, database=None, max_examples=60)


@pytest.mark.parametrize("text", ["8/255", "0.031", "16/510", "1", "1e-3", "8 / 255"])
def test_the_text_is_unchanged(text):
    assert Eps(text).text == str(Eps(text)) == text


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


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (("0", "0/255", "-8/255", "-0.1", "100.001", "25501/255", "1e9"), "0 < eps <= 1"),
        (("", " ", "eight", "8/", "/255", "1/0", "8/255/2", "nan", "inf", "-inf", "0x1"), "8/255"),
        (("1e-400",), ""),  # it rounds to zero
    ],
)
def test_what_is_no_size_or_out_of_range_is_refused_with_an_example(texts, words):
    for text in texts:
        with pytest.raises(InputError) as caught:
            Eps(text)
        assert text in str(caught.value)
        assert words in str(caught.value)
