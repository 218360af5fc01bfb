"""Tickets of another depth: every tensor is a copy, and counts are those of the copied blocks."""

import itertools
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from training_case import same_state

from robust_tickets.base.errors import InputError
from robust_tickets.cli.main import main
from robust_tickets.models.registry import ModelSpec, build
from robust_tickets.models.weights import copy_state
from robust_tickets.pruning.mask import Mask
from robust_tickets.tickets.elastic import change_depth, copied_blocks, map_blocks
from robust_tickets.tickets.inspection import describe_ticket
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.tickets.transforms import shuffle_copies

ORDERS = ("append", "interpolate")
PAIRS = [("resnet14", "resnet44"), ("vgg13", "vgg19"), ("wrn16-1", "wrn40-1"), ("resnet20", "resnet32")]


def ticket_of(name, **fields):
    """A ticket with random weights, BatchNorms and statistics; its layers have different densities."""
    side = 32 if name.startswith("vgg") else 8
    spec = ModelSpec(name, 0.125, (3, side, side), 5, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), **fields)
    net, generator = build(spec, seed=0), torch.Generator().manual_seed(1)
    init = {
        tensor: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 3
        for tensor, value in copy_state(net).items()
    }
    mask = {}
    for number, (weight, entries) in enumerate(Mask.full(net).items(), 1):
        mask[weight] = torch.rand(entries.shape, generator=generator) < 1 / (1 + number % 4)
    return Ticket(spec, init, Mask(mask), {}, "images", 0, passes=7, flops=9)


def same(one, other):
    return one.mask == other.mask and same_state(one.init, other.init)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_tensor_is_the_copy_of_one_and_counts_add_up(source, target, order):
    ticket = ticket_of(source)
    deep = change_depth(ticket, target, order)
    block_map = map_blocks(ticket.model, deep.model, order)
    assert list(deep.init) == list(build(deep.model, seed=0).state_dict())
    for name, value in deep.init.items():
        assert torch.equal(value, ticket.init[block_map.source_of(name)]), name
        assert value.data_ptr() != ticket.init[block_map.source_of(name)].data_ptr()
    for name, entries in deep.mask.items():
        assert torch.equal(entries, ticket.mask[block_map.source_of(name)]), name
    copies = Counter(block_map.source_of(name) for name in deep.mask)
    assert set(copies) == set(ticket.mask)
    assert deep.mask.count == sum(n * int(ticket.mask[name].sum()) for name, n in copies.items())
    deep.load_into(build(deep.model, seed=3))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_both_orders_have_the_same_copies(source, target):
    ticket = ticket_of(source)
    maps = [map_blocks(ticket.model, replace(ticket.model, name=target), order) for order in ORDERS]
    stages = zip(*(block_map.numbers for block_map in maps), strict=True)
    assert all(Counter(one) == Counter(other) for one, other in stages)
    one, other = (change_depth(ticket, target, order).mask.count for order in ORDERS)
    assert one == other


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_squeezing_gives_back_what_was_stretched(source, target, order):
    ticket = ticket_of(source)
    assert same(change_depth(change_depth(ticket, target, order), source, order), ticket)


def test_shuffled_copies_keep_their_counts_and_leave_all_else():
    deep = change_depth(ticket_of("resnet14"), "resnet20")
    shuffled = shuffle_copies(deep, nn.Identity(), seed=5)
    assert same_state(shuffled.init, deep.init)
    # each stage has a first block and another one, which is there twice: layerN.2 is its copy
    copies = {name for name in deep.mask if re.match(r"layer\d\.2\.", name)}
    assert len(copies) == 6
    for name, entries in deep.mask.items():
        assert entries.sum() == shuffled.mask[name].sum()
        assert torch.equal(entries, shuffled.mask[name]) == (name not in copies or bool(entries.all())), name
    assert shuffle_copies(deep, nn.Identity(), seed=5).mask == shuffled.mask
    assert shuffle_copies(deep, nn.Identity(), seed=6).mask != shuffled.mask


def test_a_ticket_without_copies_has_none_to_shuffle():
    for ticket in (ticket_of("resnet20"), change_depth(ticket_of("resnet20"), "resnet14")):
        with pytest.raises(InputError, match="has no copied blocks: stretch it first"):
            shuffle_copies(ticket, nn.Identity(), seed=0)


def test_the_same_depth_is_the_same_ticket():
    ticket = ticket_of("resnet14")
    assert change_depth(ticket, "resnet14").hash == ticket.hash


def test_blocks_are_copied_as_the_paper_has_it():
    """More of them fewer times, and the earlier ones where they do not divide (section 3)."""
    assert copied_blocks(2, 4, "append") == [0, 1, 0, 1]
    assert copied_blocks(2, 4, "interpolate") == [0, 0, 1, 1]
    assert copied_blocks(4, 6, "append") == [0, 1, 2, 3, 0, 1]
    assert copied_blocks(4, 6, "interpolate") == [0, 0, 1, 1, 2, 3]
    assert copied_blocks(8, 4, "append") == [0, 1, 2, 3]
    assert copied_blocks(8, 4, "interpolate") == [0, 2, 4, 6]
    for source, target, order in itertools.product(range(1, 9), range(1, 25), ORDERS):
        copies = Counter(copied_blocks(source, target, order))
        if target >= source:
            assert [copies[i] for i in range(source)] == sorted(copies.values(), reverse=True)
            assert max(copies.values()) - min(copies.values()) <= 1
        else:
            assert set(copies.values()) == {1}
        assert sum(copies.values()) == target


def test_the_record_of_the_map_is_in_the_file(tmp_path):
    ticket = ticket_of("resnet14")
    deep = change_depth(ticket, "resnet32", "interpolate")
    deep.save(tmp_path / "deep.safetensors")
    loaded = Ticket.load(tmp_path / "deep.safetensors")
    assert (loaded.hash, loaded.copies) == (deep.hash, deep.copies)
    [record] = loaded.copies
    assert (record["source"], record["network"], record["order"]) == (ticket.hash, "resnet14", "interpolate")
    assert record["blocks"] == [[0, 1, 1, 1, 1]] * 3
    assert (deep.passes, deep.flops) == (7, 9)
    assert "copies" not in ticket._meta()
    words = f"from ticket {ticket.hash} of resnet14, interpolate: blocks 0 1 1 1 1 | 0 1 1 1 1 | 0 1 1 1 1"
    assert words in describe_ticket(loaded)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("resnet20", "vgg16", "vgg16 is of another family than resnet20"),
        ("vgg16", "resnet20", "resnet20 is of another family than vgg16"),
        ("resnet20", "resnet18", "resnet18 is of another family than resnet20"),
        ("vgg16", "vgg16-fc", "hidden.0.weight of vgg16-fc (64, 64) would stay unwritten, as vgg16 has no"),
        ("wrn10-1", "wrn10-2", "block3.layer.0.conv1.weight of wrn10-2 (16, 8, 3, 3) would stay unwritten"),
        ("vgg11", "vgg16", "stage 1 of vgg11 has no block but its first, which cannot be copied, and vgg16"),
        ("resnet20", "resnet21", "unknown network 'resnet21'"),
        ("lenet-300-100", "resnet20", "the blocks of LeNet300 are not known"),
    ],
)
def test_networks_that_differ_in_more_than_depth_are_refused(source, target, message):
    with pytest.raises(InputError, match=re.escape(message)):
        change_depth(ticket_of(source), target)


def test_a_user_s_own_network_has_one_depth():
    ticket = ticket_of("resnet14")
    own = replace(ticket, model=replace(ticket.model, name="my_nets:deep"))
    with pytest.raises(InputError, match="the blocks of my_nets:deep are not known"):
        change_depth(own, "resnet20")


def test_the_commands_write_a_ticket_and_say_what_they_copied(tmp_path, capsys):
    file = tmp_path / "t.safetensors"
    ticket = ticket_of("resnet14")
    ticket.save(file)
    main(["ticket", "stretch", str(file), "--to", "resnet20"])
    *stages, densities, path = capsys.readouterr().out.splitlines()
    assert stages == [f"stage {n}: blocks 0 1 1" for n in (1, 2, 3)]
    assert densities.startswith(f"resnet14 keeps {ticket.mask.count:,} of {ticket.mask.size:,} weights (")
    assert path == str(tmp_path / "t-resnet20.safetensors")
    back = tmp_path / "back.safetensors"
    main(["ticket", "squeeze", path, "--to", "resnet14", "--out", str(back)])
    assert same(Ticket.load(back), ticket)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("squeeze {file} --to resnet20", "resnet20 is deeper than resnet14: use `ticket stretch`"),
        ("stretch {file} --to resnet14", "the ticket is of resnet14 already: choose another depth by --to"),
        ("stretch {file} --to conv-2", "conv-2 is of another family than resnet14"),
        ("stretch {file} --to resnet20 --out {file}", "is the file that is read, and would be lost"),
        ("stretch {file}", "ticket stretch needs --to (the network: of the same family"),
        (
            "stretch --to resnet20",
            "ticket stretch needs TICKET (a ticket.safetensors, or its address): robust-tickets",
        ),
        ("stretch", "needs TICKET (a ticket.safetensors, or its address) and --to (the network"),
    ],
)
def test_a_wrong_depth_writes_nothing(words, message, tmp_path, capsys):
    file = tmp_path / "t.safetensors"
    ticket_of("resnet14").save(file)
    with pytest.raises(SystemExit):
        main(["ticket", *words.format(file=file).split()])
    assert message in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == [file]
