"""android_bench without a device: input checks, verdicts, the binary, tables, the command line."""

import http.server
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from adbd import make_binary, tiny_model

from ser_kd.android_bench import binary, phone
from ser_kd.android_bench.adb import Adb, Listed, choose, find_adb
from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.matrix import Configuration, configurations, shuffled
from ser_kd.android_bench.model import read_models
from ser_kd.android_bench.results import Store, comparison, notes, read, summary, table
from ser_kd.android_bench.tool_output.log import parse_log
from ser_kd.android_bench.verdict import judge
from ser_kd.commands.bench import main

ROOT = Path(__file__).parents[2]
LOGS = Path(__file__).parents[1] / "fixtures" / "benchmark_logs"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.tflite"
    path.write_bytes(tiny_model(16))
    return path


@pytest.fixture
def run(capsys):
    """The command; gives (exit status, stdout, stderr)."""

    def call(*arguments):
        status = main([str(item) for item in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


# --- Models


def test_a_model_is_read(model):
    (found,) = read_models([model])
    assert found.inputs == ("float32[1,64]",)
    assert found.name == "m.tflite"
    assert found.size_bytes == model.stat().st_size
    assert found.signature is None


def test_names_of_models_differ(model, tmp_path):
    twin = tmp_path / "m.tflite"
    twin.write_bytes(model.read_bytes())
    assert [item.name for item in read_models([model, twin])] == [str(model), str(twin)]
    with pytest.raises(BenchError, match="named twice"):
        read_models([model, model])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04" + bytes(100), "is no TensorFlow Lite model"),
        (b"TFL3", "is no TensorFlow Lite model"),
        (b"\x10\x00\x00\x00TFL3", "truncated or damaged"),
        (None, "no such file"),
    ],
)
def test_what_is_no_model_is_refused(run, tmp_path, content, said):
    path = tmp_path / "x.tflite"
    if content is not None:
        path.write_bytes(content)
    status, _, err = run(path, "--dry-run")
    assert status == 2
    assert said in err
    assert str(path) in err
    assert err.count("\n") == 1


def test_a_truncated_model_is_refused_wherever_it_ends(model, tmp_path):
    content = model.read_bytes()
    path = tmp_path / "cut.tflite"
    for size in range(8, len(content) - 8, 37):
        path.write_bytes(content[:size])
        with pytest.raises(BenchError, match="truncated or damaged"):
            read_models([path])


def test_a_damaged_model_is_refused_or_read_but_never_more(model, tmp_path):
    content = model.read_bytes()
    generator = random.Random(0)
    path = tmp_path / "damaged.tflite"
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(4):
            damaged[generator.randrange(8, len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read_models([path])
        except BenchError:
            refused += 1
    assert 0 < refused < 300


def test_an_input_that_is_no_array_of_numbers_is_refused(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    reshape = tf.function(
        lambda text: tf.reshape(text, (2, 1)), input_signature=[tf.TensorSpec((2,), tf.string)]
    )
    functions = [reshape.get_concrete_function()]
    path = tmp_path / "text.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions(functions, module).convert())
    with pytest.raises(BenchError, match="an input that is no array of numbers"):
        read_models([path])


def test_of_several_signatures_the_first_graphs_is_run(run, tmp_path):
    import tensorflow as tf

    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def b_plain(self, x):
            return {"y": x + 1.0}

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def a_other(self, x):
            return {"y": x * 2.0}

    module = Two()
    folder = str(tmp_path / "saved")
    tf.saved_model.save(
        module, folder, signatures={"b_plain": module.b_plain, "a_other": module.a_other}
    )
    path = tmp_path / "two.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    (found,) = read_models([path])
    assert sorted(name for name, _ in found.signatures) == ["a_other", "b_plain"]
    assert dict(found.signatures)[found.signature] == 0
    _, out, _ = run(path, "--dry-run", "--repetitions", 1)
    assert f"--signature_to_run_for={found.signature}" in out
    _, out, _ = run(path, "--dry-run", "--repetitions", 1, "--", "--signature_to_run_for=a_other")
    assert out.count("--signature_to_run_for=a_other") == 1
    assert "--signature_to_run_for=b_plain" not in out


# --- The binary


@pytest.mark.parametrize(
    ("machine", "abi"), [(62, "x86_64"), (183, "arm64-v8a"), (40, "armeabi-v7a"), (3, "x86")]
)
def test_the_elf_header_names_the_abi(tmp_path, machine, abi):
    path = make_binary(tmp_path / "tool", machine)
    assert binary.abis(path)[0] == abi
    assert binary.check_abi(path, ("mips", abi)) == abi
    with pytest.raises(BenchError, match=f"is for {abi}, the device runs mips, mips64"):
        binary.check_abi(path, ("mips", "mips64"))


def test_what_is_no_binary_is_refused(tmp_path):
    path = tmp_path / "tool"
    with pytest.raises(BenchError, match="cannot be read"):
        binary.abis(path)
    path.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(BenchError, match="no ELF header"):
        binary.abis(path)
    with pytest.raises(BenchError, match="no Android has"):
        binary.abis(make_binary(path, 8))


def test_published_urls():
    base = "https://storage.googleapis.com/"
    nightly = base + (
        "tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest/"
        "android_aarch64_benchmark_model"
    )
    assert binary.published_url("nightly", "arm64-v8a") == nightly
    assert binary.published_url("litert-2.1.6", "arm64-v8a") == (
        base + "litert/binaries/2.1.6/android_arm64/benchmark_model"
    )
    assert binary.published_url("http://x/{abi}_tool", "armeabi-v7a") == "http://x/android_arm_tool"
    for source, abi in (("nightly", "x86_64"), ("litert-latest", "armeabi-v7a"), ("other", "x86")):
        with pytest.raises(BenchError):
            binary.published_url(source, abi)


@pytest.fixture
def server(tmp_path):
    """A web server for a folder; gives (folder, address)."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            pass

        def end_headers(self):
            if self.path.endswith("cut"):
                self.send_header("Connection", "close")
            super().end_headers()

        def copyfile(self, source, outputfile):
            outputfile.write(source.read(50) if self.path.endswith("cut") else source.read())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()
        thread.join()


def test_a_binary_is_fetched_and_its_hash_printed(run, server, tmp_path):
    folder, address = server
    make_binary(folder / "android_aarch64_benchmark_model", 183)
    url = f"{address}/{{abi}}_benchmark_model"
    status, out, _ = run("--fetch-binary", url, "--abi", "arm64-v8a", "--out", tmp_path / "out")
    assert status == 0
    path, hashed = out.splitlines()
    assert Path(path).read_bytes() == (folder / "android_aarch64_benchmark_model").read_bytes()
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert hashed == "sha256 " + digest.stdout.split()[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "the server says 404"),
        ("page.html", "no ELF header"),
        ("other", "is for x86_64"),
        ("cut", "cut off after 50 of"),
    ],
)
def test_what_is_fetched_is_checked(run, server, tmp_path, name, said):
    folder, address = server
    (folder / "page.html").write_text("<html>" + "x" * 100)
    make_binary(folder / "other", 62)
    make_binary(folder / "cut", 183)
    out = tmp_path / "out"
    status, _, err = run("--fetch-binary", f"{address}/{name}", "--abi", "arm64-v8a", "--out", out)
    assert status == 2
    assert said in err
    assert list(out.iterdir()) == []


def test_no_network_is_one_line(run, tmp_path):
    arguments = ("--abi", "arm64-v8a", "--out", tmp_path)
    for url in ("http://127.0.0.1:9/tool", "nonsense://x"):
        status, _, err = run("--fetch-binary", url, *arguments)
        assert status == 2
        assert "cannot be fetched" in err
        assert err.count("\n") == 1


# --- Verdicts


@pytest.mark.parametrize(
    ("name", "rc", "flags", "state", "reason"),
    [
        ("20_host_t1_xnn_true.txt", 0, ["--use_xnnpack=true"], "ok", ""),
        ("20_host_t1_xnn_true.txt", None, ["--use_xnnpack=true"], "failed", "end was not seen"),
        ("21_host_default.txt", 0, ["--use_xnnpack=true"], "fell back", "XNNPACK delegate"),
        ("27_host_dry_run.txt", 0, [], "failed", "no time"),
        ("30_fail_missing_model.txt", 1, [], "failed", "Could not open"),
        ("32_fail_truncated_model.txt", 1, [], "failed", "not a valid Flatbuffer"),
        ("34_gpu_unsupported.txt", 0, ["--use_gpu=true"], "unsupported", "--use_gpu=true"),
        ("34_gpu_unsupported.txt", 0, None, "unsupported", "--use_gpu=true"),
        ("35_nnapi_unknown_flag.txt", 0, ["--use_nnapi=true"], "unsupported", "--use_nnapi"),
        ("36_fail_unknown_flag.txt", 0, ["--no_such_flag=1"], "failed", "--no_such_flag=1"),
        ("37_fail_bad_flag_value.txt", 1, [], "failed", "Failed to parse flag"),
        ("38_fail_signature.txt", 1, [], "failed", "Signature not specified"),
        ("39_fail_input_layer.txt", 134, [], "failed", "Inputs mismatch"),
        ("40_fail_external_delegate.txt", 0, None, "fell back", "EXTERNAL"),
        ("45_fail_oom.txt", 134, [], "failed", "bad_alloc"),
        ("46_killed.txt", 137, [], "failed", "want of memory"),
    ],
)
def test_verdicts_on_recorded_logs(name, rc, flags, state, reason):
    found = judge(parse_log((LOGS / name).read_bytes()), rc, flags)
    assert found[0] == state
    assert reason in found[1]


@pytest.mark.parametrize(
    ("line", "rc", "state"),
    [
        ("Applied GPU delegate, and the model graph will be completely executed", 0, "ok"),
        ("Though GPU delegate is applied, the model graph will not be executed", 0, "fell back"),
        ("GPU delegate created.", 0, "fell back"),
        ("ERROR: Failed to apply GPU delegate.", 1, "unsupported"),
    ],
)
def test_verdicts_on_a_requested_delegate(line, rc, state):
    text = (LOGS / "20_host_t1_xnn_true.txt").read_text()
    log = parse_log(text.replace("INFO: Created TensorFlow Lite XNN", f"{line}\nINFO: XNN"))
    assert judge(log, rc, ["--use_gpu=true"])[0] == state


def test_logs_are_parsed_on_the_command_line(run):
    good = LOGS / "24_host_opprof_csv_file.txt"
    status, out, _ = run("--parse", good, LOGS / "24_result.pb", LOGS / "24_prof.csv")
    assert status == 0
    first, second, third = out.splitlines()
    assert "ok" in first
    assert "median_ms 37.79  avg_ms 45.52  p95_ms 153.9  init_ms 13.9  count 20" in first
    assert second.split("ok")[1] == first.split("ok")[1]
    assert "operators, the slowest is" in third
    status, out, _ = run("--parse", LOGS / "46_killed.txt")
    assert status == 1
    assert "killed" in out
    assert run("--parse", LOGS / "nonesuch")[0] == 2


# --- The matrix


def test_every_configuration_comes_once_in_each_repetition(model):
    matrix = configurations(read_models([model]), [1, 2, 4], ["cpu", "gpu"], ["on", "off"])
    assert len(matrix) == 3 * 2 + 3  # XNNPACK on and off are a matter of the CPU
    order = shuffled(matrix, 3, seed=1)
    turns = [[item for turn, item in order if turn == number] for number in (1, 2, 3)]
    assert all(sorted(turn, key=str) == sorted(matrix, key=str) for turn in turns)
    assert turns[0] != turns[1]
    assert order == shuffled(matrix, 3, seed=1)
    assert order != shuffled(matrix, 3, seed=2)


def test_flags():
    assert Configuration("m", 2, "cpu", "off").flags() == [
        "--num_threads=2",
        "--use_xnnpack=false",
    ]
    assert Configuration("m", 1, "cpu", "default").flags() == ["--num_threads=1"]
    assert Configuration("m", 1, "nnapi", "default").flags() == [
        "--num_threads=1",
        "--use_nnapi=true",
    ]


# --- Results


def header(kind="phone", **more):
    return {
        "device": {
            "kind": kind, "serial": "S1", "model": "Pixel 9/a", "manufacturer": "G", "soc": "T",
            "android": "15",
        },
        "started": "2026-01-02T03:04:05+00:00",
        "settings": {"route": "binary"},
        "models": [{"name": name, "inputs": ["float32[1,4]"]} for name in ("a", "b")],
        **more,
    }  # fmt: skip


def record(model, repetition, median_ms, state="ok", **more):
    timings = {"median_ms": median_ms, "avg_ms": median_ms} if state == "ok" else {}
    return {
        **Configuration(model, 1, "cpu", "on").as_json(),
        "model_sha256": model, "repetition": repetition, "profiled": False, "state": state,
        "reason": "" if state == "ok" else "because", "timings": timings, "memory": {}, **more,
    }  # fmt: skip


def test_results_grow_and_are_summed_up(tmp_path):
    store = Store(tmp_path, header(), resume=False)
    assert store.path.name == "bench_pixel-9-a.json"
    for item in (
        record("a", 1, 1.0),
        record("b", 1, 2.0),
        record("a", 2, 3.0),
        record("b", 2, 9.0),
        record("a", 3, 2.0, temperature_after={"throttling": 2}),
        record("b", 3, 0.0, "failed"),
    ):
        store.add(item)
        assert read(store.path)["results"] == store.results
    first, second = summary(store.results)
    assert (first["median_ms"], first["low_ms"], first["high_ms"]) == (2.0, 1.0, 3.0)
    assert first["state"] == "ok"
    assert (second["median_ms"], second["state"]) == (5.5, "ok (2/3)")
    # Ratios are those of the same repetition: 2/1 and 9/3.
    assert "2.50" in comparison(store.content).splitlines()[2]
    assert "2.00-3.00" in comparison(store.content)
    assert "G Pixel 9/a (T), Android 15" in table(store.content)
    assert "because" in table(store.content)
    assert any("throttling" in note for note in notes(store.content))
    assert any("repetitions differ" in note for note in notes(store.content))


def test_different_inputs_are_pointed_out(tmp_path):
    models = [{"name": "a", "inputs": ["float32[1,4]"]}, {"name": "b", "inputs": ["int8[1,9]"]}]
    store = Store(tmp_path, header(models=models), resume=False)
    store.add(record("a", 1, 1.0))
    store.add(record("b", 1, 2.0))
    assert "inputs differ" in comparison(store.content)
    assert "int8[1,9]" in comparison(store.content)


def test_a_damaged_file_of_an_earlier_run_is_kept_aside_and_not_resumed(tmp_path):
    path = tmp_path / "bench_pixel-9-a.json"
    path.write_text('{"half')
    with pytest.raises(BenchError, match="no result file"):
        Store(tmp_path, header(), resume=True)
    Store(tmp_path, header(), resume=False)
    assert (tmp_path / "bench_pixel-9-a.unreadable.json").read_text() == '{"half'


# --- adb, and what devices say


def test_where_adb_is_looked_for(tmp_path, monkeypatch):
    programs = {}
    for name in ("given", "env", "path", "adbutils/binaries"):
        (tmp_path / name).mkdir(parents=True)
        programs[name] = tmp_path / name / "adb"
        programs[name].write_text("#!/bin/sh\n")
        programs[name].chmod(0o755)
    (tmp_path / "adbutils" / "__init__.py").write_text("raise ImportError('not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ADB", str(programs["env"]))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_adb(programs["given"]) == programs["given"]
    assert find_adb() == programs["env"]
    monkeypatch.delenv("ADB")
    assert find_adb() == programs["path"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_adb() == programs["adbutils/binaries"]
    programs["adbutils/binaries"].unlink()
    with pytest.raises(BenchError, match="adb was not found"):
        find_adb()
    with pytest.raises(BenchError, match="--adb names"):
        find_adb("nonesuch")


def test_a_program_that_is_not_adb_is_refused(run, model, tmp_path):
    tool = make_binary(tmp_path / "tool")
    status, _, err = run(model, "--binary", tool, "--adb", "true", "--out", tmp_path)
    assert status == 2
    assert "is not a working adb" in err


def test_a_hanging_adb_is_given_up(tmp_path):
    program = tmp_path / "adb"
    program.write_text("#!/bin/sh\necho begun; exec sleep 60\n")
    program.chmod(0o755)
    output = Adb(program).run("devices", timeout=0.5)
    assert output.rc is None
    assert output.stdout == "begun\n"


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ([], "no device"),
        ([Listed("A", "no permissions", "")], "udev"),
        ([Listed("A", "recovery", "")], "start Android"),
        ([Listed("A", "device", "X"), Listed("B", "device", "")], r"A \(X\), B \(no name\)"),
    ],
)
def test_choosing_a_device(listed, said):
    with pytest.raises(BenchError, match=said):
        choose(listed, None, ask=False)
    listed.append(Listed("C", "device", ""))
    assert choose(listed, "C", ask=False) == listed[-1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("emulator-5554          device", Listed("emulator-5554", "device", "")),
        ("0123\tdevice", Listed("0123", "device", "")),
        (
            "0123456789ABCDEF       device usb:1-1 product:x model:Tab_A device:x transport_id:56",
            Listed("0123456789ABCDEF", "device", "Tab_A", "56"),
        ),
        (
            "adb-ZY22 (2)._adb-tls-connect._tcp device product:a model:P device:b transport_id:3",
            Listed("adb-ZY22 (2)._adb-tls-connect._tcp", "device", "P", "3"),
        ),
        ("my device (2) device product:a", Listed("my device (2)", "device", "")),
        (
            "(no serial number)     device usb:1-2 transport_id:7",
            Listed("(no serial number)", "device", "", "7"),
        ),
        (
            "0123  no permissions (user in plugdev group; are your rules wrong?); see [http://x]"
            " usb:1-1 transport_id:2",
            Listed("0123", "no permissions", "", "2"),
        ),
        (
            "192.168.1.7:5555       offline transport_id:4",
            Listed("192.168.1.7:5555", "offline", "", "4"),
        ),
        ("0123 unauthorized usb:1-1", Listed("0123", "unauthorized", "")),
        ("ABC device 1-4 product:x transport_id:9", Listed("ABC", "device", "", "9")),
        ("ABC device model:Galaxy S9 transport_id:9", Listed("ABC", "device", "Galaxy", "9")),
        ("* daemon started successfully", None),
        ("", None),
    ],
)
def test_lines_of_adb_devices(line, expected):
    assert Listed.parse(line) == expected


def test_devices_of_one_serial_and_without_one_are_told_apart(scripted_devices):
    same = "X device usb:1-1 model:A transport_id:56\nX device usb:1-2 model:B transport_id:57"
    listed = scripted_devices(
        f"{same}\n(no serial number) device usb:1-3 transport_id:58\nY device"
    )
    with pytest.raises(BenchError, match=r"transport_id:56 \(A\), transport_id:57 \(B\)"):
        choose(listed, "X", ask=False)
    assert choose(listed, "transport_id:57", ask=False).selector == ("-t", "57")
    assert choose(listed, "(no serial number)", ask=False).selector == ("-t", "58")
    assert choose(listed, "Y", ask=False).selector == ("-s", "Y")


@pytest.fixture
def scripted_devices(tmp_path):
    """What ``Adb.devices`` makes of a listing."""

    def devices(listing: str) -> list[Listed]:
        program = tmp_path / "adb"
        program.write_text(f"#!/bin/sh\ncat <<'END'\nList of devices attached\n{listing}\nEND\n")
        program.chmod(0o755)
        return Adb(program).devices()

    return devices


class Answers:
    """A device that gives prepared answers."""

    serial = "S1"

    def __init__(self, **answers):
        self.answers = answers

    def ask(self, command):
        return self.answers.get(command.split()[0], "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/x 9 8 2048 1% /d", 2048 * 1024),
        ("Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/long\n 9 8 7 1% /d", 7 * 1024),
        ("Filesystem   Size   Used   Free   Blksize\n/data   5.0G   1.0G   1.5M   4096", 1572864),
        ("nonsense", None),
        ("", None),
    ],
)
def test_free_space_in_the_dialects_of_df(text, expected):
    assert phone.free_bytes(Answers(df=text), "/data") == expected


def test_old_devices_name_their_abis_otherwise_and_report_less():
    text = (
        "[ro.product.cpu.abi]: [armeabi-v7a]\n[ro.product.cpu.abi2]: [armeabi]\n[x]: [two\nlines]"
    )
    about = phone.describe(Answers(getprop=text))
    assert about["abis"] == ["armeabi-v7a", "armeabi"]
    assert about["kind"] == "phone"
    assert phone.temperatures(Answers()) == {}


# --- The command line


def test_it_runs_where_nothing_is_installed(model, tmp_path):
    command = [sys.executable, "-S", "-m", "android_bench", model, "--dry-run", "--threads", "1,2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert result.stderr == ""
    assert "--num_threads=2" in result.stdout
    assert "6 runs" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name at least one .tflite file"),
        (("MODEL", "--threads", "0"), "no number from 1 on"),
        (("MODEL", "--delegate", "tpu"), "'tpu' is none of cpu, gpu"),
        (("MODEL", "--cpu-mask", "0"), "no mask of cores"),
        (("MODEL", "--timeout", "soon"), "no number of seconds"),
        (("MODEL", "--compare"), "--compare needs two models"),
        (("MODEL", "--nonsense"), "--nonsense"),
        (("MODEL", "--", "min_secs"), "have the form --name=value"),
        (("--fetch-binary", "MODEL"), "models stand in front of"),
        (("MODEL",), "say what to run on the device"),
        (("MODEL", "--apk", "a", "--binary", "b"), "say what to run on the device"),
        (("MODEL", "--host", "--profile"), "--profile is for a device"),
        (("MODEL", "--binary", "TOOL", "--adb", "/nonexistent"), "is not a program"),
    ],
)
def test_wrong_arguments_are_one_line(run, model, tmp_path, arguments, said):
    names = {"MODEL": str(model), "TOOL": str(make_binary(tmp_path / "tool"))}
    status, _, err = run(*(names.get(item, item) for item in arguments))
    assert status == 2
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
