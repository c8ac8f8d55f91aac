"""The decoder against Pillow: files of all kinds and orientations give the same picture."""

import io
import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tf_simclr.data import decoding, file_checks, foreign_images, orientation, plain_files
from tf_simclr.data.image import EncodedImage

ORIENTATIONS = range(1, 9)
ORIENTATION_TAG = 0x0112
SIZES = ((40, 56), (57, 33))  # width and height, even and odd
JPEG_TOLERANCE = 6  # the greatest difference of two decoders' rounding


def picture(size, seed=0):
    """A smooth picture in which no two corners are alike, RGB."""
    width, height = size
    y, x = np.mgrid[:height, :width] / np.array([[[height]], [[width]]])
    rng = np.random.default_rng(seed)
    waves = [np.sin(6 * (a * x + b * y)) for a, b in rng.uniform(-1, 1, (3, 2))]
    pixels = np.stack(waves, -1) * 60 + 128 + 60 * (x * y)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def exif_of(number, is_big_endian):
    """EXIF data with an orientation behind another tag, as cameras write it."""
    order = "big" if is_big_endian else "little"

    def tag(code, value):
        value_bytes = value.to_bytes(2, order) + b"\0\0"
        return (
            code.to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order) + value_bytes
        )

    start = b"MM\0*" if is_big_endian else b"II*\0"
    tags = tag(0x0100, 7) + tag(ORIENTATION_TAG, number)
    table = (2).to_bytes(2, order) + tags + bytes(4)
    return b"Exif\0\0" + start + (8).to_bytes(4, order) + table


def write(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_alpha(image):
    alpha = Image.fromarray(np.array(image)[..., 0])
    image.putalpha(alpha)
    return image


def of_16_bits(image, dtype="<u2"):
    """A gray picture whose lower 8 bits are not 0."""
    upper = np.array(image.convert("L"), np.uint16)
    return Image.fromarray((256 * upper + 77).astype(dtype))


# {kind: (function of an RGB picture and of options -> the file, greatest difference)}
KINDS = {
    "jpeg": (lambda image, **o: write(image, "JPEG", **o), JPEG_TOLERANCE),
    "progressive jpeg": (
        lambda image, **o: write(image, "JPEG", progressive=True, **o),
        JPEG_TOLERANCE,
    ),
    "cmyk jpeg": (lambda image, **o: write(image.convert("CMYK"), "JPEG", **o), JPEG_TOLERANCE),
    "gray jpeg": (lambda image, **o: write(image.convert("L"), "JPEG", **o), JPEG_TOLERANCE),
    "png": (lambda image, **o: write(image, "PNG", **o), 0),
    "gray png": (lambda image, **o: write(image.convert("L"), "PNG", **o), 0),
    "1 bit png": (lambda image, **o: write(image.convert("1"), "PNG", **o), 0),
    "16 bit png": (lambda image, **o: write(of_16_bits(image), "PNG", **o), 0),
    "2 bit png": (lambda image, **o: write(image.quantize(4), "PNG", bits=2, **o), 0),
    "4 bit png": (lambda image, **o: write(image.quantize(16), "PNG", bits=4, **o), 0),
    "palette png": (lambda image, **o: write(image.convert("P"), "PNG", **o), 0),
    "alpha png": (lambda image, **o: write(with_alpha(image), "PNG", **o), 0),
    "lossless webp": (lambda image, **o: write(image, "WEBP", lossless=True, **o), 0),
    "webp": (lambda image, **o: write(image, "WEBP", **o), JPEG_TOLERANCE),
    "alpha webp": (
        lambda image, **o: write(with_alpha(image), "WEBP", lossless=True, exact=True, **o),
        0,
    ),
}
WITHOUT_EXIF = {
    "gif": (lambda image: write(image.convert("P"), "GIF"), 0),
    "bmp": (lambda image: write(image, "BMP"), 0),
    "gray bmp": (lambda image: write(image.convert("L"), "BMP"), 0),
}
# Of files that are converted to PNG: {kind: function of an RGB picture and of options -> the file}.
TIFF_KINDS = {
    "tiff": lambda image, **o: write(image, "TIFF", **o),
    "lzw tiff": lambda image, **o: write(image, "TIFF", compression="tiff_lzw", **o),
    "gray tiff": lambda image, **o: write(image.convert("L"), "TIFF", **o),
    "1 bit tiff": lambda image, **o: write(image.convert("1"), "TIFF", **o),
    "16 bit tiff": lambda image, **o: write(of_16_bits(image), "TIFF", **o),
    "big-endian tiff": lambda image, **o: write(of_16_bits(image, ">u2"), "TIFF", **o),
    "palette tiff": lambda image, **o: write(image.convert("P"), "TIFF", **o),
    "alpha tiff": lambda image, **o: write(with_alpha(image), "TIFF", **o),
}


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def decode(contents):
    """As the signatures of an export."""
    return decoding.decode(file_checks.checked(contents, 10**8))


@tf.function(
    input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([2, 2, 3], tf.int32)],
    autograph=False,
)
def crops(contents, boxes):
    """As the training: (crops of an image that is not decoded whole, its shape)."""
    encoded = EncodedImage(contents)
    boxes = [tf.unstack(box) for box in tf.unstack(boxes)]
    return encoded.crops(boxes), encoded.shape()


def as_pillow(contents):
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(contents)))
    if image.mode.startswith("I;16"):  # Pillow would make all values above 255 white
        image = Image.fromarray((np.array(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))


def assert_same(actual, expected, tolerance, description):
    assert actual.shape == expected.shape, description
    difference = np.abs(actual.numpy().astype(int) - expected)
    assert difference.max() <= tolerance, description


def test_all_kinds_and_orientations():
    """In one test, since the decoder is compiled anew in each."""
    for kind, (make, tolerance) in KINDS.items():
        for size, number in itertools.product(SIZES, ORIENTATIONS):
            contents = make(picture(size), exif=exif_of(number, is_big_endian=number % 2 == 0))
            assert_same(decode(contents), as_pillow(contents), tolerance, (kind, size, number))
    for kind, (make, tolerance) in WITHOUT_EXIF.items():
        for size in SIZES:
            contents = make(picture(size))
            assert_same(decode(contents), as_pillow(contents), tolerance, (kind, size))


def test_tiff_of_all_kinds_and_orientations(tmp_path):
    for (kind, make), number in itertools.product(TIFF_KINDS.items(), ORIENTATIONS):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = number
        path = tmp_path / f"{kind}-{number}.tif"
        path.write_bytes(make(picture((40, 56)), exif=exif))
        converted = pathlib.Path(foreign_images.usable_path(str(path)))
        expected = as_pillow(path.read_bytes())
        assert_same(decode(converted.read_bytes()), expected, 0, (kind, number))


def test_crops_of_turned_images():
    """A crop is of the upright image, whether its rectangle alone is decoded or all."""
    for kind, number in itertools.product(["jpeg", "png"], ORIENTATIONS):
        contents = KINDS[kind][0](picture((48, 64)), exif=exif_of(number, is_big_endian=True))
        check_crops(contents, (kind, number))


def check_crops(contents, description):
    whole = decode(contents).numpy()
    boxes = np.array([[[8, 16, 0], [16, 24, 3]], [[0, 8, 0], [24, 16, 3]]])
    pieces, shape = crops(contents, boxes)
    assert tuple(shape.numpy()) == whole.shape, description
    for piece, (begin, extent) in zip(pieces, boxes):
        row, column, _ = begin
        height, width, _ = extent
        expected = whole[row : row + height, column : column + width].astype(int)
        # At its border a rectangle of a JPEG lacks the neighbors that colors are smoothed by.
        difference = np.abs(piece.numpy()[1:-1, 1:-1] - expected[1:-1, 1:-1])
        assert difference.max() <= JPEG_TOLERANCE, description


def broken_exif():
    """Files whose EXIF data are cut off, lie, or lead in a circle."""
    good = exif_of(6, is_big_endian=True)
    for data in (good[:9], good[:20], b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff"):
        yield write(picture((40, 56)), "JPEG", exif=data)
    yield write(picture((40, 56)), "JPEG", exif=exif_of(9, is_big_endian=True))
    whole = write(picture((40, 56)), "JPEG", exif=good)
    yield whole[:4] + b"\0\0" + whole[6:]  # the segment before it has a length of 0


def test_broken_exif_is_no_error():
    cut_off = (b"", b"\xff\xd8", b"\x89PNG", b"RIFF\0\0\0\0WEBP", b"text")
    for contents in (*broken_exif(), *cut_off):
        assert orientation.exif_orientation(contents) == orientation.UPRIGHT


def test_animated_webp_is_refused():
    frames = [picture((20, 20), seed) for seed in (1, 2)]
    contents = write(picture((20, 20)), "WEBP", save_all=True, append_images=frames)
    with pytest.raises(tf.errors.InvalidArgumentError, match="animated WebP"):
        decode(contents)


def test_pixels_of_a_webp_are_counted_before_it_is_decoded():
    for options in ({}, {"lossless": True}, {"exif": exif_of(3, is_big_endian=True)}):
        contents = write(picture((33, 47)), "WEBP", **options)
        assert file_checks.checked(contents, 33 * 47) == contents
        with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
            file_checks.checked(contents, 33 * 47 - 1)


def test_bytes_are_turned_without_a_complaint_of_onednn():
    """Which every process would print whose CPU lacks AVX-512: of a transpose of bytes."""
    decode = tf.function(decoding.decode, autograph=False)
    graph = decode.get_concrete_function(tf.TensorSpec([], tf.string)).graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    assert "SpaceToBatchND" in operations and "Transpose" not in operations


PLAIN_KINDS = {
    *("jpeg", "gray jpeg", "progressive jpeg"),
    *("png", "gray png", "palette png", "alpha png"),
}


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def is_plain(contents):
    return plain_files.branch(
        contents,
        40 * 56,
        plain=lambda num_pixels: num_pixels > 0,
        other=lambda contents: tf.constant(False),
    )


def test_plain_files_are_told_by_their_first_bytes():
    for kind, (make, _) in (KINDS | WITHOUT_EXIF).items():
        assert is_plain(make(picture(SIZES[0]))) == (kind in PLAIN_KINDS), kind
    for kind in PLAIN_KINDS:
        turned = KINDS[kind][0](picture(SIZES[0]), exif=exif_of(6, is_big_endian=False))
        assert not is_plain(turned), kind
        large = KINDS[kind][0](picture((41, 56)))
        assert not is_plain(large), kind
    for size in ((300, 3), (3, 300)):
        assert not is_plain(write(picture(size), "PNG"))


def test_plain_files_are_decoded_as_all_others():
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decode_any(contents):
        checked, num_pixels = file_checks._checked_any(contents, decoding.MAX_PIXELS)
        return decoding._decode_any(checked, decoding.MAX_PIXELS, None), num_pixels

    for kind in PLAIN_KINDS:
        for size in SIZES:
            contents = KINDS[kind][0](picture(size))
            image, num_pixels = decode_any(contents)
            assert (decoding.decode(contents) == image).numpy().all(), kind
            unchanged, same_number = file_checks.checked_and_counted(contents)
            assert unchanged == contents and same_number == num_pixels, kind
