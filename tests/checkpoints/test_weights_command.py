"""`zsas weights` from published files to a directory that loads, and what stops it."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import published_weights as published
import pytest
from flax import nnx
from killed_conversion import POINTS

import zsas_jax
from zsas_jax.__main__ import main
from zsas_jax.checkpoints import checkpoint_path
from zsas_jax.checkpoints.convert import convert_checkpoint
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.evaluation.verdicts import calibrate, save_threshold
from zsas_jax.files import sha256
from zsas_jax.networks import NETWORKS
from zsas_jax.testing import dummy_bundle

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAVE = sys.modules["zsas_jax.checkpoints.save"]


@pytest.fixture(scope="module")
def bundle():
    return dummy_bundle()


@pytest.fixture(scope="module")
def places(bundle, tmp_path_factory):
    """A CLIP and a SAM as they are published, and a tokenizer."""
    root = tmp_path_factory.mktemp("published")
    for name, wanted in (("clip", "openai"), ("sam", "meta")):
        layout = next(layout for layout in NETWORKS[name].layouts if layout.name == wanted)
        state = published.state_dict(
            getattr(bundle.model, name), layout.rules(NETWORKS[name].small)
        )
        published.write(state, root / name / "model.safetensors")
    model = {"quick_gelu": True, "vision_cfg": {"head_width": 8}, "text_cfg": {"heads": 1}}
    published.write_json(root / "clip" / "open_clip_config.json", {"model_cfg": model})
    bundle.tokenizer.save(root / "words")
    return root


@pytest.fixture(scope="module")
def converted(places, tmp_path_factory):
    output = tmp_path_factory.mktemp("converted") / "model"
    sources = ["--clip", places / "clip", "--sam", places / "sam", "--tokenizer", places / "words"]
    assert run("convert", *sources, "--output", output) == 0
    return output


def run(*arguments):
    return main(["weights", *map(str, arguments)])


def failure(capsys, *arguments):
    """The one sentence of a command that exits with 2."""
    capsys.readouterr()
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    return error


def said(capsys, *arguments):
    capsys.readouterr()
    assert run(*arguments) == 0
    return capsys.readouterr().out


def test_a_converted_directory_loads_and_says_where_it_comes_from(converted, places, bundle):
    loaded = zsas_jax.load(converted)
    assert loaded.model.names == ("clip", "sam")
    for name in loaded.model.names:
        found, expected = (getattr(each.model, name) for each in (loaded, bundle))
        assert published.arrays(found) == published.arrays(expected)
    np.testing.assert_array_equal(loaded.tokenizer(["a nut"]), bundle.tokenizer(["a nut"]))
    provenance = json.loads((converted / "provenance.json").read_text())
    (file,) = provenance["sources"]["clip"]["files"]
    assert file["name"] == "model.safetensors"
    assert file["sha256"] == sha256(places / "clip" / "model.safetensors")
    assert provenance["converter"] == {"zsas_jax": zsas_jax.__version__}
    assert str(places) not in "".join(f.read_text() for f in converted.glob("*.json"))


def test_what_is_missing_is_said(places, tmp_path, capsys):
    text = said(capsys, "convert", "--clip", places / "clip", "--output", tmp_path / "c")
    assert "no tokenizer of clip was found" in text
    assert "by itself it runs the method clip" in text
    alone = zsas_jax.load(tmp_path / "c")
    with pytest.raises((CheckpointError, ConfigError), match="--tokenizer"):
        zsas_jax.prepare(alone, ["nut"], "clip")
    with pytest.raises(ConfigError, match="needs the network 'umci'"):
        zsas_jax.predict(alone, [np.zeros((8, 8, 3), np.uint8)], method="cascade")


def test_inspect_and_verify(converted, places, capsys):
    text = said(capsys, "inspect", places / "sam")
    assert "sam in layout meta, safetensors" in text
    assert "all names and shapes fit" in text
    text = said(capsys, "inspect", converted)
    assert "umci: missing" in text
    assert "tokenizer of clip: there" in text
    assert "are finite" in said(capsys, "verify", converted)


def test_inspect_and_verify_a_trained_and_calibrated_checkpoint(tmp_path, capsys):
    copy = shutil.copytree(checkpoint_path("tiny"), tmp_path / "mine")
    config = zsas_jax.settings(zsas_jax.load(copy, networks=()).config, "umci")
    about = {"category": "nut", "prompts": zsas_jax.Prompts(), "photos": "2 photos"}
    save_threshold(copy, calibrate([0.1, 0.2], 0.01), method="umci", config=config, **about)
    assert "trained on generator" in said(capsys, "inspect", copy)
    assert "are finite" in said(capsys, "verify", copy)


def test_average_is_the_mean_of_checkpoints_that_are_alike(bundle, tmp_path, capsys):
    random = np.random.default_rng(0)
    bundles = []
    for name in ("one", "two"):
        graphdef, params, others = nnx.split(bundle.model, nnx.Param, ...)
        params = jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(random.random()), params)
        bundles.append(bundle._replace(model=nnx.merge(graphdef, params, others)))
        about = {"trained_on": ["generator", name]}
        zsas_jax.save(tmp_path / name, bundles[-1], provenance=about)
    output = tmp_path / "mean"
    command = ["average", tmp_path / "one", tmp_path / "two", "--output", output]
    assert run(*command) == 0
    mean = zsas_jax.load(output)
    leaves = [jax.tree.leaves(nnx.state(b.model, nnx.Param)) for b in (*bundles, mean)]
    for one, two, result in zip(*leaves, strict=True):
        np.testing.assert_allclose(result, (np.asarray(one) + two) / 2, rtol=1e-6)
    assert trained_on(output) == ("generator", "one", "two")
    assert "are finite" in said(capsys, "verify", output)
    assert f"the mean of {tmp_path.name}/one and {tmp_path.name}/two" in said(
        capsys, "inspect", output
    )
    assert "exists already" in failure(capsys, *command)
    zsas_jax.save(tmp_path / "other", dummy_bundle(["clip"]))
    command[1] = tmp_path / "other"
    assert "another sam than" in failure(capsys, *command, "--overwrite")
    words = NETWORKS["clip"].tokenizer.train(["scratched screws"] * 9, NETWORKS["clip"].small)
    zsas_jax.save(tmp_path / "words", bundle._replace(tokenizers={"clip": words}))
    command[1] = tmp_path / "words"
    assert "another vocabulary" in failure(capsys, *command, "--overwrite")


def test_verify_finds_a_changed_byte_a_foreign_file_and_numbers_that_are_not_finite(
    converted, bundle, tmp_path, capsys
):
    copy = shutil.copytree(converted, tmp_path / "copy")
    (copy / "more.bin").write_bytes(b"")
    assert "more.bin is not in manifest.json" in failure(capsys, "verify", copy)
    file = copy / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    assert "sha256" in failure(capsys, "verify", copy)
    graphdef, state = nnx.split(bundle.model)
    model = nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf, state))
    model.clip.logit_scale[...] = np.float32(np.inf)
    zsas_jax.save(tmp_path / "inf", bundle._replace(model=model))
    assert "not finite in clip.logit_scale" in failure(capsys, "verify", tmp_path / "inf")


def test_inspect_says_what_is_missing_or_damaged(converted, tmp_path, capsys):
    copy = shutil.copytree(converted, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    text = said(capsys, "inspect", copy)
    assert "MISSING" in text
    assert "DAMAGED: " in text
    for damage in ("[]", '{"config.json": {}}'):
        (copy / "manifest.json").write_text(damage)
        for command in ("inspect", "verify"):
            assert "expected a table of files with" in failure(capsys, command, copy)


def test_networks_of_checkpoints_and_published_ones_are_joined(places, bundle, tmp_path, capsys):
    trained = zsas_jax.save(
        tmp_path / "trained", bundle, provenance={"trained_on": ["mvtec", "mvtec"]}
    )
    output = tmp_path / "joined"
    sources = ["--clip", trained, "--umci", trained, "--sam", places / "sam"]
    text = said(capsys, "convert", *sources, "--output", output, "--dtype", "bfloat16")
    assert "holds clip, sam, umci" in text
    assert trained_on(output) == ("mvtec",)
    wide = zsas_jax.load(output, dtype="float32").model
    assert wide.names == ("clip", "sam", "umci")
    sources = ["--sam", zsas_jax.save(tmp_path / "clip", dummy_bundle(["clip"]))]
    assert "has no sam" in failure(capsys, "convert", *sources, "--output", tmp_path / "x")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["convrt"], "command 'convrt' is not known: did you mean 'convert'?"),
        (["convert", "--output", "x"], "nothing to convert"),
        (["convert", "--sam", "nowhere", "--output", "x"], "nowhere was not found"),
        (["convert", "--sam", "s"], "--output"),
        (["convert", "--output", "x", "--sam", "s", "--dtype", "int8"], "dtype is 'int8'"),
        (["convert", "--output", "x", "--clip-activation", "relu", "--clip", "s"], "'relu'"),
        (["download", "facebook/sam-vit-hug"], "did you mean 'facebook/sam-vit-huge'"),
        (["verify", "nowhere"], "'nowhere' was not found"),
        (["inspect", "nowhere"], "'nowhere' was not found"),
        (["average", "one", "--output", "x"], "1 checkpoint is named: expected at least two"),
        (["average", "nowhere", "tiny", "--output", "x"], "'nowhere' was not found"),
    ],
)
def test_bad_input_is_one_sentence(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expected in failure(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_a_killed_conversion_never_loads_and_can_be_repeated(places, tmp_path):
    output = tmp_path / "model"
    sam = {"sam": places / "sam"}
    convert_checkpoint(f"{output}-replacing", sam)
    script = pathlib.Path(__file__).with_name("killed_conversion.py")
    done = subprocess.run(
        [sys.executable, str(script), str(places / "sam"), str(output)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.stdout.split() == [word for name in POINTS for word in (name, "-9")], done.stderr
    for name in POINTS:
        left = pathlib.Path(f"{output}-{name}")
        part = pathlib.Path(f"{left}.part")
        with pytest.raises(CheckpointError, match=r"was not (found|finished)"):
            zsas_jax.load(left)
        if part.exists():
            with pytest.raises(CheckpointError, match="unfinished"):
                zsas_jax.load(part)
    # Once more over what is left, where most of it was written.
    for name in ("manifest", "arrays"):
        again = convert_checkpoint(f"{output}-{name}", sam)
        assert zsas_jax.load(again).model.names == ("sam",)
        assert not pathlib.Path(f"{again}.part").exists()


@contextlib.contextmanager
def small_disk(directory, size="20k"):
    libc = ctypes.CDLL(None, use_errno=True)
    target = str(directory).encode()
    if libc.mount(b"tmpfs", target, b"tmpfs", 0, f"size={size}".encode()):
        pytest.skip("mounting a small disk is not allowed here")
    try:
        yield
    finally:
        libc.umount2(target, 2)


def test_a_disk_without_room(places, tmp_path, capsys, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk):
        arguments = ["convert", "--sam", places / "sam", "--output", disk / "model"]
        assert "has no room: the weights need" in failure(capsys, *arguments)
        # Where the room is taken while it is written.
        monkeypatch.setattr(SAVE, "require_space", lambda *_: None)
        monkeypatch.setattr("zsas_jax.checkpoints.convert.require_space", lambda *_: None)
        assert "model cannot be written: no space left there" in failure(capsys, *arguments)
        assert not list(disk.iterdir())


def test_a_quota_is_reached(places, tmp_path):
    """A limit on file sizes stands for a quota."""
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from zsas_jax.__main__ import main\n"
        "sys.exit(main(['weights', 'convert', '--sam', *sys.argv[1:]]))\n"
    )
    output = tmp_path / "out" / "model"
    done = subprocess.run(
        [sys.executable, "-c", program, places / "sam", "--output", output],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert not list((tmp_path / "out").iterdir())


def test_no_permission(places, tmp_path, capsys):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    arguments = ["convert", "--sam", places / "sam", "--output", closed / "model"]
    if os.geteuid():
        assert "cannot be written: Permission denied" in failure(capsys, *arguments)
        return
    # The superuser may write anywhere but where nobody may.
    arguments[-1] = "/sys/kernel/model"
    assert "cannot be written" in failure(capsys, *arguments)
