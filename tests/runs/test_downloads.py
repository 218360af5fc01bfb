"""What an address gives is the file at it, bit for bit, or one message and nothing on the disk."""

import hashlib
import pickle
import sys
import threading

import pytest
import torch
from file_server import file_server
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from safetensors.torch import save

from robust_tickets.base.addresses import Address
from robust_tickets.base.errors import InputError
from robust_tickets.data import cache
from robust_tickets.runs import downloads
from robust_tickets.runs.downloads import cached_files, local_file, result_folder

CONTENT = save({"weight": torch.arange(1000.0)})
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = "0" * 64


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "robust-tickets" / "downloads"


@pytest.fixture
def server():
    with file_server() as server:
        yield server


def kept(folder):
    """All files in the cache, stopped downloads too."""
    return [path for path in folder.rglob("*") if path.is_file()]


def broken_off(length):
    """Answers with half of the file, announced as long as `length`; None: without a length."""

    def answer(request):
        request.send_response(200)
        if length is not None:
            request.send_header("Content-Length", str(length))
        request.end_headers()
        request.wfile.write(CONTENT[: len(CONTENT) // 2])
        request.close_connection = True

    return answer


def redirect(target):
    def answer(request):
        request.send_response(302)
        request.send_header("Location", target)
        request.end_headers()

    return answer


def test_the_bits_are_those_at_the_address_with_and_without_a_checksum(server, capsys):
    url = server.serve("/some/last.safetensors", CONTENT)
    for address in (url, f"{url}#sha256={SHA256}", f"{url}#sha256={SHA256.upper()}", f"{url}?download=true"):
        file = local_file("path", address)
        assert file.read_bytes() == CONTENT
        assert file.name == "last.safetensors"  # results are named by it
    assert f"{url}#sha256={SHA256}" in capsys.readouterr().err


def test_a_wrong_checksum_is_refused_with_both_and_nothing_is_kept(server, cache_folder):
    url = server.serve("/ticket.safetensors", CONTENT)
    with pytest.raises(InputError, match=rf"has the checksum {SHA256}, not {OTHER}"):
        local_file("path", f"{url}#sha256={OTHER}")
    assert not kept(cache_folder)


@pytest.mark.parametrize("length", [len(CONTENT), None])
@pytest.mark.parametrize("checksum", ["", f"#sha256={SHA256}"])
def test_a_download_that_breaks_off_is_refused_and_nothing_is_kept(server, cache_folder, length, checksum):
    url = server.serve("/ticket.safetensors", broken_off(length))
    with pytest.raises(InputError, match=r"cannot download|no whole safetensors file|has the checksum"):
        local_file("path", url + checksum)
    assert not kept(cache_folder)


def test_a_server_that_hangs_is_left(server, cache_folder, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    end = threading.Event()
    url = server.serve("/ticket.safetensors", lambda request: end.wait(60) and None)
    try:
        with pytest.raises(InputError, match=r"does not answer for 0\.2 seconds"):
            local_file("path", url)
    finally:
        end.set()
    assert not kept(cache_folder)


@pytest.mark.parametrize("length", [len(CONTENT), None])
def test_too_large_a_file_is_refused_also_where_its_length_is_not_said(
    server, cache_folder, length, monkeypatch
):
    monkeypatch.setattr(downloads, "LARGEST", 1000)
    url = server.serve("/ticket.safetensors", broken_off(length))
    with pytest.raises(InputError, match=r"larger than 1,000 bytes"):
        local_file("path", url)
    assert not kept(cache_folder)


@pytest.mark.parametrize(
    "content", [b"", b"<html>log in first</html>", pickle.dumps({"a": 1}), CONTENT[:-1], CONTENT[:4]]
)
def test_only_whole_safetensors_files_are_kept(server, cache_folder, content):
    url = server.serve("/weights.pt", content)
    with pytest.raises(InputError, match="no whole safetensors file"):
        local_file("path", url)
    assert not kept(cache_folder)


@pytest.mark.parametrize(("status", "words"), [(404, "there is no file at"), (403, "403"), (500, "500")])
def test_what_the_server_says_is_passed_on(server, status, words):
    url = server.serve("/ticket.safetensors", lambda request: request.send_error(status))
    with pytest.raises(InputError, match=words):
        local_file("path", url)


def test_with_a_checksum_a_file_is_downloaded_once_and_then_read_without_a_network():
    with file_server() as server:
        url = server.serve("/ticket.safetensors", CONTENT)
        local_file("path", url)  # without one: its later use with one needs no second download
        local_file("path", url)
        assert len(server.requests) == 2
    assert local_file("path", f"{url}#sha256={SHA256}").read_bytes() == CONTENT
    with pytest.raises(InputError, match="cannot download"):
        local_file("path", url)


def test_without_a_checksum_what_is_there_now_is_read(server):
    url = server.serve("/ticket.safetensors", CONTENT)
    local_file("path", url)
    later = save({"weight": torch.zeros(3)})
    server.serve("/ticket.safetensors", later)
    assert local_file("path", url).read_bytes() == later
    assert local_file("path", f"{url}#sha256={SHA256}").read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_downloaded_again(server):
    url = server.serve("/ticket.safetensors", CONTENT)
    address = f"{url}#sha256={SHA256}"
    local_file("path", address).write_bytes(CONTENT[:-1] + b"x")
    assert local_file("path", address).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_the_cache_is_cleared(server, cache_folder):
    local_file("path", server.serve("/ticket.safetensors", CONTENT))
    (cache_folder / "stopped.part").touch()
    assert len(cached_files()) == 2
    assert cache.clear().startswith("removed 2 files")
    assert not list(cache_folder.iterdir())


def test_results_on_a_downloaded_file_go_to_the_current_folder(server, tmp_path):
    file = local_file("path", server.serve("/ticket.safetensors", CONTENT))
    assert result_folder(file).resolve() == result_folder(file).cwd()
    assert result_folder(tmp_path / "ticket.safetensors") == tmp_path


def test_no_connection_without_encryption_is_trusted_without_a_checksum(server):
    elsewhere = "http://192.0.2.1/ticket.safetensors"  # an address for documentation
    with pytest.raises(InputError, match=r"192.0.2.1.* without encryption.*#sha256=HEX"):
        Address.parse(elsewhere)
    url = server.serve("/ticket.safetensors", redirect(elsewhere))
    with pytest.raises(InputError, match=r"192.0.2.1.* without encryption"):
        local_file("path", url)
    assert Address.parse(f"{elsewhere}#sha256={OTHER}").sha256 == OTHER


def test_a_redirect_is_followed(server):
    moved = server.serve("/moved.safetensors", CONTENT)
    url = server.serve("/ticket.safetensors", redirect(moved))
    assert local_file("path", url).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://host/a.safetensors", "with https:// or hf://"),
        ("file:///etc/passwd", "give a path"),
        ("https://host", "names no file"),
        ("hf:///a", "names no file"),
        ("hf://me/a.safetensors", "names no file of a repository: write hf://USER/REPO"),
        ("hf://datasets/me/repo", "names no file of a repository"),
        ("https://host:port/a", "is no address"),
        ("https://me:secret@host/a", r"^an address must not have a user or password"),
        ("https://host/a#sha256=12", "64 hex digits"),
        ("https://host/a#main", "64 hex digits"),
        (f"https://host/a#md5={OTHER}", "64 hex digits"),
    ],
)
def test_addresses_that_cannot_be_right_are_refused(address, words):
    with pytest.raises(InputError, match=words):
        local_file("path", address)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/last.safetensors?a=b", "last.safetensors"),
        ("https://host/a/..%2F..%2Fx.safetensors", "x.safetensors"),
        ("https://host/%2e%2e", "file.safetensors"),
        ("hf://me/repo@main/d%C3%A9but net", "d_but_net.safetensors"),
        (f"https://host/{'x' * 300}", f"{'x' * 80}.safetensors"),
    ],
)
def test_a_downloaded_file_has_a_plain_name(url, name):
    assert Address(url).name == name


def test_a_path_stays_a_path_and_an_address_must_be_a_text(tmp_path):
    assert local_file("path", str(tmp_path)) == local_file("path", tmp_path) == tmp_path
    with pytest.raises(InputError, match=r"path .* lacks a slash after its colon: write https://"):
        local_file("path", type(tmp_path)("https://host/a.safetensors"))


@pytest.mark.parametrize(
    ("url", "package"), [("https://host/a", "aiohttp"), ("hf://me/a/b", "huggingface_hub")]
)
def test_without_the_packages_of_the_extra_a_line_says_what_to_install(url, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, "hf", raising=False)
    with pytest.raises(InputError, match=r"pip install 'robust-tickets\[remote\]'"):
        local_file("path", url)


class Hub(MemoryFileSystem):
    """A file system in memory for hf://."""

    protocol = "hf"
    store = {}  # noqa: RUF012 (as fsspec has it)
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("hf://").strip("/")


def test_hf_addresses_are_read_by_the_file_system_of_that_name(monkeypatch):
    monkeypatch.setitem(_registry, "hf", Hub)
    Hub().pipe_file("hf://me/repo@v1/last.safetensors", CONTENT)
    file = local_file("path", f"hf://me/repo@v1/last.safetensors#sha256={SHA256}")
    assert (file.name, file.read_bytes()) == ("last.safetensors", CONTENT)
    with pytest.raises(InputError, match=r"no file at hf://me/repo/best.*hf auth login"):
        local_file("path", "hf://me/repo/best.safetensors")
