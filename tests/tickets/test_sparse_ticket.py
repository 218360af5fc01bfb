"""A ticket file of mask bits and kept weights: it trains to the same bits, and is no source of controls."""

from dataclasses import replace

import pytest
import torch
from training_case import same_state

import robust_tickets
from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import TRANSFORMS
from robust_tickets.tickets.verification import ticket_net, verify


@pytest.fixture(scope="module")
def tiny(tiny_recipe):
    return replace(tiny_recipe, search=replace(tiny_recipe.search, rounds=1, ratio=0.8))


@pytest.fixture(scope="module")
def ticket(tiny):
    return robust_tickets.find_ticket(recipe=tiny)


@pytest.fixture
def sparse(ticket, tmp_path, capsys):
    """The ticket, written by the command and read again."""
    file = tmp_path / "ticket.safetensors"
    ticket.save(file)
    main(["ticket", "export", str(file), "--sparse"])
    sizes, path = capsys.readouterr().out.splitlines()
    small = tmp_path / "ticket-sparse.safetensors"
    assert path == str(small)
    assert sizes == f"{small.stat().st_size:,} bytes, the ticket has {file.stat().st_size:,}"
    # four fifths of the weights are left out
    saved = file.stat().st_size - small.stat().st_size
    assert saved > 0.95 * 0.8 * 4 * ticket.mask.size - 1000  # the header grows
    return Ticket.load(small)


def test_it_has_the_mask_and_the_kept_weights(ticket, sparse):
    assert sparse.mask == ticket.mask
    for name, value in ticket.init.items():
        kept = ticket.mask.get(name, torch.ones_like(value, dtype=torch.bool))
        assert torch.equal(sparse.init[name][kept], value[kept])
        assert not sparse.init[name][~kept].any()
    assert (sparse.lacks_pruned, ticket.lacks_pruned) == (True, False)


@pytest.mark.filterwarnings("ignore:.*the net collapsed")
def test_it_trains_to_the_same_bits(ticket, sparse, tiny):
    trained = [robust_tickets.train(recipe=tiny, ticket=each) for each in (ticket, sparse)]
    assert same_state(*(each.last for each in trained))


def test_it_is_verified(sparse):
    *_, line = verify(sparse)
    assert line == "starts from the init of seed 0, bit for bit, without its pruned weights"


def test_controls_that_need_pruned_weights_are_refused(ticket, sparse):
    other = ticket_net(ticket)
    for name in ("shuffle-layer", "shuffle-net"):
        with pytest.raises(InputError, match=r"the ticket has no pruned weights.*: use the ticket that was"):
            TRANSFORMS[name](sparse, other, 1)
    for name in ("reinit", "random"):
        ours, whole = (TRANSFORMS[name](each, other, 1) for each in (sparse, ticket))
        assert same_state(ours.init, whole.init)
        assert ours.mask == whole.mask
