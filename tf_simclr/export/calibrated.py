"""What a calibration makes of a network's outputs, in TensorFlow.

The formulas are those of `runs.calibration`, which are in NumPy.
"""

import numpy as np
import tensorflow as tf

from tf_simclr.runs.calibration import TINY, Calibration

OUTPUTS = ("calibrated_probabilities", "novelty", "unsure")  # each where it is known


def outputs(
    calibration: Calibration | None, logits: tf.Tensor, features: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The outputs that a calibration adds.

    Args:
        calibration: of the classifier; None: nothing is added.
        logits: float32 [B, num_classes].
        features: float32 [B, C] of the encoder's output.

    Returns:
        `calibrated_probabilities` float32 [B, num_classes], where a temperature was fitted;
        `novelty` float32 [B], where there is a reference; `unsure` bool [B], where there is a
        threshold.
    """
    if calibration is None:
        return {}
    values = {}
    probabilities = tf.nn.softmax(logits / np.float32(calibration.temperature or 1))
    if calibration.temperature is not None:
        values["calibrated_probabilities"] = probabilities
    if calibration.reference is not None:
        values["novelty"] = _novelty(calibration, features)
    if calibration.threshold is not None:
        values["unsure"] = tf.reduce_max(probabilities, 1) < np.float32(calibration.threshold)
    return values


def _novelty(calibration, features):
    """float32 [B], see `Calibration.novelty`."""
    reference = tf.constant(calibration.reference)
    quantiles = np.array(calibration.quantiles, np.float32)
    widths = np.maximum(np.diff(quantiles), np.float32(TINY))
    length = tf.sqrt(tf.reduce_sum(features**2, 1, keepdims=True))
    unit = features / tf.maximum(length, np.finfo(np.float32).tiny)
    nearest = tf.gather(reference, tf.argmax(unit @ tf.transpose(reference), 1))  # [B, C]
    distances = tf.sqrt(tf.reduce_sum((unit - nearest) ** 2, 1, keepdims=True))
    exceeded = tf.clip_by_value((distances - quantiles[:-1]) / widths, 0, 1)
    return tf.reduce_mean(exceeded, 1)


def concrete_function(calibration: Calibration | None, endpoints):
    """`outputs` as a function of logits and features, traced once: its constants are large.

    Args:
        calibration: of the classifier; None: nothing is added.
        endpoints: a concrete function whose outputs are the network's.
    """
    shapes = endpoints.structured_outputs
    if "logits_sup" not in shapes:
        return None

    def function(logits, features):
        return outputs(calibration, logits, features)

    if calibration is None:
        return function
    specs = [tf.TensorSpec(shapes[name].shape) for name in ("logits_sup", "embedding")]
    return tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
