"""Encoded images (JPEG, PNG, BMP, GIF, WebP) from anywhere -> pixels, upright.

They are looked at before, see `file_checks`. All of it is in TensorFlow's own operations, so that
it can be part of an exported model. The decoder is compiled once, not in each graph that uses it;
one by one its many small operations would take milliseconds.
"""

import functools

import tensorflow as tf

from tf_simclr.data import gif, jpeg, orientation, plain_files
from tf_simclr.data.file_bytes import number, starts_with

# Of an image, in training and in serving. Decoded it takes 100 MB, and as float32 400 MB.
MAX_PIXELS = 2**25
# With what has to come first in it, else a reader may find another size than is read here.
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_BIT_DEPTH = 24  # position of the number of bits of a value
PNG_16_BIT_START = PNG_BIT_DEPTH + 1  # so many bytes tell a PNG of 16 bits
WEBP_SIGNATURE = b"WEBP"
WEBP_SIGNATURE_START = 8  # bytes, behind RIFF and the size of the file
ANIMATION_BIT = 2  # of the flags of an extended WebP


def decode(
    contents: tf.Tensor,
    max_pixels: int = MAX_PIXELS,
    value_range: tuple[float, float] | None = None,
) -> tf.Tensor:
    """Decodes an image (JPEG, PNG, BMP, WebP, the first frame of a GIF; gray, RGB or with alpha).

    It is turned upright by its EXIF orientation.

    Args:
        contents: scalar string.
        max_pixels: of the result; a JPEG that has more is reduced by 2, 4 or 8.
        value_range: of images with 16 bits a value, those that become 0 and 255; None: the upper 8
            bits are taken.

    Returns:
        uint8 [H, W, 3].
    """
    return _decode(tf.convert_to_tensor(contents), max_pixels, value_range)


@plain_files.not_inlined
def _decode(contents, max_pixels, value_range):
    return plain_files.branch(
        contents,
        max_pixels,
        plain=lambda _: tf.io.decode_image(contents, channels=3, expand_animations=False),
        other=functools.partial(_decode_any, max_pixels=max_pixels, value_range=value_range),
    )


@plain_files.not_inlined
def _decode_any(contents, max_pixels, value_range):
    """As `decode`, whatever the file is."""
    image = _decode_stored(contents, max_pixels, value_range)
    return orientation.turn_upright(image, orientation.exif_orientation(contents))


def _decode_stored(contents, max_pixels, value_range):
    """As `decode`, in the orientation in which the image is stored."""

    def decode_jpeg():
        ratio = jpeg.ratio_within(jpeg.stored_size(contents), max_pixels)
        return jpeg.decode(contents, ratio)

    def decode_8_bit():
        is_gif = starts_with(contents, gif.SIGNATURE)
        single = tf.cond(is_gif, lambda: gif.first_frame(contents)[0], lambda: contents)
        # An animated WebP would end the process. `file_checks` say so: an assertion here would be
        # carried out for images whose pixels nobody asks for, and all that it depends on.
        readable = tf.where(is_animated_webp(contents), b"", single)
        return tf.io.decode_image(readable, expand_animations=False)  # [H, W, 1 to 4]

    def decode_other():
        image = tf.cond(
            _is_16_bit_png(contents) & (value_range is not None),
            lambda: _decode_16_bit(contents, value_range or (0, 1)),
            decode_8_bit,
        )
        is_gray = tf.shape(image)[-1] < 3
        return tf.cond(is_gray, lambda: tf.repeat(image[..., :1], 3, -1), lambda: image[..., :3])

    image = tf.cond(tf.io.is_jpeg(contents), decode_jpeg, decode_other)
    return tf.ensure_shape(image, [None, None, 3])


def _is_16_bit_png(contents):
    has_16_bits = number(contents, PNG_BIT_DEPTH, 1) == 16
    return starts_with(contents, PNG_SIGNATURE) & has_16_bits


def _decode_16_bit(contents, value_range):
    """uint8 [H, W, 1 to 4] of a PNG of 16 bits, whose values are scaled and cut off."""
    low, high = value_range
    values = tf.cast(tf.io.decode_png(contents, dtype=tf.uint16), tf.float32)
    scaled = (values - low) * (255 / (high - low))
    return tf.cast(tf.clip_by_value(tf.math.rint(scaled), 0.0, 255.0), tf.uint8)


def is_webp(contents: tf.Tensor) -> tf.Tensor:
    """Whether a file is a WebP by its signature; a bool scalar."""
    return starts_with(contents, WEBP_SIGNATURE, WEBP_SIGNATURE_START)


def is_animated_webp(contents: tf.Tensor) -> tf.Tensor:
    """Whether a file is a WebP of several frames; a bool scalar."""
    flags = number(contents, 20, 1)
    is_animated = flags // ANIMATION_BIT % 2 == 1
    return is_webp(contents) & starts_with(contents, b"VP8X", 12) & is_animated
