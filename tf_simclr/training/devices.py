"""What holds for the whole process: devices, precision, determinism."""

import keras
import tensorflow as tf
from absl import logging

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.config.rules import needs_float32

DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def set_up_devices(settings: Config) -> tf.distribute.Strategy:
    """Sets what holds for the whole process, and returns how the work is distributed.

    Raises:
        UserError: devices that are not there, or a batch that can't be split over them.
    """
    if settings.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    # By default GPUs round what they multiply to 10 bits, and TPUs to 7. Also switched on again:
    # another stage may have had it off.
    allows_rounding = not needs_float32(settings.flat())
    tf.config.experimental.enable_tensor_float_32_execution(allows_rounding)
    strategy = distribute.get_strategy(settings.hardware)
    logging.info("running on %s", distribute.describe(strategy))
    distribute.check_batch_sizes(strategy, settings, ("train_batch_size", "eval_batch_size"))
    distribute.check_accumulation(strategy, settings.train)
    keras.config.set_dtype_policy(DTYPE_POLICIES[settings.model.precision])
    return strategy
