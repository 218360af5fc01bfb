"""The curriculum: the method first, PGD from a step on, at the cost of either."""

import copy
from dataclasses import replace

import pytest
import torch
from method_case import SmallNet, batch_of, method_of, wrapped
from training_case import same_state, train

from robust_tickets.models.fold import fold
from robust_tickets.recipe.methods import METHODS
from robust_tickets.training.methods.base import Networks, Step
from robust_tickets.training.methods.pgd import PGDSettings
from robust_tickets.training.wrappers.awp import AWPSettings
from robust_tickets.training.wrappers.curriculum import Curriculum, CurriculumSettings


@pytest.mark.parametrize(
    ("share", "count", "switch"), [(0.85, 40, 34), (0.07, 100, 7), (0.5, 3, 2), (0.001, 40, 1)]
)
@pytest.mark.parametrize(("steps", "size"), [(2, 1.0), (5, 0.4), (10, 0.25)])
def test_the_images_are_those_of_the_method_and_then_those_of_pgd(share, count, switch, steps, size):
    method = wrapped("nfgsm", curriculum=CurriculumSettings(share, steps))
    net = SmallNet()
    nets = Networks(net, fold(net))
    pgd = method_of("pgd", steps=steps, rel_step=size, random_start=True)
    for number, other in ((switch - 1, method_of("nfgsm")), (switch, pgd), (count - 1, pgd)):
        batch = replace(batch_of(), step=Step(number, count, classes=5))
        assert torch.equal(method.perturb(nets, batch), other.perturb(nets, batch))
        assert method.passes(3, batch.step) == other.passes(3, batch.step)


def test_the_size_of_a_step_may_be_given():
    method = wrapped("fgsm", curriculum=CurriculumSettings(0.5, 4, rel_step=0.3))
    net, batch = SmallNet(), replace(batch_of(), step=Step(39, 40, classes=5))
    pgd = method_of("pgd", steps=4, rel_step=0.3)
    assert torch.equal(*(one.perturb(Networks(net, fold(net)), batch) for one in (method, pgd)))


def test_around_the_pgd_that_it_ends_with_it_changes_no_bit(conv_net, tiny_data, config):
    pgd = PGDSettings(steps=2, rel_step=1.0)
    settings = replace(config.settings, pgd=pgd)
    trained = []
    for curriculum in (CurriculumSettings(), CurriculumSettings(0.5, steps=2)):
        own = replace(config, settings=replace(settings, curriculum=curriculum), steps=4)
        trained.append(train(copy.deepcopy(conv_net), None, tiny_data, own))
    (plain, account), (result, ledger) = trained
    assert same_state(plain.last, result.last)
    assert plain.history == result.history
    assert ledger.passes == account.passes


def test_a_training_is_charged_each_steps_own_passes(conv_net, tiny_data, config):
    settings = replace(config.settings, method="fgsm", curriculum=CurriculumSettings(0.7, steps=3))
    _, ledger = train(conv_net, None, tiny_data, replace(config, settings=settings, steps=4))
    units = [2 * k + 3 for k in (1, 1, 1, 3)]
    assert sum(ledger.passes[phase].cost for phase in ("attack", "update")) == 32 * sum(units)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "free"])
def test_monitors_see_the_method_and_plans_the_attack(name):
    method = wrapped(name, curriculum=CurriculumSettings(0.5))
    assert method.single_step is method_of(name).single_step
    assert method.attacks
    assert method.norms == method_of(name).norms


def test_after_the_switch_nothing_is_asked_of_the_method():
    method = wrapped("pgi", curriculum=CurriculumSettings(0.5, steps=2))
    net, batch = SmallNet(), replace(batch_of(), step=Step(20, 40, classes=5))
    nets = Networks(net, fold(net))
    images = method.perturb(nets, batch)
    method.loss(nets, batch, images).backward()
    method.after_backward(nets, batch)
    assert method.images_of_update(images) is images


def test_weights_are_perturbed_around_both_parts():
    method = wrapped("fgsm", awp=AWPSettings(0.01), curriculum=CurriculumSettings(0.5))
    assert isinstance(method.inner, Curriculum)
    assert [method.passes(1, Step(number, 40, 5)).whole.cost for number in (0, 39)] == [8, 16]
