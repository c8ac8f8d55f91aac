"""An image of which parts can be had: `shape`, `crops`, `whole`. An encoded one is decoded no further than that needs."""

import tensorflow as tf

from tf_simclr.data import decoding


class DecodedImage:
    """An image that is there: uint8 [H, W, 3], or float32 in the range of uint8."""

    def __init__(self, image):
        self._image = image

    def shape(self):
        """int32 [3]: height, width, 3."""
        return tf.shape(self._image)

    def whole(self):
        return self._image

    def crops(self, boxes):
        """The parts [h, w, 3] at `boxes`, pairs (begin, extent), each int32 [3]: row, column, channel."""
        return [tf.slice(self._image, begin, extent) for begin, extent in boxes]


class EncodedImage:
    """The contents of an image file, a scalar string, see `encoded.decode`.

    Of a JPEG one rectangle is decoded that holds all crops: its bits can only be read from the first to the last, so one
    reading for all costs less than one for each. Other formats are decoded whole, once.
    """

    def __init__(self, contents):
        self._contents, self._jpeg = contents, tf.io.is_jpeg(contents)
        nothing = tf.zeros([0, 0, 3], tf.uint8)
        self._other = tf.ensure_shape(
            tf.cond(self._jpeg, lambda: nothing, lambda: decoding.decode(contents)), [None, None, 3]
        )

    def shape(self):
        return tf.cond(
            self._jpeg,
            lambda: tf.concat([tf.image.extract_jpeg_shape(self._contents)[:2], [3]], 0),
            lambda: tf.shape(self._other),
        )

    def whole(self):
        return decoding.decode(self._contents)

    def crops(self, boxes):
        begin = tf.reduce_min([begin for begin, _ in boxes], 0)
        extent = tf.reduce_max([begin + extent for begin, extent in boxes], 0) - begin
        window = tf.concat([begin[:2], extent[:2]], 0)
        image = tf.cond(
            self._jpeg,
            lambda: tf.io.decode_and_crop_jpeg(self._contents, window, channels=3),
            lambda: tf.slice(self._other, begin, extent),
        )
        return DecodedImage(tf.ensure_shape(image, [None, None, 3])).crops(
            [(corner - begin, size) for corner, size in boxes]
        )
