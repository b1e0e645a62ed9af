"""PyTorch's files, read without running anything that they contain.

State dicts (`.bin`, `.pt`, `.pth`) go through `torch.load(weights_only=True)`, memory-mapped.
TorchScript archives, which torch refuses to open that way (OpenAI's CLIP `.pt`), are zip files with
one pickle of the module tree: a restricted unpickler rebuilds tensors and plain containers, turns
every TorchScript class into an inert stub, and refuses the rest; no torch is needed for them.
"""

import ctypes
import io
import mmap
import pathlib
import pickle
import re
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from zsas_jax.convert.tensors import FileTensor
from zsas_jax.errors import WeightConversionError

STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
# TorchScript's typed lists: functions of one list.
LISTS = {f"build_{kind}list" for kind in ("int", "double", "bool", "tensor")}


class Stub:
    """Stands for an object of a TorchScript class: keeps its attributes, does nothing."""

    def __init__(self, *_: Any):
        self.attributes: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state


class _Storage(NamedTuple):
    offset: int  # bytes from the start of the file
    elements: int
    dtype: np.dtype


def is_torchscript(names: list[str]) -> bool:
    """Whether a zip file with these entries is a TorchScript archive."""
    return any(name.endswith("/constants.pkl") or "/code/" in name for name in names)


def open_torchscript(file: pathlib.Path) -> dict[str, FileTensor]:
    """Every tensor of a TorchScript archive by its path in the module tree.

    Raises:
        WeightConversionError: a pickle that names anything but tensors, containers and TorchScript
            classes, or a damaged archive.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            (program,) = (name for name in entries if name.split("/")[1:] == ["data.pkl"])
            root = program.removesuffix("data.pkl")
            order = root + "byteorder"
            if order in entries and archive.read(order).strip() != b"little":
                raise WeightConversionError(f"{file} is big-endian: expected little-endian numbers")
            places = _storage_places(file, entries, root + "data/")
            tree = _Unpickler(archive.read(program), file, places).load()
    except WeightConversionError:
        raise
    # A hostile or cut pickle may fail in any way; nothing of it was run.
    except Exception as error:
        raise WeightConversionError(
            f"{file} is damaged: expected a TorchScript archive ({error})"
        ) from error
    tensors: dict[str, FileTensor] = {}
    _walk(tree, "", tensors, set())
    if not tensors:
        raise WeightConversionError(f"{file} is a TorchScript archive without tensors")
    return tensors


def _storage_places(
    file: pathlib.Path, entries: Mapping[str, zipfile.ZipInfo], folder: str
) -> dict[str, tuple[int, int]]:
    """Key of a storage -> (first byte, length) in the file; PyTorch stores without compression."""
    places = {}
    with file.open("rb") as stream:
        for name, info in entries.items():
            if not name.startswith(folder):
                continue
            if info.compress_type != zipfile.ZIP_STORED:
                raise WeightConversionError(f"{file} compresses {name}: expected it stored as is")
            stream.seek(info.header_offset + 26)
            name_length, extra_length = struct.unpack("<HH", stream.read(4))
            begin = info.header_offset + 30 + name_length + extra_length
            places[name.removeprefix(folder)] = (begin, info.file_size)
    return places


class _Unpickler(pickle.Unpickler):
    """Knows tensors, containers and stubs; whatever else a pickle names is refused, not imported.

    The callables it hands out are made anew for each file, so that a pickle that sets attributes
    on them changes nothing of ours.
    """

    def __init__(self, program: bytes, file: pathlib.Path, places: Mapping[str, tuple[int, int]]):
        super().__init__(io.BytesIO(program))
        self._file, self._places = file, places
        self._stubs: dict[str, type] = {}

        def rebuild_tensor(storage, offset, shape, strides, *_):
            return _tensor(file, storage, offset, shape, strides)

        self._functions: dict[tuple[str, str], Callable | type] = {
            ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, *_: value,
            **{("torch.jit._pickle", name): lambda items, *_: list(items) for name in LISTS},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._functions:
            return self._functions[module, name]
        if module == "torch" and name in STORAGES:
            return name
        if module == "__torch__" or module.startswith("__torch__."):
            path = f"{module}.{name}"
            return self._stubs.setdefault(path, type(name, (Stub,), {}))
        raise WeightConversionError(
            f"{self._file} contains a pickle that names {module}.{name}, which weights do not "
            "need: refused, nothing of it was run"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, elements = pid
        if kind != "storage" or storage not in STORAGES:
            raise WeightConversionError(f"{self._file} holds an unknown kind of storage: {pid!r}")
        begin, length = self._places[key]
        dtype = STORAGES[storage]
        if elements * dtype.itemsize != length:
            raise WeightConversionError(
                f"{self._file} is damaged: storage {key} has {length} bytes, expected "
                f"{elements * dtype.itemsize}"
            )
        return _Storage(begin, elements, dtype)


def _tensor(file: pathlib.Path, storage: Any, offset: Any, shape: Any, strides: Any) -> FileTensor:
    shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
    reach = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    bounds = (offset, *shape, *strides)
    if min(bounds) < 0 or (0 not in shape and offset + reach >= storage.elements):
        raise ValueError("a tensor lies outside its storage")
    in_order, expected = [], 1
    for size in reversed(shape):
        in_order.insert(0, expected)
        expected *= max(size, 1)
    begin = storage.offset + offset * storage.dtype.itemsize
    plain = all(s == o or n == 1 for n, s, o in zip(shape, strides, in_order, strict=True))
    return FileTensor(file, begin, shape, storage.dtype, None if plain else strides)


def _walk(node: Any, path: str, found: dict[str, FileTensor], seen: set[int]) -> None:
    """Collects the tensors of a tree of stubs; the names are those of the attributes."""
    if isinstance(node, FileTensor):
        found[path] = node
    elif isinstance(node, Stub) and id(node) not in seen:
        seen.add(id(node))
        if isinstance(node.attributes, dict):
            for name, child in node.attributes.items():
                _walk(child, f"{path}.{name}" if path else str(name), found, seen)


class TorchTensor:
    """A tensor of a PyTorch file; where the file is memory-mapped, its pages are given back."""

    def __init__(self, tensor: Any, *, mapped: bool):
        self._tensor, self._mapped = tensor.detach(), mapped
        self.shape: tuple[int, ...] = tuple(tensor.shape)
        name = str(tensor.dtype).removeprefix("torch.")
        self.dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)

    def read(self) -> np.ndarray:
        """A copy of the numbers."""
        import torch

        contiguous = self._tensor.contiguous()
        if self.dtype == ml_dtypes.bfloat16:
            array = contiguous.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
        else:
            array = contiguous.numpy().copy()
        if self._mapped:
            storage = self._tensor.untyped_storage()
            _give_back(storage.data_ptr(), storage.nbytes())
        return array


def _give_back(address: int, length: int) -> None:
    """Drops pages of a read-only file mapping; the system reads them again if needed.

    Never for other memory, which would read as zeros. Without it the whole file would count as
    memory of this process beside the converted weights.
    """
    if not sys.platform.startswith("linux"):
        return
    begin = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + length) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > begin:
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED
        )


def open_state_dict(file: pathlib.Path, *, zipped: bool) -> dict[str, Any]:
    """A PyTorch file's state dict by `torch.load(weights_only=True)`; tensors are `TorchTensor`s.

    `state_dict` (open_clip's training checkpoints) is unwrapped and DistributedDataParallel's
    prefix `module.` is taken off. Old files that are no zip archive are read whole.

    Raises:
        WeightConversionError: torch is missing or refuses the file, or it is no state dict.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightConversionError(
            f"{file} is a PyTorch file, which only torch opens: install zsas_jax[convert], or "
            "convert a safetensors file"
        ) from error
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped or None)
    except pickle.UnpicklingError as error:
        reason = _refused_global(str(error))
        raise WeightConversionError(
            f"{file} is refused, nothing of it was run: {reason}"
        ) from error
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightConversionError(f"{file} is damaged or no PyTorch file ({first})") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise WeightConversionError(f"{file} holds no state dict: found {type(content).__name__}")
    other = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if other:
        raise WeightConversionError(
            f"{file} holds no plain state dict: {other[0]!r} is a "
            f"{type(content[other[0]]).__name__}, expected a tensor"
        )
    tensors = {str(name): TorchTensor(value, mapped=zipped) for name, value in content.items()}
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _refused_global(message: str) -> str:
    found = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]+\w)", message)
    if found:
        return f"its pickle names {found[1]}, which weights do not need"
    return "torch's weights_only=True finds more in its pickle than tensors and containers"
