"""Every task from nothing and from what others trained, on a pool of six pictures."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from small_world import CLIP, SAM, MeanTask, save_clip, small_pool, umci_task

from zsas_jax.checkpoints import load, save
from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.methods import settings
from zsas_jax.methods.heads.umci_training import UmciTraining
from zsas_jax.networks import NETWORKS
from zsas_jax.tasks import ClipTask, SamTask, make_task
from zsas_jax.testing import dummy_bundle
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.loop import train

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_pool(tmp_path_factory.mktemp("pool"))


def _clip(data, **changes):
    quick = {"text_steps": 1, "vocab_captions": 200}
    return ClipTask(sizes=CLIP, umci=NETWORKS["umci"].small, data=data, **quick | changes)


def _tasks(data):
    balanced = UmciTraining(loss="balanced")
    return {
        "clip": _clip(data),
        "sam": SamTask(sizes=SAM, data=data),
        "umci": umci_task(sizes=None, training=balanced, data=data),
    }


def _run(task, *init, **changes):
    return TrainConfig(task, steps=2, batch_size=2, init=tuple(map(str, init)), **changes)


@pytest.mark.parametrize("name", ["clip", pytest.param("sam", marks=pytest.mark.full)])
def test_a_network_is_trained_from_nothing(name, data, tmp_path):
    config = _run(_tasks(data)[name])
    task = make_task(config)
    before = jax.device_get(task.export(task.params).model)
    bundle = load(train(config, task, tmp_path))
    pairs = zip(
        *(jax.tree.leaves(nnx.state(m, nnx.Param)) for m in (before, bundle.model)), strict=True
    )
    assert np.mean([not np.array_equal(a, b) for a, b in pairs]) > 0.9
    assert set(bundle.model.names) == ({"clip", "umci"} if name == "clip" else {"sam"})
    assert bool(bundle.tokenizers) == (name == "clip")


def test_a_head_is_trained_and_takes_over_the_other_networks(data, tmp_path):
    begun = dummy_bundle(["clip", "sam"])
    task = dataclasses.replace(_tasks(data)["umci"], sizes=NETWORKS["umci"].small)
    config = _run(task, save(tmp_path / "begun", begun), log_every=1, method="cascade")
    made = make_task(config)
    before = jax.device_get(jax.tree.leaves(made.params))
    bundle = load(train(config, made, tmp_path / "run"))
    after = jax.tree.leaves(nnx.state(bundle.model.umci, nnx.Param))
    changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert np.mean(changed) > 0.9
    assert set(bundle.model.names) == {"clip", "sam", "umci"}
    assert bundle.config.method == "cascade"
    assert settings(bundle.config, "cascade").head == task.settings
    for name in ("clip", "sam"):
        frozen = jax.tree.leaves(getattr(begun.model, name))
        for a, b in zip(frozen, jax.tree.leaves(getattr(bundle.model, name)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_sam_goes_on_at_another_size(data, tmp_path):
    begun = save(tmp_path / "begun", dummy_bundle(["sam", "clip"]))
    task = make_task(_run(SamTask(view_size=96, data=data), begun))
    exported = task.export(task.params)
    larger = dataclasses.replace(SAM, image_size=96)
    assert exported.model.sam.config == exported.config.networks["sam"] == larger
    assert exported.model.has("clip")
    assert next(iter(task.dataset))["image"].shape[1] == 96


@pytest.mark.parametrize("name", ["clip", pytest.param("sam", marks=pytest.mark.full), "umci"])
def test_networks_may_compute_in_bfloat16(name, data, tmp_path):
    names = ["sam"] if name == "sam" else ["clip", "umci"]
    begun = save(tmp_path / "begun", dummy_bundle(names))
    values = {}
    for precision in ("float32", "bfloat16"):
        task = make_task(_run(_tasks(data)[name], begun, precision=precision))
        arguments = (task.params, task.frozen, next(iter(task.dataset)), KEY)
        whole = jax.value_and_grad(task.loss, has_aux=True)
        shapes = jax.tree.leaves(jax.eval_shape(whole, *arguments))
        assert {leaf.dtype for leaf in shapes} == {np.dtype("float32")}
        if name == "clip":  # The others take longer to compile.
            values[precision] = float(jax.jit(task.loss)(*arguments)[0])
    if values:
        assert values["float32"] == pytest.approx(values["bfloat16"], rel=0.05)
        assert values["float32"] != values["bfloat16"]


def test_labels_say_which_pictures_are_anomalous(data, tmp_path):
    begun = save_clip(tmp_path / "clip")
    batches = iter(make_task(_run(ClipTask(data=data), begun)).dataset)
    seen = set()
    for _ in range(12):
        batch = next(batches)
        for mask, label in zip(batch["mask"], batch["label"], strict=True):
            assert label or not mask.any()
            seen.add(int(label))
    assert seen == {0, 1}


def test_what_would_fail_later_is_refused_before_pictures_are_rendered(tmp_path):
    data = small_pool(tmp_path / "pool")
    silent = save(tmp_path / "silent", dummy_bundle(["clip", "umci"])._replace(tokenizers={}))
    sam = save(tmp_path / "sam", dummy_bundle(["sam"]))
    head = _tasks(data)["umci"]
    for task, init, message in (
        (MeanTask(), (), "task is a MeanTask: expected one of"),
        (ClipTask(data=data), (), "task.sizes is empty and `init` has no clip"),
        (_clip(data, view_size=36), (), r"task.view_size has the size \(36, 36\): .* 8"),
        (_clip(data), (silent,), "the clip of `init` has no tokenizer"),
        (head, (silent,), "tokenizer"),
        (dataclasses.replace(head, sizes=NETWORKS["umci"].small), (sam,), "'clip', which"),
    ):
        with pytest.raises((ConfigError, CheckpointError), match=message):
            make_task(_run(task, *init))
    assert not (tmp_path / "pool").exists()
