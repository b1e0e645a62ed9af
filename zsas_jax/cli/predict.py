"""`zsas predict`: a score and a verdict for each photo, and its map where that is asked for."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import tyro

from zsas_jax.cli.common import EXIT_FAILURES, Outcome, parse_known, set_up_xla, split_help
from zsas_jax.cli.settings import print_help, with_flags
from zsas_jax.errors import ConfigError, ImageError

ABOUT = """Finds anomalies in photos: zsas predict part.jpg photos/ --category "metal nut"

Prints score, verdict and path of each photo. `zsas evaluate --dataset folder` also writes tables
and a report."""


@dataclasses.dataclass(frozen=True)
class PredictArguments:
    """What `zsas predict` takes."""

    photos: tyro.conf.Positional[tuple[pathlib.Path, ...]] = ()
    """Photos, and folders of photos."""
    category: str = "object"
    """What the photos show, in words."""
    method: Annotated[str | None, tyro.conf.arg(metavar="NAME|HEAD+REFINER")] = None
    """The checkpoint's own by default. The names are listed below, with the flags of the chosen
    one's settings."""
    checkpoint: str = "tiny"
    """A checkpoint directory, the bundled "tiny", or downloaded hub names."""
    threshold: Annotated[float | None, tyro.conf.arg(metavar="X")] = None
    """Score at or above which a photo is called anomalous; the checkpoint's by default."""
    mask_threshold: Annotated[float | None, tyro.conf.arg(metavar="X")] = None
    """Map value at or above which a pixel is anomalous; the checkpoint's by default."""
    prompts: pathlib.Path | None = None
    """TOML or JSON file with your own normal_states, abnormal_states, templates or words."""
    output_dir: pathlib.Path | None = None
    """Write a picture (overlays/), a 16-bit map (maps/) and a mask (masks/) of each photo there."""


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas predict") -> None:
    """Prints a line per photo; exit code 1 where some could not be read."""
    asked, words = split_help(argv)
    args, rest = parse_known(PredictArguments, words, PredictArguments(), prog, ABOUT)
    if asked:
        print_help(args, prog, ABOUT)
    set_up_xla()

    from zsas_jax.checkpoints import load
    from zsas_jax.data.images import decode_image
    from zsas_jax.methods.base import Request
    from zsas_jax.parts.text import Prompts, load_prompts
    from zsas_jax.predict import chosen, predict

    paths = _photos(args.photos)
    request = Request(load_prompts(args.prompts) if args.prompts else Prompts())
    bundle = load(args.checkpoint)
    method, config = chosen(bundle, args.method, None)  # Mistakes show before photos are read.
    config = with_flags(config, rest, PredictArguments, method, prog)
    for name, path in paths.items():
        try:
            image = decode_image(path)
        except ImageError as error:
            print(f"error: {error}", file=sys.stderr)
            outcome.code = EXIT_FAILURES
            continue
        (found,) = predict(
            bundle,
            [image],
            args.category,
            method,
            config=config,
            threshold=args.mask_threshold,
            image_threshold=args.threshold,
            request=request,
        )
        verdict = "anomalous" if found.is_anomalous else "good"
        print(f"{found.score:.3f}  {verdict:9}  {path}")
        if args.output_dir is not None:
            _write(args.output_dir, name, image, found, verdict)


def _photos(given: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Name of the results -> photo."""
    from zsas_jax.data.folder import FolderSource

    paths: dict[str, pathlib.Path] = {}
    for path in given:
        found = {path.name: path}
        if path.is_dir():
            source = FolderSource(path)
            records = [source[index] for index in range(len(source))]
            found = {record["name"]: pathlib.Path(record["image"]) for record in records}
        for name, photo in found.items():
            if paths.setdefault(name, photo) != photo:
                raise ConfigError(
                    f"{paths[name]} and {photo} would both have their results under {name}: "
                    "expected two commands"
                )
    if not paths:
        raise ConfigError("no photo is named: expected files or folders, zsas predict PHOTO ...")
    return paths


def _write(folder: pathlib.Path, name: str, image: np.ndarray, found: Any, verdict: str) -> None:
    from zsas_jax.evaluation.maps import save_map_png16, save_mask_png
    from zsas_jax.evaluation.overlays import save_overlay

    save_overlay(
        folder / "overlays" / f"{name}.jpg",
        image,
        found.anomaly_map,
        found.mask,
        verdict=f"{verdict} {found.score:.2f}",
    )
    save_map_png16(folder / "maps" / f"{name}.png", found.anomaly_map)
    save_mask_png(folder / "masks" / f"{name}.png", found.mask)
