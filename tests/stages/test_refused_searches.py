"""Searches that find no ticket of a network are refused before anything is written."""

import pytest

from robust_tickets.cli.main import main
from robust_tickets.tickets.ticket import Ticket

NETS = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(64, 64)
        self.two = nn.Linear(64, 64)
        self.two.weight = self.one.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.two(self.one(x.flatten(1)).relu()).relu())

def tied():
    return Tied()
"""
RECURSIVE = "--model.name mlp-3 --search.pruning-method recursive --search.recursive.insert"


@pytest.mark.parametrize("command", ["search", "compare --compare.arms dense ticket"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (f"{RECURSIVE} zero-block --search.recursive.networks mlp-2", "zero-block has no place in MLP"),
        (f"{RECURSIVE} identity-linear --search.recursive.networks mlp-4", "grow into a deeper network"),
        ("--model.name mlp-3 --search.basis dct", "leaves each layer of this network as it is"),
        (
            "--model.name tied_nets:tied --search.basis dct --search.basis-axes all",
            "is shared by one and two",
        ),
        ("--model.name tied_nets:tied --search.basis svd", "is shared by one and two"),
    ],
)
def test_nothing_is_written(command, flags, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "tied_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = f"{command} --recipe demo --search.rounds 1 {flags} --runs runs"
    with pytest.raises(SystemExit):
        main(words.split())
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


def test_a_finished_search_whose_ticket_is_another_one_s_is_not_done(tmp_path, capsys):
    words = ["search", "--recipe", "demo", "--search.epochs", "1", "--runs", str(tmp_path / "runs")]
    main(words)
    main(words)
    (file,) = (tmp_path / "runs").glob("*/seed-0/search/ticket.safetensors")
    Ticket.load(file).save(tmp_path / "kept.safetensors")
    other = [*words, "--seed", "1"]
    main(other)
    (second,) = (tmp_path / "runs").glob("*/seed-1/search/ticket.safetensors")
    file.write_bytes(second.read_bytes())
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(words)
    error = " ".join(capsys.readouterr().err.split())
    assert "is that of another search" in error
    file.write_bytes((tmp_path / "kept.safetensors").read_bytes())
    main(words)
