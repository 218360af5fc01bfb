"""Small files that unpack to gigabytes: each is refused in words, and no gigabyte is allocated."""

import gzip
import io
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

SIZE = 3 << 29  # 1.5 GiB of zeros
MEGABYTE = bytes(1 << 20)


def long_header(file, kind):
    """A tar whose first header claims a name of gigabytes, and has it."""
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, SIZE
    with gzip.open(file, "wb", compresslevel=1) as archive:
        archive.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(SIZE >> 20):
            archive.write(MEGABYTE)


def empty_pictures(file):
    picture = io.BytesIO()
    Image.new("RGB", (9000, 9000)).save(picture, "PNG")
    with tarfile.open(file, "w:gz") as archive:
        for number in range(8):
            member = tarfile.TarInfo(f"{'ab'[number % 2]}/{number}.png")
            member.size = len(picture.getvalue())
            archive.addfile(member, io.BytesIO(picture.getvalue()))


def large_array(file):
    """Verdicts with an array beside them that nobody asked for."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|i1", "fortran_order": False, "shape": (SIZE,)})
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("more.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(SIZE >> 20):
            member.write(MEGABYTE)


def squeezed_weights(file):
    """Weights that torch.save wrote, packed once more."""
    plain = io.BytesIO()
    torch.save({"w": torch.zeros(1 << 24)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in source.infolist():
            archive.writestr(member.filename, source.read(member))


FOLDER = "data.load(Data('folder', root=file, val_images=2))"
BOMBS = {
    "gnu.tar.gz": (lambda file: long_header(file, tarfile.GNUTYPE_LONGNAME), FOLDER, "a header of"),
    "pax.tar.gz": (lambda file: long_header(file, tarfile.XHDTYPE), FOLDER, "a header of"),
    "pictures.tar.gz": (empty_pictures, FOLDER, "GiB decoded, more than 200 times"),
    "verdicts.npz": (large_array, "Verdicts(torch.arange(9), torch.arange(9), file)", "more than 128 MiB"),
    "weights.pt": (squeezed_weights, "published(file, None, None)", "is compressed"),
}

CODE = """
import resource, sys, torch
from pathlib import Path
from robust_tickets import data
from robust_tickets.errors import InputError
from robust_tickets.evaluation import Verdicts
from robust_tickets.settings import Data
from robust_tickets.training import published
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
file = Path(sys.argv[1])
try:
    {read}
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_allocates_no_gigabyte(name, tmp_path):
    make, read, said = BOMBS[name]
    file = tmp_path / name
    make(file)
    assert file.stat().st_size < 10 << 20
    code = CODE.replace("{read}", read)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert str(file) in done.stdout
