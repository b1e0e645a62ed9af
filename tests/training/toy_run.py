"""A run in a process of its own: python toy_run.py OUTPUT [--resume] [--join PORT ID] ...

Fits a small network to noisy points; the loss also depends on the step's key. With --umci WORLD it
trains UMCI instead, on the CLIP and the miniature MVTec AD of that directory.
"""

import argparse
import pathlib
import sys
import time

import grain
import jax
import jax.numpy as jnp
import numpy as np
import small_world

from zsas_jax.errors import ZsasError
from zsas_jax.tasks import make_task
from zsas_jax.testing import dummy_bundle
from zsas_jax.training import devices, loop
from zsas_jax.training.config import OptimizerConfig, TrainConfig

parser = argparse.ArgumentParser()
parser.add_argument("output", type=pathlib.Path)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--seconds", type=float, default=0.0, help="that a batch takes at least")
parser.add_argument("--join", nargs=2, metavar=("PORT", "ID"), help="one of two processes")
parser.add_argument("--umci", type=pathlib.Path, metavar="WORLD", help="train UMCI")
args = parser.parse_args()

if args.join:
    devices.connect(f"127.0.0.1:{args.join[0]}", 2, int(args.join[1]))

config = TrainConfig(
    small_world.MeanTask(),
    steps=args.steps,
    batch_size=16,
    optimizer=OptimizerConfig(learning_rate=0.01, ema_decay=0.9, accumulation=2),
    log_every=1,
    checkpoint_every=5,
)
rng = np.random.default_rng(0)
points = [{"x": x, "y": np.sin(3 * x).sum()} for x in rng.normal(size=(64, 8)).astype("float32")]


def view(item, rng):
    time.sleep(args.seconds / config.batch_size)
    return {**item, "y": item["y"] + np.float32(rng.normal(0, 0.1))}


samples = grain.MapDataset.source(points).seed(1).shuffle().repeat().random_map(view)
dataset = devices.local_batches(samples, config.batch_size)


def loss(params, frozen, batch, key):
    hidden = jnp.tanh(batch["x"] @ params["in"] * frozen)
    noise = 0.01 * jax.random.normal(key, ())
    error = hidden @ params["out"] - batch["y"] + noise
    return jnp.mean(error**2), {}


def export(params):
    np.savez(args.output / "trained.npz", **jax.device_get(params))
    return dummy_bundle(["umci"])


weights = {"in": rng.normal(size=(8, 32)) / 3, "out": rng.normal(size=32) / 6}
task = loop.Task(
    {name: jnp.asarray(value, jnp.float32) for name, value in weights.items()},
    jnp.ones(()),
    loss,
    dataset.to_iter_dataset(grain.ReadOptions(1, 2)),
    export,
    steps_per_epoch=4,
)
if args.umci:
    world, cache = args.umci, args.output.with_suffix(".cache")
    config = small_world.photo_run(
        world / "clip",
        world / "mvtec",
        cache,
        steps=args.steps,
        epochs=0,
        batch_size=8,
        checkpoint_every=5,
    )
    task = make_task(config)
try:
    loop.train(config, task, args.output, resume=args.resume)
except ZsasError as error:
    sys.exit(f"error: {error}")
