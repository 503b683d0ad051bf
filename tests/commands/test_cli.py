"""Errors of the user are one line; TensorFlow starts without a word."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.commands.cli import guarded
from ser_kd.commands.main import COMMANDS
from ser_kd.errors import UserError
from ser_kd.inference.predictor import default_model
from ser_kd.quiet import stderr_held

ROOT = Path(__file__).parents[2]


def raising(error: BaseException):
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("no such thing"), 2, "error: no such thing"),
        (UserError("two\n  lines"), 2, "error: two lines"),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/x.npz"),
            2,
            "error: No space left on device (runs/x.npz): free some space, then run the same "
            "command again",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "x"),
            2,
            "error: Permission denied (x)",
        ),
        (
            OSError("777221 requested and 522176 written"),
            2,
            "error: No space left on device: free some space, then run the same command again",
        ),
        (OSError("Can't write\n(failed)"), 2, "error: Can't write (failed)"),
    ],
)
def test_what_a_user_can_mend_is_one_line(capsys, error, status, line):
    assert guarded(raising(error)) == status
    assert capsys.readouterr() == ("", line + "\n")


def test_a_missing_extra_is_one_line(capsys):
    missing = ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow.lite")
    assert guarded(raising(missing)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "tensorflow" in err
    assert "pip install 'ser-kd[train]'" in err
    with pytest.raises(ModuleNotFoundError):  # a bug, not something to install
        guarded(raising(ModuleNotFoundError("No module named 'x'", name="x")))


def test_ctrl_c_says_how_to_go_on(capsys):
    assert guarded(raising(KeyboardInterrupt())) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip().startswith("interrupted; what is finished is kept: run the same command")
    assert len(err.strip().splitlines()) == 1


def test_the_status_of_main_is_passed_on(capsys):
    assert [guarded(lambda status=status: status) for status in (0, 1)] == [0, 1]
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_no_error_of_the_user():
    before = list(sys.meta_path)
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)
    assert sys.meta_path == before


def python(program: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    del environment["TF_CPP_MIN_LOG_LEVEL"]
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, **options
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "nowhere"], "nowhere does not exist"),
        (["train", "tests", "--set", "student.initial_weights=no.keras"], "no.keras"),
        (["train", "tests", "--run-dir", "README.md"], "--run-dir README.md is a file"),
        (["export", "tests"], "tests is no run folder"),
        (["evaluate", "--corpus", "folder"], "corpus 'folder' needs a folder: give --data-dir"),
        (["evaluate", "--corpus", "folder", "--data-dir", "nowhere"], "nowhere does not exist"),
        (["evaluate", "--corpus", "demo", "--against", "no.tflite"], "no.tflite: no such model"),
        (["evaluate"], "which clips? The model lies in no run's folder"),
        (["evaluate", "--corpus", "demo", "--label-map", "happy"], "write label=class"),
        (["evaluate", "--corpus", "demo", "--label-map", "x=GLAD"], "has no class 'GLAD'"),
        (["evaluate", "--corpus", "demo", "--split", "tset"], "unknown split 'tset'"),
        (["data", "folder", "nowhere"], "data folder nowhere does not exist"),
    ],
)
def test_a_wrong_path_is_told_before_anything_large_is_imported(command, message):
    program = [sys.executable, "-X", "importtime", "-m", "ser_kd", *command]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"tensorflow", "keras", "sklearn", "scipy"}


def test_an_empty_folder_and_a_damaged_model_are_told_at_once(tmp_path):
    (tmp_path / "clips").mkdir()
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(default_model().read_bytes()[:-100])
    evaluate = ["evaluate", str(damaged), "--corpus", "demo"]
    for command, words in (
        (["train", str(tmp_path / "clips")], "clips is empty"),
        (evaluate, "damaged.tflite is truncated or damaged"),
    ):
        program = [sys.executable, "-X", "importtime", "-m", "ser_kd", *command]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr.splitlines()[-1]
        assert "| tensorflow" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_stdout_cannot_encode_is_escaped_and_json_stays_json(encoding):
    text = "é 喜 \U0001f600 \udcff"
    program = f"""
import json, sys
from ser_kd.commands.cli import print_any_character
print_any_character()
print(json.dumps({text!r}, ensure_ascii=False))
print({text!r}, file=sys.stderr)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert done.returncode == 0
    assert json.loads(done.stdout.decode(encoding)) == text
    assert done.stderr.decode(encoding).endswith("\\udcff\n")


@pytest.mark.parametrize("command", [["predict"], ["predict", "--json"], ["data", "folder"]])
def test_no_command_ends_at_a_character(tmp_path, command):
    for label, speaker in itertools.product(("喜び 😀", "ö"), "abcd"):
        folder = tmp_path / label / speaker
        folder.mkdir(parents=True)
        soundfile.write(folder / "é.wav", 0.1 * np.sin(np.arange(8_000)), 16_000)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(
        [sys.executable, "-m", "ser_kd", *command, str(tmp_path)],
        env=environment,
        capture_output=True,
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"\\u559c" in done.stdout


def test_a_reader_that_goes_away_is_no_error():
    program = (
        "from ser_kd.commands.cli import guarded; guarded(lambda: [print(i) for i in range(99999)])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""


def test_held_back_words_are_dropped(capfd):
    with stderr_held():
        os.write(2, b"chatter\n")
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def test_held_back_words_are_shown_if_it_fails(capfd):
    with pytest.raises(ZeroDivisionError), stderr_held():
        os.write(2, b"reason\n") // 0
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "reason\nours\n"


def test_tensorflow_starts_without_a_word_and_with_our_own():
    program = """
import os, sys
from ser_kd.commands.cli import guarded
def main():
    print("before", file=sys.stderr)
    import keras, tensorflow
    tensorflow.constant(1) + 1
    print("after", file=sys.stderr)
    os.write(2, b"from C\\n")
    assert tensorflow.__spec__.name == "tensorflow"
    return 3
sys.exit(guarded(main))
"""
    done = python(program)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "before\nafter\nfrom C\n"


def test_a_tensorflow_that_does_not_load_says_why(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'missing libfoo\\n')\nraise ImportError('no foo')\n"
    )
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from ser_kd.commands.cli import guarded
guarded(lambda: __import__("tensorflow"))
"""
    done = python(program)
    assert done.returncode == 1
    assert done.stderr.startswith("missing libfoo\n")
    assert done.stderr.endswith("ImportError: no foo\n")


def test_a_closed_stderr_does_no_harm():
    program = """
import os, sys
os.close(2)
from ser_kd.commands.cli import guarded
from ser_kd.quiet import stderr_held
def main():
    with stderr_held():
        import json
    return 5
sys.exit(guarded(main))
"""
    assert python(program).returncode == 5


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["train.py", "--help"], ["--recipe", "crema_d_cpu", "--set SECTION.KEY=VALUE"]),
        (["-m", "ser_kd", "--help"], [*COMMANDS]),
        (["-m", "ser_kd", "data", "--help"], ["crema_d", "--download"]),
        (["-m", "ser_kd", "teacher", "inspect", "--help"], ["checkpoint"]),
        (["-m", "ser_kd", "predict", "--help"], ["[MODEL] FILE", "--voice"]),
        (["-m", "ser_kd", "listen", "--help"], ["--list-devices"]),
        (["-m", "ser_kd", "evaluate", "--help"], ["--corpus", "--cross"]),
        (["-m", "export", "--help"], ["RUN", "--force"]),
        (["-m", "android_bench", "--help"], ["MODEL", "--host"]),
    ],
)
def test_help_is_there_without_tensorflow(command, words):
    environment = {**os.environ, "COLUMNS": "80"}
    program = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    for word in words:
        assert word in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"tensorflow", "keras", "sklearn", "scipy"}
    if command[-2] in ("ser_kd", "train.py", "predict", "listen", "android_bench"):
        assert "numpy" not in imported


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("ser_kd.commands.main", -signal.SIGINT),  # while modules are imported
        ("ser_kd.commands.predict", 130),
        ("atexit", 0),  # after the last line
    ],
)
def test_ctrl_c_is_quiet_at_any_time(moment, status):
    program = f"""
import atexit, os, signal, sys
def press(*_):
    os.kill(os.getpid(), signal.SIGINT)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {moment!r}:
            press()
if {moment!r} == "atexit":
    atexit.register(press)
sys.meta_path.insert(0, Finder())
sys.argv = ["ser-kd", "predict", "--help"]
from ser_kd.commands.entry import entry
entry()
"""
    done = python(program)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
