"""Features of a teacher: both losses as slow loops, and what the teacher sees when."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng

from tests.helpers.configurations import parse_command_line
from tests.helpers.processes import DIGITS, HERE, TINY, the_message
from tests.helpers.training import Training, same_batches
from tests.helpers.vectors import normalized
from tf_simclr.checkpoints import backbones
from tf_simclr.errors import UserError
from tf_simclr.objectives import distill_features
from tf_simclr.runs import files as run_files
from tf_simclr.training import precompute
from tf_simclr.training.experiment import build_experiment

FEATURES = {"pretext": "distill_features", "pretext_width": 8}
SIMILARITY = {**FEATURES, "feature_loss": "similarity", "feature_queue": 12}


@given(seed=st.integers(0, 1000), batch=st.integers(1, 5))
def test_regression(seed, batch):
    student, teacher = (
        normalized(default_rng(seed), batch, 6),
        normalized(default_rng(seed + 1), batch, 6),
    )
    loss, chance = distill_features.regression_loss(student, teacher)
    slow = np.mean([sum((s - t) ** 2 for s, t in zip(*pair)) for pair in zip(student, teacher)])
    np.testing.assert_allclose(loss, slow, rtol=1e-5)
    mean = teacher.mean(0)
    best = np.tile(mean / np.linalg.norm(mean), [batch, 1])  # the best constant answer
    np.testing.assert_allclose(
        chance, distill_features.regression_loss(best, teacher)[0], rtol=1e-4, atol=1e-6
    )


@given(
    seed=st.integers(0, 1000),
    filled=st.integers(0, 7),
    temperatures=st.tuples(st.floats(0.05, 1), st.floats(0.01, 1)),
)
def test_similarity(seed, filled, temperatures):
    """Equations 3 to 5, an image and a key at a time."""
    student, teacher = normalized(default_rng(seed), 3, 4), normalized(default_rng(seed + 1), 3, 4)
    keys = normalized(default_rng(seed + 2), 7, 4)
    losses = []
    for s, t in zip(student.astype(float), teacher.astype(float)):
        others = [*keys[:filled].astype(float), t]
        of_student = [math.exp(s @ key / temperatures[0]) for key in others]
        of_teacher = [math.exp(t @ key / temperatures[1]) for key in others]
        losses.append(0.0)
        for p, q in zip(of_teacher, of_student):
            losses[-1] -= p / sum(of_teacher) * math.log(q / sum(of_student))
    loss, chance = distill_features.similarity_loss(
        student,
        teacher,
        keys,
        tf.constant(filled),
        student_temperature=temperatures[0],
        teacher_temperature=temperatures[1],
    )
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(chance, math.log(filled + 1), atol=1e-6)


@pytest.mark.parametrize("view", ["whole", "view"])
def test_what_the_teacher_sees(settings, eager, view):
    training = Training(settings(**FEATURES, teacher_view=view, color_jitter_strength=0))
    objective, batch = training.objective, training.first_batch()
    images = objective.images(batch)
    seen = batch["whole"] if view == "whole" else images
    assert np.any(seen != images) == (view == "whole")  # crops of the views differ from the image
    np.testing.assert_allclose(
        objective.targets(batch, images, True)["teacher"], objective.teacher(seen), rtol=1e-5
    )
    assert (objective.constant_function() is None) == (view == "view")


def test_features_are_computed_once(settings, eager, monkeypatch):
    """Those of the images themselves, the same as in each step."""
    training = Training(settings(**FEATURES))
    objective, strategy = training.objective, training.strategy
    (part,) = precompute.with_constants(
        training.batch_parts, objective=objective, settings=training.settings, strategy=strategy
    )
    assert part.constants.shape == (part.source.num_examples, 10)
    each_step = training.first_batch()
    training.batch_parts = [part]
    batch = training.first_batch()
    assert "whole" not in batch
    np.testing.assert_array_equal(batch["image"], each_step["image"])
    np.testing.assert_allclose(
        batch["teacher_features"], objective.teacher(each_step["whole"]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("flags", [FEATURES, SIMILARITY], ids=["regression", "similarity"])
def test_the_student_follows(settings, eager, flags):
    training = Training(settings(**flags, learning_rate=0.05, optimizer="momentum"))
    teacher_outputs = training.objective.teacher.num_outputs
    (batch, *_) = same_batches(training, 1)
    history = [training.step(batch) for _ in range(12)]
    cosines = [float(metrics["teacher_cosine"]) for metrics in history]
    assert cosines[-1] > cosines[0] + 0.1
    queue = training.objective.queue
    if queue is None:
        return
    teacher = tf.math.l2_normalize(training.objective.teacher(batch["whole"]), -1)
    kept = queue.keys.numpy()
    assert kept.shape == (12, teacher_outputs) and int(queue.num_filled()) == 12
    is_equal = np.isclose(kept[:, None], teacher.numpy()[None], atol=1e-4).all(-1)
    assert is_equal.any(1).all()


def test_a_run_is_the_teacher(tmp_path, main, shallow, eager, without_outputs):
    flags = [*DIGITS, *TINY, *HERE, "--mode=train_then_eval", "--train_mode=pretrain"]
    flags += ["--train_steps=2", "--train_batch_size=8", "--evaluations=classifier"]
    flags += ["--color_jitter_strength=0", "--eval_steps=1"]
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    status, stderr = main(*flags, f"--model_dir={teacher}")
    assert status == 0, stderr
    flags += ["--pretext=distill_features", "--pretext_width=8", f"--model_dir={student}"]
    status, stderr = main(*flags, f"--teacher_checkpoint={teacher}")
    assert status == 0, stderr
    assert f"the teacher is {teacher}, step 2" in stderr
    assert "computing once what stays the same" in stderr
    result = json.loads((student / run_files.RESULT).read_text())
    assert {"eval/task_loss", "eval/task_chance"} <= set(result)

    status, stderr = main(*flags[:-1], f"--model_dir={tmp_path / 'other'}")
    assert status == 2 and "give --teacher_checkpoint=, a run directory" in the_message(stderr)


def test_the_teacher_of_a_chain():
    """It is that of pretraining; distillation has the stage before it."""
    configs, _ = parse_command_line(
        "--train_mode=pretrain,finetune,distill",
        "--pretext=distill_features",
        "--teacher_checkpoint=hub:dinov2_small",
        "--model_dir=run",
    )
    teachers = [settings.objective.teacher_checkpoint for settings in configs]
    assert teachers == ["hub:dinov2_small", "", "run/finetune"]


def test_a_published_backbone_is_the_teacher(settings, eager, presets):
    """It sees images of its own size; it has features to teach, and no classes."""
    name = f"hub:{presets / 'dino'}"
    experiment = build_experiment(settings(**FEATURES, mode="train", teacher_checkpoint=name))
    teacher = experiment.teacher
    assert teacher.num_outputs == 8 and teacher.class_names == ()
    images = np.random.default_rng(0).random((2, 16, 16, 3)).astype(np.float32)
    frozen = backbones.load_frozen(name, 16, experiment.strategy)
    expected = frozen.layer_features(images)["final_avg_pool"]
    np.testing.assert_allclose(teacher(images), expected, rtol=1e-5)
    with pytest.raises(UserError, match=r"--teacher_checkpoint=hub:.*: it has no linear head"):
        build_experiment(settings(train_mode="distill", mode="train", teacher_checkpoint=name))
