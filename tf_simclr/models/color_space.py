"""CIE Lab: lightness L in [0, 100] and the color ab, seen by the light D65.

Source: IEC 61966-2-1 (sRGB), CIE 15 (Lab).
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# Of linear sRGB.
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
XYZ /= XYZ.sum(1, keepdims=True)  # relative to white, so that grays have a = b = 0
BEND = 6 / 29  # where the cube root of Lab turns into a line


def rgb_to_lab(images):
    """sRGB [..., 3] in [0, 1] -> Lab [..., 3] of the same dtype.

    Of Keras' own operations: also a symbolic tensor of Keras is accepted.
    """
    linear = ops.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    matrix = XYZ.T.astype(keras.backend.standardize_dtype(images.dtype))
    xyz = ops.tensordot(linear, matrix, 1)
    root = ops.maximum(xyz, BEND**3) ** (1 / 3)
    line = xyz / (3 * BEND**2) + 4 / 29
    x, y, z = ops.unstack(ops.where(xyz > BEND**3, root, line), axis=-1)
    return ops.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def lab_to_rgb(lab: tf.Tensor) -> tf.Tensor:
    """The inverse of `rgb_to_lab`; what sRGB does not have is clipped to [0, 1]."""
    y = (lab[..., 0] + 16) / 116
    f = tf.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    xyz = tf.where(f > BEND, f**3, 3 * BEND**2 * (f - 4 / 29))
    inverse = tf.constant(np.linalg.inv(XYZ), lab.dtype)
    linear = tf.clip_by_value(tf.linalg.matvec(inverse, xyz), 0.0, 1.0)
    return tf.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
