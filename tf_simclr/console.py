"""What the user sees in the terminal: the log without the affairs of libraries, and the progress of long work."""

import logging as std_logging
import os
import sys
import time

import tqdm
from absl import logging

SECONDS_BETWEEN_LINES = 20


def set_up_logging():
    """Messages of this package, and warnings of others, each with the time."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(_is_for_the_user)
    std_logging.getLogger("tensorflow").setLevel(
        std_logging.WARNING
    )  # its Python part tells of every collective that it traces


def _is_for_the_user(record):
    """Our own messages, and the warnings of libraries that are not about their programmers' affairs."""
    ours = "-packages" not in record.pathname
    return ours or (
        record.levelno >= std_logging.WARNING and "deprecated" not in record.getMessage()
    )


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


class Progress:
    """Counts images; shows images/s and the time left.

    Args:
        what: the name of the work; None shows nothing. total, start: images in all, and those already done.
    """

    def __init__(self, what, total, start=0):
        self.what, self.total, self.start, self.done = what, total, start, start
        self._began = self._shown = time.monotonic()
        self._bar = None
        if what is not None and sys.stderr.isatty():
            self._bar = tqdm.tqdm(
                total=total,
                initial=start,
                desc=what,
                unit=" images",
                unit_scale=True,
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self._bar is not None:
            self._bar.close()

    def update(self, images, text=""):
        """`images` more are done; `text` says how it goes."""
        self.done += images
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(images)
        elif self.what is not None and (
            time.monotonic() - self._shown > SECONDS_BETWEEN_LINES or self.done >= self.total
        ):
            self._shown = time.monotonic()
            rate = (self.done - self.start) / max(self._shown - self._began, 1e-9)
            left = tqdm.tqdm.format_interval(max(self.total - self.done, 0) / rate)
            logging.info(
                "%s: %d of %d images, %s%.1f images/s, %s left",
                self.what,
                self.done,
                self.total,
                text and text + ", ",
                rate,
                left,
            )
