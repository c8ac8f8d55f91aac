"""GIF files, of which TensorFlow would decode all frames to return one."""

import tensorflow as tf

SIGNATURE = b"GIF8"
# Blocks before the end of the first frame; it takes a second or two to walk over so many.
MAX_BLOCKS = 2**17
HEADER_SIZE = 13  # bytes
EXTENSION = 0x21
FRAME = 0x2C
TRAILER = b"\x3b"


def first_frame(contents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A GIF of the first frame alone.

    Extensions are left out, which readers may walk over in other ways than is done here.

    Args:
        contents: scalar string, of a GIF.

    Returns:
        (contents, pixels of that frame int64); 0 pixels without a frame within MAX_BLOCKS blocks.
    """
    bytes_of_gif = _Bytes(tf.strings.join([contents, b"\0" * HEADER_SIZE]))
    start = HEADER_SIZE + _color_table_size(bytes_of_gif.number(10))

    def is_extension(position, count):
        return (bytes_of_gif.number(position) == EXTENSION) & bytes_of_gif.has(position, count)

    frame, count = tf.while_loop(
        is_extension,
        lambda position, count: bytes_of_gif.skip_blocks(position + 2, count),
        (start, tf.constant(0)),
    )
    local_table = _color_table_size(bytes_of_gif.number(frame + 9))
    end, count = bytes_of_gif.skip_blocks(frame + 11 + local_table, count)
    width = tf.cast(bytes_of_gif.number(frame + 5, 2), tf.int64)
    height = tf.cast(bytes_of_gif.number(frame + 7, 2), tf.int64)
    is_frame = bytes_of_gif.number(frame) == FRAME
    is_complete = (frame < bytes_of_gif.size) & (count <= MAX_BLOCKS)
    frame_start = tf.minimum(frame, tf.strings.length(contents))
    head = tf.strings.substr(contents, 0, start)
    body = tf.strings.substr(contents, frame_start, end - frame_start)
    single = tf.strings.join([head, body, TRAILER])
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
