"""What evaluation sees of an image, and how images are resized, against Pillow and NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_simclr import config
from tf_simclr.config.automatic import Preprocessing
from tf_simclr.config.registry import PRETEXTS
from tf_simclr.data import augment, crop_check
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.resizing import area_means, resize
from tf_simclr.objectives import objective_class

# Surrogate classes are patches of images that were reduced by the mean of pixels.
WITH_CROPS = [name for name in PRETEXTS if name != "exemplar"]
SIZES = [(100, 150), (37, 91), (20, 60), (41, 39), (300, 200)]  # smaller and larger than 40


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_pillow(image, height, width):
    """Bicubic in float, channel by channel: Pillow rounds 8-bit images between the two axes."""
    channels = [
        Image.fromarray(image[..., channel].astype(np.float32), "F").resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    return np.stack(channels, -1)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_reduced_images_are_those_of_pillow(height, width):
    image = picture(height, width)
    resized = resize(tf.constant(image), 32)
    np.testing.assert_allclose(resized, by_pillow(image, 32, 32), atol=0.02)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_both_axes_in_turn_are_the_bits_of_one_call(height, width):
    image = tf.constant(picture(height, width))
    expected = tf.image.resize(image, [32, 32], "bicubic", antialias=True)
    np.testing.assert_array_equal(resize(image, 32), expected)


@pytest.mark.parametrize("side", [8, 15, 28, 32])
def test_enlarged_images_keep_their_bits(side):
    """Digits and CIFAR at their size or above: as before there was antialiasing."""
    image = tf.constant(picture(side, side))
    expected = tf.image.resize(image, [32, 32], "bicubic")
    np.testing.assert_array_equal(resize(image, 32), expected)


def test_bytes_are_not_transposed():
    """Of which oneDNN complains, in every process whose CPU lacks AVX-512."""
    signature = tf.TensorSpec([None, None, 3], tf.uint8)
    function = tf.function(resize, autograph=False).get_concrete_function(signature, 32)
    graph = function.graph.as_graph_def()
    transposes = [
        node
        for branch in graph.library.function
        for node in branch.node_def
        if node.op == "Transpose"
    ]
    types = {tf.as_dtype(node.attr["T"].type) for node in transposes}
    assert types == {tf.float32}


def test_the_original_resizing_does_not_antialias():
    image = tf.constant(picture(100, 120))
    expected = tf.image.resize(image, [32, 32], "bicubic")
    np.testing.assert_array_equal(resize(image, 32, "original"), expected)
    assert np.abs(resize(image, 32) - expected).max() > 20


@pytest.mark.parametrize(("size", "side"), [(16, 4), (24, 6), (33, 9), (32, 32), (40, 16)])
def test_means_over_areas(rng, size, side):
    """TensorFlow's, by matrix products."""
    images = tf.constant(rng.random((2, size, size, 2)), tf.float32)
    expected = tf.image.resize(images, [side, side], "area")
    np.testing.assert_allclose(area_means(images, side), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_whole_image(height, width):
    image = picture(height, width)
    expected = np.clip(by_pillow(image, 40, 40) / 255, 0, 1)
    seen = augment.eval_image(tf.constant(image), 40, "whole")
    np.testing.assert_allclose(seen, expected, atol=1 / 255)


@pytest.mark.parametrize("size", [16, 40])
@pytest.mark.parametrize(("height", "width"), [*SIZES, (1, 90), (50, 50)])
def test_padding_keeps_the_aspect_ratio(height, width, size):
    image = picture(height, width)
    seen = augment.eval_image(tf.constant(image), size, "pad").numpy()
    is_gray = np.isclose(seen, 128 / 255).all(-1)
    rows, columns = size - is_gray.all(1).sum(), size - is_gray.all(0).sum()
    assert max(rows, columns) == size
    assert abs(rows - max(size * height / max(height, width), 1)) <= 0.5
    assert abs(columns - max(size * width / max(height, width), 1)) <= 0.5
    top, left = (size - rows) // 2, (size - columns) // 2
    expected = np.clip(by_pillow(image, rows, columns) / 255, 0, 1)
    inside = seen[top : top + rows, left : left + columns]
    np.testing.assert_allclose(inside, expected, atol=1 / 255)


def test_what_stands_at_the_edge_is_seen_but_for_the_central_crop():
    image = np.zeros((60, 120, 3), np.uint8)
    image[:, :8] = 255
    brightest = {
        eval_crop: float(
            tf.reduce_max(augment.eval_image(tf.constant(image), 40, eval_crop)[:, :3])
        )
        for eval_crop in ("centre", "whole")
    }
    padded = augment.eval_image(tf.constant(image), 40, "pad")[20, :2]
    assert brightest["centre"] == 0 and brightest["whole"] > 0.9
    assert float(tf.reduce_max(padded)) > 0.9


@pytest.mark.parametrize(
    "flags",
    [*({"pretext": name} for name in WITH_CROPS), {"train_mode": "supervised"}],
    ids=lambda flags: "-".join(flags.values()),
)
def test_training_resizes_as_the_flag_says(settings, flags):
    """Every picture of every objective: one that forgets the flag is the same for both."""
    plain = {"use_crop": False, "use_flip": False, "max_rotation": 0, "width_multiplier": 0.02}
    image = DecodedImage(tf.constant(picture(300, 300)))
    examples = []
    for resizing in ("antialias", "original"):
        # No parameters are made: only `example` is called.
        options = settings(**flags, **plain, image_size=32, resizing=resizing)
        objective = objective_class(options)(options, 10, 8)
        examples.append(objective.example(image, tf.constant(1, tf.int64), tf.constant([1, 2])))
    antialiased, original = examples
    pictures = [name for name, values in original.items() if len(values.shape) >= 3]
    assert pictures
    for name in pictures:
        assert np.any(antialiased[name].numpy() != original[name].numpy()), name


@pytest.mark.parametrize(
    ("sizes", "share"), [([(100, 100)], 0.234), ([(100, 200), (100, 100)], 0.426)]
)
def test_how_much_is_cut_off(sizes, share):
    assert crop_check.cut_off(np.array(sizes)).mean() == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
    ("width", "preprocessing", "is_said"),
    [
        (180, Preprocessing(40, "centre", "antialias"), True),
        (90, Preprocessing(40, "centre", "antialias"), False),
        (180, Preprocessing(32, "centre", "antialias"), False),
        (180, Preprocessing(40, "whole", "antialias"), False),
        (180, Preprocessing(40, "pad", "antialias"), False),
    ],
)
def test_a_crop_that_cuts_off_much_is_said(log, width, preprocessing, is_said):
    records = np.stack([picture(90, width)] * 3)
    source = Indexed("photos", "val", (), DecodedImage, records, np.full(3, -1))
    crop_check.warn_of_cropping(source, preprocessing)
    message = "do not see 62% of the area of the images (mean of 3 of split val, at most 62%)"
    assert (message in log.text) == is_said == ("--eval_crop=whole or pad" in log.text)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, (224, "centre", "antialias")),
        ({"use_crop": False}, (224, "whole", "antialias")),
        ({"use_crop": False, "eval_crop": "centre"}, (224, "centre", "antialias")),
        ({"image_size": 16, "resizing": "original"}, (16, "centre", "original")),
    ],
)
def test_what_auto_means(flags, expected):
    assert config.build(flags).preprocessing == expected
