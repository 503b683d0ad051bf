"""State dicts that ``torch.save`` wrote (``pytorch_model.bin``), read without torch.

Such a file is a pickle, that is a program, with raw numbers beside it. Here the program can name
tensors and nothing else: whatever other global it asks for ends the reading, and what it does get
are stand-ins made for this one reading. Arrays view the memory-mapped file.
"""

import io
import math
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from ser_kd.errors import UserError

DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_MAGIC = b"PK\x03\x04"
# What torch.save writes, in any protocol, and whatever asks for a global, so that it can be named.
_OPCODES = (
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 BINFLOAT STRING UNICODE "
    "BINUNICODE SHORT_BINUNICODE DICT LIST EMPTY_DICT EMPTY_LIST EMPTY_TUPLE "
    "TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS MARK POP "
    "PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET PROTO FRAME STOP "
    "GLOBAL STACK_GLOBAL INST OBJ NEWOBJ NEWOBJ_EX REDUCE BUILD BINPERSID"
)
_PythonUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class Storage(NamedTuple):
    """What the pickle says of one block of numbers; immutable, so that no opcode can change it."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes of all its numbers."""
        return self.numel * DTYPES[self.dtype].itemsize


class Tensor(NamedTuple):
    """What the pickle says of one tensor, unchecked. Counts are in elements."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict, in both of torch's formats (zip, and the stream before 1.6).

    Args:
        path: What ``torch.save(model.state_dict(), path)`` wrote.

    Returns:
        Read-only views of the file, in the stored type; bfloat16, which NumPy lacks, as float32.
        Tensors that share a storage (tied weights) share it here too.

    Raises:
        UserError: The file is missing, damaged, no state dict, or asks for anything but tensors.
    """
    refuse_placeholder(path)
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if mapped[:4] == ZIP_MAGIC:
                with zipfile.ZipFile(file) as archive:
                    state, storage_bytes = _read_zip(path, archive, memoryview(mapped))
            else:
                state, storage_bytes = _read_legacy(path, mapped)
        return _arrays(path, state, storage_bytes)
    except UserError:
        raise
    # Damaged pickles and archives raise nearly everything; pickle's documentation says as much.
    except Exception as error:
        raise damaged(path, error) from error


def refuse_placeholder(path: Path) -> None:
    """Raises UserError where ``path`` is missing, empty, a Git LFS pointer or a web page."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if not head:
        raise UserError(f"{path} is empty: download it again")
    if head.startswith(b"version https://git-lfs"):
        raise UserError(
            f"{path} is a Git LFS pointer, not the weights: run 'git lfs pull' in its folder"
        )
    if head.lstrip().startswith(b"<"):
        raise UserError(f"{path} is a web page, not weights: download the file itself")


def damaged(path: Path, error: Exception) -> UserError:
    """What to raise for a weights file that ``error`` ended the reading of."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{path} is damaged or no weights file: download it again ({reason})")


class _Unpickler(_PythonUnpickler):
    """Builds dicts of ``Tensor``; nothing that it hands to the pickle outlives or leaves it.

    Python's own unpickler, not the C one: its steps can be taken away and replaced. None that is
    left hashes anything but strings and numbers: hashing a tuple of tuples of tuples recurses in C
    until the process dies, and one that holds itself twice at every level takes for ever.

    Attributes:
        storages: By key, those that the pickle named.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        getattr(pickle, name)[0]: _PythonUnpickler.dispatch[getattr(pickle, name)[0]]
        for name in _OPCODES.split()
    }

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("an item is set on what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Integers: the legacy format tells of the writer's machine.
            if type(key) not in (str, int):
                raise UserError(
                    f"{self.path} is no state dict: a {type(key).__name__} is the name of a "
                    "tensor; save model.state_dict() alone"
                )
            dict.__setitem__(target, key, value)

    def __init__(self, path: Path, file: Any) -> None:
        super().__init__(file)
        self.path = path
        self.storages: dict[str, Storage] = {}

        # Made anew for each reading: BUILD can set attributes of all that find_class returns.
        class OrderedDict(dict):  # type: ignore[type-arg]
            pass

        def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
            return Tensor(storage, offset, size, stride)

        def rebuild_parameter(data: Any, *_: Any) -> Any:
            return data

        self.globals: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
            # Strings: nothing can be called or set on them.
            **{("torch", name): name for name in DTYPES},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.globals:
            asked = f"{module}.{name}"[:100].encode("unicode_escape").decode()
            raise UserError(
                f"{self.path} asks for {asked}, which is not a tensor: the file was not read any "
                "further; nothing of it was executed. Take model.safetensors, or a file that "
                "holds model.state_dict() alone"
            )
        return self.globals[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        # The stream has a sixth item, a view of another storage: None in all that torch now writes.
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise pickle.UnpicklingError("a persistent id that names no storage")
        _, dtype, key, _, numel, *view = pid
        # Types first: what is looked up is hashed, see above.
        named = type(key) is str and type(dtype) is str and dtype in DTYPES
        if not named or not _is_count(numel) or any(item is not None for item in view):
            raise pickle.UnpicklingError("a storage of unknown type, name or size")
        storage = Storage(key, dtype, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise pickle.UnpicklingError(f"storage {key[:50]!r} is described in two ways")
        return storage


def _read_zip(
    path: Path, archive: zipfile.ZipFile, data: memoryview
) -> tuple[Any, Callable[[Storage], memoryview]]:
    """The unpickled object, and the bytes of each storage, of torch's zip format."""
    entries = {info.filename: info for info in archive.infolist()}
    if len(entries) != len(archive.infolist()):
        raise zipfile.BadZipFile("two entries have one name")
    roots = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise UserError(
            f"{path} is a zip archive without one data.pkl, not what torch.save writes: "
            "unpack it, or download the weights again"
        )

    def entry(name: str) -> memoryview:
        info = entries[f"{roots[0]}/{name}"]
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise UserError(
                f"{path}: {info.filename[:100]} is compressed or encrypted, which torch.save never "
                "does: save the file again with torch"
            )
        # torch pads the local header, not the directory's copy, so that the data are aligned.
        header = info.header_offset
        signature, name_bytes, extra_bytes = struct.unpack_from("<4s22x2H", data, header)
        start = header + 30 + name_bytes + extra_bytes
        if signature != ZIP_MAGIC or start + info.file_size > len(data):
            raise zipfile.BadZipFile(f"{info.filename[:100]!r} is cut short")
        return data[start : start + info.file_size]

    def storage_bytes(storage: Storage) -> memoryview:
        return entry(f"data/{storage.key}")

    # Files from before torch 2.1 do not say; they are little-endian but for rare machines.
    if f"{roots[0]}/byteorder" in entries and bytes(entry("byteorder")) != b"little":
        raise _big_endian(path)
    pickled = io.BytesIO(entry("data.pkl"))
    return _Unpickler(path, pickled).load(), storage_bytes


def _read_legacy(path: Path, mapped: mmap.mmap) -> tuple[Any, Callable[[Storage], memoryview]]:
    """The unpickled object, and the bytes of each storage, of torch's format before 1.6."""

    def load() -> Any:
        return _Unpickler(path, mapped).load()

    if load() != LEGACY_MAGIC or load() != LEGACY_PROTOCOL:
        raise pickle.UnpicklingError("torch's mark is missing")
    if not load()["little_endian"]:
        raise _big_endian(path)
    unpickler = _Unpickler(path, mapped)
    state = unpickler.load()

    keys, position = load(), mapped.tell()
    data = memoryview(mapped)
    blocks: dict[str, memoryview] = {}
    for key in keys:
        storage = unpickler.storages[key]
        (numel,) = struct.unpack_from("<q", data, position)
        if numel != storage.numel:
            raise pickle.UnpicklingError(f"storage {key[:50]!r} has another size than announced")
        position += 8
        blocks[key] = data[position : position + storage.nbytes]
        position += storage.nbytes
    return state, lambda storage: blocks[storage.key]


def _big_endian(path: Path) -> UserError:
    return UserError(f"{path} was written big-endian: save it again on a little-endian machine")


def _arrays(
    path: Path, state: Any, storage_bytes: Callable[[Storage], memoryview]
) -> dict[str, np.ndarray]:
    mend = "save model.state_dict() alone"
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, not a state dict: {mend}")
    arrays = {}
    # dict's own method: BUILD can have set another one on the stand-in.
    for name, tensor in dict.items(state):
        shown = repr(name)[:100] if type(name) is str else f"a {type(name).__name__} as name"
        if isinstance(tensor, dict):
            raise UserError(f"{path} nests its tensors under {shown}, as training does: {mend}")
        if type(name) is not str or type(tensor) is not Tensor:
            raise UserError(f"{path}: {shown} is a {type(tensor).__name__}, not a tensor: {mend}")
        arrays[name] = _array(tensor, storage_bytes)
    return arrays


def _array(tensor: Tensor, storage_bytes: Callable[[Storage], memoryview]) -> np.ndarray:
    """A view of the tensor's storage, checked to lie inside of it."""
    storage, offset, size, stride = tensor
    if type(storage) is not Storage or type(size) is not tuple or type(stride) is not tuple:
        raise pickle.UnpicklingError("a tensor without storage, size or stride")
    if not all(map(_is_count, (offset, *size, *stride))) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor with an impossible offset, size or stride")
    dtype, data = DTYPES[storage.dtype], storage_bytes(storage)
    # A stride of 0 makes any size fit; copies of such a view could fill the memory.
    if len(data) != storage.nbytes or math.prod(size) > storage.numel:
        raise pickle.UnpicklingError("a tensor larger than its storage")
    if 0 in size:  # its offset may lie behind the end
        return np.zeros(size, dtype).astype(_kept(dtype))
    strides = tuple(step * dtype.itemsize for step in stride)
    # NumPy checks offset, shape and strides against the end of the buffer.
    view = np.ndarray(size, dtype, data, offset * dtype.itemsize, strides)
    return view.astype(_kept(dtype), copy=False)


def _kept(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype == ml_dtypes.bfloat16 else dtype


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
