"""Encoded images (JPEG, PNG, BMP, GIF) from anywhere: what they say of themselves is looked at before they are decoded.

All of it in TensorFlow's own operations, so that it can be part of an exported model.
"""

import re

import tensorflow as tf

ACCEPTED = "JPEG, PNG, BMP and GIF are accepted"
PALETTE = "a BMP file with a colour palette, which TensorFlow would read as grey; convert it to PNG"
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # with what has to come first in it, else a reader may find another size than is read here
MAX_BLOCKS = (
    2**17
)  # of a GIF, before the end of its first frame; it takes a second or two to walk over so many
_HEADER = 64  # bytes of a file that hold what is read here


def decode(contents):
    """An encoded image (JPEG, PNG, BMP, the first frame of a GIF; grey, RGB or with alpha) -> uint8 [H, W, 3]."""

    def other():
        one = tf.cond(
            _starts(contents, b"GIF8"), lambda: _first_frame(contents)[0], lambda: contents
        )
        image = tf.io.decode_image(one, expand_animations=False)  # [H, W, 1 to 4]
        grey = tf.shape(image)[-1] < 3
        return tf.cond(grey, lambda: tf.repeat(image[..., :1], 3, -1), lambda: image[..., :3])

    image = tf.cond(tf.io.is_jpeg(contents), lambda: tf.io.decode_jpeg(contents, channels=3), other)
    return tf.ensure_shape(image, [None, None, 3])


def checked(contents, max_pixels):
    """`contents` (a scalar string), which `decode` may have; a GIF is cut behind its first frame.

    Raises:
        InvalidArgumentError: none of the formats, more than `max_pixels` pixels, or a palette that TensorFlow would read as grey.
    """
    header = _header(contents)
    jpeg, bmp = tf.io.is_jpeg(contents), _starts(contents, b"BM")
    png, gif = _starts(contents, PNG), _starts(contents, b"GIF8")
    with _require(
        jpeg | png | bmp | gif, "the input is not an image that can be read: " + ACCEPTED
    ):
        contents = tf.identity(contents)
    contents, frame = tf.cond(
        gif, lambda: _first_frame(contents), lambda: (contents, tf.constant(0, tf.int64))
    )
    pixels = tf.case(
        [
            (
                jpeg,
                lambda: tf.reduce_prod(
                    tf.cast(tf.image.extract_jpeg_shape(contents), tf.int64)[:2]
                ),
            ),
            (png, lambda: _number(header, 16, 4, big=True) * _number(header, 20, 4, big=True)),
            (bmp, lambda: _signed(_number(header, 18, 4)) * _signed(_number(header, 22, 4))),
        ],
        default=lambda: tf.where(
            frame > 0, tf.maximum(frame, _number(header, 6, 2) * _number(header, 8, 2)), 0
        ),
    )
    with _require(
        (pixels > 0) & (pixels <= max_pixels),
        f"the image has too many pixels, or none: at most {max_pixels} are accepted, got",
        pixels,
    ):
        contents = tf.identity(contents)
    with _require(
        ~tf.cond(bmp, lambda: has_colour_palette(contents), lambda: tf.constant(False)), PALETTE
    ):
        return tf.identity(contents)


def reason(error):
    """What TensorFlow says of a file that it can't read, without the names of its operations."""
    message = str(getattr(error, "message", error))
    failed = re.search(r"assertion failed: \[(.*?)\](?: \[(.*?)\])?", message)  # one of `checked`
    if failed:
        return " ".join(filter(None, failed.groups()))
    return message.splitlines()[0].split(" [Op:")[0].split("}} ")[-1]


def has_colour_palette(contents):
    """Whether it is an 8-bit BMP whose palette is not the grey scale; a bool scalar."""
    header = _header(contents)
    start, end = 14 + _number(header, 14, 4), _number(header, 10, 4)
    padded = tf.strings.join([contents, b"\0"])  # a start behind the end would raise
    length = tf.cast(tf.strings.length(padded), tf.int64)
    start = tf.minimum(start, length - 1)
    size = tf.clip_by_value(end - start, 0, tf.minimum(length - 1 - start, 1024)) // 4 * 4
    palette = tf.strings.substr(padded, tf.cast(start, tf.int32), tf.cast(size, tf.int32))
    colours = tf.reshape(tf.io.decode_raw(palette, tf.uint8), [-1, 4])[:, :3]  # [N, 3]
    grey = tf.cast(tf.range(tf.shape(colours)[0])[:, None], tf.uint8)
    return _starts(contents, b"BM") & (_number(header, 28, 2) == 8) & tf.reduce_any(colours != grey)


def _first_frame(contents):
    """(a GIF of the first frame alone, pixels of that frame int64): TensorFlow would decode all frames to return one.

    No frame within MAX_BLOCKS blocks: 0 pixels. Extensions are left out, which readers may walk over in other ways than is done here.
    """
    data = tf.io.decode_raw(tf.strings.join([contents, b"\0" * 13]), tf.uint8)
    size = tf.size(data)

    def at(position, width=1):
        taken = tf.gather(data, tf.minimum(position + tf.range(width), size - 1))
        return tf.reduce_sum(tf.cast(taken, tf.int32) * 256 ** tf.range(width))

    def table(flags):  # bytes of a colour table
        return tf.where(flags & 0x80 > 0, 3 * 2 ** ((flags & 7) + 1), 0)

    def parts(position, count):  # each begins with its length, the last one has none
        position, count = tf.while_loop(
            lambda p, n: (at(p) > 0) & (p < size) & (n < MAX_BLOCKS),
            lambda p, n: (p + 1 + at(p), n + 1),
            (position, count),
        )
        return position + 1, count + 1

    start = 13 + table(at(10))
    frame, count = tf.while_loop(  # over the extensions
        lambda p, n: (at(p) == 0x21) & (p < size) & (n < MAX_BLOCKS),
        lambda p, n: parts(p + 2, n),
        (start, tf.constant(0)),
    )
    end, count = parts(frame + 11 + table(at(frame + 9)), count)
    area = tf.cast(at(frame + 5, 2), tf.int64) * tf.cast(at(frame + 7, 2), tf.int64)
    found = (at(frame) == 0x2C) & (frame < size) & (count <= MAX_BLOCKS)
    behind = tf.minimum(frame, tf.strings.length(contents))
    alone = tf.strings.join(
        [
            tf.strings.substr(contents, 0, start),
            tf.strings.substr(contents, behind, end - behind),
            b"\x3b",
        ]
    )
    return alone, tf.where(found, area, 0)


def _header(contents):
    """The first bytes of a file, filled up if there are fewer."""
    return tf.strings.substr(tf.strings.join([contents, b"\0" * _HEADER]), 0, _HEADER)


def _starts(contents, magic):
    return tf.strings.substr(_header(contents), 0, len(magic)) == magic


def _number(header, start, width, big=False):
    """An unsigned number of a file's header, int64."""
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(header, start, width), tf.uint8), tf.int64)
    return tf.reduce_sum((digits[::-1] if big else digits) * 256 ** tf.range(width, dtype=tf.int64))


def _signed(number):
    """The absolute value of what was stored as a signed number of 32 bits."""
    return tf.where(number < 2**31, number, 2**32 - number)


def _require(condition, message, *values):
    return tf.control_dependencies([tf.debugging.Assert(condition, [message, *values])])
