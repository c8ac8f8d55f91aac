"""Every objective builds, learns, saves, resumes, and gives the same on one replica and on two."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import (
    EACH,
    WITH_STATE,
    Training,
    assert_replicas_agree,
    split_batch,
    values_of,
)
from tf_simclr.checkpoints import checkpointer, weights
from tf_simclr.data import datasets
from tf_simclr.errors import UserError
from tf_simclr.models import resnet
from tf_simclr.objectives.supervised import classification_loss

HAVE_STATE = {flags["pretext"] for flags in WITH_STATE if "pretext" in flags}
WITHOUT_STATE = [flags for flags in EACH if flags.get("pretext") not in HAVE_STATE]
LOSSES = ("contrast_loss", "pretext_loss", "distill_loss", "supervised_loss")
VARIANTS = EACH + [
    {"memory_size": 20},
    {"proj_head_mode": "linear"},
    {"proj_head_mode": "none"},
    {"sk_ratio": 0.0625, "resnet_depth": 50},
    {"hidden_norm": False},
    {"train_mode": "finetune", "ft_proj_selector": 1},
    {"train_mode": "finetune", "ft_proj_selector": -1},
    {"train_mode": "finetune", "fine_tune_after_block": 4},
    {"lineareval_while_pretraining": False, "se_ratio": 0.25},
    {
        "train_mode": "distill",
        "distill_alpha": 0.5,
        "distill_temperature": 0.5,
        "ft_proj_selector": 1,
    },
]


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    """One block in all: less to trace, and nothing here depends on the depth."""
    for depth in (18, 50):
        monkeypatch.setitem(resnet.FAMILY, depth, (resnet.FAMILY[depth][0], (1,)))


def name_of(values):
    return "-".join(f"{name}={value}" for name, value in values.items())


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_learns_eight_images(settings, variant):
    """The loss falls on eight images seen again and again."""
    options = settings(
        train_steps=60,
        use_crop=False,
        use_flip=False,
        color_jitter_strength=0.05,
        grayscale_probability=0,
        **variant,
    )
    digits = datasets.load(options.data, "train")
    training = Training(options, source=digits.take(np.arange(8)))
    has_memory = "memory_size" in variant
    history = training.run(60 if has_memory else 30)
    for metrics in history:
        assert np.isfinite(list(metrics.values())).all()
    if has_memory:  # the number of negatives grows during the first steps, and the loss with it
        history = history[3:]
    name, *_ = [name for name in LOSSES if name in history[0]]
    losses = [metrics[name] for metrics in history]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize(
    "variant",
    [
        {"optimizer": "lars", "weight_decay": 1e-3},
        {"train_mode": "finetune"},
        {"train_mode": "distill", "distill_alpha": 0.5},
        *(flags for flags in WITHOUT_STATE if flags.get("pretext") not in ("simclr", "counting")),
        {"pretext": "counting", "learning_rate": 0.01},
        {**WITH_STATE[0], "learning_rate": 0.01},
        *WITH_STATE[1:],
    ],
    ids=name_of,
)
def test_two_replicas_equal_one(settings, two_replicas, request, variant):
    """Three steps with the same global batch; SGD shows a gradient that is summed twice."""
    uses_lars = variant.get("optimizer") == "lars"
    has_own_optimizer = "adversarial_weight" in variant
    if not (uses_lars or has_own_optimizer):  # a few steps are sooner done than traced
        request.getfixturevalue("eager")
    flags = {"optimizer": "momentum", "learning_rate": 0.05, "temperature": 0.5, **variant}
    if uses_lars:
        flags["color_jitter_strength"] = 1.0
    single = Training(settings(**flags))
    distributed = Training(settings(**flags), two_replicas)
    expected_losses = [metrics["total_loss"] for metrics in single.run(3)]
    losses = [metrics["total_loss"] for metrics in distributed.run(3)]
    loss_tolerance = 3e-5 if "memory_size" in variant else 1e-5
    np.testing.assert_allclose(losses, expected_losses, rtol=loss_tolerance)
    values = values_of(distributed.objective)
    for path, expected in values_of(single.objective).items():
        tolerance = tolerance_of(path)
        np.testing.assert_allclose(values[path], expected, atol=tolerance, err_msg=path)
    assert_replicas_agree(distributed.objective)


def tolerance_of(path):
    """How far a value may be from that on one replica.

    Keys come out of a batch norm over few values, which blows rounding up, and so do the counts of
    a head; weights have to agree.
    """
    if "memory_queue" in path:
        return 1e-3
    return 1e-4 if "task_head" in path else 1e-5


def make_checkpointer(directory, training):
    return checkpointer.Checkpointer(
        directory, training.objective, training.optimizer, training.strategy
    )


@pytest.mark.parametrize("variant", WITHOUT_STATE + WITH_STATE, ids=name_of)
def test_resumed_training_continues_exactly(settings, tmp_path, request, variant):
    """From what another training has saved on its way."""
    is_simclr = variant.get("pretext", "simclr") == "simclr"
    if not is_simclr:  # colors without XLA take longer than tracing with it
        request.getfixturevalue("eager")
    options = settings(color_jitter_strength=float(is_simclr), **variant)
    whole, resumed = Training(options), Training(options)
    saving = make_checkpointer(tmp_path, whole)
    loading = make_checkpointer(tmp_path, resumed)

    def save(step):
        if step == 2:
            saving.step.assign(step)
            saving.save()

    whole.run(5, after=save)
    for v in resumed.objective.variables:  # whatever is not restored shows
        v.assign(tf.zeros_like(v.value))
    assert loading.resume(tf.train.latest_checkpoint(str(tmp_path)))
    resumed.run(3, start=int(loading.step))
    values = values_of(resumed.objective)
    for path, expected in values_of(whole.objective).items():
        np.testing.assert_allclose(values[path], expected, rtol=1e-5, atol=1e-6, err_msg=path)


def test_checkpoint_of_another_network(settings, tmp_path):
    small = Training(settings())
    wide = Training(settings(width_multiplier=0.1))
    gated = Training(settings(se_ratio=0.25))
    for training, step in ((small, 1), (wide, 2), (gated, 3)):
        saver = make_checkpointer(tmp_path / str(step), training)
        saver.step.assign(step)
        saver.save()
    message = r"stem/conv0/kernel is \(3, 3, 3, 6\) there and \(3, 3, 3, 4\) here"
    with pytest.raises(UserError, match=f"model/encoder/{message}"):
        weights.initialize_from(small.objective, tmp_path / "2")
    message = r"group1_block0/se/.* more variables there have no place here"
    with pytest.raises(UserError, match=message):
        weights.initialize_from(small.objective, tmp_path / "3")
    with pytest.raises(UserError, match="there is no checkpoint in it"):
        weights.initialize_from(small.objective, tmp_path)
    data = next((tmp_path / "1").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UserError, match="no whole checkpoint is left there"):
        weights.initialize_from(small.objective, tmp_path / "1")
    message = r"ckpt-1 can't be restored: ckpt-1.data.* is not what was written"
    with pytest.raises(UserError, match=message):
        weights.initialize_from(small.objective, tmp_path / "1" / "ckpt-1")


def test_finetuning_starts_from_the_pretrained_weights(settings, tmp_path):
    """Encoder and kept head layers are those of pretraining; no memory is needed."""
    pretraining = Training(settings(memory_size=20))
    pretraining.run(1)
    make_checkpointer(tmp_path, pretraining).save()
    finetuning = Training(settings(train_mode="finetune", ft_proj_selector=1))
    weights.initialize_from(finetuning.objective, tmp_path)
    before, after = values_of(pretraining.objective), values_of(finetuning.objective)
    assert {path for path in after if path not in before} == set()
    for path in after:
        if "supervised_head" not in path:
            np.testing.assert_array_equal(after[path], before[path], err_msg=path)
    assert not any("dense2" in path for path in after)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains(settings, precision):
    training = Training(settings(precision=precision, train_steps=10))
    if precision == "float16":
        training.optimizer.initial_scale = 2.0**4
        training.optimizer.dynamic_scale.assign(2.0**4)
    assert training.objective.encoder.compute_dtype == precision
    before = values_of(training.objective)
    history = training.run(4)
    assert np.isfinite([m["total_loss"] for m in history]).all()
    assert {v.dtype for v in training.objective.trainable_variables} == {"float32"}
    after = values_of(training.objective)
    assert any(np.any(before[path] != after[path]) for path in before if "kernel" in path)


def test_float16_overflow_on_one_replica_skips_the_step_on_all(settings, two_replicas):
    """Keras' loss scaling looks at the first replica's gradients only."""
    options = settings(precision="float16", optimizer="momentum", train_mode="finetune")
    training = Training(options, two_replicas)
    before = values_of(training.objective)

    scale = tf.repeat([1.0, 1e30], 4)[:, None, None, None]  # of the images of each replica
    batch = {"image": tf.ones([8, 16, 16, 3]) * scale, "label": tf.zeros(8, tf.int64)}
    training.step(split_batch(two_replicas, batch))
    for v in training.objective.trainable_variables:
        np.testing.assert_array_equal(v, before[v.path])


def test_unlabeled_examples_do_not_count():
    logits = tf.constant([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    loss, metrics = classification_loss(logits, tf.constant([0, -1, 1], tf.int64))
    expected = np.mean([np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0))])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert metrics["supervised_acc"] == 0.5
    loss, metrics = classification_loss(logits, tf.constant([-1, -1, -1], tf.int64))
    assert (float(loss), float(metrics["supervised_acc"])) == (0.0, 0.0)


def test_no_gradient_of_the_linear_head_reaches_the_encoder(settings):
    training = Training(settings())
    images = np.random.default_rng(0).random((4, 2, 16, 16, 3)).astype(np.float32)

    def gradients(labels):
        batch = {"views": tf.constant(images), "label": tf.constant(labels, tf.int64)}
        with tf.GradientTape() as tape:
            loss, _ = training.objective.loss(batch)
        variables = training.objective.encoder.trainable_variables
        return tape.gradient(loss, variables)

    for a, b in zip(gradients([0, 1, 2, 3]), gradients([5, 5, 5, 5]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_collapse_is_noticed(settings):
    objective = Training(settings()).objective
    assert objective.warning({"embedding_std": 1 / np.sqrt(8)}) is None
    assert "collapsed" in objective.warning({"embedding_std": 1e-3})
