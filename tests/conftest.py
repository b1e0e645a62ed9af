"""Shared by all tests: jaxtyping annotations are checked at run time, randomness is seeded."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gc
import pathlib

import pytest
from jaxtyping import install_import_hook

# Before anything of the package is imported: every annotated shape is checked by beartype, for
# which an integer is a number (`rate: float` takes 1), as it is for type checkers.
install_import_hook(
    "zsas_jax", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def samples() -> pathlib.Path:
    """The folder of real photos beside a developer's checkout; tests pass without it."""
    folder = ROOT.parent / "shared" / "samples"
    if not folder.is_dir():
        pytest.skip("the real sample photos are not on this machine")
    return folder


@pytest.fixture(autouse=True, scope="module")
def bounded_programs():
    """Gives compiled programs back before the process has as many memory maps as Linux allows
    (65,530): the whole suite in one process reaches that, and LLVM then crashes.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        import jax

        jax.clear_caches()
        gc.collect()
