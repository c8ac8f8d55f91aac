"""A run that is trained further, or less far, than it was begun.

The rule: its learning rate goes on as in a training that has the new length from the start. So the
state of a training stays (weights, optimizer, step), and it can be resumed like any other. The rate
of a run that has ended with 0 rises again, to that of the same step of the longer schedule.
"""

from absl import logging

from tf_simclr.config.length import Length, check_not_shorter, total_steps, training_length
from tf_simclr.training import optimizers
from tf_simclr.training.experiment import Experiment


def check(experiment: Experiment, step: int):
    """Checks that the training would not end before the step that it has reached.

    Args:
        experiment: a run with another length than before.
        step: how many steps are done.

    Raises:
        UserError: it would.
    """
    if experiment.num_steps >= step:
        return
    train = experiment.settings.train
    length = training_length(experiment.settings.flat())
    least = -(-step // train.steps_factor)
    if length.flag == "train_epochs":
        least = least_epochs(least, experiment.data.num_images, train.train_batch_size)
    check_not_shorter(length, least, experiment.directory.path)


def least_epochs(step: int, num_images: int, batch_size: int) -> int:
    """The fewest epochs that take at least `step` steps, see `total_steps`."""
    images_before = (step - 1) * batch_size
    return max(-(-images_before // num_images), 1)


def log(experiment: Experiment, step: int, saved: Length):
    """Logs what changes, with the rate of the next step before and after.

    Args:
        experiment: a run with another length than before.
        step: how many steps are done.
        saved: its length before.
    """
    num_images = experiment.data.num_images
    before = experiment.settings.replace(**saved.flags)
    schedule_before = optimizers.learning_rate_schedule(before, num_images)
    updates = step - int(experiment.checkpoints.skipped)  # the schedule stood still for the others
    logging.info(
        "%s instead of %s: the training goes on from step %d to step %d instead of %d; the "
        "learning rate follows the schedule of the new length, the next one is %.3g instead of "
        "%.3g",
        training_length(experiment.settings.flat()),
        saved,
        step,
        experiment.num_steps,
        total_steps(before.train, num_images),
        experiment.learning_rate(updates),
        schedule_before(updates),
    )
