"""Reading the bytes of an image file in TensorFlow's operations, wherever the file ends."""

import tensorflow as tf


def starts_with(contents: tf.Tensor, signature: bytes, position=0) -> tf.Tensor:
    """Whether `signature` stands at a position; a bool scalar.

    Args:
        contents: scalar string.
        signature: what should stand there.
        position: int scalar, which may be behind the end.
    """
    return piece(contents, position, len(signature)) == signature


def piece(contents: tf.Tensor, position, length) -> tf.Tensor:
    """Bytes of a file, fewer at its end; a scalar string.

    Args:
        contents: scalar string.
        position: int scalar, which may be behind the end.
        length: int scalar.
    """
    size = tf.strings.length(contents)
    start = tf.clip_by_value(tf.cast(position, tf.int32), 0, size)
    return tf.strings.substr(contents, start, tf.cast(length, tf.int32))


def number(contents: tf.Tensor, position, width: int, is_big_endian=False) -> tf.Tensor:
    """An unsigned number, int64; bytes behind the end count as 0.

    Args:
        contents: scalar string.
        position: int scalar.
        width: in bytes.
        is_big_endian: whether the first byte counts most; may be a bool scalar.
    """
    padded = tf.strings.join([piece(contents, position, width), b"\0" * width])
    digits = tf.io.decode_raw(tf.strings.substr(padded, 0, width), tf.uint8)
    digits = tf.cast(digits, tf.int64)
    little_endian = 256 ** tf.range(width, dtype=tf.int64)
    weights = tf.where(is_big_endian, little_endian[::-1], little_endian)
    return tf.reduce_sum(digits * weights)
