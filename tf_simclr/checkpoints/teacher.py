"""A trained network as the teacher of another one: frozen, in inference mode."""

from collections.abc import Callable

import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.checkpoints import pretrained
from tf_simclr.checkpoints.published_weights import local_path
from tf_simclr.checkpoints.weights import SAVED_MODEL_FILE
from tf_simclr.config.backbones import is_published, name_of
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files

FLAG = "teacher_checkpoint"


class Teacher:
    """Images float32 [B, H, W, 3] in [0, 1] -> logits float32 [B, num_classes].

    It is not a Keras layer: what a student holds of it must become neither trainable nor part of
    the student's checkpoints.

    Args:
        predict: images -> logits.
        class_names: of the logits.
        variables: that `predict` uses, which have to stay alive.
    """

    def __init__(self, predict: Callable, class_names: tuple[str, ...], variables: list):
        self._predict = predict
        self.class_names = class_names
        self.variables = variables

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return len(self.class_names)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._predict(images), tf.float32)


def load(path: str, image_size: int, offline: bool = False) -> Teacher:
    """Loads a teacher. Has to be called in the strategy's scope.

    Args:
        path: a run directory of this package, a checkpoint prefix in one, or a SavedModel with
            `logits_sup`, or the name of a published model.
        image_size: of the images that it will see, in pixels.
        offline: whether published models are taken from the cache alone.

    Raises:
        UserError: it is neither, or has no linear head.
    """
    if not path:
        raise UserError(
            f"--train_mode=distill learns from a teacher: give --{FLAG}=, the run directory of a "
            "finished fine-tuning, or a SavedModel"
        )
    path = local_path(path, FLAG, offline)
    if (epath.Path(path) / SAVED_MODEL_FILE).exists():
        return _of_saved_model(path, image_size)
    return _of_run(path, image_size)


def _of_run(path, image_size):
    model = pretrained.load(path, FLAG)
    network = model.network
    if network.supervised_head is None:
        raise UserError(
            f"--{FLAG}={path}: it has no linear head, so it predicts no classes; "
            "give a fine-tuned network"
        )
    trained_size = model.settings.data.image_size
    backbone = model.settings.model.backbone
    if trained_size != image_size and is_published(backbone):
        raise UserError(
            f"--{FLAG}={path}: its backbone {name_of(backbone)} sees images of {trained_size} "
            f"pixels alone, and --image_size={image_size}; give --image_size={trained_size}"
        )
    if trained_size != image_size:
        logging.warning(
            "the teacher was trained on images of %d pixels and sees those of --image_size=%d here",
            trained_size,
            image_size,
        )
    logging.info("the teacher is %s, step %d", path, model.step)

    def predict(images):
        return network(images, training=False)["logits_sup"]

    return Teacher(predict, model.class_names, network.variables)


def _of_saved_model(path, image_size):
    strategy = tf.distribute.get_strategy()
    with pretrained.expect_saved_model(f"--{FLAG}={path}", "logits_sup"):
        module = tf.saved_model.load(path)

        def predict(images):
            return module(images, trainable=False)["logits_sup"]

        def predict_on_replicas(images):  # replicas have variables of their own
            return strategy.run(predict, args=(images,))

        blank = tf.zeros([1, image_size, image_size, 3])
        logits = tf.function(predict_on_replicas, autograph=False)(blank)
        num_classes = strategy.experimental_local_results(logits)[0].shape[-1]
    logging.info("the teacher is the SavedModel %s", path)
    saved_names = pretrained.saved_class_names(epath.Path(path) / run_files.ASSETS)
    class_names = pretrained.class_names_or_numbers(num_classes, saved_names)
    return Teacher(predict, class_names, getattr(module, "variables", []))
