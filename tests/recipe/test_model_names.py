"""Names of networks that are meant for a function of the user's own."""

import pytest

from robust_tickets.base.errors import InputError
from robust_tickets.recipe import recipe as recipes


@pytest.mark.parametrize(
    "name", ["my_nets.py", "nets/my_nets.py", "my_nets.build", r"nets\my_nets", "my_nets:", ":build"]
)
def test_a_name_without_a_function_is_said_with_what_to_write(name):
    with pytest.raises(
        InputError, match=r"names no function: write module:function, as .* or my_nets\.py:small"
    ):
        recipes.from_table({"model": {"name": name}})


@pytest.mark.parametrize("name", ["my_nets", "resnet-18"])
def test_other_names_are_compared_with_the_networks(name):
    with pytest.raises(InputError, match=r"unknown value for model\.name.*module:function"):
        recipes.from_table({"model": {"name": name}})


@pytest.mark.parametrize("name", ["wrn16-4", "resnet20", "my_nets:build", "a.b:c.d"])
def test_good_names_pass(name):
    assert recipes.from_table({"model": {"name": name}}).model.name == name
