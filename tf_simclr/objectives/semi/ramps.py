"""How weights and thresholds change over a training.

All are functions of the share of the training that is done, float32 scalar in [0, 1].
"""

import tensorflow as tf

STEEPNESS = 5.0


def linear(progress: tf.Tensor, begin: float, end: float) -> tf.Tensor:
    """0 until `begin`, then linear up to 1 at `end` (Lee 2013, equation 16)."""
    return tf.clip_by_value((progress - begin) / (end - begin), 0.0, 1.0)


def sigmoid(progress: tf.Tensor, end: float) -> tf.Tensor:
    """exp(-5 (1 - x)^2), x up to 1 at `end` (Tarvainen and Valpola 2017, appendix B)."""
    remaining = 1 - tf.minimum(progress / end, 1.0)
    return tf.exp(-STEEPNESS * tf.square(remaining))


# {--tsa: function of the progress from 0 to 1}: training signal annealing (Xie et al. 2020).
SIGNAL_SCHEDULES = {
    "linear": lambda progress: progress,
    "exp": lambda progress: tf.exp(STEEPNESS * (progress - 1)),
    "log": lambda progress: 1 - tf.exp(-STEEPNESS * progress),
}
