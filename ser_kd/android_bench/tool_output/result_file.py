"""The binary file that ``--result_file_path`` names: a protocol buffer, read by hand."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from ser_kd.android_bench.tool_output.figures import Memory, Result, Timings

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def parse_result(data: bytes) -> Result | None:
    """Reads what --result_file_path wrote (tflite.tools.benchmark.BenchmarkResult).

    Args:
        data: the file.

    Returns:
        The result, or None when the bytes are not one or are cut.
    """
    # Not a general reader: each number has the one wire type that its .proto declares.
    try:
        parts = {number: value for number, value in _proto_fields(data) if number in (2, 3, 4)}
        messages = {n: dict(_proto_fields(v)) for n, v in parts.items() if isinstance(v, bytes)}
    except ValueError:
        return None
    latency, memory, misc = (messages.get(number, {}) for number in (2, 3, 4))

    def us(number: int) -> float | None:
        return _float32(latency.get(number), 1000)

    average = us(1)
    if average is None:
        return None
    return Result(
        timings=Timings(
            inference_avg_us=average,
            min_us=us(2),
            max_us=us(3),
            std_us=us(4),
            median_us=us(5),
            p5_us=us(6),
            p95_us=us(7),
            init_us=us(8),
            first_us=us(9),
            warmup_avg_us=us(10),
            count=_int32(misc.get(2)),
            warmup_count=_int32(misc.get(3)),
        ),
        memory=Memory(
            init_mb=_kb_to_mb(_int32(memory.get(1))),
            overall_mb=_kb_to_mb(_int32(memory.get(2))),
            peak_mb=_float32(memory.get(3)),
        ),
        model_size_mb=_float32(misc.get(1)),
        throughput_mb_s=_float32(misc.get(4)),
    )


def _proto_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yields (field number, value): varints as int, 32 bits as float, messages as bytes.

    Raises:
        ValueError: The bytes are not a protocol buffer, or are cut.
    """
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        if position > len(data):
            raise ValueError("cut")
        return data[position - count : position]

    def varint() -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("endless varint")

    while position < len(data):
        number, wire_type = divmod(varint(), 8)
        if number == 0:
            raise ValueError("field number 0")
        if wire_type == _VARINT:
            yield number, varint()
        elif wire_type == _FIXED32:
            yield number, struct.unpack("<f", take(4))[0]
        elif wire_type == _BYTES:
            yield number, take(varint())
        elif wire_type == _FIXED64:
            take(8)
        else:
            raise ValueError("groups are not used")


def _float32(value: int | float | bytes | None, scale: int = 1) -> float | None:
    """Returns a float field times scale, in the seven digits that it has."""
    if not isinstance(value, float) or not math.isfinite(value) or value < 0:
        return None
    return float(f"{value * scale:.7g}")


def _int32(value: int | float | bytes | None) -> int | None:
    """Returns an int32 field; a negative one is a varint of 64 bits."""
    return value if isinstance(value, int) and value < 2**31 else None


def _kb_to_mb(kilobytes: int | None) -> float | None:
    return None if kilobytes is None else kilobytes / 1024
