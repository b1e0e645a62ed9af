"""The measuring itself: counts, ratios, tables, memory."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.benchmarks import timing


def test_matrix_operations_count_products_loops_and_branches():
    left, right = jnp.ones((3, 5)), jnp.ones((5, 7))
    assert timing.matrix_operations(jnp.matmul, left, right) == 2 * 3 * 5 * 7
    batched = jnp.ones((4, 3, 5)), jnp.ones((4, 5, 7))
    assert timing.matrix_operations(jax.jit(jnp.matmul), *batched) == 4 * 2 * 3 * 5 * 7

    def mapped(left, right):
        return jax.lax.map(lambda rows: rows @ right, left)

    assert timing.matrix_operations(mapped, batched[0], right) == 4 * 2 * 3 * 5 * 7

    def either(left, right):
        return jax.lax.cond(left[0, 0] > 0, lambda: left @ right, lambda: jnp.zeros((3, 7)))

    assert timing.matrix_operations(either, left, right) == 2 * 3 * 5 * 7


def test_matrix_operations_of_a_convolution():
    image, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((2, 2, 3, 6))

    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(
            image, kernel, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert timing.matrix_operations(convolve, image, kernel) == 2 * (2 * 4 * 4 * 6) * (2 * 2 * 3)


def test_runs_alternate_after_a_warm_up_and_are_compared_with_the_first():
    order = []

    def run(name, value):
        order.append(name)
        return np.full(3, value), value

    runs = {"a": lambda: run("a", 2.0), "b": lambda: run("b", 3.0)}
    first, other = timing.compare(runs, 2, {"model": "m"})
    assert order == list("ababab")
    assert (first["program"], first["difference"]) == ("a", 0)
    assert (other["model"], other["difference"]) == ("m", 0.5)


def test_ratios_are_taken_within_rounds():
    # The machine is ten times slower in the last round: the ratio does not show it.
    seconds = {"ours": [1.0, 2.0, 10.0], "other": [3.0, 6.0, 30.0]}
    first, other = timing.time_rows(seconds, {}, items=2, floor=0.5)
    assert (first["times ours"], other["times ours"]) == (1, 3)
    assert (other["seconds"], other["fastest"], other["slowest"]) == (3, 1.5, 15)
    assert first["of floor"] == pytest.approx(0.5)


def test_memory_above_sees_what_a_run_needs():
    megabytes = 64

    def run():
        return np.ones(megabytes * 2**20, np.uint8).sum()

    assert timing.memory_above(run) / 2**20 == pytest.approx(megabytes, rel=0.2)


def test_a_new_process_computes_its_own():
    assert timing.in_new_process(os.getpid) != os.getpid()
