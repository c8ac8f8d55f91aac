"""Every objective builds, learns, saves, resumes, and gives the same on one replica and on two."""

import contextlib
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.configurations import TINY
from tests.helpers.eager import eagerly
from tests.helpers.training import (
    EACH,
    WITH_STATE,
    Training,
    assert_replicas_agree,
    initialize_from,
    of_methods,
    same_batches,
    split_batch,
    tinted,
    values_of,
)
from tf_simclr import config
from tf_simclr.checkpoints import checkpointer
from tf_simclr.config.backbones import LAB
from tf_simclr.data import datasets
from tf_simclr.errors import UserError
from tf_simclr.models import resnet
from tf_simclr.objectives.supervised import classification_loss

HAVE_STATE = {flags["pretext"] for flags in WITH_STATE if "pretext" in flags}
WITHOUT_STATE = [flags for flags in EACH if flags.get("pretext") not in HAVE_STATE]
LOSSES = ("contrast_loss", "pretext_loss", "distill_loss", "supervised_loss")
VARIANTS = EACH + [
    {"memory_size": 20, "proj_head_mode": "none"},
    {"sk_ratio": 0.0625, "resnet_depth": 50, "hidden_norm": False},
    {"lineareval_while_pretraining": False, "se_ratio": 0.25, "proj_head_mode": "linear"},
    {"train_mode": "finetune", "ft_proj_selector": 1, "fine_tune_after_block": 4},
    {"train_mode": "finetune", "ft_proj_selector": -1},
    {
        "train_mode": "distill",
        "distill_alpha": 0.5,
        "distill_temperature": 0.5,
        "ft_proj_selector": 1,
    },
]
LARS = {"optimizer": "lars", "weight_decay": 1e-3, "color_jitter_strength": 1.0}
WITH_KINDS_OF_STATE = ("freematch", "mpl")
OTHERS = [flags for flags in WITHOUT_STATE if flags.get("pretext") not in ("simclr", "counting")]
TRAINED_ALIKE = [
    {"train_mode": "distill", "distill_alpha": 0.5},
    *OTHERS,
    {"pretext": "counting", "learning_rate": 0.01},
    {**WITH_STATE[0], "learning_rate": 0.01},
    *WITH_STATE[1:],
    *({**flags, "unlabeled_ratio": 3.0} for flags in of_methods(*WITH_KINDS_OF_STATE)),
]


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    """One block in all: less to trace, and nothing here depends on the depth."""
    make_shallow(monkeypatch)


def make_shallow(patch):
    for depth in (18, 50):
        patch.setitem(resnet.FAMILY, depth, (resnet.FAMILY[depth][0], (1,)))


def name_of(values):
    return "-".join(f"{name}={value}" for name, value in values.items())


@functools.cache
def eight_images():
    return datasets.load(config.build(TINY).data, "train").take(np.arange(8))


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_learns_eight_images(settings, variant):
    """The loss falls on eight images seen again and again."""
    has_memory = "memory_size" in variant or variant.get("pretext") == "moco"
    options = settings(
        train_steps=60,
        use_crop=False,
        use_flip=False,
        color_jitter_strength=0.05 if variant == {"pretext": "simclr"} else 0,
        grayscale_probability=0,
        decoder_width=8,
        **variant,
    )
    training = Training(options, source=eight_images())
    batches = same_batches(training, 60 if has_memory else 30)
    history = [training.step(batch) for batch in batches]
    for metrics in history:
        assert np.isfinite(list(metrics.values())).all()
    if has_memory:  # the number of negatives grows during the first steps, and the loss with it
        history = history[3:]
    name, *_ = [name for name in LOSSES if name in history[0]]
    losses = [metrics[name] for metrics in history]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


class Whole:
    """Three steps of a training, which has saved itself after the first."""

    def __init__(self, directory, variant):
        flags = {"optimizer": "momentum", "learning_rate": 0.05, "temperature": 0.5}
        flags = {**TINY, "color_jitter_strength": 0.0, "decoder_width": 8, **flags, **variant}
        self.settings = config.build({**flags, "model_dir": str(directory / "run")})
        self.directory = directory
        self.is_compiled = variant == LARS
        training = self.another()
        saving = make_checkpointer(directory, training)
        self.batches = same_batches(training, 3)
        if self.settings.backbone == LAB:  # of gray digits half of it would learn nothing
            self.batches = list(map(tinted, self.batches))
        self.losses, self.values = [], []
        for step, batch in enumerate(self.batches, 1):
            self.losses.append(training.step(batch)["total_loss"])
            self.values.append(values_of(training.objective))
            if step == 1:
                saving.step.assign(step)
                saving.save()

    def another(self, strategy=None):
        return Training(self.settings, strategy)


@pytest.fixture(scope="module")
def whole(request, tmp_path_factory):
    """A few steps are sooner done than traced, except where colors are to be compiled."""
    with pytest.MonkeyPatch.context() as patch:
        make_shallow(patch)
        with contextlib.nullcontext() if request.param == LARS else eagerly():
            yield Whole(tmp_path_factory.mktemp("whole"), request.param)


@pytest.mark.parametrize("whole", [LARS, *TRAINED_ALIKE], ids=name_of, indirect=True)
def test_two_replicas_equal_one(whole, two_replicas):
    """With the same global batch; SGD shows a gradient that is summed twice."""
    distributed = whole.another(two_replicas)
    has_memory = whole.settings.objective.memory_size > 0
    steps = 3 if has_memory else 2  # the memory is full, and begins anew
    if whole.is_compiled:
        batches = itertools.islice(distributed.batches(), steps)
    else:  # how the pipeline divides batches depends on no objective
        batches = [split_batch(two_replicas, batch) for batch in whole.batches[:steps]]
    losses = [distributed.step(batch)["total_loss"] for batch in batches]
    loss_tolerance = 3e-5 if has_memory else 1e-5
    np.testing.assert_allclose(losses, whole.losses[:steps], rtol=loss_tolerance)
    values = values_of(distributed.objective)
    for path, expected in whole.values[steps - 1].items():
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


@pytest.mark.parametrize(
    "whole", [LARS, *TRAINED_ALIKE, {"optimizer": "adam"}], ids=name_of, indirect=True
)
def test_resumed_training_continues_exactly(whole):
    """From what another training has saved on its way."""
    resumed = whole.another()
    loading = make_checkpointer(whole.directory, resumed)
    for v in resumed.objective.variables:  # whatever is not restored shows
        v.assign(tf.zeros_like(v.value))
    assert loading.resume(tf.train.latest_checkpoint(str(whole.directory)))
    start = int(loading.step)
    if whole.is_compiled:
        batches = itertools.islice(resumed.batches(start), 2)
    else:  # how the pipeline goes on depends on no objective
        batches = whole.batches[start:]
    for batch in batches:
        resumed.step(batch)
    values = values_of(resumed.objective)
    for path, expected in whole.values[-1].items():
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
        initialize_from(small.objective, tmp_path / "2")
    message = r"group1_block0/se/.* more variables there have no place here"
    with pytest.raises(UserError, match=message):
        initialize_from(small.objective, tmp_path / "3")
    with pytest.raises(UserError, match="there is no checkpoint in it"):
        initialize_from(small.objective, tmp_path)
    data = next((tmp_path / "1").glob("*.data*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(UserError, match="no whole checkpoint is left there"):
        initialize_from(small.objective, tmp_path / "1")
    message = r"ckpt-1 can't be restored: ckpt-1.data.* is not what was written"
    with pytest.raises(UserError, match=message):
        initialize_from(small.objective, tmp_path / "1" / "ckpt-1")


def test_finetuning_starts_from_the_pretrained_weights(settings, eager, tmp_path):
    """Encoder and kept head layers are those of pretraining; no memory is needed."""
    pretraining = Training(settings(memory_size=20))
    pretraining.run(1)
    make_checkpointer(tmp_path, pretraining).save()
    finetuning = Training(settings(train_mode="finetune", ft_proj_selector=1))
    initialize_from(finetuning.objective, tmp_path)
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


def test_float16_overflow_on_one_replica_skips_the_step_on_all(settings, eager, two_replicas):
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
