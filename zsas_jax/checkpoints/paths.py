"""From the name of a checkpoint to its directory."""

import os
import pathlib

from zsas_jax.checkpoints.hub import is_hub_name, require_conversion
from zsas_jax.errors import CheckpointError

UNFINISHED = ".part"


def checkpoint_path(name: str | os.PathLike[str]) -> pathlib.Path:
    """A directory as given, a bundled checkpoint ("tiny"), or the conversion of hub names.

    Raises:
        CheckpointError: nothing of that name, or a conversion that was not finished.
    """
    path = pathlib.Path(name)
    if path.name.endswith(UNFINISHED):
        raise CheckpointError(f"{path} is an unfinished checkpoint: write or convert it again")
    if path.is_dir():
        return path
    package = pathlib.Path(__file__).resolve().parents[1]
    if str(name) == path.name:
        for root in (package.parent / "checkpoints", package / "_checkpoints"):
            if (root / path.name).is_dir():
                return root / path.name
    if path.with_name(path.name + UNFINISHED).is_dir():
        raise CheckpointError(
            f"checkpoint {str(name)!r} was not finished (writing it was interrupted): write or "
            "convert it again"
        )
    if is_hub_name(str(name)):
        return require_conversion(str(name))
    raise CheckpointError(
        f"checkpoint {str(name)!r} was not found: expected a directory, the bundled name 'tiny', "
        "or a hub name that was downloaded, such as "
        "openai/clip-vit-large-patch14-336+facebook/sam-vit-huge"
    )


def identity(name: str | os.PathLike[str]) -> str:
    """The last two parts of a checkpoint's path: what people call it."""
    return "/".join(checkpoint_path(name).absolute().parts[-2:])
