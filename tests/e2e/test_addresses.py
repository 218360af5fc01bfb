"""Commands on addresses do what they do on the files there; results go where the user is."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from file_server import file_server

import robust_tickets
from robust_tickets.tickets.ticket import Ticket
from robust_tickets.training.checkpoint import Checkpoint


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with file_server() as server:
        yield server


@pytest.fixture
def address(server):
    """Serves a file; gives its address with its checksum."""

    def serve(file, name):
        content = file.read_bytes()
        return f"{server.serve(f'/{name}', content)}#sha256={hashlib.sha256(content).hexdigest()}"

    return serve


def test_python_loads_what_is_at_an_address(files, address, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ticket = robust_tickets.Ticket.load(address(files.ticket, "ticket.safetensors"))
    assert ticket.hash == Ticket.load(files.ticket).hash
    loaded = robust_tickets.Checkpoint.load(address(files.checkpoint, "last.safetensors"))
    expected = Checkpoint.load(files.checkpoint).state
    assert loaded.state.keys() == expected.keys()
    assert all(loaded.state[name].equal(expected[name]) for name in expected)


def test_a_ticket_at_an_address_is_shown_trained_and_exported(call, files, address, capsys):
    url = address(files.ticket, "ticket.safetensors")
    assert call(f"ticket diff {url} {files.ticket}") == (0, "")
    assert call(f"train --recipe {files.tiny} --ticket {url} --checkpoint-minutes 0")[0] == 0
    (arm,) = Path("runs").glob("tiny-*/seed-0/ticket-*")
    assert arm.name == f"ticket-{Ticket.load(files.ticket).hash[:8]}"
    assert call(f"ticket export {url} --sparse") == (0, "")
    assert call(f"ticket card {url}") == (0, "")
    here = {path.name for path in Path().iterdir() if path.is_file()}
    assert here == {"own_nets.py", "ticket-sparse.safetensors", "ticket-card.md"}


def test_a_checkpoint_at_an_address_is_evaluated_as_the_file_is(call, files, address):
    words = "--attacks fgsm --limit 20 --sanity off --runs"
    assert call(f"evaluate {address(files.checkpoint, 'last.safetensors')} {words} there")[0] == 0
    assert call(f"evaluate {files.checkpoint} {words} here")[0] == 0
    there, here = (pd.read_csv(next(Path(name).rglob("robustness.csv"))) for name in ("there", "here"))
    assert set(there.checkpoint) == {"last"}
    names = ["checkpoint", "seconds"]
    pd.testing.assert_frame_equal(there.drop(columns=names), here.drop(columns=names))


def test_a_checkpoint_at_an_address_is_exported_to_the_current_folder(call, files, address):
    url = address(files.checkpoint, "last.safetensors")
    assert call(f"export {url} --format safetensors") == (0, "")
    assert Path("last-weights.safetensors").is_file()


@pytest.mark.parametrize(
    "words",
    ["ticket show {url}", "evaluate {url}", "export {url}", "train --recipe {recipe} --ticket {url}"],
)
def test_a_wrong_checksum_is_one_message_of_any_command(call, files, server, words):
    url = server.serve("/ticket.safetensors", files.ticket.read_bytes()) + f"#sha256={'0' * 64}"
    status, err = call(words.format(url=url, recipe=files.tiny))
    assert status == 2
    assert re.fullmatch(r"robust-tickets: \S+ has the checksum \w{64}, not 0{64} .*\n", err)


def answer_json(value):
    def answer(request):
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        content = json.dumps(value).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def test_hf_addresses_are_read_by_the_hubs_own_library(files, server, tmp_path):
    """Against a server that answers as the Hub does; in a new process, as the library wants it at import."""
    content = files.ticket.read_bytes()
    repository = {"id": "me/repo", "sha": "a" * 40, "siblings": [], "private": False, "tags": []}
    repository |= {"gated": False, "disabled": False, "downloads": 0, "likes": 0}
    entry = [{"type": "file", "path": "ticket.safetensors", "size": len(content), "oid": "b" * 40}]
    api = "/api/models/me/repo"
    for path in (api, f"{api}/revision/main"):
        server.serve(path, answer_json(repository))
    for path in (f"{api}/tree/main", f"{api}/paths-info/main"):
        server.serve(path, answer_json(entry))
    server.serve("/me/repo/resolve/main/ticket.safetensors", content)
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    address = f"hf://me/repo/ticket.safetensors#sha256={hashlib.sha256(content).hexdigest()}"
    done = subprocess.run(
        [sys.executable, "-m", "robust_tickets", "ticket", "show", address],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "HF_HUB_DISABLE_TELEMETRY": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert Ticket.load(files.ticket).hash in done.stdout
