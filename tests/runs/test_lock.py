"""Two processes on one run folder: the second one says who holds it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from ser_kd.errors import UserError
from ser_kd.runs.lock import HOLDER, LOCK, only_writer

HOLD = """
import sys, time
from pathlib import Path
from ser_kd.runs.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder ``run``."""
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield folder, process
        process.kill()


def test_the_second_is_told_who_holds_the_folder_and_since_when(other):
    folder, process = other
    since = json.loads((folder / HOLDER).read_text())["since"]
    with (
        pytest.raises(UserError, match=f"process {process.pid} on .*, since {since}"),
        only_writer(folder),
    ):
        pytest.fail("both write")
    assert json.loads((folder / HOLDER).read_text())["process"] == process.pid


def test_a_killed_process_holds_nobody_up(other):
    folder, process = other
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (folder / HOLDER).exists()
    with only_writer(folder):
        assert json.loads((folder / HOLDER).read_text())["process"] == os.getpid()
    assert not (folder / HOLDER).exists()


def test_one_after_the_other_and_nothing_is_left_of_what_wrote_nothing(tmp_path):
    folder = tmp_path / "run"
    for _ in range(2):
        with only_writer(folder):
            assert (folder / LOCK).exists()
        assert not folder.exists()
    with only_writer(folder):
        (folder / "eval.json").write_text("{}")
    with pytest.raises(FileNotFoundError), only_writer(folder):
        (folder / "missing").read_text()
    with only_writer(folder):  # given back after an error, too
        assert (folder / "eval.json").exists()
