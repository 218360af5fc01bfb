"""Arguments of Python functions: whole numbers of any library, and messages in Python's words."""

import inspect

import numpy as np
import pytest
import torch

from robust_tickets.base.arguments import name_arguments, to_int, whole_number
from robust_tickets.base.errors import InputError

WHOLE = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)]
OTHERS = [True, np.True_, torch.tensor(True), 3.0, np.float64(3), "3", None, [3], np.array([3, 4])]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_a_whole_number_of_any_library_is_an_int(value):
    number = to_int(value)
    assert (number, type(number)) == (3, int)
    assert type(whole_number("n", value, least=3, most=3)) is int


@pytest.mark.parametrize("value", OTHERS, ids=repr)
def test_anything_else_is_left_and_refused(value):
    assert to_int(value) is value
    with pytest.raises(InputError, match=r"^n must be a whole number from 0 to 9, got "):
        whole_number("n", value, least=0, most=9)


@pytest.mark.parametrize("value", [-1, 10, np.int64(10)])
def test_the_bounds_are_allowed_themselves_and_nothing_beyond(value):
    assert [whole_number("n", n, least=0, most=9) for n in (0, 9)] == [0, 9]
    with pytest.raises(InputError, match=r"^n must be a whole number from 0 to 9, got "):
        whole_number("n", value, least=0, most=9)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("pass --data.train-images 3", "pass data.train_images 3"),
        ("another folder (--runs, --out)", "another folder (runs, --out)"),
        ("unpack it: tar --dereference", "unpack it: tar --dereference"),
        ("no file /a/--runs/x--runs", "no file /a/--runs/x--runs"),
    ],
)
def test_a_message_names_fields_and_the_function_s_own_arguments(message, words):
    @name_arguments
    def call(*, runs: str = "") -> None:
        raise InputError(message)

    with pytest.raises(InputError) as error:
        call(runs="x")
    assert str(error.value) == words
    assert list(inspect.signature(call).parameters) == ["runs"]


def test_a_result_and_other_errors_pass_unchanged():
    @name_arguments
    def divide(a: int, b: int) -> float:
        return a / b

    assert divide(1, b=2) == 0.5
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)
