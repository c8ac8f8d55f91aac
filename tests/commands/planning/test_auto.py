"""--config=auto from the command line: planned once, kept, and run."""

import json
import os
import time
import types

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

import tf_simclr
from tests.commands.planning.test_rules import THUMBNAILS
from tests.helpers.configurations import parse_command_line
from tests.helpers.processes import HERE, snapshot, the_message
from tf_simclr.checkpoints import weights as weights_lib
from tf_simclr.commands.planning import auto, recipe_text, time_decisions, trial
from tf_simclr.commands.planning.budget import StagePlan
from tf_simclr.commands.planning.costs import Pace
from tf_simclr.commands.planning.networks import Candidate
from tf_simclr.commands.planning.request import Request
from tf_simclr.data.scan_cache import content_digest
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.training import loop

pytestmark = pytest.mark.usefixtures("shallow", "eager", "without_outputs")
FEW = [
    *HERE,
    "--width_multiplier=0.07",
    "--color_jitter_strength=0",
    "--evaluations=classifier",
    "--eval_steps=1",
    "--proj_out_dim=8",
]
SLOW = Pace(first_step=0.5, step=8.0)
NOW = 0.0  # of `frozen_clock`


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 36 thumbnails, a third of each class, and a table of labels for 12 of them."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    folder.mkdir()
    lines = ["file,label"]
    for number in range(36):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, [12, 12, 3], dtype=np.uint8)
        name = f"{number:02}.png"
        Image.fromarray(pixels).save(folder / name)
        if number % 3 == 0:
            lines.append(f"{name},{'ab'[number % 2]}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def frozen_clock(monkeypatch):
    """What a plan leaves of its budget does not depend on how busy the machine is."""
    clock = types.SimpleNamespace(monotonic=lambda: NOW)
    monkeypatch.setattr("tf_simclr.commands.run.time", clock)
    monkeypatch.setattr("tf_simclr.commands.planning.request.time", clock)


@pytest.fixture
def timed(monkeypatch, frozen_clock):
    """The configurations that were timed: each takes as long as `SLOW`."""
    settings_timed = []

    def time_steps(settings):
        settings_timed.append(settings)
        return SLOW

    monkeypatch.setattr(trial, "time_steps", time_steps)
    return settings_timed


def test_a_folder_is_planned_and_trained(photos, tmp_path, main, timed):
    labels = "--labels=labels.csv"  # beside the images
    directory = tmp_path / "run"
    command = [photos, labels, "--budget=3m", *FEW, f"--model_dir={directory}"]
    status, stderr = main(*command)
    assert status == 0, stderr
    text = stderr.split("planned for --budget=3m:\n\n")[1].split("\n\n")[0]
    assert max(map(len, text.splitlines())) <= recipe_text.COLUMNS
    recipe = yaml.safe_load((directory / run_files.RECIPE).read_text())
    stages = recipe["train_mode"].split(",")
    assert stages[:3] == ["supervised", "pretrain", "finetune"]
    assert recipe["image_size"] == 16 and recipe["width_multiplier"] == "0.07"
    for stage in stages:
        saved = json.loads((directory / stage / run_files.CONFIG).read_text())
        result = json.loads((directory / stage / run_files.RESULT).read_text())
        assert saved["train_steps"] == recipe[stage]["train_steps"] == result["global_step"]
    assert len(timed) == 1 and timed[0].data.image_size == 16

    assert "has changed since" not in stderr
    files = snapshot(directory)
    os.utime(photos / "labels.csv", (time.time() + 60,) * 2)
    status, stderr = main(*command)  # a second time
    assert "labels.csv has changed since stage finetune was finished, which does not read" in stderr
    assert status == 0 and "the plan of this run is kept" in stderr
    assert stderr.count("is finished") == len(stages) and len(timed) == 1
    assert set(snapshot(directory)) == set(files)

    status, stderr = main(*command, "--budget=9m")
    assert status == 2 and "was planned for 3m" in the_message(stderr)

    of_recipe = f"--config={directory / run_files.RECIPE}"
    configs, _ = parse_command_line(of_recipe, "--model_dir=new", "--mode=train_then_eval")
    for stage, settings in zip(stages, configs, strict=True):
        saved = json.loads((directory / stage / run_files.CONFIG).read_text())
        again = settings.resolved()
        different = {name for name in saved if json.loads(json.dumps(again[name])) != saved[name]}
        paths = {"model_dir", "checkpoint", "teacher_checkpoint"}
        assert different <= {*paths, "value_range", "strategy"}

    flags = dict(flag.removeprefix("--").split("=") for flag in FEW)
    model = tf_simclr.train(
        photos, directory, minutes=3, labels="labels.csv", **{**flags, "budget": "3m"}
    )
    assert model.class_names == ("a", "b") and model.image_size == 16
    assert model.predict([photos / "00.png"]).shape == (1, 2)

    of_start = [f"--checkpoint={directory / 'pretrain'}", "--train_mode=finetune,distill"]
    other = f"--model_dir={tmp_path / 'other'}"
    without_width = [flag for flag in FEW if "width" not in flag]
    status, stderr = main(photos, labels, *of_start, "--plan", *without_width, other)
    assert status == 0, stderr
    assert timed[-1].model.width_multiplier == 0.07 and timed[-1].data.image_size == 16
    # What the run is does not take the place of what is planned for the stages.
    start = str(directory / "pretrain")
    flags = {
        "dataset": f"folder:{photos}",
        "labels": "labels.csv",
        "budget": "3m",
        "checkpoint": start,
        "train_mode": "finetune,distill",
        "model_dir": str(tmp_path / "continued"),
    }
    planned = auto.make_recipe(flags, {}, NOW)
    assert planned["finetune"]["ft_proj_selector"] == 1
    assert planned["finetune"]["probe_init_logits_layer"] is True
    assert planned["distill"]["checkpoint"] == start
    # A start without a projection head has no layer to start from.
    flags |= {"checkpoint": str(directory / "supervised"), "model_dir": str(tmp_path / "headless")}
    planned = auto.make_recipe(flags, {}, NOW)
    assert "ft_proj_selector" not in planned["finetune"]


def test_a_recipe_trains_the_same_again(photos, tmp_path, main, timed):
    """Weights and metrics are the same to the last bit, whatever the machine was doing."""
    directory, again = tmp_path / "run", tmp_path / "again"
    status, stderr = main(photos, "--labels=none", "--budget=2m", *FEW, f"--model_dir={directory}")
    assert status == 0, stderr
    recipe = f"--config={directory / run_files.RECIPE}"
    status, stderr = main("--mode=train_then_eval", recipe, f"--model_dir={again}")
    assert status == 0, stderr
    assert len(timed) == 1
    prefixes = [weights_lib.newest_checkpoint(str(run)) for run in (directory, again)]
    readers = [tf.train.load_checkpoint(prefix) for prefix in prefixes]
    keys = readers[0].get_variable_to_shape_map()
    assert sum("model/" in key for key in keys) > 30
    for key in keys:
        if "model/" in key or "optimizer/" in key:
            values = [reader.get_tensor(key) for reader in readers]
            np.testing.assert_array_equal(*values, err_msg=key)


def test_what_is_said_of_a_stage_is_in_the_recipe(photos, tmp_path, timed):
    flags = {
        "dataset": f"folder:{photos}",
        "labels": str(photos / "labels.csv"),
        "budget": "1h",
        **dict(flag.removeprefix("--").split("=") for flag in FEW),
    }
    stage_flags = {"finetune": {"learning_rate": "0.01"}, "pretrain": {"train_batch_size": "4"}}
    planned = auto.make_recipe({**flags, "model_dir": str(tmp_path / "a")}, {}, NOW)
    assert planned["finetune"]["weight_decay"] == 0
    flags |= {"weight_decay": "0.001", "model_dir": str(tmp_path / "b")}
    recipe = auto.make_recipe(flags, stage_flags, NOW)
    assert recipe["weight_decay"] == "0.001" and "weight_decay" not in recipe["finetune"]
    assert recipe["finetune"]["learning_rate"] == "0.01"
    assert recipe["pretrain"]["train_batch_size"] == "4"
    # The same time for a step of a quarter of the images: the other stages have fewer steps.
    assert [settings.train.train_batch_size for settings in timed] == [16, 4]
    assert planned["distill"]["train_steps"] > 3 * recipe["distill"]["train_steps"]
    text = (tmp_path / "b" / run_files.RECIPE).read_text()
    assert yaml.safe_load(text) == recipe


def test_a_batch_of_one_of_two_stages_is_not_that_of_both():
    stage_flags = {"finetune-b": {"train_batch_size": "8"}, "pretrain": {"train_batch_size": "16"}}
    assert auto.Request({}, stage_flags, 0.0).batches == {"pretrain": 16}


def test_a_plan_alone(photos, tmp_path, main, monkeypatch):
    """Some steps are taken for their time, and nothing is written."""
    monkeypatch.setattr(trial, "STEPS", 2)
    steps = []

    def make_step_runner(*arguments, **options):
        runner = loop.make_step_runner(*arguments, **options)

        def run(step, count):
            steps.append(step)
            return runner.run(step, count)

        return types.SimpleNamespace(run=run)

    monkeypatch.setattr(trial, "make_step_runner", make_step_runner)
    directory = tmp_path / "run"
    flags = ("--labels=none", "--plan", "--optimizer=adam", f"--model_dir={directory}")
    status, stderr = main(photos, *FEW, *flags)
    assert status == 0, stderr
    assert "--optimizer=adam without --learning_rate: rates are planned for other" in stderr
    assert "timing some steps of a ResNet-18 x0.07 at 16 pixels" in stderr
    assert "nothing is trained: --plan" in stderr
    assert "no labels: pretraining alone" in stderr
    assert not directory.exists()
    assert steps == [0, 1, 2, 3] * stderr.count("timing some steps of a ResNet-")


def test_a_fine_tuning_too_short_for_its_labels_is_its_start():
    short, long = StagePlan(1, 0.01, 9.0, is_start=True), StagePlan(200, 200.0, 9.0)
    plans = {"pretrain": long, "finetune": short, "finetune-x": long}
    start = {
        "finetune.ft_proj_selector": 0,
        "finetune.fine_tune_after_block": 4,
        "finetune.learning_rate": 0,
    }
    assert time_decisions._starts(plans, {"supervised.train_steps": 9}) == start
    for name in ("train_epochs", "finetune.train_steps"):
        assert not time_decisions._starts(plans, {name: 1500}), "the length is given"


def test_what_there_is_no_time_for_is_named():
    decisions = time_decisions.decide(
        Candidate(32, 0.25, 18),
        {"pretrain": StagePlan(200, 2.0, 9.0)},
        THUMBNAILS,
        left_out=["supervised", "distill"],
        pace=Pace(5.0, 0.5),
        eval_split="test",
        given={},
    )
    (lengths,) = [decision for decision in decisions if decision.title == "lengths"]
    assert lengths.reason.endswith(
        "left out, as not each image would be seen once: supervised, distill"
    )
    assert lengths.flags["train_mode"] == "pretrain"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{photos}", "--budget=soon"], "--budget=soon: a time of a minute or more is expected"),
        (["{photos}", "--budget=10s"], "--budget=10s: a time of a minute or more is expected"),
        (["{photos}", "--budget=1m"], "give at least --budget="),
        (["{photos}", "{photos}"], "only the path of one folder of images may stand by itself"),
        (["{photos}/nowhere"], "there is no such folder of images"),
        (["{photos}", "--eval_split=tset"], "--eval_split=tset: "),
        (["{photos}", "--dataset=digits"], "only the path of one folder of images"),
        (["{photos}", "--labels=none", "--train_mode=finetune"], "no labels"),
    ],
)
@pytest.mark.usefixtures("frozen_clock")
def test_wrong_input(photos, tmp_path, main, monkeypatch, arguments, said):
    monkeypatch.setattr(trial, "time_steps", lambda settings: Pace(20.0, 1.0))
    arguments = [argument.format(photos=photos) for argument in arguments]
    status, stderr = main(*arguments, *FEW, f"--model_dir={tmp_path / 'run'}")
    assert status == 2 and said in the_message(stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("frozen_clock")
def test_a_budget_that_leaves_seconds_for_steps(photos, tmp_path, main, monkeypatch):
    """That would be a step or twenty, by chance."""
    monkeypatch.setattr(trial, "time_steps", lambda settings: Pace(31.0, 0.1))
    status, stderr = main(photos, "--budget=3m", "--plan", *FEW, f"--model_dir={tmp_path / 'run'}")
    assert status == 2 and "take about 2:" in stderr and "give at least --budget=" in stderr


@pytest.mark.parametrize("is_on_cpu", [True, False])
def test_only_the_work_of_a_first_step_counts(monkeypatch, is_on_cpu):
    """On a CPU; what another device does is no time of this process."""
    monkeypatch.setattr(trial, "on_cpu", lambda: True)
    assert trial._seconds_of_work(sum, range(10**6)) > 0
    monkeypatch.setattr(trial, "on_cpu", lambda: is_on_cpu)
    clock = types.SimpleNamespace(seconds=5.0, work=7.0)
    times = {"monotonic": lambda: clock.seconds, "process_time": lambda: clock.work}
    monkeypatch.setattr(trial, "time", types.SimpleNamespace(**times))

    def step():
        clock.seconds += 3.0
        clock.work += 1.0

    assert trial._seconds_of_work(step) == (1.0 if is_on_cpu else 3.0)


def test_a_backbone_that_can_not_be_downloaded(photos, tmp_path, main, monkeypatch):
    """It shows before the images are read, in a short line."""
    keras_hub = pytest.importorskip("keras_hub")
    requests = pytest.importorskip("requests")
    request = requests.Request("POST", "https://api.example.org/v1/models").prepare()

    def from_preset(*arguments, **options):
        raise requests.exceptions.ConnectionError("Max retries exceeded" * 20, request=request)

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", from_preset)
    status, stderr = main(photos, "--backbone=hub:nowhere", f"--model_dir={tmp_path / 'run'}")
    message = the_message(stderr)
    assert status == 2 and str(photos) not in stderr
    assert (
        "--backbone=hub:nowhere: keras-hub can't load it (api.example.org can't be reached); "
        in (message)
    )
    assert "a folder of save_to_preset" in message and len(message) < 240


def test_a_directory_with_a_run_that_was_not_planned(photos, tmp_path, main):
    (tmp_path / run_files.CONFIG).write_text("{}")
    status, stderr = main(photos, f"--model_dir={tmp_path}")
    assert status == 2 and "it holds a run that was not planned" in the_message(stderr)


def test_a_length_that_is_given_is_not_planned(photos):
    configs, _ = parse_command_line(f"--dataset=folder:{photos}", "--train_steps=3")
    assert configs[0].train.train_steps == 3 and configs[0].data.image_size == 224


def test_a_folder_is_planned_without_a_mode(photos):
    for name in (f"folder:{photos}", str(photos)):
        with pytest.raises(UserError, match="nothing can be planned here"):
            parse_command_line(f"--dataset={name}", "--model_dir=new")


def test_a_run_begun_without_a_mode_goes_on(photos, tmp_path):
    (tmp_path / run_files.CONFIG).write_text("{}")
    flags = (f"--dataset=folder:{photos}", f"--model_dir={tmp_path}")
    (settings,), _ = parse_command_line(*flags)
    assert settings.train.model_dir == str(tmp_path)
    with pytest.raises(UserError, match="nothing can be planned here"):
        parse_command_line(*flags, "--mode=train_then_eval")


@pytest.mark.parametrize("stages", ["", "finetune,distill", "supervised,finetune,distill"])
def test_a_plan_divides_the_images_as_its_start(photos, tmp_path, stages):
    """Else it would count labels that the training does not have."""
    held_out = {}
    for number, path in enumerate(sorted(photos.glob("*.png"))):
        held_out[content_digest(path.read_bytes())] = number == 0
    division = {"dataset": f"folder:{photos}", "moved": held_out}
    (tmp_path / run_files.DIVISION).write_text(json.dumps(division))
    flags = {"dataset": f"folder:{photos}/", "labels": "labels.csv", "checkpoint": str(tmp_path)}
    flags |= {"train_mode": stages} if stages else {}
    request = Request({**flags, "model_dir": str(tmp_path / "new")}, {}, 0.0)
    facts, eval_split = auto._look_at_images(auto._first_look(request), request)
    assert (facts.num_labels, facts.num_evaluated, eval_split) == (11, 1, "validation")


def test_devices_are_set_up_before_images_are_decoded(photos, tmp_path, monkeypatch):
    """TensorFlow refuses it afterwards: all plans would fail on a GPU."""
    order = []
    monkeypatch.setattr(auto.distribute, "get_strategy", lambda hardware: order.append("devices"))

    def look(*arguments):
        order.append("images")
        raise UserError("enough")

    monkeypatch.setattr(auto, "facts_of", look)
    flags = {"dataset": f"folder:{photos}", "labels": "none", "model_dir": str(tmp_path)}
    with pytest.raises(UserError, match="enough"):
        auto.make_recipe(flags, {}, time.monotonic())
    assert order == ["devices", "images"]
    with pytest.raises(UserError, match="--strategy=multi_worker: a recipe can't be planned by"):
        auto.make_recipe({**flags, "strategy": "multi_worker"}, {}, time.monotonic())
