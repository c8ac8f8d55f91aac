"""`run.py` as its users start it: one whole run on two devices, and what others do with it."""

import json
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from tests.helpers import browser
from tests.helpers.processes import (
    DIGITS,
    GROUPS,
    HERE,
    OUTPUTS,
    TINY,
    Fork,
    end_all,
    finish,
    newest,
    snapshot,
)
from tf_simclr.report import schema

pytestmark = pytest.mark.usefixtures("four_groups")
STEPS = 12
WHOLE = [
    *DIGITS,
    *TINY,
    "--evaluations=classifier,clustering,neighbors,health",
    "--mode=train_then_eval",
    f"--train_steps={STEPS}",
    "--num_cpu_devices=2",
    "--eval_batch_size=64",
    "--eval_steps=1",
    "--color_jitter_strength=0",  # colors take seconds to compile
]
TAGS = {
    "train/weight_decay",
    "train/total_loss",
    "train/contrast_loss",
    "train/contrast_acc",
    "train/contrast_entropy",
    "train/supervised_loss",
    "train/supervised_acc",
    "learning_rate",
    "image",
}


def start_whole(*arguments):
    return Fork(*arguments, blocks=GROUPS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Training, evaluation and export on two devices: (directory, exit status, stderr)."""
    directory = tmp_path_factory.mktemp("runs") / "whole"
    process = Fork(*WHOLE, f"--model_dir={directory}", blocks=GROUPS, optimized=True)
    yield directory, *finish(process)
    end_all()


def test_whole_run_writes_its_files(whole):
    directory, status, stderr = whole
    assert status == 0, stderr
    assert "2 replicas" in stderr
    result = json.loads((directory / "result.json").read_text())
    assert result == json.loads((directory / f"result_{STEPS}.json").read_text())
    assert result["global_step"] == STEPS == newest(directory)
    keys = ("eval/label_top_1_accuracy", "eval/label_top_5_accuracy", "eval/regularization_loss")
    assert all(0 <= result[key] <= 1 for key in keys)
    saved = json.loads((directory / "flags.json").read_text())
    assert (
        saved["train_steps"] == STEPS
        and saved["dataset"] == "digits"
        and saved["use_blur"] is False
    )


def test_whole_run_writes_tensorboard_events(whole):
    events = event_accumulator.EventAccumulator(
        str(whole[0]), {event_accumulator.TENSORS: 0}
    ).Reload()
    assert set(events.Tags()["tensors"]) >= TAGS
    curves = {
        tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in TAGS
    }
    assert list(curves["train/total_loss"]) == [1, 11, STEPS]
    assert curves["learning_rate"][1] == pytest.approx(0.3 * 64 / 256)
    for step in curves["train/total_loss"]:
        losses = [
            curves[f"train/{name}"][step]
            for name in ("contrast_loss", "supervised_loss", "weight_decay")
        ]
        assert curves["train/total_loss"][step] == pytest.approx(sum(losses), rel=1e-5)
    assert len(curves["image"][1]) > 2  # width, height, PNG files
    evaluation = event_accumulator.EventAccumulator(str(whole[0] / "eval")).Reload()
    assert "eval/label_top_1_accuracy" in evaluation.Tags()["tensors"]


def test_whole_run_has_a_report(whole):
    """A page that a browser has nothing to say about, of what results.json holds."""
    directory = whole[0]
    document = schema.read(directory)
    assert (
        document["run"]["step"] == STEPS
        and document["run"]["learned_labels"] is False
        and document["figures"]["trained"]["classifier"]
        and document["figures"]["pixels"]["pixels"]
    )
    page = (directory / "report.html").read_text()
    assert all(
        f'id="{name}"' in page
        for name in (
            "runs",
            "recipe",
            "evaluations",
            "curves",
            "map",
            "neighbors",
            "classifier",
            "views",
            "repeat",
        )
    )
    if browser.find() is not None:
        with browser.Browser() as opened:
            opened.open(directory / "report.html")
            assert (opened.complaints(), opened.outside()) == ([], [])


def test_second_start_of_a_complete_run(whole, without_page, tmp_path, main):
    """On another number of devices nothing is trained; it evaluates and exports again."""
    directory = shutil.copytree(whole[0], tmp_path / "whole")

    def checkpoints():
        return {path: content for path, content in snapshot(directory).items() if "ckpt" in path}

    before = checkpoints()
    for step in (2, 10):
        (directory / "saved_model" / str(step)).mkdir(parents=True)
    few = ["--evaluations=classifier", "--untrained_baseline=False"]
    status, stderr = main(f"--model_dir={directory}", *HERE, *few)
    assert status == 0, stderr
    assert f"training is complete: step {STEPS} of {STEPS}" in stderr
    assert checkpoints() == before
    assert [path.name for path in (directory / "saved_model").iterdir()] == [
        str(STEPS)
    ]  # keep_hub_module_max=1


def test_saved_model_loads_without_the_package(whole, monkeypatch):
    """In a process of its own it is loaded by `tests/export/test_consumers.py`."""
    for name in [*sys.modules]:
        if name.split(".")[0] == "tf_simclr":
            monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    module = tf.saved_model.load(str(whole[0] / "saved_model" / str(STEPS)))
    images = tf.constant(np.random.default_rng(0).random((3, 16, 16, 3)), tf.float32)
    alone = module(images[:1], trainable=False)
    frozen, trained = (module(images, trainable=trainable) for trainable in (False, True))
    for outputs in (frozen, trained):
        shapes = {name: value.shape.as_list() for name, value in outputs.items()}
        assert set(shapes) == OUTPUTS
        assert shapes["logits_sup"] == [3, 10] and shapes["proj_head_output"] == [3, 8]
        assert shapes["final_avg_pool"] == shapes["proj_head_input"] == [3, 35]
        assert shapes["initial_conv"] == [3, 16, 16, 4]
        assert {value.dtype for value in outputs.values()} == {tf.float32}
    np.testing.assert_allclose(alone["logits_sup"], frozen["logits_sup"][:1], atol=1e-4)
    # Batch norm: statistics of the training, of the batch.
    features = "final_avg_pool"
    assert np.abs(trained[features] - frozen[features]).max() > 1e-4


def test_exporting_and_embedding(whole, tmp_path):
    """As processes of their own; they need neither the data nor the flags of the training."""
    shutil.copytree(whole[0], tmp_path / "run", ignore=shutil.ignore_patterns("saved_model"))
    export = start_whole(
        "--mode=export", f"--model_dir={tmp_path / 'run'}", "--export_formats=tflite"
    )
    embed = start_whole(
        "--mode=embed",
        *DIGITS,
        f"--checkpoint={whole[0]}",
        f"--model_dir={tmp_path / 'new'}",
        "--embed_split=test",
        "--embed_neighbors=3",
    )
    status, stderr = finish(export)
    assert status == 0 and "classifier.tflite: " in stderr, stderr
    files = {
        path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*")
    }
    assert {f"saved_model/{STEPS}/saved_model.pb", f"tflite/{STEPS}/embedding_int8.tflite"} <= files
    card = (tmp_path / "run" / "saved_model" / str(STEPS) / "assets" / "model_card.md").read_text()
    assert "| classifier, top 1 " in card and "1437 images, 1437 of them with a label" in card
    status, stderr = finish(embed)
    assert status == 0 and "| 0     | " in stderr, stderr
    with np.load(tmp_path / "new" / "embeddings.npz") as embeddings:
        assert {name: values.shape for name, values in embeddings.items()} == {
            "name": (360,),
            "split": (360,),
            "label": (360,),
            "embedding": (360, 35),
            "predicted": (360,),
            "score": (360,),
            "neighbors": (360, 3),
            "similarity": (360, 3),
        }
