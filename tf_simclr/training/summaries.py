"""What is written of a training's metrics, and those that the progress bar shows."""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.runs.metrics_log import MetricsLog

MAX_IMAGES = 16  # augmented images that are written
NOTICEABLE_WAIT = 0.02  # share of the time spent waiting for input that is worth a mention
MAX_EVENTS = 2**31 - 1  # in memory, so that one flush writes all of them
MIN_LABELS = 8  # of a batch on average, for an accuracy that says something


class Summaries:
    """TensorBoard events and `metrics.jsonl` in the run directory; the chief writes them.

    In a bucket scalars wait for `flush`, see `MetricsLog.collects`.

    Args:
        directory: `epath.Path` of the run.
        metrics_log: of the run.
        learning_rate: the schedule, step -> rate.
        objective: what is trained.
        strategy: which process is the chief.
    """

    def __init__(self, directory, *, metrics_log: MetricsLog, learning_rate, objective, strategy):
        self._metrics_log = metrics_log
        self._is_chief = distribute.is_chief(strategy)
        if self._is_chief:
            self._writer = tf.summary.create_file_writer(str(directory), max_queue=MAX_EVENTS)
        else:
            self._writer = tf.summary.create_noop_writer()
        self._waiting = []  # (step, scalars)
        self._learning_rate = learning_rate
        self._objective = objective
        self._strategy = strategy

    def write_metrics(self, step: int, metrics: dict[str, float], num_skipped: int):
        """Writes train/<name> for all metrics, and the learning rate of the step.

        Args:
            step: number of the step, from 1.
            metrics: of the step.
            num_skipped: steps so far that were left out, and for which the schedule did not move.
        """
        tags = {f"train/{name}": value for name, value in metrics.items()}
        learning_rate = self._learning_rate(step - 1 - num_skipped)
        self.write_scalars(step, {**tags, "learning_rate": learning_rate})

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.flush()

    def write_scalars(self, step: int, scalars: dict):
        """Writes {tag: scalar} as they are."""
        self._waiting.append((step, scalars))
        if self._is_chief:
            self._metrics_log.write(step, scalars)
        if not self._metrics_log.collects:
            self.flush()

    def flush(self):
        """Writes the scalars that wait."""
        with self._writer.as_default():  # which flushes the writer at its end
            for step, scalars in self._waiting:
                for tag, value in scalars.items():
                    tf.summary.scalar(tag, value, step)
        self._waiting.clear()
        if self._is_chief:
            self._metrics_log.flush()

    def write_images(self, step: int, batch):
        """Writes some augmented images of a distributed batch, views of an image side by side."""
        local_batch = {}
        for name, values in batch.items():
            first_replica = self._strategy.experimental_local_results(values)[0]
            local_batch[name] = first_replica[:MAX_IMAGES]
        images = self._objective.images(local_batch)
        if images is None:  # the batch has only what was computed of the images
            return
        with self._writer.as_default(step):
            tf.summary.image("image", images, max_outputs=MAX_IMAGES)


def describe(metrics: dict[str, float], labels_per_batch: float) -> str:
    """The few metrics worth watching, as text for the progress bar.

    Args:
        metrics: of a step.
        labels_per_batch: how many labels a batch has on average.
    """
    texts = []
    if "contrast_loss" in metrics:
        loss = _loss_and_chance(metrics, "contrast")
        texts.append(f"{loss}, positives found {metrics['contrast_acc']:.0%}")
    if "pretext_loss" in metrics:
        texts.append(_loss_and_chance(metrics, "pretext"))
        if "pretext_acc" in metrics:
            texts.append(f"right answers {metrics['pretext_acc']:.0%}")
    if "distill_loss" in metrics:
        agreement = metrics["teacher_agreement"]
        texts.append(f"loss {metrics['distill_loss']:.3f}, as the teacher {agreement:.0%}")
    if "unlabeled_loss" in metrics:
        texts.append(f"loss without labels {metrics['unlabeled_loss']:.3f}")
        if "mask_rate" in metrics:
            texts.append(f"of {metrics['mask_rate']:.0%} of the images")
    if "supervised_acc" in metrics and labels_per_batch >= MIN_LABELS:
        texts.append(f"label accuracy {metrics['supervised_acc']:.0%}")
    if not texts:
        texts.append(f"loss {metrics['total_loss']:.3f}")
    waiting = metrics.get("data_time", 0)
    if waiting > NOTICEABLE_WAIT:
        texts.append(f"{waiting:.0%} of the time waiting for input")
    return ", ".join(texts)


def _loss_and_chance(metrics, kind):
    return f"loss {metrics[f'{kind}_loss']:.3f} (chance {metrics[f'{kind}_chance']:.2f})"
