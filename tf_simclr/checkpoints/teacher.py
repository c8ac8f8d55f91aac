"""A trained network as the teacher of another one: frozen, in inference mode."""

import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr.checkpoints import pretrained
from tf_simclr.errors import UserError

FLAG = "teacher_checkpoint"


class Teacher:
    """Images float32 [B, H, W, 3] in [0, 1] -> logits float32 [B, num_classes].

    Not a Keras layer: what a student holds of it must become neither trainable nor part of the student's checkpoints.
    """

    def __init__(self, predict, class_names, variables):
        self._predict, self.class_names, self.variables = predict, class_names, variables

    @property
    def num_classes(self):
        return len(self.class_names)

    def __call__(self, images):
        return tf.cast(self._predict(images), tf.float32)


def load(path, image_size):
    """The teacher at `path`: a run directory of this package, a checkpoint prefix in one, or a SavedModel with `logits_sup`.

    Has to be called in the strategy's scope.

    Raises:
        UserError: it is neither, or has no linear head.
    """
    if not path:
        raise UserError(
            f"--train_mode=distill learns from a teacher: give --{FLAG}=, the run directory of a finished fine-tuning, or a SavedModel"
        )
    if (epath.Path(path) / "saved_model.pb").exists():
        return _of_saved_model(path, image_size)
    return _of_run(path, pretrained.load(path, FLAG), image_size)


def _of_run(path, found, image_size):
    network = found.network
    if network.supervised_head is None:
        raise UserError(
            f"--{FLAG}={path}: it has no linear head, so it predicts no classes; give a fine-tuned network"
        )
    if found.settings.data.image_size != image_size:
        logging.warning(
            "the teacher was trained on images of %d pixels and sees those of --image_size=%d here",
            found.settings.data.image_size,
            image_size,
        )
    logging.info("the teacher is %s, step %d", path, found.step)
    return Teacher(
        lambda images: network(images, training=False)["logits_sup"],
        found.class_names,
        network.variables,
    )


def _of_saved_model(path, image_size):
    strategy = tf.distribute.get_strategy()
    with pretrained.expect_saved_model(f"--{FLAG}={path}", "logits_sup"):
        module = tf.saved_model.load(path)

        def predict(images):
            return module(images, trainable=False)["logits_sup"]

        once = tf.function(
            lambda images: strategy.run(predict, args=(images,)), autograph=False
        )  # replicas have variables of their own
        logits = strategy.experimental_local_results(
            once(tf.zeros([1, image_size, image_size, 3]))
        )[0]
    logging.info("the teacher is the SavedModel %s", path)
    names = pretrained.class_names_or_numbers(
        logits.shape[-1], pretrained.saved_class_names(epath.Path(path) / "assets")
    )
    return Teacher(predict, names, getattr(module, "variables", []))
