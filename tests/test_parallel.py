"""Several devices: eight virtual ones in a process of their own."""

import os
import subprocess
import sys

import pytest

from zsas_jax.errors import ConfigError
from zsas_jax.parallel import local_devices

SCRIPT = """
import sys
sys.path[:0] = [{tests!r}]
import jax
import numpy as np
from small_pipeline import inputs, method_config, small_model
from zsas_jax.parallel import data_parallel, local_devices

assert len(local_devices()) == 8
model = small_model()
generator = np.random.default_rng(0)
images = generator.integers(0, 256, (8, 24, 32, 3), np.uint8)
sizes = np.array([[24, 32], [20, 32], [24, 11], [9, 9]] * 2, np.int32)
text = generator.normal(size=(8, 2, 12)).astype(np.float32)
text /= np.linalg.norm(text, axis=-1, keepdims=True)
batch = inputs((images, sizes, text, np.arange(8, dtype=np.uint32)))
static = method_config({method!r})._asdict() | {{"keep": ("*",)}}
one = data_parallel(model, local_devices(1))(*batch, **static)
many = data_parallel(model, local_devices())(*batch, **static)
assert len(many.anomaly_map.sharding.device_set) == 8
assert many.anomaly_map.addressable_shards[0].data.shape == (1, 24, 32)
one.stages.pop("masks", None), many.stages.pop("masks", None)
for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
    np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), atol=2e-5)
print("equal")
"""


@pytest.mark.parametrize("method", ["umci", pytest.param("cascade", marks=pytest.mark.full)])
def test_eight_devices_give_what_one_gives(method):
    tests = os.path.dirname(os.path.abspath(__file__))
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(tests=tests, method=method)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "equal"


def test_more_devices_than_there_are():
    with pytest.raises(ConfigError, match=r"devices is 99: expected 1 to \d+"):
        local_devices(99)
    with pytest.raises(ConfigError, match="devices is 0"):
        local_devices(0)
