"""What a person sees of a long piece of work: a bar on a terminal, plain lines elsewhere."""

import sys
import time

import tqdm
from absl import logging

SECONDS_BETWEEN_LINES = 20


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
            self._bar = tqdm.tqdm(total=total, initial=start, desc=what, unit=" images", unit_scale=True, dynamic_ncols=True, smoothing=0.1)

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
        elif self.what is not None and (time.monotonic() - self._shown > SECONDS_BETWEEN_LINES or self.done >= self.total):
            self._shown = time.monotonic()
            rate = (self.done - self.start) / max(self._shown - self._began, 1e-9)
            left = tqdm.tqdm.format_interval(max(self.total - self.done, 0) / rate)
            logging.info("%s: %d of %d images, %s%.1f images/s, %s left", self.what, self.done, self.total, text and text + ", ", rate, left)
