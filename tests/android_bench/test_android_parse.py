"""What the parser makes of benchmark_model's outputs, against numbers read off by eye."""

import math
import random
import struct
import time
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ser_kd.android_bench.tool_output.figures import (
    Delegate,
    Log,
    Memory,
    OpTime,
    Result,
    Timings,
)
from ser_kd.android_bench.tool_output.log import parse_log
from ser_kd.android_bench.tool_output.profile import parse_op_csv
from ser_kd.android_bench.tool_output.result_file import parse_result

LOGS = Path(__file__).parents[1] / "fixtures" / "benchmark_logs"
DEFAULT_XNNPACK = (Delegate("XNNPACK"),)
REQUESTED_XNNPACK = (Delegate("XNNPACK", "partially", requested=True, kernels=2),)


def read(name: str) -> Log:
    return parse_log((LOGS / name).read_bytes())


# --- The recorded logs -------------------------------------------------------------------------

# Average, init, first, warm-up average, min, max, std, median, p5, p95, runs, warm-up runs;
# then memory and delegates.
COMPLETE = {
    "15_litert_benchmark_py_2.3.0_host.txt": (
        (37100, 6080, 77130, 46410, 23250, 45350, 6340, 39490, 28450, 45080, 20, 5),
        (None, None, None),
        DEFAULT_XNNPACK,
    ),
    "20_host_t1_xnn_false.txt": (
        (252377, 4144, 297769, 297769, 156442, 530473, 84831, 227206, 182540, 530473, 20, 1),
        (2.91797, 29.6133, None),
        (),
    ),
    "20_host_t1_xnn_true.txt": (
        (42906.8, 36906, 61282, 41961.3, 27505, 64079, 8765, 43056, 28247, 64079, 20, 3),
        (24.4766, 47, None),
        REQUESTED_XNNPACK,
    ),
    "20_host_t2_xnn_false.txt": (
        (222418, 569, 245339, 245339, 166021, 289688, 22714, 223135, 194418, 289688, 20, 1),
        (2.91797, 31.9141, None),
        (),
    ),
    "20_host_t2_xnn_true.txt": (
        (43614.3, 22477, 62701, 60085, 35771, 57201, 5682, 42285, 38527, 57201, 20, 2),
        (24.6562, 47.1562, None),
        REQUESTED_XNNPACK,
    ),
    "20_host_t4_xnn_false.txt": (
        (234123, 560, 249140, 249140, 152966, 527136, 78272, 220730, 176207, 527136, 20, 1),
        (2.98047, 32.3008, None),
        (),
    ),
    "20_host_t4_xnn_true.txt": (
        (46735.3, 17110, 61517, 50955.5, 40259, 52573, 3035, 47483, 40913, 52573, 20, 2),
        (24.4766, 47.0391, None),
        REQUESTED_XNNPACK,
    ),
    "21_host_default.txt": (
        (75782.2, 40157, 101157, 101157, 24725, 327216, 81992, 40307, 24903, 327216, 20, 1),
        (24.4766, 46.8516, None),
        DEFAULT_XNNPACK,
    ),
    "22_host_opprof_stdout.txt": (
        (51662.7, 13495, 36360, 35708.5, 25623, 248796, 47144, 43070, 25692, 248796, 20, 4),
        (24.8008, 47.3945, None),
        DEFAULT_XNNPACK,
    ),
    "22_host_opprof_stdout_noxnn.txt": (
        (250758, 722, 647255, 647255, 153622, 624880, 104778, 223888, 173093, 624880, 20, 1),
        (3.16797, 30.0391, None),
        (),
    ),
    "23_host_opprof_csv_stdout.txt": (
        (42067.1, 14032, 36172, 45000.7, 24305, 86437, 19188, 35771, 24510, 86437, 20, 3),
        (24.8828, 47.4453, None),
        DEFAULT_XNNPACK,
    ),
    "24_host_opprof_csv_file.txt": (
        (45520.6, 13898, 56827, 51736.5, 24388, 153870, 27590, 37788, 32316, 153870, 20, 2),
        (24.8711, 47.5898, 53.9062),
        DEFAULT_XNNPACK,
    ),
    "25_host_verbose.txt": (
        (37096, 24770, 51710, 38397.5, 37096, 37096, None, 37096, 37096, 37096, 1, 13),
        (24.6914, 47.1992, None),
        DEFAULT_XNNPACK,
    ),
    "26_host_one_run.txt": (
        (35108, 16683, 56362, 56362, 35108, 35108, None, 35108, 35108, 35108, 1, 1),
        (24.5938, 47.1094, None),
        DEFAULT_XNNPACK,
    ),
    "27_host_dry_run.txt": (
        (0, 22330, 0, 0, None, None, None, 0, 0, 0, 0, 0),
        (24.625, 25.625, None),
        DEFAULT_XNNPACK,
    ),
    "28_host_maxsecs.txt": (
        (39343.5, 21734, 51751, 40673.4, 36986, 41572, 1871, 40477, 36986, 41572, 6, 5),
        (24.625, 47.125, None),
        DEFAULT_XNNPACK,
    ),
    "34_gpu_unsupported.txt": (
        (49706.4, 12919, 35788, 35283, 24744, 243352, 47044, 37283, 24796, 243352, 20, 3),
        (24.6875, 47.25, None),
        DEFAULT_XNNPACK,
    ),
    "35_nnapi_unknown_flag.txt": (
        (61546.8, 40237, 116647, 116647, 36663, 354934, 69527, 40576, 36780, 354934, 20, 1),
        (24.7188, 47.2812, None),
        DEFAULT_XNNPACK,
    ),
    "36_fail_unknown_flag.txt": (
        (39207.2, 19788, 58016, 46234, 33296, 48061, 3197, 39092, 34765, 48061, 20, 3),
        (24.7188, 47.2812, None),
        DEFAULT_XNNPACK,
    ),
    "40_fail_external_delegate.txt": (
        (40337.2, 13233, 56239, 44887.7, 36493, 45202, 2442, 40521, 37081, 45202, 20, 3),
        (24.5938, 47.1094, None),
        DEFAULT_XNNPACK,
    ),
    "42_threads0.txt": (
        (41243.1, 13108, 56371, 46171, 37425, 49592, 3213, 40519, 37458, 49592, 20, 3),
        (24.6875, 47.25, None),
        DEFAULT_XNNPACK,
    ),
    "43_fail_result_path.txt": (
        (41334.2, 21198, 64857, 51115.5, 36915, 46351, 2907, 41882, 37578, 46351, 20, 2),
        (24.7188, 47.2812, None),
        DEFAULT_XNNPACK,
    ),
}

FAILED = {
    "30_fail_missing_model.txt": (
        "Could not open '/data/local/tmp/nonexist.tflite'.",
        "The model allocation is null/empty",
        "Failed to load model /data/local/tmp/nonexist.tflite",
        "Benchmarking failed.",
    ),
    "31_fail_bad_model.txt": (
        "The model is not a valid Flatbuffer buffer",
        "Failed to load model /data/local/tmp/bad.tflite",
        "Benchmarking failed.",
    ),
    "32_fail_truncated_model.txt": (
        "The model is not a valid Flatbuffer buffer",
        "Failed to load model /data/local/tmp/trunc.tflite",
        "Benchmarking failed.",
    ),
    "33_fail_no_graph.txt": (
        "Please specify the name of your TF Lite input file with --graph",
        "Benchmarking failed.",
    ),
    "34_gpu_unsupported_require.txt": (
        "Disallowed CPU fallback detected.",
        "Benchmarking failed.",
    ),
    "37_fail_bad_flag_value.txt": (
        "Failed to parse flag 'num_threads' against argv '--num_threads=abc'",
        "usage: /data/local/tmp/benchmark_model <flags>",
        "Benchmarking failed.",
    ),
    "38_fail_signature.txt": (
        "Signature not specified or incorrect. Pass one of the following to the flag "
        '"--signature_to_run_for"',
        "#> Signature key: serving_default",
        "Benchmarking failed.",
    ),
    "39_fail_input_layer.txt": ("Inputs mismatch: Model inputs #:1 expected: 2", "Aborted"),
    "41_help.txt": ("usage: /data/local/tmp/benchmark_model <flags>", "Benchmarking failed."),
    "44_fail_wrong_abi_mksh.txt": (
        "E: /bin/mksh: /data/local/tmp/hello_arm64: not executable: 64-bit ELF file",
    ),
    "45_fail_oom.txt": (
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "what():  std::bad_alloc",
        "Aborted",
    ),
    "46_killed.txt": ("Killed",),
}

# No log: its own reader, or nothing to read.
OTHER = {"16_litert_benchmark_py_2.3.0.json", "24_prof.csv", "24_result.pb", "24_runtime.pb"}


def test_every_recorded_file_is_covered():
    assert {path.name for path in LOGS.iterdir()} == COMPLETE.keys() | FAILED.keys() | OTHER


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_log(name):
    timings, memory, delegates = COMPLETE[name]
    log = read(name)
    assert log.timings == Timings(*timings)
    assert log.memory == Memory(*memory)
    assert log.delegates == delegates
    assert log.model_size_mb == (0.38 if name.startswith("15") else 0.403564)
    assert log.complete_runs == 1


@pytest.mark.parametrize("name", FAILED)
def test_a_failed_log(name):
    log = read(name)
    assert log.timings is None
    assert log.errors == FAILED[name]
    assert log.complete_runs == 0


@pytest.mark.parametrize("name", sorted(OTHER - {"24_prof.csv"}))
def test_what_is_no_log_gives_an_empty_one(name):
    assert read(name) == Log()


def test_only_what_went_wrong_is_an_error():
    # The Python benchmark warns of a missing plugin, and its run is sound.
    clean = set(COMPLETE) - {"43_fail_result_path.txt"}
    assert {name: read(name).errors for name in clean} == dict.fromkeys(clean, ())
    assert read("43_fail_result_path.txt").errors == (
        "Failed to save benchmark result to: /nonexistent/dir/x.pb",
    )


def test_flags_that_the_tool_did_not_know():
    names = [*COMPLETE, *FAILED]
    assert {name: flags for name in names if (flags := read(name).unconsumed_flags)} == {
        "34_gpu_unsupported.txt": ("--use_gpu=true",),
        "34_gpu_unsupported_require.txt": ("--use_gpu=true",),
        "35_nnapi_unknown_flag.txt": ("--use_nnapi=true",),
        "36_fail_unknown_flag.txt": ("--no_such_flag=1",),
    }


def test_several_unknown_flags_some_with_spaces():
    log = parse_log("WARN: Unconsumed cmdline flags: --a=1 --graph=/sdcard/my model.tflite -b\n")
    assert log.unconsumed_flags == ("--a=1", "--graph=/sdcard/my model.tflite", "-b")


def test_settings_that_the_tool_echoes():
    assert read("20_host_t4_xnn_true.txt").flags == {
        "Log parameter values verbosely": "0",
        "Min num runs": "20",
        "Min runs duration (seconds)": "0.3",
        "Num threads": "4",
        "Min warmup runs duration (seconds)": "0.1",
        "Graph": "/data/local/tmp/m.tflite",
        "Signature to run": "",
        "#threads used for CPU inference": "4",
        "Use xnnpack": "1",
    }
    assert read("39_fail_input_layer.txt").flags["Input shapes"] == "1,2,3"
    assert read("40_fail_external_delegate.txt").flags["External delegate path"] == (
        "/nonexistent.so"
    )
    assert read("15_litert_benchmark_py_2.3.0_host.txt").flags["Fully accelerated"] == "False"


def test_a_delegate_that_was_asked_for_and_left_out_without_a_word():
    assert read("40_fail_external_delegate.txt").delegate("external") is None


# --- Operator profiles -------------------------------------------------------------------------


def test_operators_of_the_table():
    ops = read("22_host_opprof_stdout.txt").ops
    assert len(ops) == 2 + 131  # "2 nodes observed", "131 nodes observed"
    assert ops[1] == OpTime(
        "AllocateTensors",
        "AllocateTensors/0",
        first_us=11763,
        avg_us=11763,
        percent=94.802,
        cdf_percent=100,
        mem_kb=20864,
        times_called=1,
        phase="init",
    )
    assert ops[2 + 50] == OpTime(
        "Batch Matrix Multiply (NC, F32) GEMM",
        "Delegate/Batch Matrix Multiply (NC, F32) GEMM:50",
        first_us=4998,
        avg_us=9062,
        percent=17.642,
        cdf_percent=38.270,
        mem_kb=0,
        times_called=1,
    )


@pytest.mark.parametrize(
    ("name", "nodes", "inference_us"),
    [  # the tool's own sum, from "Timings (microseconds): count=20 ... avg="
        ("22_host_opprof_stdout.txt", 131, 51364.9),
        ("22_host_opprof_stdout_noxnn.txt", 138, 250494),
        ("23_host_opprof_csv_stdout.txt", 131, 41805.9),
        ("24_prof.csv", 131, 45334.2),
    ],
)
def test_operators_add_up_to_the_inference(name, nodes, inference_us):
    ops = [op for op in read(name).ops if op.phase == "run"]
    assert len(ops) == nodes
    assert sum(op.avg_us * op.times_called for op in ops) == pytest.approx(inference_us, rel=1e-4)
    assert parse_op_csv((LOGS / name).read_bytes()) == read(name).ops


def test_operators_of_the_csv():
    ops = parse_op_csv((LOGS / "24_prof.csv").read_text(encoding="utf-8"))
    assert len(ops) == 2 + 131
    assert ops[0] == OpTime(
        "ModifyGraphWithDelegate",
        "ModifyGraphWithDelegate/0",
        first_us=809,
        avg_us=809,
        percent=6.54478,
        cdf_percent=6.54478,
        mem_kb=1264,
        times_called=1,
        phase="init",
    )
    small = next(op for op in ops if op.name == "Delegate/Static Reshape (NC):3")
    assert (small.avg_us, small.percent) == (0.05, 0.000110292)  # printed as 5e-05 ms
    matmul = next(op for op in ops if op.name == "Delegate/Batch Matrix Multiply (NC, F32) GEMM:4")
    assert matmul.node_type == "Batch Matrix Multiply (NC, F32) GEMM"
    assert (matmul.first_us, matmul.avg_us, matmul.percent) == (3201, 4602.4, 10.1522)


def test_operators_with_a_start_column():
    csv = (
        "node type, start, first, avg_ms, %, cdf%, mem KB, times called, name\n"
        "Fully Connected (NC, F32) GEMM, 0.25, 0.5, 0.375, 75%, 75%, 12, 2, fc1:0\n"
    )
    table = (
        "============================== Run Order ==============================\n"
        "\t [node type]\t [start]\t [first]\t [avg ms]\t [%]\t [cdf%]\t [mem KB]"
        "\t[times called]\t[Name]\n"
        "\t Fully Connected (NC, F32) GEMM\t 0.250\t 0.500\t 0.375\t 75.000%\t 75.000%"
        "\t 12.000\t 2\tfc1:0\n"
    )
    expected = OpTime(
        "Fully Connected (NC, F32) GEMM",
        "fc1:0",
        first_us=500,
        avg_us=375,
        percent=75,
        cdf_percent=75,
        mem_kb=12,
        times_called=2,
        start_us=250,
    )
    assert parse_op_csv(csv) == (expected,)
    assert parse_op_csv(table) == (expected,)
    assert parse_op_csv(table.replace("\t", "    ")) == (expected,)  # copied from a terminal
    assert parse_log(table.replace("\n", "\r\n")).ops == (expected,)


def test_damaged_operator_rows_are_left_out():
    csv = (
        "node type, first, avg_ms, %, cdf%, mem KB, times called, name\n"
        "ADD, 0.1, 0.2, 50%, 50%, 0, 1, a:0\n"
        "MUL, 0.1, nan, 50%, 100%, 0, 1, b:1\n"
        "SUB, 0.1, 0.2, 50, 100, 0, 1, c:2\n"
        ", 0.1, 0.2, 50%, 100%, 0, 1, d:3\n"
        "DIV, 0.1, 0.2\n"
        "POW, 0.1, 0.2, 50%, 100%, 0, 1, \n"
        "EXP, 0.1, 0.2, 50%, 100%, 0, 1, e:4"
    )
    assert [(op.node_type, op.name) for op in parse_op_csv(csv)] == [("ADD", "a:0"), ("POW", "")]


# --- The result proto --------------------------------------------------------------------------


def test_the_result_proto():
    assert parse_result((LOGS / "24_result.pb").read_bytes()) == Result(
        # to the digits of 24_host_opprof_csv_file.txt, which the same run printed
        Timings(*COMPLETE["24_host_opprof_csv_file.txt"][0]),
        Memory(init_mb=25468 / 1024, overall_mb=48732 / 1024, peak_mb=53.90625),
        model_size_mb=0.403564,
        throughput_mb_s=22.529,
    )


def test_bytes_that_are_no_result_proto():
    assert parse_result(b"") is None
    assert parse_result((LOGS / "24_runtime.pb").read_bytes()) is None  # another message
    assert parse_result((LOGS / "24_prof.csv").read_bytes()) is None
    assert parse_result(b"\x12\x05\x0d" + struct.pack("<f", math.nan)) is None
    assert parse_result(b"\x12\x05\x0d" + struct.pack("<f", -1.0)) is None
    assert parse_result(b"\x12" + b"\xff" * 9) is None


def test_a_result_proto_with_the_average_only():
    assert parse_result(b"\x12\x05\x0d" + struct.pack("<f", 1.5)) == Result(Timings(1500))


def test_a_cut_result_proto_has_no_number_that_the_whole_one_has_not():
    data = (LOGS / "24_result.pb").read_bytes()
    whole = parse_result(data)
    assert whole is not None
    for length in range(len(data)):
        cut = parse_result(data[:length])
        if cut is not None:  # only between two messages, so a message is whole or missing
            assert cut.timings.count is None
            assert_says_nothing_new(cut.timings, whole.timings)
            assert_says_nothing_new(cut.memory, whole.memory)


# --- Other versions and ways of printing -------------------------------------------------------

# The figures below are made up; the formats are those of the versions named.
RUN = """\
STARTING!
Loaded model m.tflite
The input model file size (MB): 1.5
Initialized session in 2.5ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=6 first=910 curr=850 min=840 max=910 avg=861.5 std=25

Running benchmark for at least 50 iterations and at least 1 seconds
count=50 first=880 curr=815 min=802 max=899 avg=820.25 std=17

{summary}
"""
SUMMARY = (
    "Inference timings in us: Init: 2500, First inference: 910, Warmup (avg): 861.5, "
    "Inference (avg): 820.25"
)
EXPECTED = Timings(
    820.25,
    init_us=2500,
    first_us=910,
    warmup_avg_us=861.5,
    min_us=802,
    max_us=899,
    std_us=17,
    count=50,
    warmup_count=6,
)


def run(summary: str = SUMMARY) -> str:
    return RUN.format(summary=summary)


@pytest.mark.parametrize(
    "summary",
    [
        SUMMARY,
        "Average inference timings in us: Warmup: 861.5, Init: 2500, no stats: 820.25",
        "Average inference timings in us: Warmup: 861.5, Init: 2500, Inference: 820.25",
        # the Android app of TF 1
        "Average inference timings in us: Warmup: 861.5, Init: 2500, Inference: 820.25Overall max"
        " resident set size = 12 MB, total malloc-ed size = 3 MB",
        # the Android app of TF 2, whose two listeners both print it
        f"{SUMMARY}\n{SUMMARY}",
    ],
)
def test_final_lines_of_all_versions(summary):
    log = parse_log(run(summary))
    assert log.timings == EXPECTED
    assert log.model_size_mb == 1.5
    assert (log.errors, log.complete_runs) == ((), 1)


@pytest.mark.parametrize(
    "prefix",
    [
        "INFO: ",
        "INFO: INFO: ",
        "INFO: [file.h:94] ",
        "INFO: [.\\litert/tools/file.h:94] ",
        "I tflite  : ",
        "I/tflite  ( 5395): ",
        "07-14 13:14:52.097 I/tflite  (22838): ",
        "07-14 13:14:52.097 22838 22841 I tflite  : ",
        "2026-07-14 13:14:52.097  2283  2284 I tflite: ",
        "07-14 13:14:52.097 22838 22838 E tflite  : ",  # the app prints results as errors
        "2017-12-06 17:16:24.731586: I tensorflow/tools/benchmark/benchmark_model.cc:324] ",
        "I0000 00:00:1758455104.504065   62590 benchmark_model.cc:51] ",
        "\x1b[32mINFO:\x1b[0m ",
        "\0\0",
        "\ufeff",
    ],
)
@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r\r\n"])
def test_prefixes_and_line_breaks(prefix, line_break):
    first, rest = run().split("\n", 1)
    lines = [prefix + first, *(prefix.lstrip("\ufeff") + line for line in rest.split("\n"))]
    log = parse_log(line_break.join(lines))
    assert log.timings == EXPECTED
    assert log.model_size_mb == 1.5


def test_the_encodings_of_a_redirected_log():
    assert parse_log(run().encode("utf-16")).timings == EXPECTED  # Windows PowerShell
    assert parse_log(run().encode("utf-8-sig")).timings == EXPECTED
    assert_is_sound(parse_log(b"\xff\xfe\xff" + run().encode()))  # a mark that lies


def test_scientific_notation():
    text = run().replace("avg=820.25", "avg=1.20953e+06").replace(": 820.25", ": 1.20953e+06")
    log = parse_log(text)
    assert log.timings is not None
    assert (log.timings.inference_avg_us, log.timings.count) == (1209530, 50)


def test_runs_that_all_took_the_same_time():
    text = run().replace(
        "count=50 first=880 curr=815 min=802 max=899 avg=820.25 std=17",
        "count=50 curr=820(all same)",
    )
    log = parse_log(text.replace(": 820.25", ": 820"))
    assert log.timings == Timings(
        820, 2500, 910, 861.5, 820, 820, 0, 820, 820, 820, count=50, warmup_count=6
    )


def test_the_warm_up_is_never_taken_for_the_timed_runs():
    lines = run().split("\n")
    warmup_only = "\n".join(line for line in lines if not line.startswith("count=50"))
    log = parse_log(warmup_only)
    assert log.timings == Timings(820.25, 2500, 910, 861.5)  # no count: what was it of?
    one_each = run().replace(lines[5], "count=1 curr=910").replace(lines[8], "count=1 curr=820")
    log = parse_log(one_each.replace(": 861.5", ": 910").replace(": 820.25", ": 820"))
    assert log.timings is not None
    assert (log.timings.median_us, log.timings.count, log.timings.warmup_count) == (820, 1, 1)
    assert parse_log("\n".join(line for line in lines if "timings" not in line)).timings is None


def test_only_the_final_line_survived_a_filter():
    log = parse_log(f"I tflite  : {SUMMARY}\n")
    assert log.timings == Timings(820.25, 2500, 910, 861.5)


@pytest.mark.parametrize("bad", ["nan", "-nan", "inf", "-5", "1e999", "82\0.25", "x", ""])
def test_a_number_that_is_none_is_not_read(bad):
    assert parse_log(run(SUMMARY.replace("820.25", bad))).timings is None
    log = parse_log(run().replace("max=899", f"max={bad}"))
    assert log.timings is not None
    assert log.timings.max_us is None


def test_old_names_of_the_memory():
    log = parse_log(run() + "Peak memory footprint (MB): init=1.25 overall=26.5\n")
    assert log.memory == Memory(1.25, 26.5)
    log = parse_log(run() + "Memory footprint delta from the start of the tool (MB): init=-1 ")
    assert log.memory == Memory()


LITERT = """\
INFO: [litert/runtime/compiled_model.cc:229] Flatbuffer model initialized directly.
INFO: count=526 first=2125 curr=969 min=910 max=2125 avg=949.861 std=68 p5=915 median=939 p95=990

INFO: count=1054 first=1015 curr=942 min=910 max=1102 avg=947.132 std=23 p5=915 median=942 p95=991

INFO: [./litert/tools/benchmark_litert_model.h:72]\x20
========== BENCHMARK RESULTS ==========
INFO: [./litert/tools/benchmark_litert_model.h:73] Model initialization: 5.76 ms
INFO: [./litert/tools/benchmark_litert_model.h:75] Warmup (first):       2.12 ms
INFO: [./litert/tools/benchmark_litert_model.h:77] Warmup (avg):         0.95 ms (526 runs)
INFO: [./litert/tools/benchmark_litert_model.h:79] Inference (avg):      0.95 ms (1054 runs)
INFO: [./litert/tools/benchmark_litert_model.h:83] Inference (min):      0.91 ms
INFO: [./litert/tools/benchmark_litert_model.h:85] Inference (max):      1.10 ms
INFO: [./litert/tools/benchmark_litert_model.h:87] Inference (std):      0.02
INFO: [./litert/tools/benchmark_litert_model.h:94] Throughput:           197.97 MB/s
INFO: [./litert/tools/benchmark_litert_model.h:103]\x20
Memory Usage:
INFO: [./litert/tools/benchmark_litert_model.h:105] Init footprint:       4.06 MB
INFO: [./litert/tools/benchmark_litert_model.h:107] Overall footprint:    7.07 MB
INFO: [./litert/tools/benchmark_litert_model.h:111] Peak memory:          9.50 MB
INFO: [./litert/tools/benchmark_litert_model.h:117] ======================================
"""


def test_compiled_model():
    log = parse_log(LITERT)
    # The statistics say the same as the block in microseconds, so their digits are taken.
    assert log.timings == Timings(
        947.132, 5760, 2125, 949.861, 910, 1102, 23, 942, 915, 991, count=1054, warmup_count=526
    )
    assert log.memory == Memory(4.06, 7.07, 9.5)
    assert (log.complete_runs, log.errors) == (1, ())


def test_compiled_model_without_statistics():
    block = "\n".join(line for line in LITERT.split("\n") if "count=" not in line)
    assert parse_log(block).timings == Timings(
        950, 5760, 2120, 950, 910, 1100, 20, count=1054, warmup_count=526
    )
    # 949.861 would round to 0.95 ms too, but they were 526 runs.
    warmup_only = "\n".join(line for line in LITERT.split("\n") if "count=1054" not in line)
    assert parse_log(warmup_only).timings == parse_log(block).timings
    line = "INFO: [benchmark_litert_model.h:88] Inference (avg):      71.45 ms (14 runs)\n"
    assert parse_log(line).timings == Timings(71450, count=14)


def test_the_last_complete_run_counts():
    first, second = run(), run().replace("820.25", "720.25")
    log = parse_log(first + second)
    assert log.timings is not None
    assert (log.timings.inference_avg_us, log.complete_runs) == (720.25, 2)

    torn = second[: second.index("count=50")] + "Killed\n"
    log = parse_log("ERROR: of the first\n" + first + torn + "ERROR: of a third\n")
    assert log.timings == EXPECTED
    assert log.complete_runs == 1
    assert log.errors == ("of the first", "Killed", "of a third")  # what came later is not hidden

    log = parse_log("Benchmarking failed.\nSTARTING!\n" + first + "STARTING!\nNum threads: [3]\n")
    assert (log.timings, log.errors, log.flags) == (EXPECTED, (), {})


def test_runs_in_one_log_without_their_first_lines():
    def body(text: str) -> str:
        return text.split("\n", 1)[1]

    log = parse_log(body(run()) + body(run().replace("820.25", "720.25")))
    assert log.timings is not None
    assert (log.timings.inference_avg_us, log.timings.count, log.complete_runs) == (720.25, 50, 2)
    log = parse_log(
        LITERT + LITERT.replace("947.132", "940.5").replace("0.95 ms (1054", "0.94 ms (1054")
    )
    assert log.timings is not None
    assert (log.timings.inference_avg_us, log.complete_runs) == (940.5, 2)


# --- Delegates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["GPU delegate created."], Delegate("GPU", requested=True)),
        (["Created TensorFlow Lite delegate for GPU."], Delegate("GPU")),
        (
            [
                "INFO: GPU delegate created.",
                "VERBOSE: Replacing 58 out of 58 node(s) with delegate (TfLiteGpuDelegateV2) "
                "node, yielding 1 partitions for the whole graph.",
                "INFO: Explicitly applied GPU delegate, and the model graph will be completely "
                "executed by the delegate.",
            ],
            Delegate("GPU", "completely", True, None, 58, 58),
        ),
        (
            [
                "INFO: Explicitly applied NNAPI delegate, and the model graph will be partially "
                "executed by the delegate w/ 3 delegate kernels.",
                "INFO: NNAPI delegate created.",
            ],
            Delegate("NNAPI", "partially", True, 3),
        ),
        (
            [
                "Applied GPU delegate, and the model graph will be completely executed w/ the "
                "delegate."
            ],
            Delegate("GPU", "completely", True),
        ),
        (
            [
                "Though EXTERNAL delegate is explicitly applied, the model graph will not be "
                "executed by the delegate."
            ],
            Delegate("EXTERNAL", "not applied", True),
        ),
        (
            ["Replacing 0 out of 9 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 0"],
            Delegate("NNAPI", "not applied", False, None, 0, 9),
        ),
        (  # of several subgraphs the first is the main one
            [
                "I tflite  : Replacing 5 out of 9 node(s) with delegate (LITERT_CL) node",
                "I tflite  : Replacing 2 out of 2 node(s) with delegate (LITERT_CL) node",
            ],
            Delegate("GPU", "partially", False, None, 5, 9),
        ),
        (
            ["I tflite  : Replacing 1 out of 1 node(s) with delegate (DispatchDelegate) node"],
            Delegate("NPU", "completely", False, None, 1, 1),
        ),
        (
            [
                "I tflite  : Replacing 5 out of 9 node(s) with delegate (LITERT_CL) node",
                "E tflite  : Restored original execution plan after delegate application failure.",
            ],
            Delegate("GPU", "failed", False, None, 5, 9),
        ),
        (
            [
                "INFO: Replacing 9 out of 9 node(s) with delegate (TfLiteGpuDelegateV2) node",
                "ERROR: Failed to apply GPU delegate.",
                "INFO: GPU delegate created.",
            ],
            Delegate("GPU", "failed", True, None, 9, 9),
        ),
        (
            ["WARN: NNAPI acceleration is unsupported on this platform."],
            Delegate("NNAPI", "failed", True),
        ),
        (
            ["WARN: Could not create Hexagon delegate: platform may not support delegate"],
            Delegate("HEXAGON", "failed", True),
        ),
    ],
)
def test_what_became_of_a_delegate(lines, expected):
    log = parse_log("\n".join(lines) + "\n")
    assert log.delegates == (expected,)
    assert log.delegate(expected.name.lower()) == expected
    assert expected.applied == (expected.state in ("completely", "partially"))


def test_two_delegates():
    log = parse_log(
        "I tflite  : Replacing 5 out of 9 node(s) with delegate (TfLiteGpuDelegateV2) node\n"
        "I tflite  : Created TensorFlow Lite XNNPACK delegate for CPU.\n"
        "I tflite  : Replacing 4 out of 4 node(s) with delegate (TfLiteXNNPackDelegate) node\n"
    )
    assert [(d.name, d.state) for d in log.delegates] == [
        ("GPU", "partially"),
        ("XNNPACK", "completely"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Segmentation fault ",
        "/system/bin/sh: /data/local/tmp/benchmark_model: not found",
        "sh: 1: ./benchmark_model: Permission denied",
        'CANNOT LINK EXECUTABLE "./benchmark_model": library "libOpenCL.so" not found',
        "Failed to apply GPU delegate.",
        "Failed to construct interpreter",
        "E tflite  : Node number 3 (TfLiteGpuDelegateV2) failed to prepare.",
        "F libc    : Fatal signal 11 (SIGSEGV), code 1 (SEGV_MAPERR)",
        "error: device offline",
        "Killed",  # the last line too, torn or not
    ],
)
def test_errors_with_and_without_a_level(line):
    message = line.split("  : ")[-1].split("    : ")[-1].strip()
    assert parse_log(f"INFO: fine\n{line}\n").errors == (message,)
    assert parse_log(f"INFO: fine\n{line}").errors == (message,)


# --- Damage ------------------------------------------------------------------------------------


def assert_says_nothing_new(part: Timings | Memory, whole: Timings | Memory) -> None:
    told = {name: value for name, value in asdict(part).items() if value is not None}
    assert told.items() <= asdict(whole).items()


def assert_is_sound(log: Log) -> None:
    numbers = [*asdict(log.memory).values(), log.model_size_mb]
    numbers += asdict(log.timings).values() if log.timings else []
    for op in log.ops:
        numbers += [v for v in asdict(op).values() if not isinstance(v, str)]
    assert all(math.isfinite(n) and n >= 0 for n in numbers if n is not None)


def assert_is_cut_of(part: Log, whole: Log) -> None:
    assert_is_sound(part)
    if part.timings is not None:
        assert whole.timings is not None
        assert_says_nothing_new(part.timings, whole.timings)
    assert_says_nothing_new(part.memory, whole.memory)
    assert part.ops == whole.ops[: len(part.ops)]
    assert part.flags.items() <= whole.flags.items()


@pytest.mark.parametrize(
    "name",
    [
        "15_litert_benchmark_py_2.3.0_host.txt",
        "20_host_t1_xnn_true.txt",
        "24_host_opprof_csv_file.txt",
        "27_host_dry_run.txt",
        "39_fail_input_layer.txt",
        "46_killed.txt",
    ],
)
def test_a_log_cut_at_every_byte(name):
    data = (LOGS / name).read_bytes()
    whole = parse_log(data)
    for length in range(len(data)):
        assert_is_cut_of(parse_log(data[:length]), whole)


@pytest.mark.parametrize(
    "name", ["22_host_opprof_stdout.txt", "23_host_opprof_csv_stdout.txt", "24_prof.csv"]
)
def test_a_long_log_cut_at_many_bytes(name):
    data = (LOGS / name).read_bytes()
    whole = parse_log(data)
    for length in range(0, len(data), 61):
        assert_is_cut_of(parse_log(data[:length]), whole)
        assert parse_op_csv(data[:length]) == parse_log(data[:length]).ops


def test_other_formats_cut_at_every_character():
    for text in (run(), run("Average inference timings in us: Warmup: 861.5, no stats: 820.25")):
        whole = parse_log(text)
        for length in range(len(text)):
            assert_is_cut_of(parse_log(text[:length]), whole)
    whole = parse_log(LITERT)
    for length in range(len(LITERT)):
        assert_is_cut_of(parse_log(LITERT[:length]), whole)


@pytest.mark.parametrize("path", sorted(LOGS.iterdir()), ids=lambda path: path.name)
def test_flipped_bytes(path):
    data, rng = path.read_bytes(), random.Random(path.name)
    for _ in range(20):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 30)):
            damaged[rng.randrange(len(data))] = rng.randrange(256)
        assert_is_sound(parse_log(bytes(damaged)))
        parse_op_csv(bytes(damaged))
        result = parse_result(bytes(damaged))
        if result is not None:
            assert_is_sound(Log(result.timings, result.memory))


FRAGMENTS = st.sampled_from(
    [
        *("\n", "\r", "\0", "INFO: ", "I tflite  : ", "\x1b[", "%", ", ", "\t", "٣"),
        *(SUMMARY, SUMMARY[:-4], "Inference (avg): ", "count=", "count=3 curr=7", " avg="),
        *("1e999", "-1", "nan", "9" * 400, "Run Order", "=" * 30, "[node type] [first]"),
        *("node type, first, x", "A, 1, 1, 1%, 1%, 0, 1, b", "GPU delegate created."),
        *("Replacing 9 out of 3 node(s) with delegate (X)", "STARTING!"),
    ]
)
SETTINGS = settings(derandomize=True, max_examples=300, deadline=None, database=None)


@SETTINGS
@given(st.lists(st.one_of(FRAGMENTS, st.text(max_size=5))).map("".join))
@example("")
@example("\ud800\n")
def test_any_text(text):
    assert_is_sound(parse_log(text))
    assert_is_sound(Log(ops=parse_op_csv(text)))


@SETTINGS
@given(st.binary())
@example(b"")
@example(b"\xff\xfe\n")
def test_any_bytes(data):
    assert_is_sound(parse_log(data))
    parse_op_csv(data)
    result = parse_result(data)
    assert result is None or result.timings.inference_avg_us >= 0


@SETTINGS
@given(st.lists(st.floats(width=32), min_size=10, max_size=10), st.integers(-1, 2**31 - 1))
def test_any_numbers_in_a_result_proto(values, count):
    latency = b"".join(bytes([n << 3 | 5]) + struct.pack("<f", v) for n, v in enumerate(values, 1))
    misc = b"\x10" + varint(count)
    result = parse_result(
        b"\x12" + varint(len(latency)) + latency + b"\x22" + varint(len(misc)) + misc
    )
    if result is None:
        assert not (math.isfinite(values[0]) and values[0] >= 0)
        return
    assert_is_sound(Log(result.timings))
    assert result.timings.count == (count if count >= 0 else None)
    order = ("inference_avg", "min", "max", "std", "median", "p5", "p95", "init", "first")
    for name, value in zip((*order, "warmup_avg"), values, strict=True):
        found = getattr(result.timings, f"{name}_us")
        assert found is None or found == pytest.approx(value * 1000, rel=1e-6)


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


@pytest.mark.parametrize(
    "text",
    [
        "INFO: " * 200_000,
        "count=" + " a=1" * 200_000,
        "I x" + " " * 1_000_000,
        "Inference timings in us: " + "a " * 500_000,
        "[" * 1_000_000,
        "\n" * 300_000,
        "=" * 60 + "\n[node type] [first]\n" + "A 1% " * 200_000,
        "/" * 1_000_000 + "sh",
        "Replacing " + "9" * 1_000_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_takes_long(text):
    start = time.process_time()
    assert_is_sound(parse_log(text + "\n"))
    assert time.process_time() - start < 10  # a second if it is linear, hours if quadratic


def test_the_fields_are_the_ones_the_runner_relies_on():
    assert [f.name for f in fields(Timings)] == [
        *("inference_avg_us", "init_us", "first_us", "warmup_avg_us", "min_us", "max_us"),
        *("std_us", "median_us", "p5_us", "p95_us", "count", "warmup_count"),
    ]
