"""CMC: both directions against the bank of the other half, what its halves see, its downstream."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.configurations import parse_command_line
from tests.helpers.training import Training, same_batches
from tests.helpers.vectors import normalized
from tf_simclr import config
from tf_simclr.config.registry import LAB_PRETEXTS, PRETEXTS
from tf_simclr.errors import UserError
from tf_simclr.models.lab import LabEncoder
from tf_simclr.objectives import objective_class
from tf_simclr.objectives.cmc import CMC

pytestmark = pytest.mark.usefixtures("shallow")
TASK = {"pretext": "cmc"}
TAU = 0.2


def test_loss(settings, rng):
    """The lightness is to find the colors of its image, and the other way round."""
    objective = CMC(settings(**TASK, projector_dim=4, pretext_temperature=TAU), 0, 9)
    for bank in (objective.bank, objective.color_bank):
        bank.build([None, 4])
        bank.features.assign(normalized(rng, 9, 4))
    banks = objective.bank.values().numpy(), objective.color_bank.values().numpy()
    lightness, color = normalized(rng, 2, 4), normalized(rng, 2, 4)
    outputs = {"features": lightness, "color_features": color, "index": [3.0, 8.0]}
    outputs = {name: tf.constant(value) for name, value in outputs.items()}
    total = 0.0
    for features, bank in ((lightness, banks[1]), (color, banks[0])):
        for feature, i in zip(features, (3, 8)):
            similarities = [math.exp(sum(feature * other) / TAU) for other in bank]
            total -= math.log(similarities[i] / sum(similarities)) / 2
    loss, metrics = objective.loss_of(outputs, None, True)
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    np.testing.assert_allclose(metrics["pretext_chance"], 2 * math.log(9), rtol=1e-6)
    parts = metrics["cmc_lightness_loss"] + metrics["cmc_color_loss"]
    np.testing.assert_allclose(parts, metrics["pretext_loss"])
    for bank, before, features in zip(
        (objective.bank, objective.color_bank), banks, (lightness, color)
    ):
        moved = before[[3, 8]] + features
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        np.testing.assert_allclose(bank.values().numpy()[[3, 8]], moved, atol=1e-6)


def test_each_bank_starts_with_features_of_its_own(settings):
    """Also with each seed."""
    starts = []
    for seed in (0, 1):
        objective = CMC(settings(**TASK, projector_dim=4, seed=seed), 0, 9)
        for bank in (objective.bank, objective.color_bank):
            bank.build([None, 4])
            starts.append(bank.values().numpy().tobytes())
    assert len(set(starts)) == 4


def test_the_gauge_is_that_of_the_half_that_has_collapsed(settings, rng):
    objective = CMC(settings(**TASK, projector_dim=4), 0, 9)
    for bank in (objective.bank, objective.color_bank):
        bank.build([None, 4])
    varied, same = normalized(rng, 8, 4), np.tile(normalized(rng, 1, 4), (8, 1))
    for features, color_features in ((varied, same), (same, varied)):
        outputs = {"features": features, "color_features": color_features, "index": np.arange(8.0)}
        outputs = {name: tf.constant(value, tf.float32) for name, value in outputs.items()}
        _, metrics = objective.loss_of(outputs, None, False)
        assert metrics["embedding_std"] < 1e-3
        assert "gray" in objective.warning({"embedding_std": float(metrics["embedding_std"])})


def test_each_loss_learns_the_half_that_it_asks(settings, eager, rng):
    training = Training(settings(**TASK))
    encoder = training.objective.encoder
    digits, *_ = same_batches(training, 1)
    noise = rng.integers(0, 256, digits["views"].shape).astype(np.uint8)
    batch = {**digits, "views": tf.constant(noise)}
    kernels = [half.stem.convs[0].kernel.value for half in (encoder.lightness, encoder.color)]
    for name, learns in (("cmc_lightness_loss", 0), ("cmc_color_loss", 1)):
        with tf.GradientTape() as tape:
            _, metrics = training.objective.part_loss(batch, False)
        gradients = tape.gradient(metrics[name], kernels)
        assert np.any(gradients[learns] != 0) and not np.any(gradients[1 - learns] != 0)
    pictures = training.objective.pictures(digits)  # which are gray
    assert list(pictures) == ["view 1", "lightness", "colors"]
    np.testing.assert_allclose(pictures["lightness"], pictures["view 1"], atol=2e-3)


def test_encoder_follows_from_the_task():
    """And stays what it is in the runs that start from it."""
    for name in PRETEXTS:
        assert (config.build({"pretext": name}).backbone == "lab") == (name in LAB_PRETEXTS)
    arguments = ["--dataset=digits", "--train_mode=pretrain,finetune,distill,supervised"]
    configs, notes = parse_command_line(*arguments, "--pretext=cmc", "--model_dir=x")
    # A student starts from random weights.
    assert [settings.backbone for settings in configs] == ["lab", "lab", "resnet", "resnet"]
    assert any("--backbone=lab, as --checkpoint=x/pretrain was trained" in note for note in notes)
    assert config.build({"backbone": "lab", "train_mode": "supervised"}).backbone == "lab"
    for backbone in ("resnet", "hub:x"):
        with pytest.raises(UserError, match=f"--backbone={backbone}: --pretext=cmc compares"):
            config.build({**TASK, "backbone": backbone})


def test_another_task_may_have_this_encoder(settings):
    """SimCLR on both halves, and its copy that moves slowly."""
    options = settings(backbone="lab", memory_size=20)
    objective = objective_class(options)(options, 10, 8)
    assert isinstance(objective.encoder, LabEncoder)
    objective.build_variables()
    keys = objective.key_network.encoder
    assert [v.path for v in keys.variables] == [
        v.path.replace("model/", "key_network/") for v in objective.encoder.variables
    ]
