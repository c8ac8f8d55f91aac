"""JPEGs that are decoded at a fraction of their size: very large ones, and for small crops."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tf_simclr import config
from tf_simclr.data import augment, decoding, file_checks, image_folder, jpeg
from tf_simclr.data.image import EncodedImage
from tf_simclr.data.resizing import RESIZINGS

SIZE = (300, 200)  # width and height
SIDE = 20  # to which crops will be resized
ORIENTATION = 0x0112  # tag of EXIF
# Boxes of the upright image (begin, extent) and by how much they allow to reduce it.
BOXES = {
    1: ([30, 40, 0], [41, 70, 3]),
    2: ([31, 41, 0], [60, 77, 3]),
    4: ([0, 0, 0], [100, 90, 3]),
    8: ([0, 0, 0], [200, 300, 3]),
}


def smooth_picture(size=SIZE):
    """In which a reduced crop looks like the crop reduced."""
    width, height = size
    y, x = np.mgrid[:height, :width] / np.array([[[height]], [[width]]])
    waves = [np.sin(a * x + b * y) for a, b in ((9, 4), (-5, 8), (3, -11))]
    pixels = 128 + 90 * np.stack(waves, -1)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image, kind="JPEG", orientation=1, **options):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stream = io.BytesIO()
    image.save(stream, kind, exif=exif, **options)
    return stream.getvalue()


@tf.function(
    input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([2, 3], tf.int32)],
    autograph=False,
)
def crop_and_shape(contents, box):
    image = EncodedImage(contents)
    (crop,) = image.crops([tf.unstack(box)], SIDE)
    return crop, image.shape()


def small(pixels):
    """A crop at SIDE pixels, as the training reduces it."""
    image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.array(image).astype(int)


@pytest.mark.parametrize("reduction", BOXES)
def test_a_crop_is_decoded_as_small_as_its_size_allows(reduction):
    begin, extent = BOXES[reduction]
    for orientation in range(1, 9):
        picture = smooth_picture(SIZE if orientation < 5 else SIZE[::-1])
        contents = encoded(picture, orientation=orientation, quality=95)
        crop, shape = crop_and_shape(contents, np.array([begin, extent]))
        assert shape.numpy().tolist() == [SIZE[1], SIZE[0], 3]
        height, width, _ = crop.shape
        assert min(height, width) >= SIDE
        assert abs(height - extent[0] / reduction) <= 1
        assert abs(width - extent[1] / reduction) <= 1
        whole = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(contents))))
        (top, left, _), (rows, columns, _) = begin, extent
        expected = small(whole[top : top + rows, left : left + columns])
        # Its borders are rounded by half a reduced pixel at most.
        assert np.abs(small(crop.numpy()) - expected).mean() < 3


def test_nothing_is_reduced_unless_a_size_is_given_nor_of_other_formats():
    begin, extent = map(tf.constant, BOXES[8])
    contents = encoded(smooth_picture())
    (crop,) = EncodedImage(tf.constant(contents)).crops([(begin, extent)])
    np.testing.assert_array_equal(crop, tf.io.decode_jpeg(contents, channels=3))
    crop, _ = crop_and_shape(encoded(smooth_picture(), "PNG"), np.array(BOXES[8]))
    np.testing.assert_array_equal(crop, smooth_picture())


def test_two_crops_allow_what_the_smaller_one_allows():
    image = EncodedImage(tf.constant(encoded(smooth_picture())))
    boxes = [tuple(map(tf.constant, BOXES[number])) for number in (8, 2)]
    crops = image.crops(boxes, SIDE)
    assert [tuple(crop.shape) for crop in crops] == [(100, 150, 3), (30, 38, 3)]


@pytest.mark.parametrize(
    "size, ratio", [((10, 10), 1), ((10, 11), 2), ((40, 39), 4), ((999, 999), 8)]
)
def test_ratio_within(size, ratio):
    assert jpeg.ratio_within(tf.constant(size), 100) == ratio


def test_a_photo_above_the_limit_is_reduced_everywhere(monkeypatch):
    """The limit is lowered here, to what a small picture is above."""
    contents = tf.constant(encoded(smooth_picture(), orientation=6))
    width, height = SIZE
    limit = width * height // 2
    decoded = decoding.decode(file_checks.checked(contents, limit), limit)
    assert decoded.shape == (width // 2, height // 2, 3)
    monkeypatch.setattr(decoding, "MAX_PIXELS", limit)
    image = EncodedImage(contents)
    assert image.shape().numpy().tolist() == [width // 2, height // 2, 3]
    whole = (tf.zeros([3], tf.int32), image.shape())
    (crop,) = image.crops([whole])
    np.testing.assert_array_equal(crop, decoded)
    (crop,) = image.crops([whole], SIDE)
    assert crop.shape == (-(-width // 8), -(-height // 8), 3)


def test_other_formats_and_far_larger_photos_are_refused_with_the_limit():
    limit = SIZE[0] * SIZE[1] // file_checks.JPEG_ALLOWANCE
    message = f"of a JPEG at most {3 * limit}, else at most {limit} are accepted"
    file_checks.checked(encoded(smooth_picture()), limit)
    for contents, max_pixels in (
        (encoded(smooth_picture(), "PNG"), limit),
        (encoded(smooth_picture((301, 200))), limit),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            file_checks.checked(contents, max_pixels)


def test_a_photo_of_48_megapixels_is_taken(tmp_path):
    """By folders, by `load` and, with its default, by the signatures."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(Image.new("L", (8000, 6000), 99)))
    assert image_folder.problems_of([str(path)], "checking") == [None]
    decoded = decoding.decode(file_checks.checked(path.read_bytes()))
    assert decoded.shape == (3000, 4000, 3)
    assert np.unique(decoded[::100, ::100]).tolist() == [99]


def test_views_are_of_reduced_crops_unless_the_original_resizing_is_kept(monkeypatch):
    ratios = []
    decode_window = jpeg.decode_window

    def recording(contents, window, ratio):
        ratios.append(int(ratio))
        return decode_window(contents, window, ratio)

    monkeypatch.setattr(jpeg, "decode_window", recording)
    options = config.build({"use_crop": False, "use_flip": False}).augment
    image = EncodedImage(tf.constant(encoded(smooth_picture(), quality=95)))
    views = {
        resizing: augment.crop_and_flip(image, [tf.constant([1, 2])], SIDE, options, resizing)
        for resizing in RESIZINGS
    }
    assert dict(zip(views, ratios)) == {"antialias": 8, "original": 1}
    expected = small(np.array(smooth_picture()))
    assert np.abs(views["antialias"][0].numpy() - expected).mean() < 3
