"""The batches of a training, also where image files vanish, and the steps taken on them."""

import time

import tensorflow as tf
from absl import logging

from tf_simclr.data import pipeline
from tf_simclr.data.unreadable import replace_unreadable
from tf_simclr.errors import Failed

# Errors of TensorFlow that no unreadable image causes.
NOT_OF_AN_IMAGE = (
    tf.errors.ResourceExhaustedError,
    tf.errors.AbortedError,
    tf.errors.UnavailableError,
    tf.errors.CancelledError,
)


class Batches:
    """The batches of a training from one step on.

    Args:
        batch_parts: what every batch is made of.
        start: how many steps are done.
        example: see `Objective.example`.
        settings: the whole configuration.
        strategy: how batches are distributed.

    Attributes:
        iterator: distributed batches.
    """

    def __init__(self, batch_parts, start: int, *, example, settings, strategy):
        self._batch_parts = batch_parts
        self._example = example
        self._settings = settings
        self._strategy = strategy
        self._restart(start)

    def _restart(self, step):
        batches = pipeline.training_batches(
            self._batch_parts,
            self._example,
            self._settings.train.seed,
            step,
            self._strategy,
            self._settings.hardware.data_service,
            self._settings.hardware.connect_timeout,
        )
        self.iterator = iter(batches)

    def after(self, step: int):
        """The batch after `step`.

        An image whose file can't be read any more does not end a training of days.
        """
        while True:
            try:
                return next(self.iterator)
            except tf.errors.OpError as error:
                if not self.replace_unreadable(step, error):
                    raise

    def replace_unreadable(self, step: int, error: tf.errors.OpError) -> bool:
        """Replaces images that can't be read any more, and starts anew after `step`.

        Returns:
            Whether there are such images, which can be the cause of `error`.
        """
        if isinstance(error, NOT_OF_AN_IMAGE):
            return False
        self._batch_parts, unreadable = replace_unreadable(self._batch_parts)
        if not unreadable:
            return False
        name, reason = unreadable[0]
        logging.warning(
            "step %d: %d images can't be read any more, others stand in for them without a label: "
            "%s (%s)%s",
            step,
            len(unreadable),
            name,
            reason,
            " ..." if len(unreadable) > 1 else "",
        )
        self._restart(step)
        return True


class StepRunner:
    """Takes training steps, and measures which share of the time one waits for its batch.

    Args:
        train_step: `TrainStep`.
        batches: what it trains on.

    Attributes:
        seconds: that the last steps have taken which did not return between them, the first ones
            left out, which are compiled.
    """

    def __init__(self, train_step, batches: Batches):
        self._train_step = train_step
        self._batches = batches
        self.seconds = 0.0
        self._is_first = True
        self._last_end = time.monotonic()

    def run(self, step: int, count: int):
        """Takes up to `count` steps after `step`; the first call takes one, to have its batch.

        Args:
            step: how many steps are done.
            count: more than 1: steps that do not return to the host between them.

        Returns:
            (batch of the last step, None if it is not at hand; [{metric name: value}] of each
            step).
        """
        was_first, self._is_first = self._is_first, False
        start = time.monotonic()
        if count > 1 and not was_first:
            batch, metrics = None, self._loop(step, count)
        else:
            batch, metrics = self._take_one(step)
        if not was_first:
            self.seconds = time.monotonic() - start
        return batch, metrics

    def _take_one(self, step):
        wait_start = time.monotonic()
        batch = self._batches.after(step)
        waited = time.monotonic() - wait_start
        metrics = self._train_step(batch)
        previous_end, self._last_end = self._last_end, time.monotonic()
        duration = max(self._last_end - previous_end, 1e-9)
        return batch, [{**metrics, "data_time": waited / duration}]

    def _loop(self, step, count):
        try:
            return self._train_step.loop(self._batches.iterator, count)
        except tf.errors.OpError as error:
            if not self._batches.replace_unreadable(step, error):
                raise
            raise Failed(
                f"--steps_per_loop={count}: one of the steps after {step} had no batch; "
                "run the same command again to resume from the last checkpoint"
            ) from None
