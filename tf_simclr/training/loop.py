"""The training loop: step, progress, checkpoints, interruption."""

import math
import signal
import time

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr import distribute
from tf_simclr.console import Progress
from tf_simclr.data import mixture, pipeline
from tf_simclr.errors import Diverged, Failed, Interrupted
from tf_simclr.training import initialization
from tf_simclr.training.train_step import TrainStep
from tf_simclr.training.validation import Monitor

STEPS_BETWEEN_SUMMARIES = 10
SHOWN_IMAGES = 16
OF_OTHERS = (
    tf.errors.ResourceExhaustedError,
    tf.errors.AbortedError,
    tf.errors.UnavailableError,
    tf.errors.CancelledError,
)  # not of an image
WORTH_TELLING = 0.02  # share of the time that is waited for input


class Interrupts:
    """While active, SIGINT and SIGTERM are noted instead of obeyed; a second SIGINT interrupts at once."""

    def __enter__(self):
        self.received = None
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *unused):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
        logging.info(
            "%s: finishing this step, then saving (Ctrl-C again: stop at once)",
            signal.Signals(number).name,
        )


def fit(experiment):
    """Trains until the last step, from the newest checkpoint of the run directory if it has one.

    Raises:
        Interrupted: SIGINT or SIGTERM came; a checkpoint was written.
        Diverged: a loss or gradient is not finite; the last checkpoint is of an earlier step.
    """
    settings, total = experiment.settings, experiment.num_steps
    start = _start(experiment)
    if start >= total:
        logging.info("training is complete: step %d of %d", start, total)
        return
    summaries = Summaries(experiment)
    keeper = Keeper(experiment, summaries, start)
    batch_size = settings.train.train_batch_size
    steps = Steps(
        TrainStep(experiment.objective, experiment.optimizer, settings, experiment.strategy),
        Batches(experiment, start),
    )
    with (
        Interrupts() as interrupts,
        Progress("training", total * batch_size, start * batch_size) as progress,
    ):
        step = start
        while step < total:
            batch, rows = steps.take(
                step, keeper.steps_left(step, min(settings.hardware.steps_per_loop, total - step))
            )
            for row in rows:
                step += 1
                _check_finite(row, step, experiment)
            metrics = rows[-1]
            progress.update(batch_size * len(rows), _describe(metrics))
            stop = distribute.any_worker(experiment.strategy, interrupts.received)
            last = step == total or stop
            if step % STEPS_BETWEEN_SUMMARIES == 1 or len(rows) > 1 or last:
                summaries.scalars(step, metrics)
                _warn(experiment, step, metrics)
            if step == start + 1:
                summaries.images(step, batch)
            keeper.after(step, last)
            if stop:
                raise Interrupted(
                    f"interrupted at step {step} of {total}, which is saved in {experiment.directory.path}; "
                    "the same command goes on from there",
                    interrupts.received or signal.SIGTERM,
                )


class Batches:
    """The batches of a training from step `start` on."""

    def __init__(self, experiment, start):
        self._experiment, self._parts = experiment, initialization.with_constants(experiment)
        self._begin(start)

    def _begin(self, step):
        settings = self._experiment.settings
        self.iterator = iter(
            pipeline.training_batches(
                self._parts,
                self._experiment.objective.example,
                settings.train.seed,
                step,
                self._experiment.strategy,
                settings.hardware.data_service,
            )
        )

    def after(self, step):
        """The batch after `step`; an image whose file can't be read any more does not end a training of days."""
        while True:
            try:
                return next(self.iterator)
            except tf.errors.OpError as error:
                if not self.replace_unreadable(step, error):
                    raise

    def replace_unreadable(self, step, error):
        """Whether there are images that can't be read any more, which can be the cause of `error`; others stand in for them after `step`."""
        if isinstance(error, OF_OTHERS):
            return False
        self._parts, lost = mixture.without_unreadable(self._parts)
        if lost:
            logging.warning(
                "step %d: %d images can't be read any more, others stand in for them without a label: %s (%s)%s",
                step,
                len(lost),
                *lost[0],
                " ..." if len(lost) > 1 else "",
            )
            self._begin(step)
        return bool(lost)


class Steps:
    """Takes steps, one at a time or several without a word to the host, and measures which share of the time one waits for its batch."""

    def __init__(self, train_step, batches):
        self._train_step, self._batches, self._first, self._ended = (
            train_step,
            batches,
            True,
            time.monotonic(),
        )

    def take(self, step, count):
        """(the batch of the last step if it is at hand, metrics of each of the steps): up to `count` steps after `step`; the first one comes alone, for its batch."""
        if count > 1 and not self._first:
            return None, self._loop(step, count)
        self._first = False
        asked = time.monotonic()
        batch = self._batches.after(step)
        waited = time.monotonic() - asked
        metrics = self._train_step(batch)
        began, self._ended = self._ended, time.monotonic()
        return batch, [{**metrics, "data_time": waited / max(self._ended - began, 1e-9)}]

    def _loop(self, step, count):
        try:
            return self._train_step.loop(self._batches.iterator, count)
        except tf.errors.OpError as error:
            if not self._batches.replace_unreadable(step, error):
                raise
            raise Failed(
                f"--steps_per_loop={count}: one of the steps after {step} had no batch; the same command goes on from the last checkpoint"
            ) from None


def _start(experiment):
    """Restores what there is and returns the number of steps done."""
    experiment.lock_directory()
    if experiment.checkpoints.resume():
        logging.info("resuming from %s", experiment.checkpoints.last)
    else:
        initialization.initialize(experiment)
    step = int(experiment.checkpoints.step)
    if not distribute.all_workers_agree(experiment.strategy, step):
        raise Failed(
            f"--model_dir={experiment.directory.path}: the workers do not see the same checkpoints there (here step {step}); give a directory that all share"
        )
    experiment.commit_directory()  # only now: a start that fails leaves no configuration behind
    return step


class Keeper:
    """Saves the training and has the monitor look at it, when it is time for either; counts the seconds that are training."""

    def __init__(self, experiment, summaries, start):
        options = experiment.settings.train
        self._experiment, self._summaries, self._monitor = (
            experiment,
            summaries,
            Monitor(experiment, start),
        )
        self._every = options.checkpoint_steps or max(
            options.checkpoint_epochs * experiment.num_images // options.train_batch_size, 1
        )
        self._count_on()

    def _count_on(self):
        self._began = time.monotonic() - float(self._experiment.checkpoints.seconds)

    def steps_left(self, step, most):
        """How many steps after `step` there are until something comes after one of them, at most `most`."""
        return next(
            (
                ahead
                for ahead in range(1, most)
                if (step + ahead) % self._every == 0 or self._monitor.due(step + ahead)
            ),
            most,
        )

    def after(self, step, last):
        """What comes after a step; `last`: the training is saved in any case."""
        checkpoints = self._experiment.checkpoints
        save, look = last or step % self._every == 0, self._monitor.due(step)
        if not (save or look):
            return
        _check_weights(self._experiment.objective, step, checkpoints)
        checkpoints.step.assign(step)
        checkpoints.seconds.assign(time.monotonic() - self._began)
        if look:  # before the training is saved, so that no start can leave it out
            self._summaries.write(
                step, {f"monitor/{name}": value for name, value in self._look(step).items()}
            )
            self._count_on()
        if save:
            checkpoints.save()

    def _look(self, step):
        try:
            return self._monitor.look()
        except tf.errors.OpError as error:
            if isinstance(error, OF_OTHERS) or not self._experiment.unreadable_images():
                raise
            logging.warning(
                "step %d: the look at held-out images is left out, some can't be read any more",
                step,
            )
            return {}


def _check_finite(metrics, step, experiment):
    """Counts a step that was left out since something in it was not finite.

    Raises:
        Diverged: there are more of them than `skip_nonfinite`.
    """
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if metrics.get("skipped"):
        skipped, most = experiment.checkpoints.skipped, experiment.settings.train.skip_nonfinite
        bad = bad or ["the weights after it"]
        if int(skipped.assign_add(1)) <= most:
            logging.warning(
                "step %d: not finite: %s; the step is left out, %d of at most %d",
                step,
                bad[0],
                int(skipped),
                most,
            )
            return
    if bad:
        raise _diverged(bad, _bad_weights(experiment.objective), step, experiment.checkpoints)


def _check_weights(objective, step, checkpoints):
    """A finite gradient can still make weights that are not."""
    bad = _bad_weights(objective)
    if bad:
        raise _diverged([], bad, step, checkpoints)


def _bad_weights(objective):
    """The paths of the variables that are not finite, in the order of the forward pass."""
    return [v.path for v in objective.variables if not np.isfinite(v.numpy()).all()]


def _diverged(metrics, variables, step, checkpoints):
    """What to raise; `metrics` and `variables`: the names of those that are not finite."""
    shown = [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
        for names in (metrics, variables)
        if names
    ]
    return Diverged(
        f"step {step}: not finite: {', first of the weights '.join(shown)}; the last good checkpoint is {checkpoints.last or 'none yet'}. "
        "Try a smaller --learning_rate, more --warmup_epochs, a higher --temperature, --precision=float32, or --skip_nonfinite if it is one bad batch"
    )


def _describe(metrics):
    """The few metrics worth watching, as text."""
    parts = []
    if "contrast_loss" in metrics:
        parts.append(
            f"loss {metrics['contrast_loss']:.3f} (chance {metrics['contrast_chance']:.2f}), positives found {metrics['contrast_acc']:.0%}"
        )
    if "pretext_loss" in metrics:
        right = f", right answers {metrics['pretext_acc']:.0%}" if "pretext_acc" in metrics else ""
        parts.append(
            f"loss {metrics['pretext_loss']:.3f} (chance {metrics['pretext_chance']:.2f}){right}"
        )
    if "distill_loss" in metrics:
        parts.append(
            f"loss {metrics['distill_loss']:.3f}, as the teacher {metrics['teacher_agreement']:.0%}"
        )
    if "supervised_acc" in metrics:
        parts.append(f"label accuracy {metrics['supervised_acc']:.0%}")
    if not parts:
        parts.append(f"loss {metrics['total_loss']:.3f}")
    if metrics.get("data_time", 0) > WORTH_TELLING:
        parts.append(f"{metrics['data_time']:.0%} of the time waiting for input")
    return ", ".join(parts)


def _warn(experiment, step, metrics):
    warning = experiment.objective.warning(metrics)
    if warning:
        logging.warning("step %d: %s", step, warning)


class Summaries:
    """TensorBoard events of the training, in the run directory; the chief writes them."""

    def __init__(self, experiment):
        chief = distribute.is_chief(experiment.strategy)
        self._writer = (
            tf.summary.create_file_writer(str(experiment.directory.path))
            if chief
            else tf.summary.create_noop_writer()
        )
        self._schedule, self._strategy, self._objective, self._checkpoints = (
            experiment.schedule,
            experiment.strategy,
            experiment.objective,
            experiment.checkpoints,
        )

    def scalars(self, step, metrics):
        """train/<name> for all metrics, and the learning rate of the step."""
        self.write(
            step,
            {
                **{f"train/{name}": value for name, value in metrics.items()},
                "learning_rate": self._schedule(step - 1 - int(self._checkpoints.skipped)),
            },
        )

    def write(self, step, figures):
        """{name: scalar} as they are."""
        with self._writer.as_default(step):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def images(self, step, batch):
        """Some augmented images of a batch, if it has images; views of one image stand side by side."""
        images = self._objective.images(
            {
                name: self._strategy.experimental_local_results(values)[0][:SHOWN_IMAGES]
                for name, values in batch.items()
            }
        )
        if images is None:
            return
        with self._writer.as_default(step):
            tf.summary.image("image", images, max_outputs=SHOWN_IMAGES)
