"""Small files that unpack to far more than they should: each is refused without allocating the memory."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

UNPACKED = 448 << 20  # bytes; above the limit of the process that reads
ZEROS = bytes(1 << 20)
CODE = """
import json, sys
from pathlib import Path
from reading import KINDS, limit_memory
from robust_tickets.base.errors import InputError
limit_memory(384 << 20)
messages = {}
for name, kind in json.loads(sys.argv[1]).items():
    try:
        KINDS[kind].read(Path(name))
    except InputError as error:
        messages[name] = str(error)
print(json.dumps(messages))
"""


def long_header(file: Path, kind: bytes) -> None:
    """A tar whose first header announces a name of UNPACKED bytes, and has it."""
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, UNPACKED
    with gzip.open(file, "wb", compresslevel=1) as archive:
        archive.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(UNPACKED >> 20):
            archive.write(ZEROS)


def empty_pictures(file: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (5000, 5000)).save(picture, "PNG")
    with tarfile.open(file, "w:gz") as archive:
        for number in range(8):
            member = tarfile.TarInfo(f"{'ab'[number % 2]}/{number}.png")
            member.size = len(picture.getvalue())
            archive.addfile(member, io.BytesIO(picture.getvalue()))


def large_array(file: Path) -> None:
    """Verdicts with a large array beside them."""
    header = io.BytesIO()
    entry = {"descr": "|i1", "fortran_order": False, "shape": (UNPACKED,)}
    np.lib.format.write_array_header_1_0(header, entry)
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("more.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(UNPACKED >> 20):
            member.write(ZEROS)


def compressed_weights(file: Path) -> None:
    """Weights that torch.save wrote, compressed once more."""
    plain = io.BytesIO()
    torch.save({"w": torch.zeros(1 << 24)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in source.infolist():
            archive.writestr(member.filename, source.read(member))


def test_a_small_file_allocates_little_memory(tmp_path: Path) -> None:
    long_header(tmp_path / "gnu.tar.gz", tarfile.GNUTYPE_LONGNAME)
    long_header(tmp_path / "pax.tar.gz", tarfile.XHDTYPE)
    empty_pictures(tmp_path / "pictures.tar.gz")
    large_array(tmp_path / "verdicts.npz")
    compressed_weights(tmp_path / "weights.pt")
    reasons = {
        "gnu.tar.gz": "header",
        "pax.tar.gz": "header",
        "pictures.tar.gz": "decoded",
        "verdicts.npz": "array of more than",
        "weights.pt": "compressed",
    }
    kinds = {str(tmp_path / name): name.split(".")[1].replace("npz", "verdicts") for name in reasons}
    kinds[str(tmp_path / "weights.pt")] = "weights"
    assert all(Path(name).stat().st_size < 10 << 20 for name in kinds)
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, json.dumps(kinds)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    messages = json.loads(process.stdout)
    for name, reason in reasons.items():
        assert reason in messages[str(tmp_path / name)]
        assert name in messages[str(tmp_path / name)]
