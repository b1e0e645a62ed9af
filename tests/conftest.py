"""Shared by all tests: jaxtyping annotations are checked at run time, randomness is seeded."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import pathlib

import pytest
from jaxtyping import install_import_hook

# Before anything of the package is imported: every annotated shape is checked by beartype.
install_import_hook("zsas_jax", "beartype.beartype")

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def samples() -> pathlib.Path:
    """The folder of real photos beside a developer's checkout; tests pass without it."""
    folder = ROOT.parent / "shared" / "samples"
    if not folder.is_dir():
        pytest.skip("the real sample photos are not on this machine")
    return folder
