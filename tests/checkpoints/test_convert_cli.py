"""`python -m zsas_jax.weights` from PyTorch files to a directory that loads, and what stops it."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys

import clip_reference
import jax
import jax.numpy as jnp
import numpy as np
import official_layouts as official
import pytest
import sam_reference
from flax import nnx
from jax.sharding import Mesh
from killed_conversion import POINTS
from random_weights import random_weights
from test_checkpoint import CONFIG
from test_layouts import SIZES, write_config
from zsas_jax.checkpoints.checkpoint import checkpoint_path, read_config

import zsas_jax
from zsas_jax.checkpoints import checkpoint
from zsas_jax.checkpoints.convert import convert_checkpoint
from zsas_jax.cli.runs import training_datasets
from zsas_jax.cli.weights import main
from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.evaluation.verdicts import calibrate, save_threshold
from zsas_jax.networks.base import Model
from zsas_jax.networks.clip.tokenizer import train_tokenizer
from zsas_jax.parts.text import Prompts

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A CLIP and a SAM as transformers directories."""
    root = tmp_path_factory.mktemp("published")
    sizes = {**SIZES, "text": {**SIZES["text"], "vocab_size": 520}}
    for name, model in (
        ("clip", clip_reference.build(**sizes)),
        ("sam", sam_reference.torch_sam()),
    ):
        directory = write_config(model, root / name)
        official.write_safetensors(official.state_of(model), directory / "model.safetensors")
    train_tokenizer(["a photo of a nut."] * 4, 520, 13).save(root / "words")
    return root


@pytest.fixture(scope="module")
def converted(places, tmp_path_factory):
    output = tmp_path_factory.mktemp("converted") / "model"
    arguments = [
        "--clip",
        places / "clip",
        "--sam",
        places / "sam",
        "--tokenizer",
        places / "words",
    ]
    assert main(["convert", *map(str, arguments), "--output", str(output)]) == 0
    return output


def failure(capsys, *arguments):
    """The one sentence of a command that exits with 2."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    return error


def test_a_converted_directory_loads_and_says_where_it_comes_from(converted, places):
    bundle = zsas_jax.load(converted)
    expected = official.arrays(clip_reference.converted(torch_clip(places)))
    assert official.arrays(bundle.model.clip) == expected
    assert bundle.model.umci is None
    assert bundle.tokenizer(["a nut"]).shape == (1, 13)
    # Without a UMCI the pipeline is set so that it runs as it is.
    assert (bundle.config.pipeline.method, bundle.config.pipeline.rough) == (
        "cascade",
        "similarity",
    )
    provenance = json.loads((converted / "provenance.json").read_text())
    (file,) = provenance["sources"]["clip"]["files"]
    assert file["name"] == "model.safetensors"
    assert file["sha256"] == checkpoint.sha256(places / "clip" / "model.safetensors")
    assert provenance["converter"] == {"zsas_jax": zsas_jax.__version__}
    assert str(places) not in "".join(f.read_text() for f in converted.glob("*.json"))


def torch_clip(places):
    import transformers

    return transformers.CLIPModel.from_pretrained(places / "clip", attn_implementation="sdpa")


def test_inspect_and_verify(converted, places, capsys):
    assert main(["inspect", str(places / "sam")]) == 0
    text = capsys.readouterr().out
    assert "SAM in layout transformers, safetensors" in text
    assert "all names and shapes fit" in text
    assert main(["inspect", str(converted)]) == 0
    text = capsys.readouterr().out
    assert "umci: missing" in text
    assert "tokenizer: there" in text
    assert main(["verify", str(converted)]) == 0
    assert "are finite" in capsys.readouterr().out


def test_inspect_and_verify_a_trained_and_calibrated_checkpoint(tmp_path, capsys):
    copy = shutil.copytree(checkpoint_path("tiny"), tmp_path / "mine")
    calibration = calibrate([0.1, 0.2], 0.01)
    settings = read_config(copy).pipeline
    save_threshold(
        copy,
        calibration,
        pipeline=settings,
        category="nut",
        prompts=Prompts(),
        photos="2 photos",
    )
    assert main(["inspect", str(copy)]) == 0
    assert "trained by train.py, last its umci, on generator" in capsys.readouterr().out
    assert main(["verify", str(copy)]) == 0
    assert "are finite" in capsys.readouterr().out


def test_average_is_the_mean_of_checkpoints_that_are_alike(tmp_path, capsys):
    random = np.random.default_rng(0)
    tokenizer = train_tokenizer(["a photo of a nut."] * 4, 520, 8)
    bundles = []
    for name in ("one", "two"):
        model = random_weights(lambda: Model(CONFIG, rngs=nnx.Rngs(0)))
        graphdef, params, others = nnx.split(model, nnx.Param, ...)
        params = jax.tree.map(
            lambda leaf: np.asarray(leaf) * np.float32(random.uniform(0.5, 2)), params
        )
        bundles.append(checkpoint.Bundle(nnx.merge(graphdef, params, others), tokenizer, CONFIG))
        data = {"trained_on": ["generator", name]}
        checkpoint.save(tmp_path / name, bundles[-1], provenance=data)
    output = tmp_path / "mean"
    command = ["average", str(tmp_path / "one"), str(tmp_path / "two"), "--output", str(output)]
    assert main(command) == 0
    mean = zsas_jax.load(output)
    leaves = [jax.tree.leaves(nnx.state(b.model, nnx.Param)) for b in (*bundles, mean)]
    for one, two, result in zip(*leaves, strict=True):
        np.testing.assert_allclose(result, (one + two) / 2, rtol=1e-6)
    provenance = json.loads((output / "provenance.json").read_text())
    assert provenance["trained_on"] == ["generator", "one", "two"]
    assert main(["verify", str(output)]) == 0
    assert main(["inspect", str(output)]) == 0
    words = (
        f"the mean of {tmp_path.name}/one and {tmp_path.name}/two, trained on generator, one, two"
    )
    assert words in capsys.readouterr().out
    assert "exists already" in failure(capsys, *command)
    smaller = CONFIG.to_dict() | {"sam": None}
    model = random_weights(lambda: Model(type(CONFIG).from_dict(smaller), rngs=nnx.Rngs(0)))
    other = checkpoint.Bundle(model, tokenizer, type(CONFIG).from_dict(smaller))
    checkpoint.save(tmp_path / "other", other)
    command[1] = str(tmp_path / "other")
    assert "another sam than" in failure(capsys, *command, "--overwrite")
    words = train_tokenizer(["a scratched screw."] * 4, 520, 8)
    checkpoint.save(tmp_path / "words", bundles[0]._replace(tokenizer=words))
    command[1] = str(tmp_path / "words")
    assert "another vocabulary" in failure(capsys, *command, "--overwrite")


def test_verify_finds_a_changed_byte_and_numbers_that_are_not_finite(places, tmp_path, capsys):
    output = convert_checkpoint(tmp_path / "sam", sam=places / "sam")
    largest = max((output / "params").rglob("*"), key=lambda file: file.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(bytes(data))
    assert "sha256" in failure(capsys, "verify", output)
    model = random_weights(lambda: Model(CONFIG, rngs=nnx.Rngs(0)))
    model.clip.logit_scale[...] = jnp.inf
    checkpoint.save(tmp_path / "inf", checkpoint.Bundle(model, None, CONFIG))
    assert "not finite in clip.logit_scale" in failure(capsys, "verify", tmp_path / "inf")


def test_inspect_says_what_is_missing_or_damaged(places, tmp_path, capsys):
    output = convert_checkpoint(tmp_path / "sam", sam=places / "sam")
    for file in (output / "params").rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.unlink()
    assert main(["inspect", str(output)]) == 0
    text = capsys.readouterr().out
    assert "MISSING" in text
    assert "params: DAMAGED" in text
    for damage in ("[]", '{"config.json": {}}'):
        (output / "manifest.json").write_text(damage)
        for command in ("inspect", "verify"):
            assert "expected a table of files with" in failure(capsys, command, output)


def test_each_network_alone_is_a_valid_directory(places, tmp_path):
    model = random_weights(lambda: Model(CONFIG, rngs=nnx.Rngs(0)))
    trained = checkpoint.save(
        tmp_path / "trained",
        checkpoint.Bundle(model, None, CONFIG),
        provenance={"trained_on": ["mvtec"]},
    )
    clip = zsas_jax.load(convert_checkpoint(tmp_path / "c", clip=places / "clip"))
    sam = zsas_jax.load(convert_checkpoint(tmp_path / "s", sam=places / "sam"))
    umci = zsas_jax.load(convert_checkpoint(tmp_path / "u", umci=trained))
    assert official.arrays(umci.model) == official.arrays(model.umci)
    assert umci.config.pipeline == CONFIG.pipeline
    assert training_datasets(tmp_path / "u") == {"mvtec"}
    # What is missing is named when it is needed.
    with pytest.raises(CheckpointError, match=r"no tokenizer.*--tokenizer"):
        zsas_jax.encode_text(clip, ["nut"])
    with pytest.raises(CheckpointError, match="needs a CLIP"):
        zsas_jax.encode_text(sam, ["nut"])
    pixels = jnp.zeros((1, 8, 8, 3), jnp.uint8)
    keys = jnp.zeros(1, jnp.uint32)
    text = jnp.zeros((1, 2, 24), jnp.float32)
    pipeline = zsas_jax.PipelineConfig(method="cascade", rough="similarity")
    sizes = jnp.full((1, 2), 8, jnp.int32)
    with pytest.raises(ConfigError, match="needs the network 'sam', which this checkpoint lacks"):
        zsas_jax.segment(clip.model, pixels, sizes, text, keys, config=pipeline)
    with pytest.raises(ConfigError, match=r"umci.width is 8: expected CLIP's 128"):
        convert_checkpoint(tmp_path / "x", clip=places / "clip", umci=trained)


def test_bfloat16_is_stored_and_loaded_as_such(places, tmp_path):
    output = convert_checkpoint(tmp_path / "s", sam=places / "sam", dtype="bfloat16")
    exact = zsas_jax.load(convert_checkpoint(tmp_path / "e", sam=places / "sam")).model.sam
    stored, widened = (
        zsas_jax.load(output, dtype=dtype).model.sam.image_encoder.neck[0].kernel[...]
        for dtype in (None, jnp.float32)
    )
    assert stored.dtype == jnp.bfloat16
    assert widened.dtype == jnp.float32
    expected = exact.image_encoder.neck[0].kernel[...].astype(jnp.bfloat16)
    np.testing.assert_array_equal(stored, expected)
    matrix = zsas_jax.load(output).model.sam.prompt_encoder.pe_layer
    assert matrix.positional_encoding_gaussian_matrix[...].dtype == jnp.float32


def test_bfloat16_leaves_the_logit_scale_exact(places, tmp_path):
    output = convert_checkpoint(tmp_path / "c", clip=places / "clip", dtype="bfloat16")
    expected = torch_clip(places).logit_scale.item()
    for dtype in (None, "bfloat16", "float32"):
        clip = zsas_jax.load(output, dtype=dtype).model.clip
        assert clip.logit_scale.dtype == jnp.float32
        assert clip.logit_scale[...] == expected
    assert zsas_jax.load(output).model.clip.text_projection.dtype == jnp.bfloat16


def test_loading_onto_a_mesh(converted, monkeypatch):
    from zsas_jax.checkpoints import sharding

    monkeypatch.setattr(sharding, "SMALLEST_SPLIT", 0)
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("model",))
    plain, spread = zsas_jax.load(converted), checkpoint.load(converted, mesh=mesh)
    assert official.arrays(plain.model) == official.arrays(spread.model)
    leaf = spread.model.clip.text_projection[...]
    assert leaf.sharding.mesh == mesh


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 512), (None, "model")), ((512, 6), ("model",)), ((7, 511), ()), ((8,), ())],
)
def test_large_arrays_are_split_along_their_longest_axis(shape, expected, monkeypatch):
    from zsas_jax.checkpoints import sharding

    monkeypatch.setattr(sharding, "SMALLEST_SPLIT", 1000)
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    assert tuple(sharding.parameter_sharding(mesh)(shape).spec) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["convrt"], "command 'convrt' is not known: did you mean 'convert'?"),
        (["convert", "--output", "x"], "nothing to convert"),
        (["convert", "--sam", "nowhere", "--output", "x"], "nowhere was not found"),
        (["convert", "--sam", "s"], "--output"),
        (["convert", "--output", "x", "--sam", "s", "--dtype", "int8"], "dtype is 'int8'"),
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
    earlier = pathlib.Path(f"{output}-replacing")
    convert_checkpoint(earlier, sam=places / "sam")
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
        again = convert_checkpoint(f"{output}-{name}", sam=places / "sam")
        assert zsas_jax.load(again).model.sam is not None
        assert not pathlib.Path(f"{again}.part").exists()


@contextlib.contextmanager
def small_disk(directory, size="300k"):
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
        monkeypatch.setattr(checkpoint, "require_space", lambda *_: None)
        monkeypatch.setattr("zsas_jax.checkpoints.convert.require_space", lambda *_: None)
        assert "model cannot be written: no space left there" in failure(capsys, *arguments)
        assert not list(disk.iterdir())


def test_a_quota_is_reached(places, tmp_path):
    """A limit on file sizes stands for a quota."""
    program = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "from zsas_jax.cli.weights import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    output = tmp_path / "out" / "model"
    done = subprocess.run(
        [sys.executable, "-c", program, "convert", "--sam", places / "sam", "--output", output],
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


def test_an_existing_directory_is_kept(converted, places, capsys):
    arguments = ["convert", "--sam", places / "sam", "--output", converted]
    assert "exists already" in failure(capsys, *arguments)
    assert zsas_jax.load(converted).model.clip is not None


def test_a_checkpoint_is_no_source(converted, capsys, tmp_path):
    arguments = ["convert", "--clip", converted, "--output", tmp_path / "x"]
    assert "is a checkpoint of zsas_jax already" in failure(capsys, *arguments)
