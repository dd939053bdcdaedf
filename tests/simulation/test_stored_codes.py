"""Files of codes that are no such thing: refused, never run, never believed."""

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import scipy.sparse

from expander_theory.base.errors import InvalidFile
from expander_theory.simulation._stored_codes import load_codes


class Evil:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


SOUND = {
    "data": np.ones(2),
    "indices": np.array([3, 4]),
    "indptr": np.array([0, 2]),
    "shape": np.array([1, 60]),
    "format": np.array(b"csr"),
}


def test_sound_arrays_are_codes(tmp_path):
    np.savez(tmp_path / "c.npz", **SOUND)
    assert load_codes(tmp_path / "c.npz").toarray().nonzero()[1].tolist() == [3, 4]


@pytest.mark.parametrize("name", SOUND)
def test_objects_are_never_unpickled(tmp_path, name):
    mark = tmp_path / "mark"
    objects = np.empty(SOUND[name].shape or 1, object)
    objects[:] = [Evil(str(mark)) for _ in range(objects.size)]
    np.savez(tmp_path / "c.npz", **{**SOUND, name: objects})
    with pytest.raises(InvalidFile, match=r"holds no matrix of scipy\.sparse"):
        load_codes(tmp_path / "c.npz")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": np.array([1, np.nan])}, "NaN or infinity"),
        ({"data": np.ones(2) * 1j}, "complex128"),
        ({"data": np.zeros(2)}, "no nonzero"),
        ({"indices": np.array([3, 60])}, "holds no matrix of scipy.sparse"),
        ({"indices": np.array([3, -1])}, "holds no matrix of scipy.sparse"),
        ({"indptr": np.array([0, 5])}, "holds no matrix of scipy.sparse"),
        ({"shape": np.array([-1, 60])}, "holds no matrix of scipy.sparse"),
        ({"format": np.array(b"zzz")}, "holds no matrix of scipy.sparse"),
        ({"shape": np.array([60]), "format": np.array(b"csr")}, "holds"),
    ],
)
def test_what_is_no_codes_is_refused(tmp_path, change, says):
    np.savez(tmp_path / "c.npz", **{**SOUND, **change})
    with pytest.raises(InvalidFile, match=says):
        load_codes(tmp_path / "c.npz")


def test_files_of_another_kind_are_refused(tmp_path):
    np.save(tmp_path / "c.npy", np.eye(3))
    with pytest.raises(InvalidFile, match=r"codes are read from \.npz files"):
        load_codes(tmp_path / "c.npy")
    with pytest.raises(InvalidFile, match="no such file"):
        load_codes(tmp_path / "absent.npz")
    for text in (b"", b"hello", b"PK\x03\x04"):
        (tmp_path / "c.npz").write_bytes(text)
        with pytest.raises(InvalidFile, match=r"holds no matrix of scipy\.sparse"):
            load_codes(tmp_path / "c.npz")
    scipy.sparse.save_npz(tmp_path / "c.npz", scipy.sparse.csr_array((0, 60)))
    with pytest.raises(InvalidFile, match="no nonzero"):
        load_codes(tmp_path / "c.npz")


def test_an_array_that_no_memory_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        for name, array in SOUND.items():
            part = io.BytesIO()
            np.save(part, array)
            text = part.getvalue()
            if name == "data":
                header = io.BytesIO()
                fields = {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
                np.lib.format.write_array_header_1_0(header, fields)
                text = header.getvalue()
            archive.writestr(f"{name}.npy", text)
    with pytest.raises(InvalidFile, match=r"holds no matrix of scipy\.sparse"):
        load_codes(tmp_path / "c.npz")


def test_indices_out_of_range_do_not_end_the_process(tmp_path):
    far = np.full(5, 10**6)
    kinds = {
        "bsr": {"data": np.ones((5, 1, 1)), "indices": far, "indptr": np.array([0] * 20 + [5])},
        "coo": {"data": np.ones(5), "row": far, "col": far},
        "csc": {"data": np.ones(5), "indices": far, "indptr": np.array([0] * 60 + [5])},
    }
    for kind, arrays in kinds.items():
        np.savez(tmp_path / f"{kind}.npz", shape=np.array([20, 60]), format=np.array(kind.encode()), **arrays)
    code = (
        "import sys\nfrom expander_theory.base.errors import InvalidFile\n"
        "from expander_theory.simulation._stored_codes import load_codes\n"
        "for path in sys.argv[1:]:\n    try:\n        load_codes(path)\n"
        "    except InvalidFile:\n        print('refused', flush=True)\n"
    )
    words = [sys.executable, "-c", code, *(str(tmp_path / f"{kind}.npz") for kind in kinds)]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "refused\n" * 3), ended.stderr
