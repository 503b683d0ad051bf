"""A device for tests: it speaks adb's protocol on a loopback port and runs commands in a sandbox.

``benchmark_tool.py`` stands in for ``benchmark_model``: it times the model that was pushed and
prints what the real tool prints. The rest of Android (getprop, df, dumpsys, am, ...) are shell
scripts that print what ``Phone`` says.

Protocol: docs/dev/{protocol,sync}.md in Android's packages/modules/adb.
"""

import contextlib
import functools
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

import benchmark_tool

TMP = "/data/local/tmp"
_MAX_DATA = 256 * 1024
_V2 = ("shell_v2", "stat_v2", "ls_v2", "sendrecv_v2")


@dataclass
class Phone:
    """What a device is like, and what goes wrong with it.

    Attributes:
        model: ``ro.product.model``.
        abis: ``ro.product.cpu.abilist``.
        properties: More of what ``getprop`` prints.
        features: Of its adbd; none for Android 6 and older, which lose exit codes, too.
        authorized: Whether the user allowed USB debugging.
        silent: It accepts the connection and says nothing.
        free_kb: What ``df`` says.
        full: Writing fails although ``df`` has room.
        executable: Whether ``chmod`` works.
        cut_push: The cable is pulled when that many bytes of a file have come.
        cut_shell: The cable is pulled when a command has this in it.
        scripts: Programs to add or to replace, name -> text of a shell script.
        tool: How the tool behaves: ``mode`` (run, fixed, hang, killed, mute), ``modes`` (another
            one for a number of threads), ``gpu`` (applied, not applied; else it is unknown),
            ``unknown`` flags.
    """

    model: str = "FakePixel"
    abis: str = "x86_64,arm64-v8a"
    properties: dict[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = _V2
    authorized: bool = True
    silent: bool = False
    free_kb: int = 1_000_000
    full: bool = False
    executable: bool = True
    cut_push: int | None = None
    cut_shell: str | None = None
    scripts: dict[str, str] = field(default_factory=dict)
    tool: dict[str, object] = field(default_factory=dict)


_TOOL = """\
tool=$1
[ -f "$tool" ] || { echo "sh: $tool: inaccessible or not found" >&2; exit 127; }
[ -x "$tool" ] || { echo "sh: $tool: can't execute: Permission denied" >&2; exit 126; }
shift
[ "$1" = --help ] && { cat "$STATE/help" >&2; exit 1; }
exec "$PYTHON" -S "$TOOL" "$@"
"""
_DF = (
    "echo 'Filesystem 1K-blocks Used Available Use% Mounted on'; echo '/dev/x 9 9 {free} 1% /data'"
)
_DUMPSYS = """\
case $1 in
battery) echo '  temperature: 312';;
thermalservice) printf '%s\\n' 'Thermal Status: 0' 'Cached temperatures:' \\
  '	Temperature{mValue=80.0, mType=3, mName=SKIN, mStatus=0}' 'Current temperatures from HAL:' \\
  '	Temperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}' \\
  '	Temperature{mValue=33.5, mType=3, mName=SKIN, mStatus=0}' \\
  '	Temperature{mValue=0.0, mType=2, mName=SUBBAT, mStatus=0}' 'Current cooling devices from HAL:';;
*) exit 1;;
esac
"""
_PM = """\
case $1 in
path) [ -f "$STATE/app" ] && echo package:/data/app/base.apk;;
install) touch "$STATE/app"; echo Success;;
uninstall) rm "$STATE/app"; echo Success;;
esac
"""
# am start -S -n COMPONENT --es args '"--graph=... --num_threads=1"'
_AM = """\
[ "$1" = start ] || exit 0
echo "Starting: Intent { cmp=$4 (has extras) }"
flags=${7#\\"}
"$PYTHON" -S "$TOOL" ${flags%\\"} 2>&1 | sed 's/^/I tflite  : /' >"$STATE/logcat"
"""


class Adbd:
    """A device that is plugged in on ``127.0.0.1:port`` while the context lasts."""

    def __init__(self, phone: Phone, folder: Path) -> None:
        self.phone, self.root = phone, folder
        self.state = folder / "state"
        self.pushed: list[str] = []
        self.commands: list[str] = []
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        # Those are for emulators, which adb looks for by itself; Linux gives out higher ones.
        assert not 5555 <= self.port <= 5585
        self.serial = f"127.0.0.1:{self.port}"

    def __enter__(self) -> "Adbd":
        programs = self.root / "bin"
        self.state.mkdir(parents=True)
        Path(f"{self.root}{TMP}").mkdir(parents=True)
        programs.mkdir()
        properties = {
            "ro.product.model": self.phone.model,
            "ro.product.manufacturer": "Fake",
            "ro.product.cpu.abilist": self.phone.abis,
            "ro.build.version.release": "14",
            "ro.build.version.sdk": "34",
            **self.phone.properties,
        }
        lines = "\n".join(f"[{name}]: [{value}]" for name, value in properties.items())
        scripts = {
            "getprop": f"cat <<'END'\n{lines}\nEND",
            "df": _DF.format(free=self.phone.free_kb),
            "dumpsys": _DUMPSYS,
            "cmd": 'echo "$@" >>"$STATE/cmd"',
            "taskset": 'echo "$1" >>"$STATE/taskset"; shift; exec "$@"',
            "pm": _PM,
            "am": _AM,
            "logcat": 'cat "$STATE/logcat" 2>/dev/null || true',
            "run_tool": _TOOL,
            **({} if self.phone.executable else {"chmod": "true"}),
            **self.phone.scripts,
        }
        for name, text in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
        usage = "".join(f"\t--{name}=\n" for name in sorted(benchmark_tool.known(self.phone.tool)))
        (self.state / "help").write_text(
            f"ERROR: usage: <flags>\nFlags:\n{usage}", encoding="utf-8"
        )
        (self.state / "tool.json").write_text(json.dumps(self.phone.tool), encoding="utf-8")
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pull_cable()

    def pull_cable(self) -> None:
        """Ends everything at once, as a pulled cable does."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def plug_in_again(self) -> None:
        """After ``pull_cable``."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def local(self, remote: str) -> Path:
        """Where a path of the device lies in the sandbox."""
        return Path(f"{self.root}{remote}")

    def left_over(self) -> list[str]:
        """What lies in /data/local/tmp."""
        return sorted(str(path) for path in self.local(TMP).rglob("*"))

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, peer)
            self._connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def environment(self) -> dict[str, str]:
        """Of the commands: the sandbox's programs first."""
        return {
            "PATH": f"{self.root}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "STATE": str(self.state),
            "PYTHON": sys.executable,
            "TOOL": benchmark_tool.__file__,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def translate(self, command: str) -> str:
        """A command of the device -> one of the sandbox."""
        command = re.sub(r"([\w/.-]*_benchmark_model) --", r"run_tool \1 --", command)
        return command.replace(TMP, f"{self.root}{TMP}")


class _Connection:
    """One adb server's connection: messages in, streams out."""

    def __init__(self, adbd: Adbd, peer: socket.socket) -> None:
        self.adbd = adbd
        self._peer = peer
        self._lock = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._last_id = 0

    def close(self) -> None:
        with self._lock:
            for stream in list(self._streams.values()):
                stream.end()
            with contextlib.suppress(OSError):
                self._peer.shutdown(socket.SHUT_RDWR)
            self._peer.close()

    def send(self, name: bytes, first: int, second: int, data: bytes = b"") -> None:
        command = struct.unpack("<I", name)[0]
        head = (command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        try:
            with self._lock:
                self._peer.sendall(struct.pack("<6I", *head) + data)
        except OSError:
            pass  # the other side is gone, or the cable pulled

    def serve(self) -> None:
        try:
            while True:
                name, first, second, size = struct.unpack("<4s3I8x", self._read(24))
                self._handle(name, first, second, self._read(size))
        except (OSError, EOFError):
            self.close()

    def _read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            part = self._peer.recv(size - len(content))
            if not part:
                raise EOFError
            content += part
        return bytes(content)

    def _handle(self, name: bytes, first: int, second: int, data: bytes) -> None:
        phone = self.adbd.phone
        if phone.silent:
            return
        if name in (b"CNXN", b"AUTH") and not phone.authorized:
            if name == b"CNXN" or first == 2:  # 2: signed with a key that is not known here
                self.send(b"AUTH", 1, 0, b"t" * 20)
        elif name == b"CNXN":
            about = f"ro.product.name={phone.model};ro.product.model={phone.model}"
            banner = f"device::{about};ro.product.device=fake;features={','.join(phone.features)}"
            self.send(b"CNXN", 0x01000001, _MAX_DATA, banner.encode())
        elif name == b"OPEN":
            self._last_id += 1
            service = data.rstrip(b"\0").decode()
            stream = _Stream(self, self._last_id, first, service)
            self._streams[self._last_id] = stream
            self.send(b"OKAY", stream.local_id, first)
            threading.Thread(target=stream.run, daemon=True).start()
        elif second in self._streams:
            stream = self._streams[second]
            if name == b"WRTE":
                stream.received.put(data)
                self.send(b"OKAY", stream.local_id, stream.remote_id)
            elif name == b"OKAY":
                stream.may_write.release()
            elif name == b"CLSE":
                stream.end()


class _Stream:
    """One service: a shell command or file transfer."""

    def __init__(self, connection: _Connection, local: int, remote: int, service: str) -> None:
        self.local_id, self.remote_id = local, remote
        self.received: SimpleQueue[bytes] = SimpleQueue()
        self.may_write = threading.Semaphore(1)
        self._connection, self._service = connection, service
        self._adbd = connection.adbd
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._ended = False

    def end(self) -> None:
        """The other side is gone: as adbd does, so goes the process."""
        self._ended = True
        self.received.put(b"")
        self.may_write.release()
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def run(self) -> None:
        kind, _, argument = self._service.partition(":")
        try:
            if kind == "sync":
                self._sync()
            elif kind.split(",")[0] in ("shell", "exec"):
                self._shell(argument, v2="v2" in kind.split(","))
        except EOFError:
            pass
        self._connection.send(b"CLSE", self.local_id, self.remote_id)

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _MAX_DATA):
            self.may_write.acquire()
            if self._ended:
                raise EOFError
            part = data[start : start + _MAX_DATA]
            self._connection.send(b"WRTE", self.local_id, self.remote_id, part)

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            part = self.received.get()
            if not part:
                raise EOFError
            self._buffer += part
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _shell(self, command: str, v2: bool) -> None:
        phone = self._adbd.phone
        self._adbd.commands.append(command)
        self._process = process = subprocess.Popen(
            ["/bin/sh", "-c", self._adbd.translate(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
            cwd=self._adbd.root,
            env=self._adbd.environment(),
            start_new_session=True,
        )
        if phone.cut_shell and phone.cut_shell in command:
            assert process.stdout
            process.stdout.read(1)  # it has begun
            self._adbd.pull_cable()
            process.communicate()
            return
        readers = [threading.Thread(target=self._forward, args=(process.stdout, 1, v2))]
        if v2:
            readers.append(threading.Thread(target=self._forward, args=(process.stderr, 2, v2)))
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        code = process.wait()
        if v2:
            self.write(struct.pack("<BIB", 3, 1, code & 0xFF))

    def _forward(self, pipe: "object", channel: int, v2: bool) -> None:
        sandbox = str(self._adbd.root).encode()
        for line in iter(pipe.readline, b""):  # type: ignore[attr-defined]
            line = line.replace(sandbox, b"")
            try:
                self.write(struct.pack("<BI", channel, len(line)) + line if v2 else line)
            except EOFError:
                break
        pipe.close()  # type: ignore[attr-defined]

    def _sync(self) -> None:
        while True:
            name, size = struct.unpack("<4sI", self.read(8))
            if name == b"QUIT":
                return
            path = self._adbd.local(self.read(size).decode())
            if name in (b"STAT", b"STA2", b"LST2"):
                self._stat(name, path)
            elif name == b"SEND":
                self._receive(Path(str(path).rsplit(",", 1)[0]))
            elif name == b"SND2":
                self.read(12)  # SND2, mode, flags
                self._receive(path)
            elif name in (b"RECV", b"RCV2"):
                if name == b"RCV2":
                    self.read(8)
                self._deliver(path)
            else:
                self._fail(f"unknown {name!r}")

    def _fail(self, message: str) -> None:
        self.write(struct.pack("<4sI", b"FAIL", len(message)) + message.encode())

    def _stat(self, name: bytes, path: Path) -> None:
        try:
            found = path.stat()
            mode, size, seconds, error = found.st_mode, found.st_size, int(found.st_mtime), 0
        except OSError:
            mode = size = seconds = 0
            error = 2  # ENOENT
        if name == b"STAT":
            self.write(struct.pack("<4s3I", name, mode, size, seconds))
        else:
            times = (seconds, seconds, seconds)
            self.write(struct.pack("<4sI2Q4IQ3q", name, error, 0, 0, mode, 1, 0, 0, size, *times))

    def _receive(self, path: Path) -> None:
        phone = self._adbd.phone
        content = bytearray()
        while True:
            name, size = struct.unpack("<4sI", self.read(8))
            if name == b"DONE":
                break
            content += self.read(size)
            if phone.cut_push is not None and len(content) >= phone.cut_push:
                self._adbd.pull_cable()
                raise EOFError
        if phone.full:
            self._fail("No space left on device")
            return
        if path.is_dir() or not path.parent.is_dir():
            self._fail("couldn't create file: Is a directory")
            return
        path.write_bytes(content)
        path.chmod(0o644)
        self._adbd.pushed.append(path.name)
        self.write(struct.pack("<4sI", b"OKAY", 0))

    def _deliver(self, path: Path) -> None:
        if not path.is_file():
            self._fail("No such file or directory")
            return
        content = path.read_bytes()
        for start in range(0, len(content), 64 * 1024):
            part = content[start : start + 64 * 1024]
            self.write(struct.pack("<4sI", b"DATA", len(part)) + part)
        self.write(struct.pack("<4sI", b"DONE", 0))


@functools.cache
def tiny_model(width: int) -> bytes:
    """A .tflite model [1, 64] -> [1, 4] of three dense layers, the dearer the wider."""
    import tensorflow as tf

    module = tf.Module()
    generator = tf.random.Generator.from_seed(0)
    shapes = ((64, width), (width, width), (width, 4))
    module.weights = [tf.Variable(generator.normal(shape)) for shape in shapes]

    @tf.function(input_signature=[tf.TensorSpec((1, 64), tf.float32)])
    def run(x: "tf.Tensor") -> "tf.Tensor":
        for weight in module.weights:
            x = tf.nn.relu(x @ weight)
        return x

    functions = [run.get_concrete_function()]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, module)
    return bytes(converter.convert())


def make_binary(path: Path, machine: int = 62) -> Path:
    """A file that says of itself that it is a program for this processor (62 = x86_64)."""
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9) + struct.pack("<HH", 3, machine)
    path.write_bytes(header.ljust(64, b"\0") + os.urandom(64))
    return path
