"""`run.py` in this process: wrong input, run directories and checkpoints.

As processes of their own: test_whole_run.py and test_interruptions.py.
"""

import fcntl
import json
import re
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags
from PIL import Image

import run
from tests.helpers.eager import eagerly
from tests.helpers.processes import (
    DIGITS,
    HERE,
    OUTPUTS,
    TINY,
    finish,
    newest,
    snapshot,
    start,
    steps_saved,
    the_message,
    variables,
)
from tests.helpers.small_run import leave_out_outputs
from tf_simclr.commands import run as commands
from tf_simclr.commands.planning import forecast
from tf_simclr.commands.stages import Stages
from tf_simclr.models import resnet
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import loop

pytestmark = pytest.mark.usefixtures("shallow")
STEPS = 3
PLAIN = ["--color_jitter_strength=0"]  # colors take seconds to compile
FEW = [*PLAIN, "--eval_batch_size=16", "--eval_steps=1"]  # images to evaluate on


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a run that is trained, evaluated and exported."""
    directory = tmp_path_factory.mktemp("trained") / "run"
    with eagerly(), pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1,)))
        patch.setattr(absl_flags, "FLAGS", absl_flags.FlagValues())
        leave_out_outputs(patch)
        assert (
            run.main(
                [
                    "run.py",
                    *DIGITS,
                    *TINY,
                    *FEW,
                    *HERE,
                    "--mode=train_then_eval",
                    f"--train_steps={STEPS}",
                    f"--model_dir={directory}",
                ]
            )
            == 0
        )
    return directory


@pytest.fixture
def images(tmp_path):
    """A function: (folder, count) -> PNG files in it."""

    def make(folder, count=12):
        folder.mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng(i).integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{i}.png")

    return make


# Wrong input that needs no TensorFlow.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--learning_rat=1"], "'--learning_rate'"),
        (["--optimizer=sgd"], "momentum, adam, lars"),
        (["--train_batch_size=0"], "at least 1"),
        (["--temperature=nan"], "--temperature=nan"),
        (["--image_size=big"], "whole number"),
        (["--use_blur=perhaps"], "true or false"),
        (["--config=digits_quickstrat"], "'digits_quickstart'"),
        (["--config={tmp}/bad.yaml"], "bad.yaml"),
        (["digits"], "--name=value"),
        (["--eval_name=a\nb", "--seed=c\nd"], "--seed=c d"),
        (["--labels_per_class=3", "--label_fraction=0.1"], "leave one of them out"),
        (["--crop_area=0.9,0.2"], "--crop_area=0.2,0.9"),
    ],
)
def test_wrong_input_before_tensorflow(tmp_path, main, arguments, said):
    (tmp_path / "bad.yaml").write_text("seed: [1")
    status, stderr = main(
        *[argument.format(tmp=tmp_path) for argument in arguments],
        f"--model_dir={tmp_path / 'run'}",
    )
    assert status == 2 and said in the_message(stderr)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- wrong input that needs TensorFlow


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset=folder:{tmp}/nowhere"], "no such folder"),
        (["--dataset=folder:{tmp}/file"], "not a folder"),
        (["--dataset=folder:{tmp}/empty"], "no image"),
        (["--dataset=folder:{tmp}/broken"], "none of the 2 images can be read"),
        (["--dataset=folder:{tmp}/flat", "--train_mode=finetune"], "no labels"),
        (["--dataset=folder:{tmp}/flat", "--label_fraction=0.5"], "no labels"),
        (["--dataset=digit"], "digits"),
        (["--train_split=trian"], "'train'"),
        (["--eval_split=tset", "--mode=train_then_eval"], "'test'"),
        (["--model_dir={tmp}/file"], "it is a file"),
        (["--model_dir={tmp}/file/run"], "--model_dir="),
        (["--mode=eval"], "no checkpoint to evaluate"),
        (["--strategy=multi_worker"], "TF_CONFIG"),
        (
            ["--teacher_checkpoint={tmp}/nowhere", "--train_mode=distill"],
            "no such file or directory",
        ),
        (["--train_mode=distill"], "give --teacher_checkpoint="),
        (["/none/there"], "/none/there: there is no such folder of images"),
        (["--unlabeled_ratio=2"], "0 without"),
        (["--checkpoint={tmp}/nowhere"], "no such file or directory"),
        (["--checkpoint={tmp}/empty"], "there is no checkpoint in it"),
    ],
)
def test_wrong_input(tmp_path, main, images, monkeypatch, arguments, said):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    for i in range(2):
        (tmp_path / "broken" / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    if "flat" in str(arguments):
        images(tmp_path / "flat")
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    status, stderr = main(
        *DIGITS, *TINY, *HERE, "--train_steps=1", f"--model_dir={tmp_path / 'run'}", *arguments
    )
    message = the_message(stderr)
    assert status == 2 and said in message
    assert re.split("[=/]", arguments[0])[-1] in message  # what was received
    if "--checkpoint" not in arguments[0]:
        assert not (tmp_path / "run").exists()


def test_batch_that_the_replicas_cannot_share(tmp_path, main):
    status, stderr = main(
        *DIGITS, *TINY, "--train_batch_size=63", f"--model_dir={tmp_path / 'run'}"
    )
    assert status == 2 and "--train_batch_size=64" in the_message(stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset=folder:/none/there"], "no such folder"),
        (["--learning_rat=1"], "'--learning_rate'"),
    ],
)
def test_wrong_input_in_a_process(tmp_path, arguments, said):
    status, stderr = finish(start(*arguments, f"--model_dir={tmp_path / 'run'}"))
    assert status == 2 and said in the_message(stderr)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------- small runs in this process


@pytest.mark.usefixtures("eager", "without_page")
def test_folder_without_labels(tmp_path, main, images):
    images(tmp_path / "photos")
    status, stderr = main(
        f"--dataset=folder:{tmp_path / 'photos'}",
        *TINY,
        *HERE,
        "--mode=train_then_eval",
        *PLAIN,
        "--train_batch_size=8",
        "--train_steps=2",
        f"--model_dir={tmp_path / 'run'}",
    )
    assert status == 0, stderr
    assert "no labels" in stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["global_step"] == 2 and not any("accuracy" in name for name in result)
    module = tf.saved_model.load(str(tmp_path / "run" / "saved_model" / "2"))
    assert set(module(tf.zeros([1, 16, 16, 3]), trainable=False)) == OUTPUTS - {
        "block_group2",
        "block_group3",
        "block_group4",
        "logits_sup",
        "probabilities",
    }


@pytest.mark.usefixtures("eager")
def test_divergence_ends_the_run(tmp_path, main):
    status, stderr = main(
        *DIGITS,
        *TINY,
        *HERE,
        *PLAIN,
        "--learning_rate=1e30",
        "--optimizer=momentum",
        "--train_steps=9",
        "--checkpoint_steps=1",
        f"--model_dir={tmp_path / 'run'}",
    )
    message = the_message(stderr)
    step = newest(tmp_path / "run") + 1
    assert status == 1 and re.search(rf"step {step}: not finite: .*total_loss", message)
    assert step > 1 and str(tmp_path / "run" / f"ckpt-{step - 1}") in message
    values = variables(tmp_path / "run")
    assert [name for name, value in values.items() if not np.isfinite(value).all()] == []


# ---------------------------------------------------------------- other runs and their checkpoints


def finetune(trained):
    return [
        *DIGITS,
        *TINY,
        *FEW,
        *HERE,
        "--train_mode=finetune",
        f"--checkpoint={trained}",
        "--fine_tune_after_block=4",
        "--zero_init_logits_layer=True",
        "--optimizer=momentum",
        "--learning_rate=0.1",
        "--weight_decay=0",
    ]


@pytest.mark.usefixtures("eager", "without_page")
def test_evaluation_of_a_checkpoint(trained, tmp_path, main):
    """In a run directory of its own: the metrics of the run that the checkpoint is from."""
    status, stderr = main(
        *DIGITS,
        *TINY,
        *FEW,
        *HERE,
        "--mode=eval",
        f"--checkpoint={trained}",
        f"--model_dir={tmp_path / 'run'}",
        "--untrained_baseline=False",
    )
    assert status == 0, stderr
    actual, expected = (
        json.loads((path / "result.json").read_text()) for path in (tmp_path / "run", trained)
    )
    assert actual["global_step"] == 0
    assert (
        {name: actual[name] for name in actual if "accuracy" in name}
        == {name: expected[name] for name in actual if "accuracy" in name}
        != {}
    )
    shutil.rmtree(tmp_path / "run" / "saved_model")
    status, stderr = main(
        "--mode=export", f"--model_dir={tmp_path / 'run'}", *HERE
    )  # it is a run now, whose weights are elsewhere
    assert status == 0 and (tmp_path / "run" / "saved_model" / "0" / "saved_model.pb").exists(), (
        stderr
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--mode=export", "--model_dir=NEW"],
            "--mode=export: there is no directory NEW; give the directory of a run as --model_dir",
        ),
        (["--mode=embed"], "--mode=embed: no --model_dir is given"),
        (
            ["--mode=export", "--model_dir=RUN", "--checkpoint=OTHER"],
            "--model_dir=RUN: it holds a run with another configuration (checkpoint is  there, "
            "OTHER here)",
        ),
        (
            ["--mode=export", "--model_dir=RUN", "--export_formats=tflite,savedmodel"],
            "--export_formats=savedmodel: accepted are saved_model, tflite, onnx, keras.",
        ),
        (
            ["--mode=embed", "--model_dir=RUN", "--embed_output=x.csv"],
            "--embed_output=x.csv: accepted are files that end in .npz and .parquet",
        ),
        (
            ["--mode=embed", "--model_dir=RUN", "--embed_split=trian"],
            "--embed_split=trian: digits has no such split, only train, test. Did you mean "
            "'train'?",
        ),
        (
            ["--mode=embed", "--model_dir=RUN", "--embed_output=/dev/null/x.npz"],
            "--embed_output=/dev/null/x.npz: it can't be written",
        ),
        (
            ["--mode=eval", "--checkpoint=OTHER", "--model_dir=NEW", *DIGITS],
            "OTHER: no such file or directory",
        ),
    ],
)
def test_what_can_not_be_exported_or_embedded(trained, tmp_path, main, arguments, said):
    names = {"NEW": str(tmp_path / "new"), "RUN": str(trained), "OTHER": str(tmp_path / "other")}

    def named(text):
        for name, path in names.items():
            text = text.replace(name, path)
        return text

    before = snapshot(trained)
    status, stderr = main(*map(named, arguments), *HERE)
    assert status == 2 and named(said) in the_message(stderr), stderr
    assert snapshot(trained) == before and not (tmp_path / "new").exists()


@pytest.mark.usefixtures("eager", "without_outputs")
@pytest.mark.parametrize(("augmented", "mode"), [(True, "train"), (False, "train_then_eval")])
def test_linear_evaluation_leaves_the_encoder_alone(trained, tmp_path, main, augmented, mode):
    status, stderr = main(
        *finetune(trained),
        "--train_steps=3",
        f"--mode={mode}",
        f"--model_dir={tmp_path}",
        f"--use_crop={augmented}",
        f"--use_flip={augmented}",
        "--untrained_baseline=False",
    )
    assert status == 0, stderr
    assert ("computing once" in stderr) != augmented
    before, after = variables(trained), variables(tmp_path)
    encoder = {name for name in after if ".Sencoder.S" in name and name.startswith("model/")}
    assert encoder == {
        name for name in before if ".Sencoder.S" in name and name.startswith("model/")
    }
    assert sum("moving_" in name for name in encoder) == 8  # 4 batch norms
    assert all(np.array_equal(before[name], after[name]) for name in encoder)
    kernel = next(
        name for name in after if "supervised_head.Skernel" in name and name.startswith("model/")
    )
    assert np.abs(after[kernel]).max() > 0
    assert newest(tmp_path) == 3
    assert augmented or json.loads((tmp_path / "result.json").read_text())["global_step"] == 3


@pytest.mark.parametrize(
    ("arguments", "flags", "said"),
    [
        (
            ["--width_multiplier=0.1"],
            "--width_multiplier=0.07",
            "(3, 3, 3, 4) there and (3, 3, 3, 6) here",
        ),
        (["--resnet_depth=34"], "--resnet_depth=18", "missing there"),
        (
            ["--resnet_depth=50", "--sk_ratio=0.0625"],
            "--resnet_depth=18 --sk_ratio=0.0",
            "have no place here",
        ),
    ],
)
def test_checkpoint_of_another_network(
    trained, tmp_path, main, monkeypatch, arguments, flags, said
):
    """The flags of the run beside it say what to give; without them its variables show it."""
    for depth, blocks in ((34, (2,)), (50, (1,))):
        monkeypatch.setitem(resnet.FAMILY, depth, (resnet.FAMILY[depth][0], blocks))
    before = snapshot(trained)
    of_run = ("--train_steps=3", f"--model_dir={tmp_path / 'run'}", *arguments)
    status, stderr = main(*finetune(trained), *of_run)
    message = the_message(stderr)
    assert status == 2 and message.endswith(f"give {flags}") and str(trained) in message
    assert snapshot(trained) == before
    nameless = tmp_path / "nameless"
    shutil.copytree(trained, nameless)
    (nameless / run_files.CONFIG).unlink()
    status, stderr = main(*finetune(nameless), *of_run)
    message = the_message(stderr)
    assert status == 2 and said in message and str(nameless) in message


@pytest.mark.usefixtures("eager")
def test_corrected_checkpoint_is_accepted_in_the_same_directory(trained, tmp_path, main):
    typo = [
        *finetune(trained),
        "--train_steps=1",
        f"--model_dir={tmp_path}",
        f"--checkpoint={trained}x",
    ]
    assert main(*typo)[0] == 2
    status, stderr = main(*typo, f"--checkpoint={trained}")
    assert status == 0, stderr


def test_truncated_checkpoint(trained, tmp_path, main):
    shutil.copytree(trained, tmp_path / "copy")
    data = tmp_path / "copy" / f"ckpt-{STEPS}.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    before = snapshot(tmp_path / "copy")
    status, stderr = main(f"--model_dir={tmp_path / 'copy'}", *HERE)
    assert (
        status == 2
        and f"ckpt-{STEPS} is damaged: ckpt-{STEPS}.data-00000-of-00001 is not what was written"
        in the_message(stderr)
    )
    assert {name: before[name] for name in before if "ckpt" in name}.items() <= snapshot(
        tmp_path / "copy"
    ).items()
    status, stderr = main(
        *finetune(trained), f"--checkpoint={tmp_path / 'copy'}", f"--model_dir={tmp_path / 'new'}"
    )
    assert status == 2 and "no whole checkpoint is left there" in the_message(stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed=1"], "seed is 0 there, 1 here"),
        (["--learning_rate=1", "--temperature=1"], "learning_rate is 0.3 there, 1.0 here"),
        (["--dataset=digits"], "train_steps is 3 there, 0 here"),
    ],
)
def test_run_directory_with_another_configuration(trained, main, arguments, said):
    before = snapshot(trained)
    status, stderr = main(f"--model_dir={trained}", *HERE, *arguments)
    assert status == 2 and said in the_message(stderr)
    assert snapshot(trained) == before


def test_run_directory_in_use(trained, main):
    with open(trained / "training.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = snapshot(trained)
        status, stderr = main(f"--model_dir={trained}", *HERE, "--keep_checkpoint_max=1")
    assert status == 2 and "another process is training there" in the_message(stderr)
    assert snapshot(trained) == before


def test_an_interrupted_training_can_be_resumed_in_the_same_process(settings, monkeypatch):
    """As in a notebook, which keeps the traceback of an error, and what its frames hold."""

    def interrupted(experiment, *_):
        experiment.lock_directory()
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_train_and_evaluate", interrupted)
    options = settings()
    with pytest.raises(KeyboardInterrupt) as kept:
        commands.run_stage(Stages([options]), 0, shows_plan=False, said=set())
    assert kept.traceback
    assert not RunDirectory(options.train.model_dir).in_training()


def test_the_pace_is_told_in_every_stage(monkeypatch):
    """Also where the plan was printed in an earlier one."""
    functions = []
    monkeypatch.setattr(loop, "fit", lambda experiment, name, on_pace: functions.append(on_pace))
    mode = types.SimpleNamespace(trains=True, evaluates=False)
    plan = types.SimpleNamespace(plan=False)
    settings = types.SimpleNamespace(mode=mode, plan=plan)
    experiment = types.SimpleNamespace(settings=settings, strategy=tf.distribute.get_strategy())
    commands._train_and_evaluate(experiment, "2/2 finetune", later=[], shows_plan=False)
    assert functions[0].func is forecast.log


def test_broken_flags_json(trained, tmp_path, main):
    (tmp_path / "flags.json").write_text((trained / "flags.json").read_text()[:100])
    status, stderr = main(f"--model_dir={tmp_path}")
    assert status == 2 and str(tmp_path / "flags.json") in the_message(stderr)


def test_steps_without_a_word_to_the_host(tmp_path, main):
    """Checkpoints are where they are with single steps, and the weights the same."""
    for name, count in (("single", 1), ("loop", 5)):
        status, stderr = main(
            *DIGITS,
            *TINY,
            *HERE,
            *PLAIN,
            "--mode=train",
            "--train_steps=8",
            "--checkpoint_steps=3",
            "--keep_checkpoint_max=0",
            f"--steps_per_loop={count}",
            f"--model_dir={tmp_path / name}",
        )
        assert status == 0, stderr
        assert steps_saved(tmp_path / name) == [3, 6, 8]
    single, loop = (variables(tmp_path / name) for name in ("single", "loop"))
    assert single.keys() == loop.keys()
    for path in single:
        if "seconds" not in path:
            np.testing.assert_allclose(loop[path], single[path], rtol=1e-4, atol=1e-5, err_msg=path)
