"""What the subcommands share: arguments, config files, errors as sentences, the program cache."""

import contextlib
import dataclasses
import errno
import io
import logging
import os
import pathlib
import re
import runpy
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from zsas_jax.errors import ConfigError, ZsasError
from zsas_jax.files import cache_root

T = TypeVar("T")

EXIT_FAILURES = 1  # the run ended, some inputs failed
EXIT_USAGE = 2  # bad input: one sentence on stderr
EXIT_INTERRUPTED = 130  # as shells report Ctrl-C
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
)


@dataclasses.dataclass
class Outcome:
    """The exit code of a script, set inside `exit_on_error`."""

    code: int = 0


@contextlib.contextmanager
def exit_on_error() -> Iterator[Outcome]:
    """Turns errors caused by bad input into one sentence on stderr and exit code 2.

    So are a full disk and files that may not be read or written. Other exceptions are bugs and keep
    their traceback.
    """
    outcome = Outcome()
    try:
        yield outcome
    except ZsasError as error:
        print(f"error: {error}", file=sys.stderr)
        outcome.code = EXIT_USAGE
    except OSError as error:
        if error.errno not in (*_FULL, *_REFUSED):
            raise
        print(f"error: {_about_file(error)}", file=sys.stderr)
        outcome.code = EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        outcome.code = EXIT_INTERRUPTED


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Gives errors that name no file, as those of a full disk do, this one's name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def _about_file(error: OSError) -> str:
    path = pathlib.Path(str(error.filename2 or error.filename or "a file"))
    # What is being written has a name of its own until it is whole.
    path = path.parent if path.suffix == ".part" else path
    if error.errno in _FULL:
        return f"{path} cannot be written ({error.strerror}): expected a disk with room for it"
    return f"{path} cannot be read or written ({error.strerror}): expected a path of your own"


def config_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """A config file as given, or one that comes with the package: "umci_mvtec".

    Raises:
        ConfigError: there is none of that name.
    """
    given = pathlib.Path(path)
    package = pathlib.Path(__file__).resolve().parents[1]
    packaged = [
        folder / given.with_suffix(".py").name
        for folder in (package.parent / "configs", package / "_configs")
    ]
    for candidate in (given, *packaged):
        if candidate.is_file():
            return candidate
    raise ConfigError(f"config file {path} was not found: expected a file like configs/NAME.py")


def load_config_file(path: str | os.PathLike[str], kind: type[T] | tuple[type, ...]) -> T:
    """Runs a config file and returns its `CONFIG`.

    Raises:
        ConfigError: no such file, a file that fails, or a CONFIG that is missing or of another
            type.
    """
    path = config_path(path)
    if path.suffix != ".py":
        raise ConfigError(f"config file {path} is no Python file: expected NAME.py with a CONFIG")
    try:
        config: Any = runpy.run_path(str(path)).get("CONFIG")
    except ZsasError as error:
        raise ConfigError(f"config file {path}: {error}") from error
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"config file {path} cannot be run ({reason})") from error
    if not isinstance(config, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(item.__name__ for item in kinds)
        found = "no CONFIG" if config is None else f"a CONFIG of type {type(config).__name__}"
        raise ConfigError(f"config file {path} has {found}: expected CONFIG = {expected}(...)")
    return config


def set_up_xla() -> pathlib.Path | None:
    """Keeps compiled programs between runs, so that a script compiles each only once a machine.

    `JAX_COMPILATION_CACHE_DIR` names another directory, or turns the cache off where it is empty.
    A directory that cannot be written only costs compile time. Returns the directory in use.

    On NVIDIA GPUs matrix products are cuBLAS's, unless XLA_FLAGS says otherwise: searching
    for the fastest product of every shape, Triton's among them, makes compiling long.
    """
    flag, flags = "--xla_gpu_enable_triton_gemm", os.environ.get("XLA_FLAGS", "")
    if flag not in flags and shutil.which("nvidia-smi"):
        os.environ["XLA_FLAGS"] = f"{flags} {flag}=false".strip()
    # JAX reports every program that another kind of machine compiled; it just compiles anew then.
    logging.getLogger("jax._src.compilation_cache").setLevel(logging.ERROR)
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen == "":
        return None
    directory = pathlib.Path(chosen) if chosen else cache_root() / "xla"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(directory, os.W_OK):
        return None
    import jax

    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return directory


def split_help(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that ask for help, and the others: what they choose decides which help is shown."""
    asked = [word for word in argv if word in ("-h", "--help")]
    return asked, [word for word in argv if word not in asked]


def parse_arguments(kind: type[T], args: Sequence[str], default: Any, prog: str, about: str) -> T:
    """The dataclass `kind` from command-line arguments, by tyro.

    Raises:
        ConfigError: an unknown flag (with the nearest known one), or a value of a wrong type.
        SystemExit: after `--help`.
    """
    return _parsed(kind, args, default, prog, about, False)


def parse_known(
    kind: type[T], args: Sequence[str], default: Any, prog: str, about: str
) -> tuple[T, list[str]]:
    """As `parse_arguments`; flags that `kind` does not have are returned as they are."""
    return _parsed(kind, args, default, prog, about, True)


def _parsed(
    kind: Any, args: Sequence[str], default: Any, prog: str, about: str, unknown: bool
) -> Any:
    import tyro

    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return tyro.cli(
                kind,
                args=list(args),
                default=default,
                prog=prog,
                description=about,
                return_unknown_args=unknown,
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ConfigError(_one_sentence(messages.getvalue(), prog)) from None


def _one_sentence(box: str, prog: str) -> str:
    """Tyro's box of explanations, cut to what was found and the nearest known flag."""
    lines = [line.strip(" │") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    # The title is part of the frame, or a paragraph where the terminal is not UTF-8.
    framed = any(line.startswith("╭") for line in lines)
    lines = [line for line in lines if line and line[0] not in "╭╰"]
    rules = [index for index, line in enumerate(lines) if set(line) <= {"─", "-"}]
    parts = [lines[a + 1 : b] for a, b in pairwise([-1, *rules, len(lines)])]
    parts = parts if framed else parts[1:]
    found = " ".join(parts[0]).split(" Got errors:")[0].rstrip(".") if parts else "bad arguments"
    near = [
        line.split()[0]
        for part in parts
        if part and part[0].startswith("Perhaps")
        for line in part[1:]
        if line.startswith("--")
    ]
    if near:
        found += f": did you mean {near[0]}?"
    elif "xpected" not in found:
        found += f": see {prog} --help"
    return found[:1].lower() + found[1:]
