"""A trained network as the teacher of another one: frozen, in inference mode."""

from collections.abc import Callable

import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.checkpoints import backbones, pretrained
from tf_simclr.checkpoints.class_names import class_names_or_numbers, saved_class_names
from tf_simclr.checkpoints.published_weights import local_path
from tf_simclr.checkpoints.weights import SAVED_MODEL_FILE
from tf_simclr.config.backbones import is_published, name_of
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files

FLAG = "teacher_checkpoint"
LOGITS, FEATURES = "logits_sup", "final_avg_pool"  # outputs
NEEDED = {  # {output: who needs a teacher, what it may be}
    LOGITS: (
        "--train_mode=distill",
        "the run directory of a finished fine-tuning, or a SavedModel with a linear head",
    ),
    FEATURES: (
        "--pretext=distill_features",
        "a run directory, a SavedModel, or a published network such as hub:dinov2_small",
    ),
}


class Teacher:
    """Images float32 [B, H, W, 3] in [0, 1] -> one output of a network, float32 [B, n].

    It is not a Keras layer: what a student holds of it must become neither trainable nor part of
    the student's checkpoints.

    Args:
        predict: images -> output.
        num_outputs: n.
        variables: that `predict` uses, which have to stay alive.
        class_names: of logits; empty for features.
    """

    def __init__(
        self,
        predict: Callable,
        num_outputs: int,
        variables: list,
        class_names: tuple[str, ...] = (),
    ):
        self._predict = predict
        self.num_outputs = num_outputs
        self.variables = variables
        self.class_names = class_names

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._predict(images), tf.float32)


def load(path: str, image_size: int, output: str = LOGITS, offline: bool = False) -> Teacher:
    """Loads a teacher. Has to be called in the strategy's scope.

    Args:
        path: a run directory of this package, a checkpoint prefix in one, a SavedModel, the name
            of a published model, or for features also that of a published backbone.
        image_size: of the images that it will see, in pixels.
        output: that it gives, `LOGITS` or `FEATURES`.
        offline: whether published models are taken from the cache alone.

    Raises:
        UserError: it is neither, or has no such output.
    """
    if not path:
        student, accepted = NEEDED[output]
        raise UserError(f"{student} learns from a teacher: give --{FLAG}=, {accepted}")
    if is_published(path):
        return _of_backbone(path, image_size, output)
    path = local_path(path, FLAG, offline)
    if (epath.Path(path) / SAVED_MODEL_FILE).exists():
        return _of_saved_model(path, image_size, output)
    return _of_run(path, image_size, output)


def _of_backbone(name, image_size, output):
    """A published network, which sees images of the size that it was made for."""
    if output != FEATURES:
        raise UserError(
            f"--{FLAG}={name}: it has no linear head, so it predicts no classes; give a network "
            f"that was fine-tuned from it with --backbone={name}"
        )
    network = backbones.load_frozen(name, image_size, tf.distribute.get_strategy(), FLAG)
    logging.info("the teacher is %s", name)

    def predict(images):
        return network.layer_features(images)[FEATURES]

    return Teacher(predict, network.encoder.feature_dim, network.encoder.variables)


def _of_run(path, image_size, output):
    model = pretrained.load(path, FLAG)
    network = model.network
    if output == LOGITS and network.supervised_head is None:
        raise UserError(
            f"--{FLAG}={path}: it has no linear head, so it predicts no classes; "
            "give a fine-tuned network"
        )
    _check_size(path, model.settings, image_size)
    logging.info("the teacher is %s, step %d", path, model.step)

    def predict(images):
        return network(images, training=False)[output]

    if output == FEATURES:
        return Teacher(predict, network.encoder.feature_dim, network.variables)
    names = model.class_names
    return Teacher(predict, len(names), network.variables, names)


def _check_size(path, settings, image_size):
    """Another size than it was trained on is said, or refused where it can't be."""
    trained_size = settings.data.image_size
    backbone = settings.model.backbone
    if trained_size == image_size:
        return
    if is_published(backbone):
        raise UserError(
            f"--{FLAG}={path}: its backbone {name_of(backbone)} sees images of {trained_size} "
            f"pixels alone, and --image_size={image_size}; give --image_size={trained_size}"
        )
    logging.warning(
        "the teacher was trained on images of %d pixels and sees those of --image_size=%d here",
        trained_size,
        image_size,
    )


def _of_saved_model(path, image_size, output):
    strategy = tf.distribute.get_strategy()
    with pretrained.expect_saved_model(f"--{FLAG}={path}", output):
        module = tf.saved_model.load(path)

        def predict(images):
            return module(images, trainable=False)[output]

        def predict_on_replicas(images):  # replicas have variables of their own
            return strategy.run(predict, args=(images,))

        blank = tf.zeros([1, image_size, image_size, 3])
        outputs = tf.function(predict_on_replicas, autograph=False)(blank)
        num_outputs = strategy.experimental_local_results(outputs)[0].shape[-1]
    logging.info("the teacher is the SavedModel %s", path)
    variables = getattr(module, "variables", [])
    if output == FEATURES:
        return Teacher(predict, num_outputs, variables)
    saved_names = saved_class_names(epath.Path(path) / run_files.ASSETS)
    class_names = class_names_or_numbers(num_outputs, saved_names)
    return Teacher(predict, num_outputs, variables, class_names)
