"""SavedModels that load anywhere, without this package."""

import os

import tensorflow as tf
from absl import logging


def export(objective, step, directory, keep):
    """Writes `directory`/<step>, a SavedModel with the call of the papers' code, and removes all but the newest `keep`.

    `m = tf.saved_model.load(path); out = m(images, trainable=False)`: images float32 [B, H, W, 3] in [0, 1], already of
    the training's size; `out` is the dict of `Objective.call`, float32. `trainable=True` runs batch norm in training mode, which also
    moves the statistics of the loaded model, as in the papers' code.
    No augmentation is inside.

    Args:
        directory: `epath.Path`. keep: 0 keeps all.
    """
    # A plain Checkpoint object holds them: tf.Module does not see Keras variables.
    module = tf.train.Checkpoint()
    module.__call__ = _call(objective)
    module.variables = [v.value for part in objective.network() for v in part.variables]
    module.trainable_variables = [v.value for part in objective.network() for v in part.trainable_variables]

    path, partial = directory / str(step), directory / f"partial-{step}-{os.getpid()}"
    tf.saved_model.save(module, str(partial))
    if path.exists():  # only now that there is a whole new one
        path.rmtree()
    partial.rename(path)
    logging.info("exported %s", path)
    versions = sorted((p for p in directory.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    for old in versions[:-keep] if keep else []:
        old.rmtree()


def _call(objective):
    """The exported function, traced for both values of `trainable`."""

    def call(inputs, trainable=False):
        outputs = objective(inputs, training=trainable)
        return {name: tf.cast(value, tf.float32) for name, value in outputs.items()}

    function = tf.function(call, autograph=False)
    for trainable in (False, True):
        function.get_concrete_function(tf.TensorSpec([None, None, None, 3], tf.float32, name="inputs"), trainable=trainable)
    return function
