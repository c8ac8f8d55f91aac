"""Variables that follow others as a moving average."""

import tensorflow as tf


def copy(averages: list, variables: list):
    """Gives `averages` the values of `variables`, which are in the same order."""
    for average, v in zip(averages, variables, strict=True):
        average.assign(v)


def follow(averages: list, variables: list, momentum):
    """One step of the moving average; what is equal stays so, to the last bit.

    Args:
        averages: that follow.
        variables: that are followed, in the same order.
        momentum: share of the averages that stays, a scalar.
    """
    for average, v in zip(averages, variables, strict=True):
        average.assign(average + (1 - momentum) * (v - average))


def warmed_up(decay: float, step: tf.Tensor) -> tf.Tensor:
    """The momentum of an average that forgets its start soon: min(decay, (1 + t) / (10 + t)).

    Source: `num_updates` of tf.train.ExponentialMovingAverage.

    Args:
        decay: that is reached in the end.
        step: t, how many steps are done.

    Returns:
        float32 scalar.
    """
    step = tf.cast(step, tf.float32)
    return tf.minimum(decay, (1 + step) / (10 + step))
