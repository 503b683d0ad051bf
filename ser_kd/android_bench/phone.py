"""What is asked of a device besides timings: what it is, how warm, how much room, how steady."""

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

from ser_kd.android_bench.device import Device
from ser_kd.android_bench.errors import BenchError

_FIXED = "cmd power set-fixed-performance-mode-enabled"
# mType of Android's thermal service.
_SENSORS = {0: "cpu_celsius", 1: "gpu_celsius", 2: "battery_celsius", 3: "skin_celsius"}


def describe(device: Device) -> dict[str, Any]:
    """What a device is.

    Returns:
        ``serial, model, manufacturer, soc, android, sdk, abis`` and ``kind``: ``phone`` or
        ``emulator``, whose figures say nothing about phones.

    Raises:
        DeviceLostError: The device no longer answers.
    """
    lines = device.ask("getprop").splitlines()
    pairs = [re.match(r"\[(.*?)\]: \[(.*)\]?$", line) for line in lines]
    found = {pair[1]: pair[2].rstrip("]") for pair in pairs if pair}

    def first(*names: str) -> str:
        return next((found[name] for name in names if found.get(name)), "")

    abis = first("ro.product.cpu.abilist") or ",".join(
        filter(None, [first("ro.product.cpu.abi"), first("ro.product.cpu.abi2")])
    )
    emulator = (
        "1" in (found.get("ro.kernel.qemu"), found.get("ro.boot.qemu"))
        or first("ro.hardware", "ro.boot.hardware") in ("goldfish", "ranchu", "cutf_cvm")
        or "emulator" in first("ro.build.characteristics")
    )
    return {
        "kind": "emulator" if emulator else "phone",
        "serial": device.serial,
        "model": first("ro.product.model") or "unknown",
        "manufacturer": first("ro.product.manufacturer"),
        "soc": first("ro.soc.model", "ro.board.platform", "ro.hardware"),
        "android": first("ro.build.version.release"),
        "sdk": first("ro.build.version.sdk"),
        "abis": abis.split(",") if abis else [],
    }


def temperatures(device: Device) -> dict[str, float]:
    """Degrees Celsius of whatever the device reports, the warmest of each kind.

    Returns:
        Some of ``battery_celsius, skin_celsius, cpu_celsius, gpu_celsius``, and ``throttling``:
        Android's thermal status, 0 = none to 6 = shutting down.

    Raises:
        DeviceLostError: The device no longer answers.
    """
    said = device.ask("dumpsys battery; dumpsys thermalservice; true")
    found: dict[str, float] = {}
    battery = re.search(r"^\s*temperature: (-?\d+)", said, re.M)
    if battery:  # in tenths of a degree
        found["battery_celsius"] = int(battery[1]) / 10
    status = re.search(r"Thermal Status: (\d+)", said)
    if status:
        found["throttling"] = int(status[1])
    # What the hardware says now; the cached values above it can be hours old.
    current = said.partition("Current temperatures from HAL")[2].partition("Current cooling")[0]
    for value, kind in re.findall(r"mValue=(-?[\d.]+), mType=(-?\d+)", current):
        name = _SENSORS.get(int(kind))
        if name and 0 < float(value) < 150:  # sensors that are not there say 0 or -99
            found[name] = max(found.get(name, 0.0), float(value))
    return found


def free_bytes(device: Device, folder: str) -> int | None:
    """Room in a folder of the device; None where ``df`` speaks an unknown dialect.

    Raises:
        DeviceLostError: The device no longer answers.
    """
    lines = device.ask(f"df -k {folder}").splitlines() or device.ask(f"df {folder}").splitlines()
    if len(lines) < 2:
        return None
    header, row = lines[0].split(), " ".join(lines[1:]).split()
    for name in ("Available", "Avail", "Free"):
        if name in header and header.index(name) < len(row):
            number = re.fullmatch(r"([\d.]+)([KMG]?)", row[header.index(name)])
            if number:
                unit = {"": 1024, "K": 1024, "M": 1024**2, "G": 1024**3}[number[2]]
                return int(float(number[1]) * unit)
    return None


def set_fixed_performance(device: Device, on: bool) -> bool:
    """Switches the device's fixed-performance mode; whether that worked."""
    return device.shell(f"{_FIXED} {'true' if on else 'false'}").rc == 0


@contextlib.contextmanager
def fixed_performance(device: Device, wanted: bool) -> Iterator[None]:
    """Holds the device at a speed that it can sustain; ends in any case, also after Ctrl-C.

    Raises:
        BenchError: The device does not have that mode (it came with Android 11).
        DeviceLostError: The device no longer answers.
    """
    if not wanted:
        yield
        return
    has_mode = True  # unless it says no: Ctrl-C can come while it is being switched on
    try:
        has_mode = set_fixed_performance(device, True)
        if not has_mode:
            device.check_online("before the fixed-performance mode was set")
            raise BenchError(
                f"{device.serial} has no fixed-performance mode: leave --fixed-performance away"
            )
        yield
    finally:
        if has_mode and not set_fixed_performance(device, False):
            print(
                f"{device.serial}: the fixed-performance mode could not be ended: restart it, or "
                f"run `adb shell {_FIXED} false`",
                file=sys.stderr,
            )
