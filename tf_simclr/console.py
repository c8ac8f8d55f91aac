"""What the user sees in the terminal: the log without the affairs of libraries."""

import logging as std_logging
import os

from absl import logging


def set_up_logging():
    """Messages of this package, and warnings of others, each with the time."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_for_the_user)
    std_logging.getLogger("tensorflow").setLevel(std_logging.WARNING)  # its Python part tells of every collective that it traces


def _is_for_the_user(record):
    """Our own messages, and the warnings of libraries that are not about their programmers' affairs."""
    ours = "-packages" not in record.pathname
    return ours or (record.levelno >= std_logging.WARNING and "deprecated" not in record.getMessage())


def start_tensorflow():
    """Imports TensorFlow without its start-up messages, which no setting silences; TF_CPP_MIN_LOG_LEVEL=0 shows them."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] not in ("0", "1"):
        os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
