"""Images of which crops can be had: `shape`, `crops`, `whole`.

An encoded image is decoded no further than that needs.
"""

import tensorflow as tf

from tf_simclr.data import decoding, orientation


class DecodedImage:
    """An image whose pixels are known.

    Args:
        image: uint8 [H, W, 3], or float32 in the range of uint8.
    """

    def __init__(self, image: tf.Tensor):
        self._image = image

    def shape(self) -> tf.Tensor:
        """int32 [3]: height, width, 3."""
        return tf.shape(self._image)

    def whole(self) -> tf.Tensor:
        """The image [H, W, 3]."""
        return self._image

    def crops(self, boxes: list) -> list[tf.Tensor]:
        """Crops of the image.

        Args:
            boxes: pairs (begin, extent), each int32 [3]: row, column, channel.

        Returns:
            [h, w, 3] for each box.
        """
        return [tf.slice(self._image, begin, extent) for begin, extent in boxes]


class EncodedImage:
    """The contents of an image file, see `decoding.decode`.

    Of a JPEG one rectangle is decoded that holds all crops: its bits can only be read from the
    first to the last, so one reading for all costs less than one for each. Other formats are
    decoded whole, once. The image is upright, whatever its orientation in the file.

    Args:
        contents: scalar string.
        value_range: see `decoding.decode`.
    """

    def __init__(self, contents: tf.Tensor, value_range: tuple[float, float] | None = None):
        self._contents = contents
        self._value_range = value_range
        self._is_jpeg = tf.io.is_jpeg(contents)
        self._orientation = orientation.exif_orientation(contents)
        blank = tf.zeros([0, 0, 3], tf.uint8)
        other = tf.cond(self._is_jpeg, lambda: blank, self.whole)
        self._other = tf.ensure_shape(other, [None, None, 3])  # image of another format

    def shape(self) -> tf.Tensor:
        """int32 [3]: height, width, 3."""

        def jpeg_shape():
            stored_size = tf.image.extract_jpeg_shape(self._contents)[:2]
            return tf.concat([orientation.upright_size(stored_size, self._orientation), [3]], 0)

        return tf.cond(self._is_jpeg, jpeg_shape, lambda: tf.shape(self._other))

    def whole(self) -> tf.Tensor:
        """The image, uint8 [H, W, 3]."""
        return decoding.decode(self._contents, self._value_range)

    def crops(self, boxes: list) -> list[tf.Tensor]:
        """Crops of the image; arguments and result as those of `DecodedImage.crops`."""
        begin = tf.reduce_min([corner for corner, _ in boxes], 0)
        end = tf.reduce_max([corner + size for corner, size in boxes], 0)
        extent = end - begin
        window = tf.concat([begin[:2], extent[:2]], 0)
        image = tf.cond(
            self._is_jpeg,
            lambda: self._jpeg_window(window),
            lambda: tf.slice(self._other, begin, extent),
        )
        image = DecodedImage(tf.ensure_shape(image, [None, None, 3]))
        return image.crops([(corner - begin, size) for corner, size in boxes])

    def _jpeg_window(self, window):
        """A rectangle (row, column, height, width) of the upright image, uint8 [h, w, 3]."""
        stored = orientation.stored_window(window, self.shape()[:2], self._orientation)
        image = tf.io.decode_and_crop_jpeg(self._contents, stored, channels=3)
        return orientation.turn_upright(image, self._orientation)
