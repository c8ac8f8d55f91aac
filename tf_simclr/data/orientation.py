"""How a camera was held: the orientation in an image file's EXIF data, and turning by it.

Phones store what the sensor saw, and beside it how to turn that for display. Orientations are 1 to
8 as EXIF counts them (CIPA DC-008, 4.6.5.1.6); 1 is upright.

The functions that every image goes through are compiled once, not in each graph that uses them.
"""

import tensorflow as tf

from tf_simclr.data.file_bytes import number, piece, starts_with
from tf_simclr.data.plain_files import not_inlined

UPRIGHT = 1
NUM_ORIENTATIONS = 8
TRANSPOSED = (5, 6, 7, 8)  # rows and columns change places first
MIRRORED = (2, 3, 6, 7)  # then left and right
UPSIDE_DOWN = (3, 4, 7, 8)  # and top and bottom
MAX_SEGMENTS = 64  # of a file that are walked over in search of EXIF data
MAX_TAGS = 256  # of the EXIF data
TAG_SIZE = 12  # bytes
ORIENTATION_TAG = 0x0112
LONG = 4  # type of a tag whose value has 32 bits; else it has 16
EXIF = b"Exif\0\0"
JPEG_EXIF = b"\xff\xe1"
JFIF_HEADER = b"\xff\xd8\xff\xe0\0\x10"  # of 16 bytes, which begin with their number
JFIF_END = 20  # position
QUANTIZATION_TABLE = b"\xff\xdb"
JPEG_METADATA = 0xFFE0  # the first of 16 markers of segments that stand before all others
FIRST_JPEG_SEGMENT = 2
FIRST_PNG_CHUNK = 8
FIRST_WEBP_CHUNK = 12
PNG_CHUNK_OVERHEAD = 12  # bytes of length, name and checksum
WEBP_CHUNK_OVERHEAD = 8
NOWHERE = 0  # a position at which no EXIF data can stand


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def exif_orientation(contents: tf.Tensor) -> tf.Tensor:
    """The orientation of a JPEG, PNG or WebP file; 1 where none is said or it is no orientation.

    Args:
        contents: scalar string, of any file.

    Returns:
        int32 scalar, 1 to 8.
    """
    return tf.cond(
        _is_plain_jpeg(contents),
        lambda: tf.constant(UPRIGHT),
        lambda: _any_orientation(contents),
    )


def _is_plain_jpeg(contents):
    """Whether a JPEG begins as most do, without metadata; then no more has to be looked at."""
    has_header = starts_with(contents, JFIF_HEADER)
    return has_header & starts_with(contents, QUANTIZATION_TABLE, JFIF_END)


@not_inlined
def _any_orientation(contents):
    """As `exif_orientation`, whatever the file begins with."""
    position = tf.case(
        [
            (starts_with(contents, b"\xff\xd8"), lambda: _exif_of_jpeg(contents)),
            (starts_with(contents, b"\x89PNG"), lambda: _exif_of_png(contents)),
            (starts_with(contents, b"WEBP", 8), lambda: _exif_of_webp(contents)),
        ],
        default=lambda: tf.constant(NOWHERE, tf.int64),
    )
    return tf.cond(
        position > NOWHERE,
        lambda: _orientation_tag(contents, position),
        lambda: tf.constant(UPRIGHT),
    )


def _exif_of_jpeg(contents):
    """The position of the EXIF data, or NOWHERE; int64, as that of the other formats."""

    def is_exif(position):
        return starts_with(contents, JPEG_EXIF, position) & starts_with(
            contents, EXIF, position + 4
        )

    def goes_on(position):
        marker = number(contents, position, 2, is_big_endian=True)
        return (marker // 16 == JPEG_METADATA // 16) & ~is_exif(position)

    def next_segment(position):
        return position + 2 + number(contents, position + 2, 2, is_big_endian=True)

    position = _walk(FIRST_JPEG_SEGMENT, goes_on, next_segment)
    return tf.where(is_exif(position), position + 4 + len(EXIF), NOWHERE)


def _exif_of_png(contents):
    def goes_on(position):
        name = piece(contents, position + 4, 4)
        return (name != b"eXIf") & (name != b"IEND") & (name != b"")

    def next_chunk(position):
        length = number(contents, position, 4, is_big_endian=True)
        return position + PNG_CHUNK_OVERHEAD + length

    position = _walk(FIRST_PNG_CHUNK, goes_on, next_chunk)
    return tf.where(starts_with(contents, b"eXIf", position + 4), position + 8, NOWHERE)


def _exif_of_webp(contents):
    def goes_on(position):
        name = piece(contents, position, 4)
        return (name != b"EXIF") & (name != b"")

    def next_chunk(position):
        length = number(contents, position + 4, 4)
        return position + WEBP_CHUNK_OVERHEAD + length + length % 2

    position = _walk(FIRST_WEBP_CHUNK, goes_on, next_chunk)
    data = position + WEBP_CHUNK_OVERHEAD
    has_prefix = starts_with(contents, EXIF, data)  # some programs write it, as in a JPEG
    data += tf.where(has_prefix, tf.constant(len(EXIF), tf.int64), 0)
    return tf.where(starts_with(contents, b"EXIF", position), data, NOWHERE)


def _walk(first, goes_on, next_position):
    """The first position, of at most MAX_SEGMENTS, at which `goes_on` is false."""
    (position,) = tf.while_loop(
        goes_on,
        lambda position: (next_position(position),),
        (tf.constant(first, tf.int64),),
        maximum_iterations=MAX_SEGMENTS,
    )
    return position


def _orientation_tag(contents, start):
    """The orientation in EXIF data, which is a TIFF file without an image.

    Args:
        contents: scalar string.
        start: int64 scalar, its position.
    """
    is_big_endian = starts_with(contents, b"MM", start)
    first_tag = start + number(contents, start + 4, 4, is_big_endian)
    num_tags = number(contents, first_tag, 2, is_big_endian)
    num_tags = tf.minimum(num_tags, MAX_TAGS)
    table = piece(contents, first_tag + 2, TAG_SIZE * num_tags)
    whole_size = tf.strings.length(table) // TAG_SIZE * TAG_SIZE  # the file may end in it
    table_bytes = tf.io.decode_raw(tf.strings.substr(table, 0, whole_size), tf.uint8)
    tags = tf.reshape(table_bytes, [-1, TAG_SIZE])  # [N, 12]
    codes = _numbers(tags[:, 0:2], is_big_endian)
    values = tf.where(
        _numbers(tags[:, 2:4], is_big_endian) == LONG,
        _numbers(tags[:, 8:12], is_big_endian),
        _numbers(tags[:, 8:10], is_big_endian),
    )
    # Of no tag the maximum is the lowest number that there is.
    value = tf.reduce_max(tf.where(codes == ORIENTATION_TAG, values, 0))
    is_orientation = (value >= UPRIGHT) & (value <= NUM_ORIENTATIONS)
    return tf.cast(tf.where(is_orientation, value, UPRIGHT), tf.int32)


def _numbers(columns, is_big_endian):
    """The unsigned numbers int64 [N] of uint8 [N, width]."""
    columns = tf.cast(columns, tf.int64)
    ordered = tf.where(is_big_endian, columns[:, ::-1], columns)
    return tf.reduce_sum(ordered * 256 ** tf.range(columns.shape[1], dtype=tf.int64), 1)


@tf.function(
    input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.int32)],
    autograph=False,
)
def turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The image as it was seen.

    Args:
        image: uint8 [H, W, 3] as it is stored.
        orientation: int32 scalar.

    Returns:
        uint8 [H, W, 3], or [W, H, 3] where it was turned by a quarter.
    """
    upright = tf.cond(orientation == UPRIGHT, lambda: image, lambda: _turned(image, orientation))
    return tf.ensure_shape(upright, [None, None, 3])


@not_inlined
def _turned(image, orientation):
    upright = tf.cond(_is_in(orientation, TRANSPOSED), lambda: _transposed(image), lambda: image)
    upright = tf.cond(
        _is_in(orientation, MIRRORED), lambda: tf.reverse(upright, [1]), lambda: upright
    )
    return tf.cond(
        _is_in(orientation, UPSIDE_DOWN), lambda: tf.reverse(upright, [0]), lambda: upright
    )


def _transposed(image):
    """The image [H, W, 3] as [W, H, 3].

    tf.transpose of bytes has oneDNN complain in every process whose CPU lacks what it wants, also
    where no image is turned. Of 12 million pixels it takes 0.07 s, this 0.06 s.
    """
    row_after_row = tf.reshape(image, [1, -1, 3])  # [1, H W, 3]
    return tf.space_to_batch(row_after_row, tf.shape(image)[1:2], [[0, 0]])


def upright_size(size: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """(height, width) of the upright image, int32 [2]; `size` is that of the stored one."""
    return tf.where(_is_in(orientation, TRANSPOSED), size[::-1], size)


def stored_window(window: tf.Tensor, size: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Where a rectangle of the upright image is stored.

    Args:
        window: int32 [4], its first row, first column, height and width.
        size: int32 [2], height and width of the upright image.
        orientation: int32 scalar.

    Returns:
        int32 [4] in the stored image.
    """
    begin, extent = window[:2], window[2:]
    from_end = size - begin - extent
    flips = tf.stack([_is_in(orientation, UPSIDE_DOWN), _is_in(orientation, MIRRORED)])
    begin = tf.where(flips, from_end, begin)
    is_transposed = _is_in(orientation, TRANSPOSED)
    begin = tf.where(is_transposed, begin[::-1], begin)
    extent = tf.where(is_transposed, extent[::-1], extent)
    return tf.concat([begin, extent], 0)


def _is_in(orientation, orientations):
    return tf.reduce_any(orientation == tf.constant(orientations))
