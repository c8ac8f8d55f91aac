"""Training from a published backbone: replicas, memory, rates by depth, resuming."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.eager import eagerly
from tests.helpers.training import Training, assert_replicas_agree, split_batch, values_of
from tf_simclr.checkpoints import backbones, checkpointer
from tf_simclr.errors import UserError
from tf_simclr.training.initial_objective import make_objective

SGD = {"optimizer": "momentum", "learning_rate": 0.05, "temperature": 0.5}
SIZES = {"vit": 16, "dino": 24, "resnet": 16}


@pytest.fixture(autouse=True)
def _eager():
    with eagerly():
        yield


@pytest.fixture
def training(presets, settings):
    """A function: name of a preset, strategy, flags -> a training from its weights."""

    def training(name, strategy=None, **flags):
        backbone = f"hub:{presets / name}"
        options = settings(**{**SGD, "backbone": backbone, "image_size": SIZES[name], **flags})
        backbones.prepare(options, options.train.model_dir)
        made = Training(options, strategy)
        backbones.initialize(made.objective.encoder, backbone)
        made.objective.start()
        return made

    return training


@pytest.mark.parametrize(
    ("name", "flags"), [("vit", {}), ("resnet", {"optimizer": "lars", "weight_decay": 0.1})]
)
def test_two_replicas_equal_one(training, two_replicas, name, flags):
    """Also of a network with batch norm, whose statistics are those of the whole batch."""
    num_steps = 2 if name == "resnet" else 1
    single, distributed = training(name, **flags), training(name, two_replicas, **flags)
    for batch in itertools.islice(single.batches(), num_steps):
        expected = single.step(batch)["total_loss"]
        loss = distributed.step(split_batch(two_replicas, batch))["total_loss"]
        assert loss == pytest.approx(expected, rel=1e-5)
    values = values_of(distributed.objective)
    for path, expected in values_of(single.objective).items():
        np.testing.assert_allclose(values[path], expected, atol=2e-5, err_msg=path)
    assert_replicas_agree(distributed.objective)


def test_replicas_do_not_differ_in_silence(training, two_replicas, settings, presets):
    training("resnet")  # makes it known
    options = settings(backbone=f"hub:{presets / 'resnet'}", global_bn=False)
    message = r"--global_bn=False: the batch norm of --backbone=.*resnet would keep other stat"
    with pytest.raises(UserError, match=message):
        make_objective(options, num_classes=10, num_images=8, strategy=two_replicas, teacher=None)


def test_a_memory_follows_the_backbone(training):
    made = training("vit", memory_size=20)
    encoder, keys = made.objective.encoder, made.objective.key_network.encoder
    assert [v.path for v in keys.variables] == [
        v.path.replace("model/", "key_network/") for v in encoder.variables
    ]
    for v, key in zip(encoder.variables, keys.variables, strict=True):
        np.testing.assert_array_equal(v, key)
    made.run(1)
    assert any(
        np.any(v.numpy() != key.numpy()) for v, key in zip(encoder.variables, keys.variables)
    )


def test_the_rate_falls_with_the_depth(training):
    """To each level of the encoder with the same factor, heads learn as without."""
    decay = 0.5
    flags = {"optimizer": "lars", "train_mode": "supervised", "weight_decay": 0.0}
    usual, decayed = training("vit", **flags), training("vit", **flags, layer_decay=decay)
    before = values_of(usual.objective)
    batch = usual.first_batch()
    for each in (usual, decayed):
        each.step(batch)
    full, less = values_of(usual.objective), values_of(decayed.objective)
    levels = usual.objective.encoder.levels
    for distance, level in enumerate(reversed(levels), 1):
        for v in level:
            change, expected = less[v.path] - before[v.path], full[v.path] - before[v.path]
            np.testing.assert_allclose(
                change, decay**distance * expected, rtol=1e-2, atol=1e-6, err_msg=v.path
            )
    np.testing.assert_allclose(
        less["model/supervised_head/kernel"], full["model/supervised_head/kernel"], atol=1e-7
    )


def test_resumed_training_continues_exactly(training, tmp_path):
    """In a process that has built other networks before, bit for bit."""

    def make_checkpointer(made):
        return checkpointer.Checkpointer(tmp_path, made.objective, made.optimizer, made.strategy)

    whole = training("resnet", optimizer="adam")
    batches = list(itertools.islice(whole.batches(), 3))
    saving = make_checkpointer(whole)
    for step, batch in enumerate(batches, 1):
        whole.step(batch)
        if step == 1:
            saving.step.assign(1)
            saving.save()
    resumed = training("resnet", optimizer="adam")
    for v in resumed.objective.variables:  # whatever is not restored shows
        v.assign(tf.zeros_like(v.value))
    assert make_checkpointer(resumed).resume()
    for batch in batches[1:]:
        resumed.step(batch)
    values = values_of(resumed.objective)
    for path, expected in values_of(whole.objective).items():
        np.testing.assert_array_equal(values[path], expected, err_msg=path)


def test_all_that_is_trained_has_a_gradient(training, recwarn):
    """Keras warns of variables without: a token that stands for hidden patches is not trained."""
    training("dino").run(1)
    assert not [warning for warning in recwarn if "Gradients do not exist" in str(warning.message)]
