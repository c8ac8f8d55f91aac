"""Images of which crops can be had: `shape`, `is_at_most`, `crops`, `whole`.

An encoded image is decoded no further than that needs.
"""

import dataclasses
import functools

import tensorflow as tf

from tf_simclr.data import decoding, jpeg, orientation


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

    def is_at_most(self, size: int) -> bool:
        """Whether it is known to have no more than `size` rows and columns."""
        shape = tf.TensorShape(self._image.shape)
        return shape.is_fully_defined() and max(shape[:2]) <= size

    def whole(self) -> tf.Tensor:
        """The image [H, W, 3]."""
        return self._image

    def crops(self, boxes: list, size: int | None = None) -> list[tf.Tensor]:
        """Crops of the image.

        Args:
            boxes: pairs (begin, extent), each int32 [3]: row, column, channel.
            size: height and width in pixels that the crops will be resized to, antialiased; if it
                is given, crops may be reduced already, to no less than that.

        Returns:
            [h, w, 3] for each box.
        """
        return [tf.slice(self._image, begin, extent) for begin, extent in boxes]


@dataclasses.dataclass(frozen=True)
class _Facts:
    """Of an encoded image.

    Attributes:
        is_jpeg: whether rectangles of it can be decoded; bool scalar.
        orientation: by EXIF; int32 scalar.
        ratio: by which a JPEG with very many pixels is reduced; int32 scalar.
        jpeg_size: height and width of an upright, reduced JPEG; int32 [2].
        other: the image of another format, else nothing; uint8 [H, W, 3].
    """

    is_jpeg: tf.Tensor
    orientation: tf.Tensor
    ratio: tf.Tensor
    jpeg_size: tf.Tensor
    other: tf.Tensor


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

    @functools.cached_property
    def _facts(self):
        """What crops depend on; the whole image does not, and has a smaller graph."""
        contents = self._contents
        is_jpeg = tf.io.is_jpeg(contents)
        blank = tf.zeros([0, 0, 3], tf.uint8)
        other = tf.cond(is_jpeg, lambda: blank, self.whole)
        stored_size = tf.cond(
            is_jpeg, lambda: jpeg.stored_size(contents), lambda: tf.ones([2], tf.int32)
        )
        ratio = jpeg.ratio_within(stored_size, decoding.MAX_PIXELS)
        size = jpeg.reduced_size(stored_size, ratio)
        # Another format is upright, and to walk over its bytes would take as long as to decode it.
        image_orientation = tf.cond(
            is_jpeg,
            lambda: orientation.exif_orientation(contents),
            lambda: tf.constant(orientation.UPRIGHT),
        )
        return _Facts(
            is_jpeg=is_jpeg,
            orientation=image_orientation,
            ratio=ratio,
            jpeg_size=orientation.upright_size(size, image_orientation),
            other=tf.ensure_shape(other, [None, None, 3]),
        )

    def shape(self) -> tf.Tensor:
        """int32 [3]: height, width, 3."""
        facts = self._facts
        jpeg_shape = tf.concat([facts.jpeg_size, [3]], 0)
        return tf.where(facts.is_jpeg, jpeg_shape, tf.shape(facts.other))

    def is_at_most(self, size: int) -> bool:
        """Not known before it is decoded."""
        return False

    def whole(self) -> tf.Tensor:
        """The image, uint8 [H, W, 3]."""
        return decoding.decode(self._contents, value_range=self._value_range)

    def crops(self, boxes: list, size: int | None = None) -> list[tf.Tensor]:
        """Crops of the image; arguments and result as those of `DecodedImage.crops`."""
        facts = self._facts
        reduction = tf.constant(1)
        if size is not None:
            reduction = self._reduction(boxes, size)
            boxes = [_reduced_box(box, reduction) for box in boxes]
        begin = tf.reduce_min([corner for corner, _ in boxes], 0)
        end = tf.reduce_max([corner + extent for corner, extent in boxes], 0)
        extent = end - begin
        window = tf.concat([begin[:2], extent[:2]], 0)
        image = tf.cond(
            facts.is_jpeg,
            lambda: self._jpeg_window(window, reduction),
            lambda: tf.slice(facts.other, begin, extent),
        )
        image = DecodedImage(tf.ensure_shape(image, [None, None, 3]))
        return image.crops([(corner - begin, extent) for corner, extent in boxes])

    def _reduction(self, boxes, size):
        """By how much a JPEG is decoded smaller; 1 for other formats."""
        facts = self._facts
        max_reduction = tf.where(facts.is_jpeg, jpeg.RATIOS[-1] // facts.ratio, 1)
        return jpeg.ratio_for_crops([extent[:2] for _, extent in boxes], size, max_reduction)

    def _jpeg_window(self, window, reduction):
        """A rectangle (row, column, height, width) of the upright image, uint8 [h, w, 3].

        Args:
            window: int32 [4], in pixels of the image reduced by `reduction`.
            reduction: int32 scalar.
        """
        facts = self._facts
        size = jpeg.reduced_size(facts.jpeg_size, reduction)
        stored = orientation.stored_window(window, size, facts.orientation)
        image = jpeg.decode_window(self._contents, stored, facts.ratio * reduction)
        return orientation.turn_upright(image, facts.orientation)


def _reduced_box(box, reduction):
    """A box of the reduced image, its borders rounded to whole pixels."""
    begin, extent = box
    scale = tf.stack([reduction, reduction, 1])
    reduced_begin = (2 * begin + scale) // (2 * scale)
    reduced_end = (2 * (begin + extent) + scale) // (2 * scale)
    return reduced_begin, reduced_end - reduced_begin
