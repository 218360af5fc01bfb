"""What a person gets wrong in Python, answered by name."""

import pytest
from own_case import RECIPE, build_net, made
from torch import nn

import robust_tickets
from robust_tickets.base.errors import InputError


def other_net() -> nn.Module:
    return nn.Sequential(*build_net(), nn.Linear(3, 3))


other_net.__name__, other_net.__qualname__, other_net.__module__ = (
    "build_net",
    "build_net",
    build_net.__module__,
)


def test_another_net_or_other_images_in_the_same_run_are_refused(run, images):
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"}
    for net, data, what in ((other_net, images, "net"), (build_net, made(1), "images")):
        with pytest.raises(InputError, match=f"began with other {what} .*another folder"):
            robust_tickets.compare(net, data, RECIPE, runs=run.parent, quiet=True)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"} == before


def test_a_module_has_one_init_so_several_seeds_are_refused(images, tmp_path):
    with pytest.raises(InputError, match=r"2 seeds need as many inits.*function.*glorot-normal"):
        robust_tickets.compare(build_net(), images, RECIPE, seeds=2, runs=tmp_path)
    assert not list(tmp_path.iterdir())


WRONG = {
    "unknown concern": ({"serach": {"lr": 1}}, "'serach'; did you mean 'search'"),
    "unknown field": ({"search": {"lrr": 1}}, "'search.lrr'; did you mean 'lr'"),
    "no table": ({"search": 3}, "search must be a table of fields, got 3"),
    "no table of the net's": ({"model": "resnet20"}, "model must be a table of fields, got 'resnet20'"),
    "no value": ({"search": {"lr": -1}}, "search.lr must be above 0, got -1"),
    "another type": ({"search": {"epochs": 1.5}}, "search.epochs must be a whole number, got 1.5"),
    "wide": ({"model": {"width": 2}}, "model.width does nothing; leave it out"),
    "recipe unknown": ({"recipe": "dmeo"}, "unknown recipe 'dmeo'; did you mean 'demo'"),
    "device": ({"device": "nonsense"}, "device 'nonsense'"),
    "seed": ({"seed": -1}, "seed must be a whole number of at least 0; -1"),
    "net's name": ({"net": "resnet20"}, "net is a str; function; model={'name': 'resnet20'}"),
    "no net": ({"net": lambda: None}, "own:net returned a NoneType, expected an nn.Module"),
    "no images": ({"data": 3}, "or a table of fields, got a int"),
    "images' field": ({"data": {"val": 3}}, "unknown field 'data.val'; val_images"),
    "batch": ({"search": {"batch": 49}, "train": {"batch": 49}}, "batch of 49; 48 training images"),
}


@pytest.mark.parametrize("verb", ["find_ticket", "train", "compare"])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_fields_are_answered_by_name(verb, case, images, tmp_path):
    fields, expected = WRONG[case]
    given = {"net": build_net, "data": images, "recipe": RECIPE, "quiet": True, **fields}
    given |= {"runs": tmp_path} if verb == "compare" else {}
    with pytest.raises(InputError) as raised:
        getattr(robust_tickets, verb)(**given)
    for words in expected.split("; "):
        assert words in str(raised.value)
    assert not list(tmp_path.iterdir())


WRONG_JUDGED = {
    "a function": (lambda: robust_tickets.evaluate(build_net, made()), "net is a function; nn.Module itself"),
    "other classes": (
        lambda: robust_tickets.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), made(), RECIPE),
        "gives (2, 4); (2, 3)",
    ),
    "other images": (lambda: robust_tickets.evaluate(nn.Linear(5, 3), made(), RECIPE), "fails on images"),
    "attack": (lambda: robust_tickets.evaluate(build_net(), made(), attacks=["fgms"]), "'fgms'; 'fgsm'"),
    "limit": (lambda: robust_tickets.evaluate(build_net(), made(), limit=31), "31; 30; fewer"),
    "limit below nought": (lambda: robust_tickets.evaluate(build_net(), made(), limit=-1), "limit; 0; -1"),
    "seeds": (
        lambda: robust_tickets.compare(build_net, made(), seeds=0),
        "seeds must be a whole number of at least 1, got 0",
    ),
    "ticket's name": (
        lambda: robust_tickets.train(build_net, made(), "ticket.safetensors", RECIPE),
        "ticket is a str; Ticket.load(path)",
    ),
}


@pytest.mark.parametrize("case", WRONG_JUDGED)
def test_wrong_arguments_are_answered(case):
    call, expected = WRONG_JUDGED[case]
    with pytest.raises(InputError) as raised:
        call()
    for words in expected.split("; "):
        assert words in str(raised.value)


def test_another_net_s_ticket_is_refused(images, ticket):
    with pytest.raises(InputError, match=r"ticket does not fit the net: it has nothing for 6\.weight"):
        robust_tickets.train(other_net, images, ticket, RECIPE, quiet=True)
