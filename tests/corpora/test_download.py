"""Fetching CREMA-D, from a server on this machine that misbehaves."""

import errno
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ser_kd.corpora import download
from ser_kd.corpora.download import download_crema_d, load_manifest, write_manifest
from ser_kd.errors import UserError

CONTENT = {f"{1001 + index}_DFA_ANG_XX.wav": bytes([index]) * 5_000 for index in range(12)}
MANIFEST = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
FIRST, SECOND = sorted(CONTENT)[:2]


class Server(ThreadingHTTPServer):
    """Serves ``CONTENT``; ``faults[name]`` lists what it does first instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: dict[str, list[str]] = {}
        self.requests: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/AudioWAV"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        self.server.requests[name] += 1
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else ""
        content = CONTENT.get(name, b"")
        if fault.isdigit() or name not in CONTENT:
            self.send_error(int(fault or 404))
            return
        length = len(content)
        if fault == "truncate":
            content = content[:100]
        elif fault == "short":
            content = content[:100]
            length = 100
        elif fault == "corrupt":
            content = b"x" + content[1:]
        elif fault == "pointer":
            content = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5000\n"
            length = len(content)
        elif fault == "html":
            content = b"<!DOCTYPE html><html>rate limit</html>"
            length = len(content)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server: Server, folder: Path, lines: list[str] | None = None) -> Path:
    lines = [] if lines is None else lines
    return download_crema_d(
        folder, server.url, 4, lines.append, manifest=MANIFEST, retry_seconds=0.001
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_manifest_lists_the_official_files() -> None:
    manifest = load_manifest()
    assert len(manifest) == 7_442
    assert list(manifest) == sorted(manifest)
    assert len({name[:4] for name in manifest}) == 91
    assert all(len(digest) == 64 for digest in manifest.values())
    # The pairs that are known to be the same audio under two labels are so here too.
    for one, other in (("1006_TIE_HAP", "1006_TIE_NEU"), ("1017_IWW_ANG", "1017_IWW_FEA")):
        assert manifest[f"{one}_XX.wav"] == manifest[f"{other}_XX.wav"]
    assert len(set(manifest.values())) == 7_439


def test_manifest_is_written_from_sha256sum_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(f"{digest}  {name}\n" for name, digest in reversed(MANIFEST.items()))
    write_manifest(text, tmp_path / "crema_d.sha256.bin")
    monkeypatch.setattr(download.resources, "files", lambda _: tmp_path)
    assert load_manifest() == MANIFEST


def test_fetches_everything_then_nothing(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "crema"
    assert fetch(server, folder) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    fetch(server, folder)
    assert set(server.requests.values()) == {1}


def test_checkout_receives_the_files_in_its_audio_folder(server: Server, tmp_path: Path) -> None:
    audio = tmp_path / "AudioWAV"
    audio.mkdir()
    (audio / FIRST).write_text("version https://git-lfs.github.com/spec/v1\n")
    assert fetch(server, tmp_path) == audio
    assert (audio / FIRST).read_bytes() == CONTENT[FIRST]


@pytest.mark.parametrize(
    "fault", ["500", "503", "429", "truncate", "short", "corrupt", "pointer", "html"]
)
def test_passing_faults_are_retried(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = {FIRST: [fault, fault], SECOND: [fault]}
    fetch(server, tmp_path)
    assert names_in(tmp_path) == sorted(CONTENT)
    assert (tmp_path / FIRST).read_bytes() == CONTENT[FIRST]
    assert (server.requests[FIRST], server.requests[SECOND]) == (3, 2)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("500", "the server answers 500"),
        ("404", "the server answers 404"),
        ("short", r"wrong checksum \(100 bytes"),
        ("corrupt", r"wrong checksum \(5,000 bytes"),
        ("pointer", "Git LFS pointer"),
        ("html", "web page"),
    ],
)
def test_lasting_faults_are_reported_at_the_end(
    server: Server, tmp_path: Path, fault: str, message: str
) -> None:
    server.faults = {FIRST: [fault] * 99, SECOND: [fault] * 99}
    with pytest.raises(UserError, match=message) as error:
        fetch(server, tmp_path)
    text = str(error.value)
    assert text.startswith(f"2 of 12 files could not be fetched (first: {FIRST}: ")
    assert text.endswith("run again to continue")
    assert names_in(tmp_path) == sorted(CONTENT)[2:]  # the others came, and nothing half-done

    server.faults = {}
    before = server.requests.total()
    fetch(server, tmp_path)
    assert server.requests.total() == before + 2
    assert names_in(tmp_path) == sorted(CONTENT)


def test_what_is_not_there_is_not_asked_for_again_and_again(server: Server, tmp_path: Path) -> None:
    server.faults = {FIRST: ["404"] * 99}
    with pytest.raises(UserError, match="404"):
        fetch(server, tmp_path)
    assert server.requests[FIRST] == 1


def test_server_that_is_away_ends_the_whole_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        url = server.url
    lines: list[str] = []
    many = {f"{index:04}.wav": "00" * 32 for index in range(2_000)}
    with pytest.raises(UserError, match=r"2,000 of 2,000 .*cannot reach the server"):
        download_crema_d(tmp_path, url, 4, lines.append, manifest=many, retry_seconds=0.0)
    assert "stopped: 20 files in a row" in lines[-1]


def test_file_under_its_other_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONTENT, "1040_ITH_SAD_X.wav", b"sad")
    manifest = {"1040_ITH_SAD_XX.wav": hashlib.sha256(b"sad").hexdigest()}
    download_crema_d(tmp_path, server.url, 1, lambda _: None, manifest=manifest)
    assert names_in(tmp_path) == ["1040_ITH_SAD_XX.wav"]


def test_full_disk_says_so_and_leaves_no_half_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def fill(path: Path, content: bytes) -> int:
        if path.name.startswith(SECOND):
            write_bytes(path, content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(UserError, match=r"the disk is full at .* free some space and run again"):
        fetch(server, tmp_path)
    assert set(names_in(tmp_path)) <= set(CONTENT) - {SECOND}


def test_ctrl_c_keeps_what_arrived(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if "3/12 files, " in line:
                raise KeyboardInterrupt

    lines = Interrupting()
    with monkeypatch.context() as patch:
        patch.setattr(download, "_PROGRESS_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            fetch(server, tmp_path, lines)
    assert "interrupted" in lines[-1]
    kept = names_in(tmp_path)
    assert kept
    assert all((tmp_path / name).read_bytes() == CONTENT[name] for name in kept)
    fetch(server, tmp_path)
    assert names_in(tmp_path) == sorted(CONTENT)


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot make folder"):
        fetch(server, tmp_path / "file")
