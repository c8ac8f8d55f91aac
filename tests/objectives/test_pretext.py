"""All pretext tasks: their table, folders without labels, fine-tuning, a task of one's own."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tf_simclr
from tests.helpers import packages
from tests.helpers.configurations import TINY, parse_command_line
from tests.helpers.training import Training, initialize_from, linear_teacher, load_linear_teacher
from tf_simclr.config.registry import PRETEXTS
from tf_simclr.data import datasets
from tf_simclr.data.image import EncodedImage
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import UserError
from tf_simclr.objectives import objective_class, rotation
from tf_simclr.training import experiment as experiment_lib
from tf_simclr.training import loop
from tf_simclr.training.experiment import build_experiment

ROOT = pathlib.Path(rotation.__file__).parents[2]
pytestmark = pytest.mark.usefixtures("shallow")
OTHERS = [name for name in PRETEXTS if name != "simclr"]  # simclr: tests/commands/test_run.py
FLAGS = [f"--{name}={value}" for name, value in TINY.items()]
EDGES = """
import tensorflow as tf

from tf_simclr.models.heads import TaskHead
from tf_simclr.objectives.pretext import Pretext, guess


class Brighter(Pretext):
    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, num_images)
        self.head = TaskHead([4], 2, *self.norm_options)

    def build_heads(self):
        self.head.build([None, self.encoder.feature_dim])

    def outputs(self, batch, images, training):
        features = self.encoder(images, training=training)["final_avg_pool"]
        means = tf.reduce_mean(images, [1, 2, 3])
        target = tf.cast(means > tf.reduce_mean(means), tf.int32)
        return {"logits": self.head(features, training=training), "target": target}

    def loss_of(self, outputs, labels, training):
        return guess(outputs["logits"], outputs["target"])
"""


@pytest.fixture
def brighter(tmp_path, monkeypatch):
    """A task in a package of somebody else, and its line in the table."""
    packages.write_module(tmp_path, monkeypatch, "tasks_of_mine.brighter", EDGES)
    monkeypatch.setitem(PRETEXTS, "brighter", "tasks_of_mine.brighter.Brighter")


def test_a_custom_task(brighter, main, eager, tmp_path):
    """One file and one line: it trains, is evaluated and exported like any other."""
    root = tmp_path / "run"
    flags = [
        *FLAGS,
        "--labels_per_class=5",
        "--evaluations=classifier,knn",
        "--untrained_baseline=False",
        f"--model_dir={root}",
    ]
    status, stderr = main("--mode=train_then_eval", "--pretext=brighter", *flags)
    assert status == 0, stderr
    results = json.loads((root / "results.json").read_text())
    assert results["flags"]["pretext"] == "brighter"
    assert {"task_accuracy", "task_loss", "task_chance"} == results["figures"]["trained"][
        "classifier"
    ].keys()
    assert "knn_accuracy" in results["figures"]["trained"]["final_avg_pool"]
    assert "pretrain (brighter)" in (root / "report.html").read_text()
    model = tf_simclr.load(root / "saved_model" / "3")
    np.testing.assert_allclose(
        model.embed(np.zeros([1, 16, 16, 3], np.float32)),
        tf_simclr.load(root).embed(np.zeros([1, 16, 16, 3], np.float32)),
        rtol=1e-5,
    )


def test_docs_show_the_code_as_it_is():
    page = (ROOT / "docs" / "pretext_tasks.md").read_text()
    code = page.split("### Write your own")[1].split("```python\n")[1].split("```")[0]
    assert code.strip() in pathlib.Path(rotation.__file__).read_text()


def test_docs_name_every_task():
    page = (ROOT / "docs" / "pretext_tasks.md").read_text()
    assert [name for name in PRETEXTS if f"| `{name}` |" not in page] == []


def test_unknown_task():
    message = r"--pretext=jigsw: accepted are simclr, .*rotation, .*. Did you mean 'jigsaw'"
    with pytest.raises(UserError, match=message):
        parse_command_line("--pretext=jigsw", "--dataset=digits")


@pytest.mark.parametrize("name", PRETEXTS)
def test_layers_that_can_be_evaluated(name):
    """Only SimCLR has a projection head."""
    flags = [f"--pretext={name}", "--dataset=digits", "--eval_layers=proj_head_1"]
    if name == "simclr":
        (settings,), _ = parse_command_line(*flags)
        assert settings.eval.eval_layers == ("proj_head_1",)
        return
    layers = "block_group1, block_group2, block_group3, final_avg_pool and all"
    with pytest.raises(UserError, match=f"accepted for --train_mode=pretrain are {layers}"):
        parse_command_line(*flags)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images of many sizes, half of them grey, and no label anywhere."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(24):
        shape = (int(rng.integers(12, 50)), int(rng.integers(12, 50)), 3)[: 2 + number % 2]
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", OTHERS)
def test_no_labels_anywhere(settings, eager, photos, name, monkeypatch):
    monkeypatch.setattr(experiment_lib, "load_teacher", load_linear_teacher)
    flags = {"dataset": f"folder:{photos}", "pretext": name, "color_jitter_strength": 0.0}
    experiment = build_experiment(settings(**flags, train_steps=2))
    loop.fit(experiment)
    assert int(experiment.checkpoints.step) == 2 and experiment.data.train_source.num_labeled == 0
    assert experiment.objective.supervised_head is None
    backbone = experiment.settings.backbone
    options = settings(train_mode="finetune", backbone=backbone)
    finetuning = objective_class(options)(options, 10)
    finetuning.build_variables()
    initialize_from(finetuning, experiment.directory.path)
    pretrained = experiment.objective.encoder
    for v, expected in zip(finetuning.encoder.variables, pretrained.variables, strict=True):
        np.testing.assert_array_equal(v, expected)


@pytest.mark.parametrize("name", OTHERS)
def test_another_task_starts_from_the_encoder(settings, name):
    """Of a checkpoint; the heads of a task are its own."""
    options = settings(pretext=name)
    objective = objective_class(options)(options, 10, 30)
    objective.teacher = linear_teacher(options.data.image_size)
    objective.build_variables()
    assert {v.path for v in objective.inherited()} == {v.path for v in objective.encoder.variables}
    assert len(objective.trainable_variables) > len(objective.encoder.trainable_variables)
    assert objective.exported_layers() == [objective.encoder, objective.projection_head]
    assert not objective.projection_head.variables


@pytest.mark.parametrize("name", PRETEXTS)
def test_what_a_gpu_needs(settings, name):
    """XLA compiles what is done to images, and no variable is int32 (a GPU has none)."""
    training = Training(settings(pretext=name, train_batch_size=2, rotation_exact=False))
    batch = training.first_batch()
    compiled = tf.function(training.objective.images, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(batch), training.objective.images(batch), atol=1e-3)
    variables = [*training.objective.variables, *training.optimizer.variables]
    assert {v.dtype for v in variables} <= {"float32", "int64"}


def test_images_without_a_number(settings, monkeypatch):
    """A stream does not know which image it gives."""
    options = settings()
    monkeypatch.setattr(objective_class(options), "needs_index", True)
    frame = tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8))
    frames = tf.data.Dataset.from_tensors(("1", frame, tf.constant(-1, tf.int64))).repeat(10)
    stream = Streamed("films", "train", (), EncodedImage, lambda context: frames, 10, 0)
    monkeypatch.setattr(datasets, "load", lambda data, split, **options: stream)
    message = "--pretext=simclr: each image is a class of its own, and films is read as a stream"
    with pytest.raises(UserError, match=message):
        build_experiment(options)
