"""android_bench against a scripted device, through the real adb client."""

import contextlib
import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from adbd import Adbd, Phone, make_binary, tiny_model

from ser_kd.android_bench.adb import find_adb, hash_file
from ser_kd.android_bench.errors import BenchError
from ser_kd.commands.bench import main

ROOT = Path(__file__).parents[2]
FIXED = Phone(tool={"mode": "fixed"})
V1 = ("sendrecv_v2",)  # no shell_v2: Android 6 and older


@pytest.fixture(scope="module")
def adb():
    """The real client, with a server of its own that sees no other device and is ended."""
    try:
        program = str(find_adb())
    except BenchError as error:
        pytest.skip(str(error))
    with (
        pytest.MonkeyPatch.context() as patch,
        socket.socket() as free,
        contextlib.ExitStack() as stack,
    ):
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        home = Path(stack.enter_context(_short_folder()))
        settings = {
            "ANDROID_ADB_SERVER_PORT": str(port),
            "HOME": str(home),
            "ANDROID_SDK_HOME": str(home),
            "ADB_MDNS": "0",
            "ADB_MDNS_AUTO_CONNECT": "0",
            "ADB_LIBUSB": "0",
            "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",  # no search for emulators
            "ADB": program,
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        for name in ("ANDROID_SERIAL", "ANDROID_ADB_SERVER_ADDRESS", "ADB_SERVER_SOCKET"):
            patch.delenv(name, raising=False)
        command = [program, "-P", str(port), "server", "nodaemon"]
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() or True)
            yield lambda *arguments: subprocess.run(
                [program, *arguments], capture_output=True, text=True, timeout=60, check=True
            )
        finally:
            server.kill()
            server.wait()


@contextlib.contextmanager
def _short_folder():
    # adb keeps sockets below HOME, whose paths must be short.
    folder = Path(os.path.realpath("/tmp"), f"adb-{os.getpid()}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def _runs(pid):
    try:
        os.kill(pid, 0)
        # What was killed stays as a zombie until its parent asks for it.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture
def plug(adb, tmp_path):
    """Plugs scripted devices in; they are gone after the test."""
    with contextlib.ExitStack() as stack:

        def plug_in(phone=FIXED):
            number = len(list(tmp_path.glob("device*")))
            device = stack.enter_context(Adbd(phone, tmp_path / f"device{number}"))
            stack.callback(adb, "disconnect", device.serial)
            if phone.silent:  # the client would wait ten seconds, the server lists it at once
                program = os.environ["ADB"]
                client = subprocess.Popen(
                    [program, "connect", device.serial], stdout=subprocess.DEVNULL
                )
                stack.callback(lambda: (client.kill(), client.wait()))
                _wait_for(lambda: f"{device.serial}\toffline" in adb("devices").stdout)
            else:
                adb("connect", device.serial)
            return device

        yield plug_in


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "cheap.tflite").write_bytes(tiny_model(16))
    (folder / "dear.tflite").write_bytes(tiny_model(1024))
    return [folder / "cheap.tflite", folder / "dear.tflite"]


@pytest.fixture
def bench(tmp_path, models, capsys):
    """Runs the command on the cheap model; gives (exit status, stdout, stderr)."""
    binary = make_binary(tmp_path / "benchmark_model")

    def run(*arguments, files=None, binary=binary):
        tool = [] if "--apk" in arguments or binary is None else ["--binary", binary]
        standard = ["--out", tmp_path / "out", "--cooldown", 0, "--reconnect", 0]
        before = arguments[: arguments.index("--")] if "--" in arguments else arguments
        extra = arguments[len(before) :]
        repetitions = [] if "--repetitions" in before else ["--repetitions", 1]
        everything = [*(files or models[:1]), *tool, *standard, *repetitions, *before, *extra]
        status = main([str(item) for item in everything])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out, said.err

    return run


def results(tmp_path, name="bench_fakepixel"):
    return json.loads((tmp_path / "out" / f"{name}.json").read_text())


def states(tmp_path):
    return [record["state"] for record in results(tmp_path)["results"]]


def test_the_pushed_bytes_are_what_is_timed(plug, bench, models, tmp_path):
    device = plug(Phone())
    status, out, err = bench(
        *("--repetitions", 2, "--compare", "--runs", 20, "--", "--warmup_min_secs=0.1"),
        files=models,
    )
    assert (status, err) == (0, "")
    content = results(tmp_path)
    assert content["device"]["model"] == "FakePixel"
    assert content["device"]["kind"] == "phone"
    assert content["settings"]["tool_abi"] == "x86_64"
    assert content["settings"]["adb"]
    assert len(content["results"]) == 4
    medians = {"cheap.tflite": [], "dear.tflite": []}
    for record in content["results"]:
        assert record["state"] == "ok"
        assert record["timings"]["count"] == 20
        assert record["memory"] == {"init_mb": 1.5, "overall_mb": 3.25}
        assert record["coverage"] == "partially"
        assert record["temperature_before"] == {
            "battery_celsius": 31.2,
            "throttling": 0,
            "cpu_celsius": 41.5,
            "skin_celsius": 33.5,
        }
        assert record["temperature_after"] == record["temperature_before"]
        medians[record["model"]].append(record["timings"]["median_ms"])
        log = (tmp_path / "out" / record["log"]).read_text()
        assert "--warmup_min_secs=0.1" in log.splitlines()[0]
        assert log.endswith("__RC=0\n")
        assert (
            (tmp_path / "out" / record["log"])
            .with_name(Path(record["log"]).stem + "_result.pb")
            .is_file()
        )
    assert min(medians["dear.tflite"]) > 5 * max(medians["cheap.tflite"])
    with (tmp_path / "out" / "bench_fakepixel.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["state"] for row in rows} == {"ok"}
    assert rows[0]["battery_celsius_before"] == "31.2"
    assert "time / time of cheap.tflite" in out
    # Nothing stays behind, and every model went over once although it ran twice.
    assert device.left_over() == []
    assert len(device.pushed) == 3


def test_what_is_there_with_the_same_hash_is_not_copied_again(plug, bench):
    device = plug()
    assert bench("--keep")[0] == 0
    assert len(device.pushed) == 2
    assert bench("--keep")[0] == 0
    assert len(device.pushed) == 2
    for path in device.local("/data/local/tmp/android_bench").glob("*.tflite"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1  # the same size, another file
        path.write_bytes(content)
    assert bench()[0] == 0
    assert len(device.pushed) == 3
    assert device.left_over() == []


def test_no_device(adb, bench):
    status, _, err = bench()
    assert status == 2
    assert err.startswith("error: no device: plug a phone in with USB debugging")
    assert err.count("\n") == 1


def test_two_devices_need_a_choice(plug, bench, tmp_path, monkeypatch):
    first, second = plug(), plug(replace(FIXED, model="Other"))
    status, _, err = bench()
    assert status == 2
    assert "choose one with --device" in err
    assert f"{first.serial} (FakePixel)" in err
    status, _, err = bench("--device", "nonesuch")
    assert status == 2
    assert "there is no device nonesuch" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "7")
    status, out, err = bench()
    assert "'7' is none of 1 to 2" in err
    listed = next(line for line in out.splitlines() if "Other" in line)
    monkeypatch.setattr("builtins.input", lambda _: listed.split()[0])
    assert bench()[0] == 0
    assert results(tmp_path, "bench_other")["device"]["serial"] == second.serial
    monkeypatch.setenv("ANDROID_SERIAL", first.serial)
    assert bench()[0] == 0
    assert results(tmp_path)["device"]["serial"] == first.serial


def test_two_phones_of_one_model_keep_their_own_files(plug, bench, tmp_path):
    first, second = plug(), plug()
    for device in (first, second):
        assert bench("--device", device.serial)[0] == 0
    files = list((tmp_path / "out").glob("bench_*.json"))
    serials = {json.loads(path.read_text())["device"]["serial"] for path in files}
    assert serials == {first.serial, second.serial}


@pytest.mark.parametrize(
    ("phone", "said"),
    [
        (replace(FIXED, authorized=False), "is unauthorized: unlock its screen and allow USB"),
        (replace(FIXED, silent=True), "is offline: unplug it"),
        (replace(FIXED, free_kb=1000), "1 MB are free, 8 MB are needed"),
        (replace(FIXED, full=True), "No space left on device"),
        (replace(FIXED, cut_push=1), "was lost (while"),
        (replace(FIXED, abis="armeabi-v7a,armeabi"), "is for x86_64, the device runs armeabi-v7a"),
        (replace(FIXED, scripts={"mkdir": "exit 1"}), "storage full or read-only?"),
        (replace(FIXED, scripts={"sha256sum": "echo " + "0" * 64}), "arrived damaged"),
        (replace(FIXED, scripts={"getprop": "exit 1"}), "does not say which processor"),
    ],
    ids=lambda value: value.replace(" ", "-")[:24] if isinstance(value, str) else "",
)
def test_what_is_wrong_before_the_first_run_is_one_line(plug, bench, phone, said):
    plug(phone)
    status, _, err = bench()
    assert status == 2
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_the_cable_is_pulled_in_the_middle_of_a_run(plug, bench, tmp_path, models):
    plug(replace(FIXED, cut_shell="num_threads=2"))
    status, _, err = bench("--threads", "1,2", "--seed", 1, files=models)
    assert status == 2
    assert "was lost" in err.splitlines()[-1]
    assert "--resume" in err
    found = states(tmp_path)
    assert found[-1] == "device lost"
    assert set(found[:-1]) <= {"ok"}
    assert len(found) < 4


def test_a_device_that_comes_back_goes_on(plug, adb, bench, tmp_path, models):
    device = plug(replace(FIXED, cut_shell="num_threads=2"))

    def come_back():
        _wait_for(lambda: any("num_threads=2" in command for command in device.commands))
        device.phone.cut_shell = None
        # Offline, or no longer named at all.
        _wait_for(lambda: device.serial + "\tdevice" not in adb("devices").stdout)
        device.plug_in_again()
        adb("disconnect", device.serial)
        adb("connect", device.serial)

    helper = threading.Thread(target=come_back)
    helper.start()
    arguments = ("--threads", "1,2", "--reconnect", 30, "--fixed-performance")
    status, out, _ = bench(*arguments, files=models)
    helper.join()
    assert status == 1
    assert sorted(states(tmp_path)) == ["device lost", "ok", "ok", "ok"]
    assert "is back" in out
    modes = (device.state / "cmd").read_text().split()
    assert [word for word in modes if word in ("true", "false")] == ["true", "true", "false"]
    assert device.left_over() == []


def test_the_binary_is_fetched_for_the_device_that_is_there(plug, bench, tmp_path):
    device = plug(replace(FIXED, abis="arm64-v8a,armeabi-v7a"))
    tool = make_binary(tmp_path / "android_aarch64_tool", 183)
    url = f"{tmp_path.as_uri()}/{{abi}}_tool"
    status, out, _ = bench("--fetch-binary", url, binary=None)
    assert status == 0
    digest = hash_file(tool)
    assert f"sha256 {digest}" in out
    assert results(tmp_path)["settings"]["tool_sha256"] == digest
    assert device.left_over() == []


def test_resume_goes_on_and_a_new_run_keeps_the_old_file(plug, bench, tmp_path, models):
    device = plug(replace(FIXED, tool={"mode": "fixed", "modes": {"2": "killed"}}))
    assert bench("--threads", "1,2")[0] == 1
    assert sorted(states(tmp_path)) == ["failed", "ok"]
    (device.state / "tool.json").write_text('{"mode": "fixed"}')
    before = len(device.commands)
    status, _out, _ = bench("--threads", "1,2", "--resume")
    assert status == 0
    assert states(tmp_path) == ["ok", "ok"]
    assert sum("num_threads" in command for command in device.commands[before:]) == 1
    assert bench("--threads", "1")[0] == 0
    assert len(list((tmp_path / "out").glob("bench_*.json"))) == 2


@pytest.mark.parametrize(
    ("phone", "arguments", "state", "reason"),
    [
        (replace(FIXED, executable=False), (), "failed", "cannot execute the binary"),
        (replace(FIXED, tool={"mode": "killed"}), (), "failed", "want of memory"),
        (replace(FIXED, tool={"mode": "mute"}), (), "failed", "no timings in its output"),
        (FIXED, ("--", "--no_such_flag=1"), "failed", "does not know --no_such_flag=1"),
        (FIXED, ("--delegate", "gpu"), "unsupported", "does not know --use_gpu=true"),
        (
            replace(FIXED, tool={"mode": "fixed", "unknown": ["use_xnnpack"]}),
            (),
            "unsupported",
            "does not know --use_xnnpack=true",
        ),
        (
            replace(FIXED, tool={"mode": "fixed", "gpu": "not applied"}),
            ("--delegate", "gpu"),
            "fell back",
            "the GPU delegate was asked for and not applied",
        ),
        (
            replace(FIXED, tool={"mode": "hang"}),
            ("--timeout", "1"),
            "failed",
            "still running after 1 s",
        ),
        # Without shell_v2 adb itself loses every exit code and mixes stderr into stdout.
        (
            replace(FIXED, features=V1, tool={"mode": "killed"}),
            (),
            "failed",
            "want of memory",
        ),
        (
            replace(FIXED, features=V1, tool={"mode": "hang"}),
            ("--timeout", "1"),
            "failed",
            "still running after 1 s",
        ),
    ],
    ids=["126", "137", "mute", "flag", "gpu", "xnnpack", "fallback", "hang", "v1-137", "v1-hang"],
)
def test_what_does_not_count(plug, bench, tmp_path, phone, arguments, state, reason):
    device = plug(phone)
    status, out, err = bench(*arguments)
    assert (status, err) == (1, "")
    (record,) = results(tmp_path)["results"]
    assert record["state"] == state
    assert reason in record["reason"]
    assert record["timings"] == {}
    assert (tmp_path / "out" / record["log"]).is_file()
    assert state in out
    assert device.left_over() == []


def test_one_failure_does_not_stop_the_rest(plug, bench, tmp_path):
    plug(replace(FIXED, tool={"mode": "fixed", "modes": {"2": "hang"}, "gpu": "applied"}))
    arguments = ("--threads", "1,2", "--delegate", "cpu,gpu", "--xnnpack", "on,off")
    assert bench(*arguments, "--timeout", 0.5)[0] == 1
    found = {
        (record["threads"], record["delegate"], record["xnnpack"]): record["state"]
        for record in results(tmp_path)["results"]
    }
    # XNNPACK is a matter of the CPU: with the GPU there is one run, not two.
    kinds = [("cpu", "on"), ("cpu", "off"), ("gpu", "default")]
    assert found == {
        (threads, *kind): "ok" if threads == 1 else "failed" for threads in (1, 2) for kind in kinds
    }


def test_stderr_is_kept_apart_also_without_shell_v2(plug, bench, tmp_path):
    plug(replace(FIXED, features=V1))
    assert bench()[0] == 0
    (record,) = results(tmp_path)["results"]
    log = (tmp_path / "out" / record["log"]).read_text()
    # stderr came after stdout, not somewhere within its lines
    assert log.index("Created TensorFlow Lite XNNPACK") > log.index("Memory footprint")


def test_an_older_binary_is_not_given_flags_that_it_does_not_know(plug, bench, tmp_path):
    plug(replace(FIXED, tool={"mode": "fixed", "unknown": ["result_file_path"]}))
    assert bench()[0] == 0
    (record,) = results(tmp_path)["results"]
    assert "result_file_path" not in (tmp_path / "out" / record["log"]).read_text()


def test_a_profile_is_a_run_of_its_own(plug, bench, tmp_path):
    plug()
    status, _out, _ = bench("--profile")
    assert status == 0
    plain, profiled = results(tmp_path)["results"]
    assert not plain["profiled"]
    assert [item["type"] for item in profiled["operators"]] == [
        "SOFTMAX",
        "Fully Connected (NC, F32) GEMM",
    ]
    assert profiled["operators"][0]["avg_ms"] == pytest.approx(0.03)
    with (tmp_path / "out" / "bench_fakepixel.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1


@pytest.mark.parametrize("name", ["ro.kernel.qemu", "ro.boot.qemu"])
def test_an_emulator_is_no_phone(plug, bench, tmp_path, name):
    plug(replace(FIXED, properties={name: "1"}))
    status, out, _ = bench()
    assert status == 0
    assert "EMULATOR FakePixel" in out
    assert results(tmp_path, "bench_emulator_fakepixel")["device"]["kind"] == "emulator"
    with (tmp_path / "out" / "bench_emulator_fakepixel.csv").open() as file:
        assert {row["kind"] for row in csv.DictReader(file)} == {"emulator"}
    assert not (tmp_path / "out" / "bench_fakepixel.json").exists()


def test_cores_and_speed_are_set_and_speed_is_reset(plug, bench):
    device = plug()
    assert bench("--cpu-mask", "0xF0", "--fixed-performance")[0] == 0
    mode = "power set-fixed-performance-mode-enabled"
    assert (device.state / "cmd").read_text() == f"{mode} true\n{mode} false\n"
    assert set((device.state / "taskset").read_text().split()) == {"F0"}


def test_a_device_without_that_mode_says_so(plug, bench):
    plug(replace(FIXED, scripts={"cmd": "echo Unknown command; exit 255"}))
    status, _, err = bench("--fixed-performance")
    assert status == 2
    assert "has no fixed-performance mode" in err
    assert err.count("\n") == 1


def test_ctrl_c_keeps_what_there_is_and_cleans_up(plug, models, tmp_path):
    device = plug(replace(FIXED, tool={"mode": "fixed", "modes": {"2": "hang"}}))
    binary = make_binary(tmp_path / "benchmark_model")
    out = tmp_path / "out"
    # SIGINT is ignored where the tests run in the background, and a child inherits that.
    program = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('android_bench', run_name='__main__')"
    )
    command = [
        *(sys.executable, "-c", program, models[0], "--binary", binary, "--out", out),
        *("--cooldown", 0, "--threads", "1,2", "--repetitions", 8, "--fixed-performance"),
    ]
    with subprocess.Popen(
        list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        pid_file = device.local("/data/local/tmp/android_bench/out/pid")
        _wait_for(lambda: any("num_threads=2" in item for item in device.commands))
        _wait_for(lambda: pid_file.read_text().strip())
        tool = int(pid_file.read_text())
        process.send_signal(signal.SIGINT)
        try:
            _, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert results(tmp_path)["results"] == [
        record for record in results(tmp_path)["results"] if record["state"] == "ok"
    ]
    assert (device.state / "cmd").read_text().endswith("enabled false\n")
    assert device.left_over() == []
    _wait_for(lambda: not _runs(tool))


def test_the_app(plug, bench, tmp_path, models):
    device = plug()
    apk = tmp_path / "benchmark.apk"
    apk.write_bytes(b"PK\x03\x04" + bytes(60))
    status, _out, err = bench("--apk", apk)
    assert (status, err) == (0, "")
    content = results(tmp_path)
    assert content["settings"]["route"] == "apk"
    assert content["results"][0]["timings"]["median_ms"] == pytest.approx(0.5)
    assert not (device.state / "app").exists()  # uninstalled again
    assert device.left_over() == []
    (device.state / "app").touch()
    assert bench("--apk", apk)[0] == 0
    assert (device.state / "app").exists()  # it was there before


@pytest.mark.parametrize(
    ("scripts", "state", "reason"),
    [
        ({"am": "echo 'Error: Activity class does not exist'"}, "failed", "did not start"),
        ({"am": "true"}, "failed", "not done after 1 s"),
        (
            {"am": "echo 'E AndroidRuntime: FATAL EXCEPTION: main' >$STATE/logcat"},
            "failed",
            "FATAL EXCEPTION",
        ),
    ],
)
def test_an_app_that_fails(plug, bench, tmp_path, scripts, state, reason):
    plug(replace(FIXED, scripts=scripts))
    apk = tmp_path / "benchmark.apk"
    apk.write_bytes(b"PK\x03\x04" + bytes(60))
    assert bench("--apk", apk, "--timeout", 1)[0] == 1
    (record,) = results(tmp_path)["results"]
    assert record["state"] == state
    assert reason in record["reason"]


def test_an_app_that_cannot_be_installed(plug, bench, tmp_path):
    plug(replace(FIXED, scripts={"pm": "echo 'Failure [INSTALL_FAILED_NO_MATCHING_ABIS]'; exit 1"}))
    apk = tmp_path / "benchmark.apk"
    apk.write_bytes(b"PK\x03\x04" + bytes(60))
    status, _, err = bench("--apk", apk)
    assert status == 2
    assert "INSTALL_FAILED_NO_MATCHING_ABIS" in err
    apk.write_bytes(b"no zip")
    assert "is no Android app" in bench("--apk", apk)[2]


def test_an_old_device_without_sha256sum_is_asked_for_the_file(plug, bench):
    device = plug(replace(FIXED, scripts={"sha256sum": "exit 127"}))
    assert bench()[0] == 0
    assert len(device.pushed) == 2
