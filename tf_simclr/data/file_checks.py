"""Whether an image file is one that `decoding` may decode: looked at before it is.

All of it is in TensorFlow's own operations, so that it can be part of an exported model, and
compiled once, not in each graph that uses it.
"""

import functools
import re

import tensorflow as tf

from tf_simclr.data import gif, plain_files
from tf_simclr.data.decoding import MAX_PIXELS, PNG_SIGNATURE, is_animated_webp, is_webp
from tf_simclr.data.file_bytes import number, starts_with

# A JPEG may have so many times as many pixels as others, and is then decoded reduced. A progressive
# one takes up to 8 bytes for each of them while it is decoded.
JPEG_ALLOWANCE = 3
ACCEPTED = "JPEG, PNG, BMP, GIF and WebP are accepted"
PALETTE = (
    "a BMP file with a color palette, which TensorFlow would read as grayscale; convert it to PNG"
)
ANIMATED = "an animated WebP file, which TensorFlow can't read; save its first frame alone"
BMP_SIGNATURE = b"BM"
BMP_FILE_HEADER = 14  # bytes


def checked(contents: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """`contents`, which `decoding.decode` may have; a GIF is cut behind its first frame.

    Args:
        contents: scalar string.
        max_pixels: of the image; a JPEG may have JPEG_ALLOWANCE times as many.

    Raises:
        InvalidArgumentError: none of the formats, an animated WebP, more than `max_pixels` pixels,
            a palette that TensorFlow would read as grayscale.
    """
    return checked_and_counted(contents, max_pixels)[0]


def checked_and_counted(
    contents: tf.Tensor, max_pixels: int = MAX_PIXELS
) -> tuple[tf.Tensor, tf.Tensor]:
    """(what `checked` returns, int64 number of pixels); arguments and errors as there."""
    return _checked(tf.convert_to_tensor(contents), max_pixels)


@plain_files.not_inlined
def _checked(contents, max_pixels):
    return plain_files.branch(
        contents,
        max_pixels,
        plain=lambda num_pixels: (contents, num_pixels),
        other=functools.partial(_checked_any, max_pixels=max_pixels),
    )


@plain_files.not_inlined
def _checked_any(contents, max_pixels):
    """As `checked_and_counted`, whatever the file is."""
    is_bmp = starts_with(contents, BMP_SIGNATURE)
    is_gif = starts_with(contents, gif.SIGNATURE)
    is_png = starts_with(contents, PNG_SIGNATURE)
    is_known = tf.io.is_jpeg(contents) | is_png | is_bmp | is_gif | is_webp(contents)
    message = "the input is not an image that can be read: " + ACCEPTED
    with _require(is_known, message):
        contents = tf.identity(contents)
    no_frame = tf.constant(0, tf.int64)
    contents, frame_pixels = tf.cond(
        is_gif, lambda: gif.first_frame(contents), lambda: (contents, no_frame)
    )
    pixels = _num_pixels(contents, frame_pixels)
    max_jpeg_pixels = JPEG_ALLOWANCE * max_pixels
    limit = tf.where(tf.io.is_jpeg(contents), max_jpeg_pixels, max_pixels)
    message = (
        f"the image has too many pixels, or none: of a JPEG at most {max_jpeg_pixels}, else at "
        f"most {max_pixels} are accepted, got"
    )
    with _require((pixels > 0) & (pixels <= tf.cast(limit, tf.int64)), message, pixels):
        contents = tf.identity(contents)
    has_palette = tf.cond(is_bmp, lambda: has_color_palette(contents), lambda: tf.constant(False))
    with _require(~has_palette, PALETTE):
        contents = tf.identity(contents)
    with _require(~is_animated_webp(contents), ANIMATED):
        return tf.identity(contents), pixels


def _num_pixels(contents, frame_pixels):
    """Pixels of an image by its header, int64.

    Args:
        contents: scalar string.
        frame_pixels: of a GIF, those of its first frame; 0 without one.
    """

    def jpeg_pixels():
        shape = tf.image.extract_jpeg_shape(contents)
        return tf.reduce_prod(tf.cast(shape, tf.int64)[:2])

    def png_pixels():
        width = number(contents, 16, 4, is_big_endian=True)
        return width * number(contents, 20, 4, is_big_endian=True)

    def bmp_pixels():
        return _magnitude(number(contents, 18, 4)) * _magnitude(number(contents, 22, 4))

    def gif_pixels():
        screen = number(contents, 6, 2) * number(contents, 8, 2)
        return tf.where(frame_pixels > 0, tf.maximum(frame_pixels, screen), 0)

    return tf.case(
        [
            (tf.io.is_jpeg(contents), jpeg_pixels),
            (starts_with(contents, PNG_SIGNATURE), png_pixels),
            (starts_with(contents, BMP_SIGNATURE), bmp_pixels),
            (starts_with(contents, gif.SIGNATURE), gif_pixels),
        ],
        default=lambda: _webp_pixels(contents),
    )


def _webp_pixels(contents):
    """Pixels of a WebP by the header of its first chunk: extended, lossless or lossy."""

    def extended():
        return (1 + number(contents, 24, 3)) * (1 + number(contents, 27, 3))

    def lossless():
        bits = number(contents, 21, 4)
        return (1 + bits % 2**14) * (1 + bits // 2**14 % 2**14)

    def lossy():
        return number(contents, 26, 2) % 2**14 * (number(contents, 28, 2) % 2**14)

    return tf.case(
        [
            (starts_with(contents, b"VP8X", 12), extended),
            (starts_with(contents, b"VP8L", 12), lossless),
        ],
        default=lossy,
    )


def reason(error: BaseException) -> str:
    """What TensorFlow says of a file that it can't read, without the names of its operations."""
    message = str(getattr(error, "message", error))
    failed = re.search(r"assertion failed: \[(.*?)\](?: \[(.*?)\])?", message)  # one of `checked`
    if failed:
        return " ".join(filter(None, failed.groups()))
    eager = re.search(
        r"Summarized data: b(['\"])(.*?)\1\n?(-?\d*)", message
    )  # the same, not compiled
    if eager:
        return f"{eager[2]} {eager[3]}".strip()
    said, node, _ = message.partition("\n\t [[{{node")
    lines = said.splitlines()
    line = lines[-1] if node else lines[0]  # that of a graph follows its call stack
    return line.split(" [Op:")[0].split("}} ")[-1]


def has_color_palette(contents: tf.Tensor) -> tf.Tensor:
    """Whether it is an 8-bit BMP whose palette is not the gray scale; a bool scalar."""
    start = BMP_FILE_HEADER + number(contents, 14, 4)
    end = number(contents, 10, 4)
    padded = tf.strings.join([contents, b"\0"])  # a start behind the end would raise
    length = tf.cast(tf.strings.length(padded), tf.int64)
    start = tf.minimum(start, length - 1)
    most = tf.minimum(length - 1 - start, 4 * 256)
    size = tf.clip_by_value(end - start, 0, most) // 4 * 4
    palette = tf.strings.substr(padded, tf.cast(start, tf.int32), tf.cast(size, tf.int32))
    entries = tf.reshape(tf.io.decode_raw(palette, tf.uint8), [-1, 4])  # [N, 4]
    colors = entries[:, :3]
    gray_scale = tf.cast(tf.range(tf.shape(colors)[0])[:, None], tf.uint8)
    is_8_bit = starts_with(contents, BMP_SIGNATURE) & (number(contents, 28, 2) == 8)
    return is_8_bit & tf.reduce_any(colors != gray_scale)


def _magnitude(stored):
    """The absolute value of what was stored as a signed number of 32 bits."""
    return tf.where(stored < 2**31, stored, 2**32 - stored)


def _require(condition, message, *values):
    return tf.control_dependencies([tf.debugging.Assert(condition, [message, *values])])
