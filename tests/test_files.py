"""Files that are whole or absent."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from ser_kd import files


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_at_the_end_and_whole(tmp_path):
    path = tmp_path / "new" / "model.keras"
    with files.atomic(path) as partial:
        assert (partial.parent, partial.suffix) == (path.parent, path.suffix)
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == ["model.keras"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_after_an_error_all_is_as_before(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def write() -> None:
        with files.atomic(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("777221 requested and 522176 written"),  # NumPy
        OSError("Unable to flush file (errno = 28, error message = 'No space left on device')"),
    ],
)
def test_a_full_disk_is_told_with_the_file(tmp_path, error):
    path = tmp_path / "model.keras"
    with pytest.raises(OSError, match="No space left") as raised, files.atomic(path):
        raise error
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert names(tmp_path) == []


def test_after_a_kill_the_file_is_as_before(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")
    program = (
        "import os, pathlib, signal, sys\n"
        "from ser_kd import files\n"
        "with files.atomic(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run([sys.executable, "-c", program, str(path)], env=environment)
    assert result.returncode == -signal.SIGKILL
    assert path.read_text() == "before"


def test_json_and_arrays_come_back(tmp_path):
    value = {"ä": [1, 2.5, None, True], "b": {"c": "d"}}
    files.write_json(tmp_path / "value.json", value)
    assert files.read_json(tmp_path / "value.json") == value
    assert "ä" in (tmp_path / "value.json").read_text(encoding="utf-8")
    logits = np.arange(6, dtype=np.float32).reshape(2, 3)
    files.write_npz(tmp_path / "arrays.npz", logits=logits, ids=np.array(["a", "b"]))
    with np.load(tmp_path / "arrays.npz") as stored:
        np.testing.assert_array_equal(stored["logits"], logits)
        assert stored["ids"].tolist() == ["a", "b"]
    assert names(tmp_path) == ["arrays.npz", "value.json"]
