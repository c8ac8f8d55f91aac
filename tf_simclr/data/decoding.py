"""Encoded images (JPEG, PNG, BMP, GIF, WebP) from anywhere -> pixels, upright.

What an image says of itself is looked at before it is decoded. All of it is in TensorFlow's own
operations, so that it can be part of an exported model. Both functions are compiled once, not in
each graph that uses them; one by one their many small operations would take milliseconds.
"""

import functools
import re

import tensorflow as tf

from tf_simclr.data import jpeg, orientation, plain_files
from tf_simclr.data.file_bytes import number, starts_with

# Of an image, in training and in serving. Decoded it takes 100 MB, and as float32 400 MB.
MAX_PIXELS = 2**25
# A JPEG may have so many times as many pixels, and is then decoded reduced. A progressive one takes
# up to 8 bytes for each of them while it is decoded.
JPEG_ALLOWANCE = 3
ACCEPTED = "JPEG, PNG, BMP, GIF and WebP are accepted"
PALETTE = (
    "a BMP file with a color palette, which TensorFlow would read as grayscale; convert it to PNG"
)
# With what has to come first in it, else a reader may find another size than is read here.
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_BIT_DEPTH = 24  # position of the number of bits of a value
PNG_16_BIT_START = PNG_BIT_DEPTH + 1  # so many bytes tell a PNG of 16 bits
BMP_SIGNATURE = b"BM"
GIF_SIGNATURE = b"GIF8"
WEBP_SIGNATURE = b"WEBP"
WEBP_SIGNATURE_START = 8  # bytes, behind RIFF and the size of the file
ANIMATED = "an animated WebP file, which TensorFlow can't read; save its first frame alone"
ANIMATION_BIT = 2  # of the flags of an extended WebP
# Blocks of a GIF before the end of its first frame; it takes a second or two to walk over so many.
MAX_BLOCKS = 2**17
BMP_FILE_HEADER = 14  # bytes
GIF_HEADER = 13
GIF_EXTENSION = 0x21
GIF_FRAME = 0x2C
GIF_TRAILER = b"\x3b"


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


@tf.function(autograph=False)
def _decode(contents, max_pixels, value_range):
    return plain_files.branch(
        contents,
        max_pixels,
        plain=lambda _: tf.io.decode_image(contents, channels=3, expand_animations=False),
        other=functools.partial(_decode_any, max_pixels=max_pixels, value_range=value_range),
    )


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
        is_gif = starts_with(contents, GIF_SIGNATURE)
        single = tf.cond(is_gif, lambda: _first_frame(contents)[0], lambda: contents)
        # An animated WebP would end the process. `checked` says so: an assertion here would be
        # carried out for images whose pixels nobody asks for, and all that it depends on.
        readable = tf.where(_is_animated_webp(contents), b"", single)
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


def checked(contents: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tf.Tensor:
    """`contents`, which `decode` may have; a GIF is cut behind its first frame.

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


@tf.function(autograph=False)
def _checked(contents, max_pixels):
    return plain_files.branch(
        contents,
        max_pixels,
        plain=lambda num_pixels: (contents, num_pixels),
        other=functools.partial(_checked_any, max_pixels=max_pixels),
    )


def _checked_any(contents, max_pixels):
    """As `checked_and_counted`, whatever the file is."""
    is_bmp = starts_with(contents, BMP_SIGNATURE)
    is_gif = starts_with(contents, GIF_SIGNATURE)
    is_png = starts_with(contents, PNG_SIGNATURE)
    is_webp = starts_with(contents, WEBP_SIGNATURE, WEBP_SIGNATURE_START)
    is_known = tf.io.is_jpeg(contents) | is_png | is_bmp | is_gif | is_webp
    message = "the input is not an image that can be read: " + ACCEPTED
    with _require(is_known, message):
        contents = tf.identity(contents)
    no_frame = tf.constant(0, tf.int64)
    contents, frame_pixels = tf.cond(
        is_gif, lambda: _first_frame(contents), lambda: (contents, no_frame)
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
    with _require(~_is_animated_webp(contents), ANIMATED):
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
            (starts_with(contents, GIF_SIGNATURE), gif_pixels),
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


def _is_animated_webp(contents):
    flags = number(contents, 20, 1)
    is_webp = starts_with(contents, WEBP_SIGNATURE, WEBP_SIGNATURE_START)
    return is_webp & starts_with(contents, b"VP8X", 12) & (flags // ANIMATION_BIT % 2 == 1)


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
    return message.splitlines()[0].split(" [Op:")[0].split("}} ")[-1]


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


def _first_frame(contents):
    """A GIF of the first frame alone, since TensorFlow would decode all frames to return one.

    Extensions are left out, which readers may walk over in other ways than is done here.

    Returns:
        (contents, pixels of that frame int64); 0 pixels without a frame within MAX_BLOCKS blocks.
    """
    bytes_of_gif = _Bytes(tf.strings.join([contents, b"\0" * GIF_HEADER]))
    start = GIF_HEADER + _color_table_size(bytes_of_gif.number(10))

    def is_extension(position, count):
        return (bytes_of_gif.number(position) == GIF_EXTENSION) & bytes_of_gif.has(position, count)

    frame, count = tf.while_loop(
        is_extension,
        lambda position, count: bytes_of_gif.skip_blocks(position + 2, count),
        (start, tf.constant(0)),
    )
    local_table = _color_table_size(bytes_of_gif.number(frame + 9))
    end, count = bytes_of_gif.skip_blocks(frame + 11 + local_table, count)
    width = tf.cast(bytes_of_gif.number(frame + 5, 2), tf.int64)
    height = tf.cast(bytes_of_gif.number(frame + 7, 2), tf.int64)
    is_frame = bytes_of_gif.number(frame) == GIF_FRAME
    is_complete = (frame < bytes_of_gif.size) & (count <= MAX_BLOCKS)
    frame_start = tf.minimum(frame, tf.strings.length(contents))
    head = tf.strings.substr(contents, 0, start)
    body = tf.strings.substr(contents, frame_start, end - frame_start)
    single = tf.strings.join([head, body, GIF_TRAILER])
    return single, tf.where(is_frame & is_complete, width * height, 0)


class _Bytes:
    """The bytes of a GIF. contents: scalar string."""

    def __init__(self, contents):
        self._data = tf.io.decode_raw(contents, tf.uint8)
        self.size = tf.size(self._data)

    def number(self, position, width=1):
        """An unsigned number, int32; behind the end the last byte is read."""
        index = tf.minimum(position + tf.range(width), self.size - 1)
        digits = tf.cast(tf.gather(self._data, index), tf.int32)
        return tf.reduce_sum(digits * 256 ** tf.range(width))

    def has(self, position, count):
        """Whether a position is inside, and not too many blocks were walked over."""
        return (position < self.size) & (count < MAX_BLOCKS)

    def skip_blocks(self, position, count):
        """Walks over blocks, each of which begins with its length; the last one has none.

        Returns:
            (position behind them, `count` and as many as there were).
        """
        position, count = tf.while_loop(
            lambda position, count: (self.number(position) > 0) & self.has(position, count),
            lambda position, count: (position + 1 + self.number(position), count + 1),
            (position, count),
        )
        return position + 1, count + 1


def _color_table_size(flags):
    """Bytes of a color table of a GIF."""
    return tf.where(flags & 0x80 > 0, 3 * 2 ** ((flags & 7) + 1), 0)


def _magnitude(stored):
    """The absolute value of what was stored as a signed number of 32 bits."""
    return tf.where(stored < 2**31, stored, 2**32 - stored)


def _require(condition, message, *values):
    return tf.control_dependencies([tf.debugging.Assert(condition, [message, *values])])
