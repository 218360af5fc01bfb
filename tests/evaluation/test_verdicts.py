"""The file of verdicts: it comes back as it was written, and a damaged one is refused."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from robust_tickets.base.errors import InputError
from robust_tickets.evaluation.verdict_matrix import BROKEN, ROBUST, UNKNOWN, VerdictMatrix

IDS, LABELS = torch.tensor([4, 2**40, 0, 17]), torch.tensor([1, 0, 2, 1])
ABOUT = {"eps": "8/255", "n": 4, "source": "", "channels_last": False}


def filled(file) -> VerdictMatrix:
    verdicts = VerdictMatrix(IDS, LABELS, file, ABOUT)
    clean = verdicts.column("clean")
    clean.verdicts[:] = torch.tensor([ROBUST, ROBUST, BROKEN, ROBUST])
    clean.seconds, clean.forwards = 0.5, 4
    both = verdicts.column("autoattack", "settings='ä' in=(one, line)", ["apgd-ce", "square"])
    both.verdicts[:] = torch.tensor([ROBUST, BROKEN, BROKEN, UNKNOWN])
    both.broken_by[1] = 1
    both.seconds, both.forwards, both.backwards, both.outside = 1.25, 2**40, 99, 3
    return verdicts


@pytest.fixture
def file(tmp_path):
    filled(tmp_path / "v.npz").save()
    return tmp_path / "v.npz"


def read(file) -> VerdictMatrix:
    return VerdictMatrix(IDS, LABELS, file, ABOUT)


def test_a_saved_matrix_comes_back(file):
    before, after = filled(None), read(file)
    assert list(after.columns) == ["clean", "autoattack"]
    for name, column in after.columns.items():
        same = before.columns[name]
        for field in ("attack", "settings", "members", "seconds", "forwards", "backwards", "outside"):
            assert getattr(column, field) == getattr(same, field), field
        assert torch.equal(column.verdicts, same.verdicts)
        assert torch.equal(column.broken_by, same.broken_by)
        assert column.verdicts.dtype == column.broken_by.dtype == torch.int8
    row = after.columns["autoattack"].row()
    assert row.broken_by == {"apgd-ce": 0, "square": 1}
    assert row.robust.tolist() == [True, False, False, False]


def test_the_file_is_as_documented(file):
    with np.load(file, allow_pickle=False) as arrays:
        whole = dict(arrays)
    assert whole["ids"].tolist() == IDS.tolist()
    assert whole["labels"].tolist() == LABELS.tolist()
    assert whole["attacks"].tolist() == ["clean", "autoattack"]
    assert whole["verdicts"].tolist() == [[1, 1], [1, 0], [0, 0], [1, -1]]
    assert whole["broken_by"].tolist() == [[-1, -1], [-1, 1], [-1, -1], [-1, -1]]
    columns = ["settings", "members", "seconds", "outside"]
    columns += ["forwards", "backwards", "source_forwards", "source_backwards"]
    assert whole.keys() == {"ids", "labels", "attacks", "verdicts", "broken_by", "about", *columns}
    assert all(whole[name].shape == (2,) for name in columns)


def refused(file) -> None:
    with pytest.raises(InputError) as raised:
        read(file)
    message = str(raised.value)
    assert message.startswith(f"cannot read {file} (")
    assert message.endswith("): remove it and evaluate again")


def test_a_file_that_is_cut_short_or_no_npz_is_refused(file):
    content, array = file.read_bytes(), io.BytesIO()
    np.save(array, np.arange(4))
    lengths = [0, 1, 4, 22, *range(30, len(content) - 1, 97), len(content) - 1]
    others = [bytes(range(256)) * 4, b"PK\x03\x04" + b"\x11" * 200, array.getvalue()]
    for damaged in (*(content[:length] for length in lengths), *others):
        file.write_bytes(damaged)
        refused(file)


def test_a_file_with_other_bytes_is_refused_or_read_as_it_was(file):
    content = file.read_bytes()
    for place in range(0, len(content), 11):
        for mask in (0xFF, 0x01):
            file.write_bytes(content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :])
            try:
                columns = read(file).columns.values()
            except InputError as error:
                assert str(error).startswith(f"cannot read {file} (")  # noqa: PT017 (either is allowed)
            else:  # a byte that nobody reads: a time, an attribute
                assert [c.verdicts.tolist() for c in columns] == [[1, 1, 0, 1], [1, 0, 0, -1]]


CHANGES = {
    "no verdicts": lambda w: w.pop("verdicts"),
    "about that is no json": lambda w: w.update(about=np.array("{")),
    "fewer samples": lambda w: w.update(verdicts=w["verdicts"][:-1]),
    "fewer attacks": lambda w: w.update(verdicts=w["verdicts"][:, :1]),
    "a flat matrix": lambda w: w.update(verdicts=w["verdicts"].ravel()),
    "another type": lambda w: w.update(verdicts=w["verdicts"].astype(np.int64)),
    "by of fewer samples": lambda w: w.update(broken_by=w["broken_by"][:-1]),
    "another number": lambda w: w["verdicts"].__setitem__((0, 0), 7),
    "one name for two": lambda w: w.update(attacks=np.array("clean")),
    "fewer settings": lambda w: w.update(settings=w["settings"][:1]),
    "members that are no list": lambda w: w.update(members=np.array(["3", "3"])),
    "seconds that are words": lambda w: w.update(seconds=np.array(["a", "b"])),
    "passes without end": lambda w: w.update(forwards=np.array([np.inf, 1])),
    "no ids": lambda w: w.update(ids=np.zeros(0, np.int64)),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_matrix_of_another_form_is_refused(case, file):
    with np.load(file, allow_pickle=False) as arrays:
        whole = dict(arrays)
    CHANGES[case](whole)
    np.savez_compressed(file, **whole)
    refused(file)


def test_pickled_code_is_never_run(file, tmp_path):
    witness = tmp_path / "witness"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(witness),)

    with np.load(file, allow_pickle=False) as arrays:
        whole = dict(arrays)
    whole["seconds"] = np.array([Evil(), Evil()], dtype=object)
    np.savez(file, **whole)
    refused(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("about.npy", pickle.dumps(Evil()))
    refused(file)
    file.write_bytes(pickle.dumps(Evil()))
    refused(file)
    assert not witness.exists()
