"""Wrong calls in Python: an InputError names the argument or field, and nothing is written."""

import pytest
from own_case import RECIPE, build_net, labelled_images, own_images
from torch import nn

import robust_tickets
from robust_tickets.attacks import FGSM, ThreatModel
from robust_tickets.base.errors import InputError
from robust_tickets.tickets.ticket import Ticket


def other_net() -> nn.Module:
    return nn.Sequential(*build_net(), nn.Linear(3, 3))


for attribute in ("__name__", "__qualname__", "__module__"):
    setattr(other_net, attribute, getattr(build_net, attribute))


def test_another_network_or_other_images_in_the_same_run_are_refused(images, tmp_path):
    short = {"runs": tmp_path, "name": "mine"} | {
        "compare": {"arms": ["dense"]},
        "train": {"epochs": 1},
    }
    run = robust_tickets.compare(build_net, images, RECIPE, **short)
    assert run.name.startswith("mine-")
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"}
    for net, data, word in ((other_net, images, "net"), (build_net, own_images(1), "images")):
        with pytest.raises(InputError, match=f"other {word} .*another folder"):
            robust_tickets.compare(net, data, RECIPE, **short)
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.name != ".lock"} == before


def test_a_ticket_of_another_network_is_refused(images, ticket):
    with pytest.raises(InputError, match=r"6\.weight"):
        robust_tickets.train(other_net, images, ticket, RECIPE)


# arguments of each of the three functions; then the words of the message
FIELDS = {
    "unknown concern": ({"serach": {"lr": 1}}, "'serach'; did you mean 'search'"),
    "no table": ({"search": 3}, "search; got 3"),
    "no table for the network": ({"model": "resnet20"}, "model; got 'resnet20'"),
    "value": ({"search": {"lr": -1}}, "search.lr; above 0; -1"),
    "recipe": ({"recipe": "dmeo"}, "'dmeo'; did you mean 'demo'"),
    "device": ({"device": "nonsense"}, "'nonsense'"),
    "argument before the release": ({"quiet": True}, "quiet; show_progress(False)"),
    "name of a network": ({"net": "resnet20"}, "net is a str; model={'name': 'resnet20'}"),
    "no network": ({"net": lambda: None}, "NoneType; nn.Module"),
    "no images": ({"data": 3}, "data; got a int"),
    "batch": ({"search": {"batch": 49}, "train": {"batch": 49}}, ".batch 49; 48 training images"),
    "type of the recipe": ({"recipe": 3}, "recipe is a int; TOML"),
    "type of the device": ({"device": 3}, "device is a int; 'cuda:0'"),
    "path of the images": ({"data": {"name": "folder"}}, "pass data.root PATH"),
    "settings of a study": ({"study": {"ratio": [0.5]}}, "study.ratio; the study ratio; leave it out"),
}


@pytest.mark.parametrize("function", ["find_ticket", "train", "compare"])
@pytest.mark.parametrize(("fields", "words"), FIELDS.values(), ids=FIELDS)
def test_a_wrong_field_is_named(function, fields, words, images, tmp_path):
    arguments = {"net": build_net, "data": images, "recipe": RECIPE, **fields}
    arguments |= {"runs": tmp_path} if function == "compare" else {}
    with pytest.raises(InputError) as error:
        getattr(robust_tickets, function)(**arguments)
    assert all(word in str(error.value) for word in words.split("; ")), error.value
    assert "--" not in str(error.value), "flags are the command line's"
    assert not list(tmp_path.iterdir())


IMAGES = own_images()
CALLS = {
    "a function": (lambda: robust_tickets.evaluate(build_net, IMAGES), "net is a function; nn.Module"),
    "other classes": (
        lambda: robust_tickets.evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), IMAGES, RECIPE),
        "(2, 4); (2, 3)",
    ),
    "other images": (lambda: robust_tickets.evaluate(nn.Linear(5, 3), IMAGES, RECIPE), "fails on images"),
    "attack": (lambda: robust_tickets.evaluate(build_net(), IMAGES, attacks=["fgms"]), "'fgms'; 'fgsm'"),
    "limit": (lambda: robust_tickets.evaluate(build_net(), IMAGES, limit=31), "31; 30"),
    **{
        f"limit {limit!r}": (
            lambda limit=limit: robust_tickets.evaluate(build_net(), IMAGES, limit=limit),
            f"limit must be a whole number from 0; got {limit!r}",
        )
        for limit in (-1, "5", None, 2.5, True)
    },
    **{
        f"attacks {attacks!r}": (
            lambda attacks=attacks: robust_tickets.evaluate(build_net(), IMAGES, attacks=attacks),
            f"attacks must be names; 'quick'; got {attacks!r}",
        )
        for attacks in (3, None, [], [FGSM(ThreatModel("Linf", 0.1))], FGSM(ThreatModel("Linf", 0.1)))
    },
    "seed": (lambda: robust_tickets.train(build_net, IMAGES, seed=-1), "seed; 0; -1"),
    "seed of a comparison": (lambda: robust_tickets.compare(build_net, IMAGES, seed=3), "seed; seeds=[3]"),
    "seeds": (lambda: robust_tickets.compare(build_net, IMAGES, seeds=0), "seeds; 1; 0"),
    "a seed twice": (lambda: robust_tickets.compare(build_net, IMAGES, seeds=[3, 3]), "seeds; [3, 3]"),
    "no seeds": (lambda: robust_tickets.compare(build_net, IMAGES, seeds=[]), "seeds; one or more; []"),
    "seeds as text": (lambda: robust_tickets.compare(build_net, IMAGES, seeds="12"), "seeds; got '1'"),
    "jobs": (lambda: robust_tickets.compare(build_net, IMAGES, jobs=1.5), "jobs; from 1 to 1024; 1.5"),
    "runs": (lambda: robust_tickets.compare(build_net, IMAGES, runs=3), "runs; a path; 3"),
    "study": (lambda: robust_tickets.study(["lr"], build_net, IMAGES), "study \"['lr']\"; known: basis"),
    "settings of another study": (
        lambda: robust_tickets.study("lr", build_net, IMAGES, study={"ratio": [0.5]}),
        "study.ratio; does nothing in lr",
    ),
    "no pair": (
        lambda: robust_tickets.images(*labelled_images(6, 0), val_images=1),
        "train=(images, labels)",
    ),
    "val_images": (
        lambda: robust_tickets.images(labelled_images(6, 0), labelled_images(6, 1), val_images="1"),
        "val_images; a whole number; '1'",
    ),
    "path of a ticket": (lambda: Ticket.load(3), "path must be a path; 3"),
    "progress": (lambda: robust_tickets.show_progress("no"), "True or False; 'no'"),
    "seeds of a module": (
        lambda: robust_tickets.compare(build_net(), IMAGES, RECIPE, seeds=2),
        "2 seeds; function; glorot-normal",
    ),
    "file of a ticket": (
        lambda: robust_tickets.train(build_net, IMAGES, "ticket.safetensors", RECIPE),
        "ticket is a str; Ticket.load(path)",
    ),
}


@pytest.mark.parametrize(("call", "words"), CALLS.values(), ids=CALLS)
def test_a_wrong_argument_is_named(call, words):
    with pytest.raises(InputError) as error:
        call()
    assert all(word in str(error.value) for word in words.split("; ")), error.value
