"""State dicts that torch wrote (tests/fixtures/make_torch_files.py), and files that mean harm."""

import builtins
import io
import os
import pickle
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ser_kd.encoder.torch_file import read_torch_file
from ser_kd.errors import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "torch_files"
MAGIC = 0x1950A86A20F9469CFC6C
SYS_INFO = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}


def save_zip(path: Path, pickled: bytes, storages: dict[str, bytes], **options) -> Path:
    """torch's zip format. ``options``: ``byteorder``, and what zipfile takes."""
    byteorder = options.pop("byteorder", b"little")
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", pickled)
        if byteorder is not None:
            archive.writestr("archive/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


def save_legacy(path: Path, pickled: bytes, storages: dict[str, bytes], **info) -> Path:
    """torch's format before 1.6, for storages of float32."""
    parts = [pickle.dumps(part, 2) for part in (MAGIC, 1001, {**SYS_INFO, **info})]
    parts += [pickled, pickle.dumps(list(storages), 2)]
    parts += [struct.pack("<q", len(data) // 4) + data for data in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


FORMATS = pytest.mark.parametrize("save", [save_zip, save_legacy])


def bare(value: object) -> bytes:
    """``value`` as opcodes that leave it on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def tensor_opcodes(
    *,
    storage: bytes = b"ctorch\nFloatStorage\n",
    key: object = "0",
    numel: object = 4,
    offset: object = 0,
    size: object = (2,),
    stride: object = (1,),
    kind: object = "storage",
) -> bytes:
    pid = b"(" + bare(kind) + storage + bare(key) + bare("cpu") + bare(numel) + b"tQ"
    arguments = pid + bare(offset) + bare(size) + bare(stride) + bare(False) + bare({})
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def state_opcodes(value: bytes, name: object = "w") -> bytes:
    return b"\x80\x02}" + bare(name) + value + b"s."


STORAGES = {"0": np.arange(4, dtype="<f4").tobytes()}


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin", "zip_protocol_4.bin"])
def test_every_type_layout_and_order_is_as_torch_has_it(name):
    expected = np.load(FIXTURES / "expected.npz")
    tensors = read_torch_file(FIXTURES / name)
    assert list(tensors) == expected.files
    for key, tensor in tensors.items():
        assert tensor.dtype == expected[key].dtype, key
        np.testing.assert_array_equal(tensor, expected[key], err_msg=key, strict=True)


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin"])
def test_arrays_view_the_file_and_tied_weights_one_another(name):
    tensors = read_torch_file(FIXTURES / name)
    for key in ("tied", "transposed", "scalar_in_storage", "name with ünïcode"):
        assert np.shares_memory(tensors[key], tensors["float"]), key
    assert not tensors["float"].flags.owndata
    assert not tensors["float"].flags.writeable


def test_arrays_outlive_the_file(tmp_path):
    path = shutil.copy(FIXTURES / "zip.bin", tmp_path)
    tensors = read_torch_file(Path(path))
    Path(path).unlink()
    np.testing.assert_array_equal(
        tensors["float"], np.load(FIXTURES / "expected.npz")["float"], strict=True
    )


@FORMATS
def test_hand_made_files(tmp_path, save):
    value = tensor_opcodes(offset=1, size=(2,), stride=(2,))
    tensors = read_torch_file(save(tmp_path / "f.bin", state_opcodes(value), STORAGES))
    np.testing.assert_array_equal(tensors["w"], np.float32([1, 3]), strict=True)


def test_files_without_byteorder_are_little_endian(tmp_path):
    path = tmp_path / "f.bin"
    save_zip(path, state_opcodes(tensor_opcodes()), STORAGES, byteorder=None)
    assert read_torch_file(path)["w"].tolist() == [0, 1]


def test_big_endian_files_are_refused(tmp_path):
    pickled = state_opcodes(tensor_opcodes())
    for path in (
        save_zip(tmp_path / "z.bin", pickled, STORAGES, byteorder=b"big"),
        save_legacy(tmp_path / "l.bin", pickled, STORAGES, little_endian=False),
    ):
        with pytest.raises(UserError, match="big-endian: save it again"):
            read_torch_file(path)


def test_compressed_archives_are_refused(tmp_path):
    pickled = state_opcodes(tensor_opcodes())
    path = tmp_path / "f.bin"
    save_zip(path, pickled, STORAGES, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"f.bin: archive/\S+ is compressed"):
        read_torch_file(path)


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/config.json", "{}")
    with pytest.raises(UserError, match=r"without one data.pkl.*unpack it"):
        read_torch_file(path)


def test_a_training_checkpoint_is_refused():
    with pytest.raises(UserError, match=r"under 'state_dict'.*save model.state_dict\(\) alone"):
        read_torch_file(FIXTURES / "training_checkpoint.bin")


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (state_opcodes(bare(3), "epoch"), "'epoch' is a int, not a tensor"),
        (state_opcodes(tensor_opcodes(), 3), "a int as name"),
        (state_opcodes(bare({"w": 1}), "model"), "nests its tensors under 'model'"),
        (b"\x80\x02" + bare([1]) + b".", "holds a list, not a state dict"),
        (b"\x80\x02" + tensor_opcodes() + b".", "holds a Tensor, not a state dict"),
        (state_opcodes(b"ctorch\nFloatStorage\n"), "'w' is a str, not a tensor"),
    ],
)
@FORMATS
def test_what_is_no_state_dict_is_named(tmp_path, save, pickled, message):
    storages = STORAGES if b"cpu" in pickled else {}
    with pytest.raises(UserError, match=message):
        read_torch_file(save(tmp_path / "f.bin", pickled, storages))


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "1"},
        {"key": "../../etc/passwd"},
        {"key": 0},
        {"numel": 5},
        {"numel": 2**62},
        {"numel": -1},
        {"numel": "4"},
        {"offset": 3},
        {"offset": -1},
        {"offset": 2**70},
        {"offset": True},
        {"size": (5,)},
        {"size": (-1,)},
        {"size": [2]},
        {"size": (2, 2)},
        {"size": (1,) * 100, "stride": (1,) * 100},
        {"size": (10**12,), "stride": (0,)},
        {"size": (0, 10**40), "stride": (1, 1)},
        {"stride": (-1,)},
        {"stride": (4,)},
        {"stride": (2**62,)},
        {"stride": None},
        {"kind": "module"},
        {"storage": bare("Float")},
        {"storage": bare([])},
        {"storage": b"ctorch._utils\n_rebuild_parameter\n"},
    ],
    ids=str,
)
@FORMATS
def test_tensors_outside_of_their_storage_are_refused(tmp_path, save, wrong):
    pickled = state_opcodes(tensor_opcodes(**wrong))
    with pytest.raises(UserError, match=r"f.bin is damaged .*download it again"):
        read_torch_file(save(tmp_path / "f.bin", pickled, STORAGES))


def test_one_storage_cannot_have_two_descriptions(tmp_path):
    second = tensor_opcodes(storage=b"ctorch\nIntStorage\n")
    pickled = b"\x80\x02}" + bare("a") + tensor_opcodes() + b"s" + bare("b") + second + b"s."
    with pytest.raises(UserError, match="two ways"):
        read_torch_file(save_zip(tmp_path / "f.bin", pickled, STORAGES))


@FORMATS
def test_huge_memo_numbers_do_not_fill_the_memory(tmp_path, save):
    pickled = state_opcodes(bare(1) + b"r\xff\xff\xff\xff")
    with pytest.raises(UserError, match="memo"):
        read_torch_file(save(tmp_path / "f.bin", pickled, STORAGES))


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments

    def __call__(self):
        raise NotImplementedError  # it is there for pickle, which asks for a callable function


class SetState:
    """Pickles as an object of this class with a state."""

    def __init__(self, state):
        self.state = state

    def __getstate__(self):
        return self.state

    def __setstate__(self, state):
        Path(state).touch()


def harmful(sentinel: str) -> dict[str, tuple[object, str]]:
    """Objects whose unpickling creates ``sentinel``, and the global that is to be named."""
    statement = f"open({sentinel!r}, 'w').close()"
    return {
        "os.system": (Call(os.system, f"touch {sentinel}"), r"(posix|nt)\.system"),
        "eval": (Call(eval, statement), r"(builtins|__builtin__)\.eval"),
        "exec": (Call(exec, statement), r"(builtins|__builtin__)\.exec"),
        "getattr": (Call(Call(getattr, os, "system"), f"touch {sentinel}"), r"\.getattr"),
        "setstate": (SetState(sentinel), r"(SetState|_reconstructor)"),
        "open": (Call(open, sentinel, "w"), r"(_?io|__builtin__|builtins)\.open"),
        "numpy": (np.arange(3), r"numpy\S*\._(reconstruct|frombuffer)"),
        "loads": (Call(pickle.loads, pickle.dumps(1)), r"_?pickle\.loads"),
        "import": (Call(builtins.__import__, "this"), r"\.__import__"),
    }


class Pickler(pickle._Pickler):
    """Lets ``os`` itself be an argument (pickle saves no modules): as an import of it."""

    def save(self, obj, *arguments, **options):
        if obj is os:
            obj = Call(builtins.__import__, "os")
        return super().save(obj, *arguments, **options)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", harmful(""))
@FORMATS
def test_nothing_is_executed_and_the_global_is_named(tmp_path, save, name, protocol):
    sentinel = tmp_path / "sentinel"
    value, asked = harmful(str(sentinel))[name]
    stream = io.BytesIO()
    Pickler(stream, protocol).dump({"w": value})
    path = save(tmp_path / "f.bin", stream.getvalue(), STORAGES)
    with pytest.raises(UserError, match=rf"asks for \S*{asked}, which .* nothing .* executed"):
        read_torch_file(path)
    assert not sentinel.exists()


def test_the_harmful_pickles_do_harm_where_they_are_believed(tmp_path):
    sentinel = tmp_path / "sentinel"
    pickle.loads(pickle.dumps(harmful(str(sentinel))["eval"][0]))
    assert sentinel.exists()


@pytest.mark.parametrize(
    "asked",
    [
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "os.system"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch", "FloatStorage.__class__"),
        ("collections", "OrderedDict.__init__"),
        ("collections", "_sys.modules"),
        ("torch", "load"),
        ("torch", "_utils._rebuild_tensor_v2"),
    ],
    ids=".".join,
)
@pytest.mark.parametrize("stack", [True, False], ids=["STACK_GLOBAL", "GLOBAL"])
@FORMATS
def test_neighbours_of_what_is_allowed_are_refused(tmp_path, save, asked, stack):
    if stack:
        short = [b"\x8c" + bytes([len(part)]) + part.encode() for part in asked]
        opcodes = b"".join(short) + b"\x93"
    else:
        opcodes = b"c" + "".join(f"{part}\n" for part in asked).encode()
    pickled = b"\x80\x04}" + bare("w") + opcodes + bare(("x",)) + b"Rs."
    with pytest.raises(UserError) as error:
        read_torch_file(save(tmp_path / "f.bin", pickled, STORAGES))
    assert f"asks for {'.'.join(asked)}, which is not a tensor" in str(error.value)


@pytest.mark.parametrize("opcodes", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_extension_codes_are_refused(tmp_path, opcodes):
    path = save_zip(tmp_path / "f.bin", state_opcodes(opcodes), STORAGES)
    with pytest.raises(UserError, match="extension"):
        read_torch_file(path)


@pytest.mark.parametrize(
    "target",
    [
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nFloatStorage\n",
        tensor_opcodes(),
    ],
)
def test_what_a_pickle_sets_on_its_globals_is_gone_with_it(tmp_path, target):
    # (None, {...}) is the state that BUILD hands to setattr, name by name.
    poison = target + bare((None, {"items": 1, "__setstate__": 2, "__defaults__": ()})) + b"b"
    path = save_zip(tmp_path / "f.bin", state_opcodes(poison), STORAGES)
    with pytest.raises(UserError):
        read_torch_file(path)
    expected = np.load(FIXTURES / "expected.npz")["float"]
    np.testing.assert_array_equal(read_torch_file(FIXTURES / "zip.bin")["float"], expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>sign in</html>", "is a web page"),
        (b"\n  <html></html>", "is a web page"),
        (b"Not Found", "damaged"),
        (b"PK\x03\x04", "damaged"),
        (b"\x80\x02", "damaged"),
        (bytes(1000), "damaged"),
    ],
)
def test_what_is_no_torch_file_is_named(tmp_path, content, message):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_torch_file(path)
    assert str(path) in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "absent.bin", tmp_path):
        with pytest.raises(UserError, match=f"cannot read {path}"):
            read_torch_file(path)


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin"])
def test_every_truncation_is_an_error(tmp_path, rng, name):
    whole, path = (FIXTURES / name).read_bytes(), tmp_path / name
    for length in rng.choice(len(whole), 300, replace=False):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_torch_file(path)


@pytest.mark.parametrize("name", ["zip.bin", "legacy.bin", "zip_protocol_4.bin"])
def test_damaged_bytes_end_in_arrays_or_in_a_user_error(tmp_path, rng, name):
    whole, path = (FIXTURES / name).read_bytes(), tmp_path / name
    errors = 0
    for _ in range(1000):
        data = bytearray(whole)
        # Half of the damage to the first bytes, where both formats have their pickle.
        end = int(rng.choice([len(whole), 2000]))
        for position in rng.integers(0, end, rng.integers(1, 4)):
            data[position] = rng.integers(256)
        path.write_bytes(data)
        try:
            tensors = read_torch_file(path)
        except UserError:
            errors += 1
        else:
            for tensor in tensors.values():
                assert len(tensor.tobytes()) == tensor.nbytes
    assert 100 < errors < 1000


DEEP = b")" + 200_000 * pickle.TUPLE1
BOMB = b")" + 60 * b"q\x00h\x00\x86"  # each holds the one before it twice
STORAGE = b"(X\x07\x00\x00\x00storage%sX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ."


@pytest.mark.parametrize("nested", [DEEP, BOMB], ids=["deep", "doubled"])
@pytest.mark.parametrize(
    "program",
    [b"\x80\x02}(%sK\x01u.", b"\x80\x02}%sK\x01s.", b"\x80\x02(%sK\x01d.", b"\x80\x02" + STORAGE],
    ids=["items", "item", "dict", "storage"],
)
def test_tuples_of_tuples_are_never_hashed(tmp_path, program, nested):
    """Hashing them would end the process, or take for ever."""
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program % nested)
    with pytest.raises(UserError, match=r"pytorch_model\.bin"):
        read_torch_file(path)


def test_two_entries_of_one_name(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    with pytest.raises(UserError, match="two entries have one name"):
        read_torch_file(path)
