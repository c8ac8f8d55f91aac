"""A run that is trained further: the learning rate, finished stages, what is refused."""

import json
import math
import pathlib

import pytest

from tests.helpers.configurations import TINY, parse_command_line
from tests.helpers.processes import HERE, newest, snapshot, the_message
from tf_simclr import config
from tf_simclr.commands.stages import Stages
from tf_simclr.config.length import Length, training_length
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import length_change, loop
from tf_simclr.training.experiment import build_experiment

PEAK = TINY["learning_rate"] * TINY["train_batch_size"] / 256
NAMES = ("pretrain", "finetune")
CHAIN = (
    *(f"--{name}={value}" for name, value in TINY.items() if name not in ("train_steps", "seed")),
    "--train_mode=pretrain,finetune",
    "--color_jitter_strength=0",
    "--evaluations=classifier",
    "--eval_batch_size=64",
    "--eval_steps=1",
)


def read(directory, name):
    return json.loads((directory / name).read_text())


def contents(directory):
    return {path: path.read_bytes() for path in directory.iterdir()}


def stages(*arguments):
    configs, _ = parse_command_line(*arguments, *HERE, "--mode=train_then_eval")
    return Stages(configs)


@pytest.mark.usefixtures("shallow", "eager", "without_outputs")
def test_finished_stages_of_a_chain_are_trained_further(tmp_path, main):
    directory = tmp_path / "run"
    command = (*CHAIN, f"--model_dir={directory}")
    status, stderr = main(*command, "--mode=train_then_eval", "--train_steps=2")
    assert status == 0, stderr
    assert stages(*command, "--train_steps=2").skips(0)
    assert not stages(*command, "--train_steps=4").skips(0)

    before = snapshot(directory)  # refused before the stage before it is trained
    flags = ("--mode=train_then_eval", "--train_steps=4", "--finetune.train_steps=1")
    status, stderr = main(*command, *flags)
    assert status == 2
    assert f"--train_steps=1: the run in {directory}/finetune" in the_message(stderr)
    assert "at least --train_steps=2" in the_message(stderr)
    assert snapshot(directory) == before

    status, stderr = main(*command, "--mode=train", "--train_steps=4")
    assert status == 0, stderr
    halfway = PEAK * 0.5 * (1 + math.cos(math.pi * 2 / 4))
    line = (
        "--train_steps=4 instead of --train_steps=2: the training goes on from step 2 to step 4 "
        "instead of 2; the learning rate follows the schedule of the new length, the next one is "
        f"{halfway:.3g} instead of 0\n"
    )
    assert stderr.count(line) == 2
    assert stderr.count("stage pretrain goes on, and stage finetune keeps what it has learned") == 1
    for name in NAMES:
        assert newest(directory / name) == read(directory / name, run_files.CONFIG)["train_steps"]
        result = read(directory / name, run_files.RESULT)
        assert (result["global_step"], result["total_steps"]) == (2, 4)
    # It was not evaluated after its new last step.
    assert not stages(*command, "--train_steps=4").skips(0)


@pytest.mark.usefixtures("shallow", "eager")
def test_a_run_can_not_end_before_what_it_has_done(settings):
    flags = {"train_steps": 0, "train_batch_size": 600, "color_jitter_strength": 0.0}
    longer = settings(**flags, train_epochs=2)  # of 1437 images: 4 and a half steps
    experiment = build_experiment(longer)
    experiment.directory.create()
    experiment.commit_directory()
    experiment.checkpoints.step.assign(4)
    experiment.checkpoints.save()
    directory = pathlib.Path(experiment.directory.path)
    before = contents(directory)
    with pytest.raises(UserError, match=r"--train_epochs=1: .* give at least --train_epochs=2"):
        loop.restore_or_initialize(build_experiment(settings(**flags, train_epochs=1)))
    lock = {directory / run_files.LOCK: b""}
    assert contents(directory) == {**before, **lock}


@pytest.mark.parametrize(("num_images", "batch_size"), [(1437, 64), (7, 5), (5, 8), (1, 1)])
def test_least_epochs(settings, num_images, batch_size):
    """The fewest whose number of steps suffices."""
    for step in range(1, 60):
        least = length_change.least_epochs(step, num_images, batch_size)
        steps = [num_images * epochs // batch_size + 1 for epochs in (least - 1, least)]
        assert steps[1] >= step and (least == 1 or steps[0] < step)


@pytest.fixture
def directory(tmp_path):
    """A function: flags -> the `RunDirectory` of a run with these flags."""

    def make(**flags):
        values = {**TINY, "model_dir": str(tmp_path / "run"), **flags}
        return RunDirectory(values["model_dir"], config.build(values))

    return make


def test_what_counts_as_another_length(directory):
    saved = directory(mode="train", train_steps=0, train_epochs=10)
    saved.create()
    saved.commit()
    assert saved.other_length() is None
    for flags in ({"train_epochs": 20}, {"train_epochs": 10, "train_steps": 5}):
        run = directory(mode="train", **{"train_steps": 0, **flags})
        assert run.other_length() == Length("train_epochs", 10)
    with pytest.raises(UserError, match="train_epochs is 10 there, 20 here"):
        directory(mode="eval", train_steps=0, train_epochs=20)


def test_epochs_without_effect_are_no_other_length(directory):
    saved = directory(mode="train", train_steps=7, train_epochs=10)
    saved.create()
    saved.commit()
    assert directory(mode="train", train_steps=7, train_epochs=20).other_length() is None
    assert training_length(config.build(TINY).flat()) == Length("train_steps", 3)


@pytest.mark.parametrize(
    ("saved_flags", "flags", "way_out"),
    [
        ({}, {"train_batch_size": 16}, "--train_mode=pretrain --checkpoint={} --model_dir=NEW"),
        (
            {"train_mode": "supervised"},
            {"train_mode": "supervised", "seed": 1, "train_steps": 9},
            "--train_mode=finetune --checkpoint={} --model_dir=NEW",
        ),
        ({}, {"resnet_depth": 50}, "give another --model_dir, or the same flags"),
        ({}, {"mode": "eval", "seed": 1}, "give another --model_dir, or the same flags"),
    ],
)
def test_another_configuration_is_refused_with_a_way_out(directory, saved_flags, flags, way_out):
    saved = directory(**saved_flags)
    saved.create()
    saved.commit()
    (saved.path / run_files.CHECKPOINT_LIST).write_text("")
    with pytest.raises(UserError) as error:
        directory(**flags)
    assert way_out.format(saved.path) in str(error.value)
