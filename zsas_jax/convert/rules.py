"""Strict conversion of PyTorch-layout weights into Flax NNX modules.

`convert` walks the TARGET's leaves. How a stored array is transformed follows from the type of the
module that owns the leaf, never from its shape:

    nnx.Linear           weight [out, in]          -> kernel [in, out]
    nnx.Conv             weight [out, in, *window] -> kernel [*window, in, out]
    nnx.ConvTranspose    weight [in, out, *window] -> kernel [*window, in, out], window flipped
    LayerNorm            weight                    -> scale
    nnx.Embed            weight                    -> embedding
    anything else        as it is, under its own name

Each leaf first gets the name it would have in a PyTorch model with our attribute names
(`blocks.0.attn.qkv.weight`, the native name); rename rules then lead to the source's names. Every
target is filled exactly once, every source key is used or ignored for a stated reason, and all
that does not fit is reported in ONE error. Names and shapes are looked at first; numbers are then
read, checked and copied tensor by tensor, so that only one of them is in memory twice.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.convert.tensors import StateDict, read
from zsas_jax.errors import WeightConversionError
from zsas_jax.ops.layers import LayerNorm

ModuleT = TypeVar("ModuleT", bound=nnx.Module)

# How many names of one kind an error lists before it only counts them.
LISTED_NAMES = 40
PROBLEMS = (
    "missing",
    "unexpected",
    "mis-shaped",
    "of a wrong dtype",
    "not finite",
    "used for more than one target",
)


class Source(NamedTuple):
    """Where one target comes from.

    Several `names` are concatenated along their first axis (query, key and value projections that
    we keep fused). `transpose` swaps the two axes of a matrix that the source stores in a Linear
    and we keep as a raw parameter, or the other way round.
    """

    names: tuple[str, ...]
    transpose: bool = False


class Rule(NamedTuple):
    """Regular expression and replacement(s) (`re.sub`), applied to native names in order.

    A tuple replaces one name by several; see `Source`.
    """

    pattern: str
    replacement: str | tuple[str, ...]
    transpose: bool = False


Rename = Sequence[Rule] | Callable[[str], str | Source]
# Wraps a sequence whose second argument says what is being done, as a progress bar does.
Track = Callable[[Sequence, str], Iterable]


def silent(items: Sequence, doing: str) -> Iterable:
    """The `Track` that shows nothing."""
    del doing
    return items


def convert(
    target: ModuleT,
    source: StateDict,
    rename: Rename = (),
    ignored: Mapping[str, str] | None = None,
    track: Track = silent,
) -> ModuleT:
    """Returns `target` (abstract, from `nnx.eval_shape`, or real) with all leaves from `source`.

    Args:
        target: a module; itself unchanged. Its leaves' shapes and dtypes are binding; floating
            point numbers of any width are cast.
        source: the state dict, NumPy arrays or tensors still in their file, which are read one at
            a time; nothing of it is kept.
        rename: rules applied in order to every native name, or a function of the native name.
        ignored: regular expression (of the whole key) -> why such source keys are not needed.
        track: wraps the sequence of the target's leaves, to show progress.

    Raises:
        WeightConversionError: names all that is missing, unexpected, mis-shaped, of a wrong dtype,
            not finite or used twice.
    """
    graph, state = nnx.split(target)
    plan, problems = _plan(target, source, rename, ignored or {})
    leaves = []
    for path, variable in track(nnx.to_flat_state(state), "converting"):
        if path not in plan:
            continue
        where, label = plan[path]
        parts = [read(source[name]) for name in where.names]
        array, dtype = _transform(target, path, where, parts), variable.get_value().dtype
        assert array is not None  # the plan has tried it
        with np.errstate(over="ignore"):  # an overflow is reported below, as not finite
            array = array.astype(dtype, copy=False)
        if not np.isfinite(array).all():
            problems["not finite"].append(f"{label} (as {dtype})")
        # With a problem known, the rest is only looked at, to name all problems at once.
        if not any(problems.values()):
            leaves.append((path, variable.replace(jnp.array(array))))
    _raise_if_any(type(target).__name__, problems)
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def check_manifest(
    target: nnx.Module,
    shapes: Mapping[str, Sequence[int]],
    rename: Rename = (),
    ignored: Mapping[str, str] | None = None,
) -> None:
    """Checks names and shapes of a checkpoint, without its numbers, against `target`.

    Raises:
        WeightConversionError: as `convert`.
    """
    zero = np.zeros((), np.float32)
    source = {name: np.broadcast_to(zero, tuple(shape)) for name, shape in shapes.items()}
    _raise_if_any(type(target).__name__, _plan(target, source, rename, ignored or {})[1])


def count_problems(
    target: nnx.Module, source: StateDict, rename: Rename, ignored: Mapping[str, str]
) -> int:
    """How many names and shapes of `source` do not fit; no number is read."""
    return sum(map(len, _plan(target, source, rename, ignored)[1].values()))


def native_names(target: nnx.Module) -> dict[tuple, str]:
    """Path of every leaf -> its name in a PyTorch model with our attribute names."""
    _, state = nnx.split(target)
    names = {}
    for path, _ in nnx.to_flat_state(state):
        leaf = _layout(_owner(target, path), str(path[-1]))[0]
        names[path] = ".".join(str(part) for part in (*path[:-1], leaf))
    return names


def count_numbered(names: Iterable[str], first: str) -> int:
    """The highest number + 1 that `names` have in the place of the first 0 of the name `first`."""
    numbered = re.compile(re.escape(first.split("0.")[0]) + r"(\d+)\.")
    found = (numbered.match(name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _plan(
    target: nnx.Module, source: StateDict, rename: Rename, ignored: Mapping[str, str]
) -> tuple[dict[tuple, tuple[Source, str]], dict[str, list[str]]]:
    """Where every leaf that fits comes from, with its label, and what does not fit.

    Looks at names, shapes and dtypes alone.
    """
    problems: dict[str, list[str]] = {kind: [] for kind in PROBLEMS}
    names = native_names(target)
    wanted = {path: apply_rename(name, rename) for path, name in names.items()}
    uses = Counter(name for where in wanted.values() for name in where.names)
    unexpected = sorted(
        key
        for key in source
        if key not in uses and not any(re.fullmatch(pattern, key) for pattern in ignored)
    )
    _, state = nnx.split(target)
    plan: dict[tuple, tuple[Source, str]] = {}
    zero = np.zeros((), np.float32)
    for path, variable in nnx.to_flat_state(state):
        where, leaf = wanted[path], variable.get_value()
        label = _label(where, names[path])
        missing = [name for name in where.names if name not in source]
        if missing:
            problems["missing"].extend(missing)
            continue
        parts = [source[name] for name in where.names]
        if not all(jnp.issubdtype(part.dtype, jnp.floating) for part in parts):
            found = ", ".join(str(part.dtype) for part in parts)
            problems["of a wrong dtype"].append(
                f"{label}: found {found}, expected floating point numbers"
            )
            continue
        # Zero strides: the transform of the shape alone.
        shapes = [np.broadcast_to(zero, part.shape) for part in parts]
        became = _transform_shape(target, path, where, shapes)
        if became != leaf.shape:
            found = " + ".join(str(tuple(part.shape)) for part in parts)
            arrow = "" if became in (None, tuple(parts[0].shape)) else f" -> {became}"
            problems["mis-shaped"].append(f"{label}: found {found}{arrow}, expected {leaf.shape}")
            continue
        plan[path] = where, label
    problems["unexpected"] = unexpected
    problems["used for more than one target"] = [name for name, uses in uses.items() if uses > 1]
    return plan, problems


def apply_rename(native: str, rename: Rename) -> Source:
    """Where a target with this native name comes from."""
    if callable(rename):
        result = rename(native)
        return result if isinstance(result, Source) else Source((result,))
    names, transpose = (native,), False
    for rule in rename:
        pattern, replacement, transposed = rule
        if not any(re.search(pattern, name) for name in names):
            continue
        options = (replacement,) if isinstance(replacement, str) else replacement
        names = tuple(re.sub(pattern, option, name) for name in names for option in options)
        transpose ^= transposed
    return Source(names, transpose)


def _owner(target: nnx.Module, path: tuple) -> Any:
    node: Any = target
    for part in path[:-1]:
        node = node[part] if isinstance(part, int) else getattr(node, part)
    return node


def _layout(owner: Any, leaf: str) -> tuple[str, Callable[[np.ndarray], np.ndarray] | None]:
    """PyTorch's name of a leaf, and the transform of its array (None: as it is)."""
    if isinstance(owner, (nnx.Linear, nnx.Conv)) and leaf == "kernel":
        return "weight", _out_in_window_last
    if isinstance(owner, nnx.ConvTranspose) and leaf == "kernel":
        flipped = _flipped_transposed if owner.transpose_kernel else _flipped
        return "weight", flipped
    if isinstance(owner, (LayerNorm, nnx.LayerNorm)) and leaf == "scale":
        return "weight", None
    if isinstance(owner, nnx.Embed) and leaf == "embedding":
        return "weight", None
    known = (nnx.Linear, nnx.Conv, nnx.ConvTranspose, nnx.LayerNorm, nnx.List, nnx.Dict)
    if type(owner).__module__.startswith("flax.") and not isinstance(owner, known):
        raise TypeError(f"no PyTorch layout is known for {type(owner).__name__}.{leaf}")
    return leaf, None


def _out_in_window_last(array: np.ndarray) -> np.ndarray:
    """[out, in, *window] -> [*window, in, out]."""
    return array.transpose(*range(2, array.ndim), 1, 0)


def _flipped(array: np.ndarray) -> np.ndarray:
    """[in, out, *window] -> [*window, in, out], flipped: PyTorch's transposed convolution is the
    gradient of a convolution, Flax's a plain convolution of the dilated input.
    """
    window = tuple(range(2, array.ndim))
    return np.flip(array, window).transpose(*window, 0, 1)


def _flipped_transposed(array: np.ndarray) -> np.ndarray:
    """[in, out, *window] -> [*window, out, in]: with `transpose_kernel` Flax flips it itself."""
    return array.transpose(*range(2, array.ndim), 1, 0)


def _transform(
    target: nnx.Module, path: tuple, where: Source, parts: list[np.ndarray]
) -> np.ndarray | None:
    """The array in the target's layout; None where the ranks do not allow it."""
    transform = _layout(_owner(target, path), str(path[-1]))[1]
    try:
        array = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if where.transpose:
            array = array.transpose(1, 0)
        return array if transform is None else transform(array)
    except ValueError:
        return None


def _transform_shape(
    target: nnx.Module, path: tuple, where: Source, parts: list[np.ndarray]
) -> tuple[int, ...] | None:
    """The shape that `_transform` gives, with no memory for the concatenation of large parts."""
    if len(parts) > 1:
        # Equal parts: heads of unequal projections would be cut in the wrong places.
        if len({part.shape for part in parts}) > 1 or not parts[0].ndim:
            return None
        rows = len(parts) * parts[0].shape[0]
        parts = [np.broadcast_to(parts[0][:1], (rows, *parts[0].shape[1:]))]
    array = _transform(target, path, where, parts)
    return None if array is None else array.shape


def _label(where: Source, native: str) -> str:
    joined = " + ".join(where.names)
    return joined if joined == native else f"{joined} (for {native})"


def _nearest(name: str, candidates: list[str]) -> str:
    # One suggestion each, from the keys that nothing else claims: the likely misspelling.
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.8)
    return f" (found instead: {near[0]}?)" if near else ""


def _raise_if_any(module: str, problems: dict[str, list[str]]) -> None:
    found = {kind: names for kind, names in problems.items() if names}
    if not found:
        return
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in found.items())
    lines = [f"The weights do not fit {module}: {counts}."]
    for kind, names in found.items():
        lines.append(f"  {kind}:")
        for name in names[:LISTED_NAMES]:
            near = _nearest(name, problems["unexpected"]) if kind == "missing" else ""
            lines.append(f"    {name}{near}")
        if len(names) > LISTED_NAMES:
            lines.append(f"    ... and {len(names) - LISTED_NAMES} more")
    raise WeightConversionError("\n".join(lines))
