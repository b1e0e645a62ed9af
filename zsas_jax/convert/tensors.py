"""Tensors that stay in their file until they are read, and the safetensors format.

A converter looks at names and shapes first and then reads one tensor at a time with plain reads,
not through a memory map, so that the process never holds more of the file than it looks at.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import ml_dtypes
import numpy as np

from zsas_jax.errors import WeightConversionError


class Tensor(Protocol):
    """What a state dict holds here: shape and dtype at once, numbers when asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def read(self) -> np.ndarray: ...


StateDict = Mapping[str, Any]  # name -> Tensor or NumPy array


@dataclasses.dataclass(frozen=True)
class FileTensor:
    """A tensor at a known place of a file, in little-endian numbers without compression."""

    file: pathlib.Path
    offset: int  # bytes
    shape: tuple[int, ...]
    dtype: np.dtype
    strides: tuple[int, ...] | None = None  # elements; None where the numbers lie in order

    def read(self) -> np.ndarray:
        """Reads the numbers.

        Raises:
            WeightConversionError: the file ends before them.
        """
        reach = math.prod(self.shape)
        if self.strides is not None and reach:
            steps = zip(self.shape, self.strides, strict=True)
            reach = 1 + sum((size - 1) * step for size, step in steps)
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            data = np.fromfile(stream, np.uint8, reach * self.dtype.itemsize)
        if data.size != reach * self.dtype.itemsize:
            raise WeightConversionError(
                f"{self.file} is truncated: expected {reach * self.dtype.itemsize} bytes of a "
                f"tensor at {self.offset}, found {data.size}"
            )
        flat = data.view(self.dtype)
        if self.strides is None or not reach:
            return flat.reshape(self.shape)
        bytes_per_step = tuple(step * self.dtype.itemsize for step in self.strides)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, bytes_per_step, writeable=False)
        return np.ascontiguousarray(view)


def read(tensor: Any) -> np.ndarray:
    """The numbers of a stored tensor; arrays pass through."""
    return tensor.read() if hasattr(tensor, "read") else np.asarray(tensor)


def parameter_bytes(tensors: Iterable[Any]) -> int:
    """Size of tensors as they are stored, bytes."""
    return sum(math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in tensors)


# https://github.com/huggingface/safetensors: a little-endian uint64 with the header's length, the
# header as JSON, and the numbers.
SAFETENSORS_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
HEADER_LIMIT = 100 * 2**20  # bytes, as in the reference implementation


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts so can be one: a header of credible length opens with a brace."""
    length = int.from_bytes(start[:8], "little")
    return len(start) > 8 and 2 <= length <= HEADER_LIMIT and start[8:9] == b"{"


def open_safetensors(file: pathlib.Path) -> dict[str, FileTensor]:
    """The tensors of a safetensors file by name; only its header is read.

    Raises:
        WeightConversionError: a damaged header, or a file of another length than it says.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, HEADER_LIMIT))
    start = 8 + length
    try:
        entries = json.loads(header.decode("utf-8"))
        entries.pop("__metadata__", None)
        tensors, spans = {}, []
        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            shape, dtype = tuple(entry["shape"]), SAFETENSORS_DTYPES.get(entry["dtype"])
            if dtype is None:
                raise WeightConversionError(
                    f"{file} holds {name} as {entry['dtype']}: expected one of "
                    f"{', '.join(SAFETENSORS_DTYPES)}"
                )
            if end - begin != math.prod(shape) * dtype.itemsize or any(n < 0 for n in shape):
                raise ValueError(f"{name} has {end - begin} bytes")
            spans.append((begin, end))
            tensors[name] = FileTensor(file, start + begin, shape, dtype)
        reached = 0
        for begin, end in sorted(spans):
            if begin != reached:
                raise ValueError("tensors overlap or leave gaps")
            reached = end
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, WeightConversionError):
            raise
        detail = "its header is cut off" if len(header) < length else f"its header: {error}"
        raise WeightConversionError(f"{file} is damaged ({detail})") from error
    if size != start + reached:
        kind = "truncated" if size < start + reached else "damaged"
        raise WeightConversionError(
            f"{file} is {kind}: it has {size} bytes, its header speaks of {start + reached}"
        )
    return tensors
