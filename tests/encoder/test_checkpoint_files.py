"""Checkpoints in folders, and from a hub on this machine."""

import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import constants, file_download, model_info
from safetensors.numpy import save_file

from ser_kd.encoder.checkpoint_files import find_checkpoint, read_tensors
from ser_kd.errors import UserError

TORCH_FILES = Path(__file__).parents[1] / "fixtures" / "torch_files"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BIN, BIN_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
A, B = np.arange(6, dtype=np.float32).reshape(2, 3), np.float16([1.5, -2])


def write_index(folder: Path, weight_map: object, name: str = INDEX) -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_file({"a": A}, tmp_path / "model-1.safetensors")
    save_file({"b": B}, tmp_path / "model-2.safetensors")
    write_index(tmp_path, {"a": "model-1.safetensors", "b": "model-2.safetensors"})
    return tmp_path


def assert_same(tensors: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name], strict=True)


# Reading what is in a folder.


def test_safetensors_come_first(tmp_path):
    save_file({"a": A, "b": B, "scalar": np.array(3)}, tmp_path / SINGLE)
    write_index(tmp_path, {})
    (tmp_path / BIN).write_bytes(b"not looked at")
    assert_same(read_tensors(tmp_path), {"a": A, "b": B, "scalar": np.array(3)})


def test_bfloat16_becomes_float32(tmp_path):
    # By hand, as the format is described: 1.0, -2.0, 3.140625 and the smallest subnormal.
    header = b'{"w":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}}'
    words = struct.pack("<4H", 0x3F80, 0xC000, 0x4049, 0x0001)
    (tmp_path / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + words)
    expected = np.float32([[1.0, -2.0], [3.140625, 2.0**-133]])
    assert_same(read_tensors(tmp_path), {"w": expected})


def test_bfloat16_is_read_by_a_fresh_process(tmp_path):
    save_file({"w": np.ones(2, ml_dtypes.bfloat16)}, tmp_path / SINGLE)
    program = (
        "import sys, pathlib; from ser_kd.encoder.checkpoint_files import read_tensors;"
        "print(read_tensors(pathlib.Path(sys.argv[1]))['w'].dtype);"
        "print({'torch', 'tensorflow', 'huggingface_hub'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=environment, capture_output=True, text=True
    )
    assert result.stdout.split("\n")[:2] == ["float32", "set()"], result.stderr


def test_types_that_numpy_lacks_are_named(tmp_path):
    header = b'{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    (tmp_path / SINGLE).write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(UserError, match=r"a type that NumPy lacks .*float8.*save them as float32"):
        read_tensors(tmp_path)


def test_shards_come_before_a_torch_file(sharded):
    (sharded / BIN).write_bytes(b"not looked at")
    assert_same(read_tensors(sharded), {"a": A, "b": B})


@pytest.mark.parametrize("shards", [False, True])
def test_torch_files_come_last(tmp_path, shards):
    shutil.copy(TORCH_FILES / "zip.bin", tmp_path / ("shard.bin" if shards else BIN))
    if shards:
        write_index(tmp_path, {"float": "shard.bin"}, BIN_INDEX)
    assert_same(read_tensors(tmp_path), dict(np.load(TORCH_FILES / "expected.npz")))


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "/x.safetensors",
        "",
        "..",
        "x.bin",
        3,
    ],
)
def test_an_index_cannot_point_out_of_its_folder(sharded, name):
    write_index(sharded, {"a": name})
    with pytest.raises(UserError, match=r"names the shard .*index.json|index.json names the shard"):
        read_tensors(sharded)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": 3}', "[" * 100_000, "\xff"])
def test_a_damaged_index_is_named(sharded, text):
    (sharded / INDEX).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=rf"{INDEX} is (damaged|empty).* again"):
        read_tensors(sharded)


def test_a_missing_shard_is_named(sharded):
    (sharded / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-2.safetensors, which .* is missing: download"):
        read_tensors(sharded)


def test_a_missing_tensor_is_named(sharded):
    write_index(sharded, {"a": "model-1.safetensors", "c": "model-2.safetensors"})
    with pytest.raises(UserError, match=r"promises 'c', which is not in model-2.safetensors"):
        read_tensors(sharded)


def test_a_tensor_in_two_shards_is_named(sharded):
    save_file({"a": A, "b": B}, sharded / "model-2.safetensors")
    with pytest.raises(UserError, match=r"'a' is in .*model-2.safetensors and in another shard"):
        read_tensors(sharded)


def test_damaged_safetensors_are_named(tmp_path):
    path = tmp_path / SINGLE
    save_file({"a": A, "b": B}, path)
    whole = path.read_bytes()
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=rf"{SINGLE} is damaged.*download it again"):
            read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"<html>Sign in</html>", "is a web page"),
    ],
)
@pytest.mark.parametrize("name", [SINGLE, INDEX, BIN])
def test_what_is_no_weights_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} {message}|{name} .*{message}"):
        read_tensors(tmp_path)


def test_a_folder_without_weights(tmp_path):
    with pytest.raises(UserError, match=f"no weights .*{SINGLE}.*{BIN}") as error:
        read_tensors(tmp_path)
    assert "tf_model" not in str(error.value)
    (tmp_path / "tf_model.h5").touch()
    (tmp_path / "flax_model.msgpack").touch()
    with pytest.raises(
        UserError,
        match=r"tf_model.h5 and flax_model.msgpack cannot be read.*safetensors or PyTorch",
    ):
        read_tensors(tmp_path)


# Finding a folder.


def test_a_folder_is_itself(tmp_path, monkeypatch):
    (tmp_path / "config.json").touch()
    assert find_checkpoint(tmp_path) == tmp_path
    assert find_checkpoint(str(tmp_path)) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert find_checkpoint(f"~/{tmp_path.name}") == tmp_path


def test_a_folder_goes_before_a_model_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "name@v1"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"owner/name@v1 has no config.json"):
        find_checkpoint("owner/name@v1")
    (folder / "config.json").touch()
    assert find_checkpoint("owner/name@v1").samefile(folder)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / SINGLE).touch()
    with pytest.raises(UserError, match="is a file: give the folder"):
        find_checkpoint(tmp_path / SINGLE)


@pytest.mark.parametrize(
    "text",
    ["./model", "../model", "~/model", "~nobody-of-this-name/x", "/model", "a/b/c", "a/b/", ""],
)
def test_what_looks_like_a_path_is_not_looked_for_on_the_hub(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=f"no such folder: '{text}'"):
        find_checkpoint(text)


# Downloading, from a server that answers as the hub does.

CONFIG = {"config.json": b'{"model_type": "wav2vec2"}', "vocab.json": b"not wanted"}
EXTRAS = {
    "preprocessor_config.json": b"{}",
    "README.md": b"its card",
    "tf_model.h5": b"not wanted",
    "optimizer.pt": b"nor this",
}


def shards_of(*names: str) -> bytes:
    return json.dumps({"weight_map": {f"tensor {name}": name for name in names}}).encode()


class Hub(ThreadingHTTPServer):
    """``models[name][revision]``: the files; ``refusals[name]``: status and error code instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refusals: dict[str, tuple[int, str]] = {}
        self.fetched: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        api = path.startswith("/api/models/")
        path = path.removeprefix("/api/models").lstrip("/")
        name, _, rest = path.partition("/revision/" if api else "/resolve/")
        revision, _, file = rest.partition("/")
        revision = unquote(revision)
        # What a gated model is, the hub tells everybody.
        if name in self.refusals and not (api and self.refusals[name][1] == "GatedRepo"):
            status, code = self.refusals[name]
            return status, {"X-Error-Code": code} if code else {}, b""
        if name in self.refusals:
            return 200, {}, json.dumps({"id": name}).encode()
        if name not in self.models:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commits = {hashlib.sha1(key.encode()).hexdigest(): key for key in self.models[name]}
        revision = commits.get(revision, revision)
        if revision not in self.models[name]:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        headers = {"X-Repo-Commit": hashlib.sha1(revision.encode()).hexdigest()}
        if api:
            return 200, {}, json.dumps({"id": name}).encode()
        if file not in self.models[name][revision]:
            return 404, {**headers, "X-Error-Code": "EntryNotFound"}, b""
        content = self.models[name][revision][file]
        return 200, {**headers, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        status, headers, content = self.server.answer(self.path)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            if "ETag" in headers:
                self.server.fetched.append(self.path.rpartition("/")[2])
            self.wfile.write(content)

    do_GET = do_HEAD

    def log_message(self, *arguments: object) -> None:
        pass


def use_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, url: str, offline: bool = False) -> None:
    """Sets what HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE and HF_HUB_DISABLE_XET set at the import."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    # Versions before 1 have their own copies of both.
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(model_info.__self__, "endpoint", url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    use_hub(monkeypatch, tmp_path, server.url)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def stop(hub: Hub) -> None:
    hub.shutdown()
    hub.server_close()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ({SINGLE: b"s", BIN: b"p"}, {SINGLE}),
        ({BIN: b"p", BIN_INDEX: b"i"}, {BIN}),
        (
            {INDEX: shards_of("1.safetensors", "2.safetensors")}
            | {f"{number}.safetensors": b"%d" % number for number in (1, 2, 3)}
            | {BIN: b"p"},
            {INDEX, "1.safetensors", "2.safetensors"},
        ),
        ({BIN_INDEX: shards_of("1.bin"), "1.bin": b"1", "2.bin": b"2"}, {BIN_INDEX, "1.bin"}),
    ],
    ids=["safetensors", "torch", "safetensors shards", "torch shards"],
)
@pytest.mark.parametrize("name", ["owner/name", "name"])
def test_only_what_is_needed_is_fetched_and_only_once(hub, name, weights, wanted):
    files = CONFIG | EXTRAS | weights
    hub.models[name] = {"main": files}
    folder = find_checkpoint(name)
    assert names(folder) == wanted | {"config.json", "preprocessor_config.json", "README.md"}
    for path in folder.iterdir():
        assert path.read_bytes() == files[path.name]
    assert sorted(hub.fetched) == sorted(names(folder))

    assert find_checkpoint(name) == folder
    assert len(hub.fetched) == len(names(folder))


def test_a_model_may_have_no_preprocessor(hub):
    hub.models["owner/name"] = {"main": CONFIG | {SINGLE: b"s"}}
    assert names(find_checkpoint("owner/name")) == {"config.json", SINGLE}


def test_a_revision_is_another_folder(hub):
    hub.models["owner/name"] = {
        "main": CONFIG | {SINGLE: b"main"},
        "refs/pr/2": CONFIG | {SINGLE: b"two"},
    }
    assert (find_checkpoint("owner/name@refs/pr/2") / SINGLE).read_bytes() == b"two"
    assert (find_checkpoint("owner/name") / SINGLE).read_bytes() == b"main"


@pytest.mark.parametrize("revision", ["", "@refs/pr/2", "@" + hashlib.sha1(b"main").hexdigest()])
def test_without_network_the_cache_is_used(hub, tmp_path, monkeypatch, revision):
    files = CONFIG | {INDEX: shards_of("1.safetensors"), "1.safetensors": b"1"}
    hub.models["owner/name"] = {"main": files, "refs/pr/2": files}
    name = f"owner/name{revision}"
    folder = find_checkpoint(name)
    stop(hub)
    assert find_checkpoint(name) == folder
    use_hub(monkeypatch, tmp_path, hub.url, offline=True)
    assert find_checkpoint(name) == folder


def test_a_broken_hub_is_no_reason_not_to_use_the_cache(hub):
    hub.models["owner/name"] = {"main": CONFIG | {SINGLE: b"s"}}
    folder = find_checkpoint("owner/name")
    hub.refusals["owner/name"] = (503, "")
    assert find_checkpoint("owner/name") == folder


@pytest.mark.parametrize(
    ("offline", "why"), [(True, "HF_HUB_OFFLINE is set"), (False, "does not answer: ")]
)
def test_without_network_and_cache(hub, tmp_path, monkeypatch, offline, why):
    stop(hub)
    use_hub(monkeypatch, tmp_path, hub.url, offline)
    started = time.monotonic()
    with pytest.raises(
        UserError, match=rf"^owner/name: config.json is not in the cache, and .*{why}.*Connect once"
    ):
        find_checkpoint("owner/name")
    assert time.monotonic() - started < 2


def test_a_half_filled_cache_is_not_enough(hub, tmp_path, monkeypatch):
    weights = {INDEX: shards_of("1.safetensors", "2.safetensors"), "1.safetensors": b"1"}
    hub.models["owner/name"] = {"main": CONFIG | weights}
    with pytest.raises(UserError, match=r"owner/name on the hub has no 2.safetensors"):
        find_checkpoint("owner/name")
    use_hub(monkeypatch, tmp_path, hub.url, offline=True)
    with pytest.raises(UserError, match=r"2.safetensors is not in the cache, and HF_HUB_OFFLINE"):
        find_checkpoint("owner/name")


def test_a_hub_that_does_not_answer_is_given_up_soon(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(monkeypatch, tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
        started = time.monotonic()
        with pytest.raises(UserError, match=r"does not answer: .*timed out.*Connect once"):
            find_checkpoint("owner/name")
        assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    ("name", "refusal", "message"),
    [
        (
            "owner/name",
            (404, "RepoNotFound"),
            "no folder and no model 'owner/name' on the hub: check",
        ),
        ("nam", (401, "RepoNotFound"), "no folder and no model 'nam' on the hub: check the name"),
        (
            "owner/name",
            (403, "GatedRepo"),
            r"accepted its terms: do so at \S+/owner/name, then run 'hf auth",
        ),
        (
            "owner/name@v9",
            (404, "RevisionNotFound"),
            "owner/name has no revision 'v9': give one of its branches",
        ),
        ("owner/name", (500, ""), "does not answer: .*500 .*Connect once"),
        ("not a name", (404, ""), "'not a name' is neither a folder nor a model's name"),
        ("owner/name@", (404, ""), "no revision after the @"),
    ],
)
def test_what_the_hub_refuses_is_one_clear_message(hub, name, refusal, message):
    hub.refusals[name.partition("@")[0]] = refusal
    with pytest.raises(UserError, match=message) as error:
        find_checkpoint(name)
    assert "\n" not in str(error.value)


def test_a_repository_without_config(hub):
    hub.models["owner/name"] = {"main": {SINGLE: b"s"}}
    with pytest.raises(UserError, match=r"owner/name on the hub has no config.json"):
        find_checkpoint("owner/name")


def test_a_model_without_readable_weights(hub):
    hub.models["owner/name"] = {"main": CONFIG | EXTRAS}
    with pytest.raises(
        UserError, match=rf"has no {SINGLE} or .*{BIN_INDEX}.*PyTorch or safetensors"
    ):
        find_checkpoint("owner/name")


def test_an_index_on_the_hub_cannot_point_out_of_the_cache(hub):
    hub.models["owner/name"] = {"main": CONFIG | {INDEX: shards_of("../../x.safetensors")}}
    with pytest.raises(UserError, match="names the shard"):
        find_checkpoint("owner/name")


def test_the_environment_reaches_the_hub(hub, tmp_path):
    """The same once through HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE, as a user sets them."""
    hub.models["owner/name"] = {"main": CONFIG | {SINGLE: b"s"}}
    program = (
        "import sys; from ser_kd.encoder.checkpoint_files import find_checkpoint;"
        "print(find_checkpoint(sys.argv[1]))"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-c", program, "owner/name"]
    for offline in ("0", "1"):
        result = subprocess.run(
            command,
            env={**environment, "HF_HUB_OFFLINE": offline},
            capture_output=True,
            text=True,
        )
        folder = Path(result.stdout.strip())
        assert names(folder) == {"config.json", SINGLE}, result.stderr
        assert folder.is_relative_to(tmp_path / "home")
    assert len(hub.fetched) == 2
