"""Augmentation against slow NumPy, probabilities against frequencies (SimCLR, appendix A)."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from tf_simclr import config
from tf_simclr.data import augment, blur, color, cutout, resizing
from tf_simclr.data.image import DecodedImage, EncodedImage

DRAWS = 400  # the standard deviation of a frequency is below 0.025 then
PLAIN = {"use_crop": False, "use_flip": False, "color_jitter_strength": 0, "use_blur": False}
quick = hypothesis_settings(max_examples=15, deadline=None, derandomize=True)


def options(**flags):
    return config.build(flags).augment


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def floats(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)


def draws(image, size, count=DRAWS, **flags):
    """`count` views of one image, their geometry made inside tf.data."""
    chosen = options(**{**PLAIN, **flags})
    seeds = tf.data.Dataset.range(count // 2).map(lambda i: tf.stack([7, i]))
    views = seeds.map(
        lambda seed: augment.pretrain_views(DecodedImage(image), seed, size, chosen),
        tf.data.AUTOTUNE,
    )
    return color.network_input(next(iter(views.batch(count // 2))), chosen).numpy()


def planes(image):
    return tf.transpose(tf.constant(image), [2, 0, 1])


def jitter(image, u, *arguments):
    return tf.transpose(
        color.jitter(planes(image), tf.unstack(tf.constant(u)), *arguments), [1, 2, 0]
    )


def differs(views, reference, tolerance=1e-6):
    return np.abs(views - reference).max((1, 2, 3)) > tolerance


def per_pixel(change, image):
    return np.array([[change(*pixel) for pixel in row] for row in image.astype(np.float64)])


def slow_saturation(image, factor):
    def change(*rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb(h, min(s * factor, 1), v)

    return per_pixel(change, image)


def slow_hue(image, delta):
    def change(*rgb):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        return colorsys.hsv_to_rgb((h + delta) % 1, s, v)

    return per_pixel(change, image)


def slow_jitter(image, u, strength, additive):
    s, (b, c, sat, hue) = 0.8 * strength, u[4:]
    low, high = max(1 - s, 0), 1 + s
    for which in np.argsort(u[:4]):
        if which == 0:
            image = image + (2 * b - 1) * s if additive else image * (low + b * (high - low))
        elif which == 1:
            mean = image.mean((0, 1))
            image = (image - mean) * (low + c * (high - low)) + mean
        elif which == 2:
            image = slow_saturation(image, low + sat * (high - low))
        else:
            image = slow_hue(image, (2 * hue - 1) * 0.2 * strength)
        image = np.clip(image, 0, 1)
    return image


def slow_blur(image, sigma):
    taps, size = blur.blur_taps(len(image)), len(image)
    x = np.arange(taps) - taps // 2
    kernel = np.exp(-(x[:, None] ** 2 + x[None] ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    padded = np.pad(image, [(taps // 2, taps // 2), (taps // 2, taps // 2), (0, 0)])
    return sum(
        kernel[i, j] * padded[i : i + size, j : j + size] for i in range(taps) for j in range(taps)
    )


def slow_colors(image, u, strength, additive, grey):
    """All of it, of one image float [S, S, 3] in [0, 1]."""
    if strength > 0 and u[8] < 0.8:
        image = slow_jitter(image, u[:8], strength, additive)
    if strength > 0 and u[9] < grey:
        image = np.repeat((image @ np.array([0.2989, 0.587, 0.114]))[..., None], 3, -1)
    return slow_blur(image, 0.1 + u[11] * 1.9) if u[10] < 0.5 else image


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize(
    ("strength", "brightness"),
    [(1.0, "multiplicative"), (0.5, "additive"), (2.0, "multiplicative"), (0.0, "additive")],
)
def test_a_batch_is_distorted_as_each_image_alone_in_numpy(one_by_one, strength, brightness):
    images, u = (
        np.random.default_rng(2).integers(0, 256, (24, 20, 20, 3)).astype(np.uint8),
        np.random.default_rng(3).random((24, 12)).astype(np.float32),
    )
    images[0], images[1, ..., 1] = 0, 255  # what has no hue, and what has no saturation to gain
    chosen = options(color_jitter_strength=strength, brightness=brightness)
    actual = color.distort(tf.constant(images), tf.constant(u), chosen, one_by_one)
    expected = [
        slow_colors(image / 255, image_u, strength, brightness == "additive", 0.2)
        for image, image_u in zip(images, u)
    ]
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("batch", [{"views": 0}, {"image": 0}])
def test_images_without_numbers_are_taken_as_they_are(batch):
    for images in (
        np.full((2, 1, 4, 4, 3), 51, np.uint8),
        np.full((2, 1, 4, 4, 3), 0.2, np.float32),
    ):
        np.testing.assert_allclose(
            color.network_input(dict.fromkeys(batch, tf.constant(images)), options()),
            np.full((2, 4, 4, 3), 0.2),
            atol=1e-6,
        )
    assert color.network_input({"features": 0}, options()) is None


def test_replicas_distort_as_one_device(two_replicas):
    images, u = (
        tf.constant(np.stack([picture(16, 16, i) for i in range(4)])),
        tf.random.stateless_uniform([4, 12], [1, 2]),
    )
    step = tf.function(
        lambda: two_replicas.run(lambda: color.distort(images, u, options(), True)),
        autograph=False,
    )
    for distorted in two_replicas.experimental_local_results(step()):
        np.testing.assert_allclose(distorted, color.distort(images, u, options(), True), atol=1e-6)


@pytest.mark.parametrize("encode", [tf.io.encode_jpeg, tf.io.encode_png])
def test_an_encoded_picture_gives_the_crops_of_the_decoded_one(encode):
    smooth = tf.cast(tf.image.resize(picture(6, 5), [97, 75]), tf.uint8)
    encoded = EncodedImage(encode(smooth))
    whole, boxes = (
        DecodedImage(encoded.whole()),
        [([10, 20, 0], [30, 31, 3]), ([55, 3, 0], [40, 19, 3])],
    )
    assert encoded.shape().numpy().tolist() == [97, 75, 3]
    for crop, expected in zip(
        encoded.crops([(tf.constant(b), tf.constant(e)) for b, e in boxes]), whole.crops(boxes)
    ):
        np.testing.assert_allclose(
            tf.cast(crop, tf.float32), tf.cast(expected, tf.float32), atol=8
        )  # at the border a JPEG's colours miss a neighbour
        assert np.mean(crop != expected) < 0.05


@quick
@given(
    st.permutations([0.1, 0.3, 0.5, 0.7]),
    st.tuples(*[st.floats(0, 0.999)] * 4),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.booleans(),
)
def test_color_jitter_equals_numpy(order, amounts, strength, additive):
    image, u = floats(4, 5), np.array([*order, *amounts], np.float32)
    actual = jitter(image, u, strength, additive)
    np.testing.assert_allclose(actual, slow_jitter(image, u, strength, additive), atol=2e-4)


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("amount", [0.0, 0.9])
def test_each_color_operation_alone(which, amount):
    """The other three stand at the amount that changes nothing."""
    image = 0.3 + 0.2 * floats(4, 5)
    u = np.array([0.1, 0.2, 0.3, 0.4] + 4 * [0.5], np.float32)
    u[4 + which] = amount
    factor, hue = 1 + 0.4 * (2 * amount - 1), 0.1 * (2 * amount - 1)
    mean = image.mean((0, 1))
    expected = [
        image * factor,
        (image - mean) * factor + mean,
        slow_saturation(image, factor),
        slow_hue(image, hue),
    ][which]
    actual = jitter(image, u, 0.5)
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert np.abs(expected - image).max() > 0.01


def test_color_jitter_is_clipped_after_each_operation():
    """Brightness clips to white, so contrast then finds nothing to change."""
    u = [0.1, 0.2, 0.3, 0.4, 0.999, 0.0, 0.5, 0.5]
    actual = jitter(0.7 + 0.3 * floats(4, 4), u, 1.0)
    np.testing.assert_allclose(actual, np.ones([4, 4, 3]), atol=1e-6)


def test_grayscale_weights():
    image = floats(4, 5)
    grey = image @ np.array([0.2989, 0.587, 0.114])
    np.testing.assert_allclose(
        color.grayscale(planes(image)), np.repeat(grey[None], 3, 0), atol=1e-4
    )


@pytest.mark.parametrize(
    ("size", "taps", "sigma"),
    [(224, 23, 1.7), (224, 23, 0.1), (32, 3, 2.0), (96, 9, 0.8), (16, 1, 1.0)],
)
def test_blur_is_a_zero_padded_gaussian_convolution(size, taps, sigma):
    assert blur.blur_taps(size) == taps
    image = floats(size, size)
    np.testing.assert_allclose(
        blur.blur(planes(image), tf.constant(sigma)),
        slow_blur(image, sigma).transpose(2, 0, 1),
        atol=1e-5,
    )


def test_resize_is_bicubic():
    image = 255 * floats(9, 7)
    expected = [
        Image.fromarray(image[..., c]).resize((20, 20), Image.Resampling.BICUBIC) for c in range(3)
    ]
    actual = resizing.resize(tf.constant(image), 20)
    np.testing.assert_allclose(
        actual, np.stack(expected, -1), atol=0.5
    )  # TensorFlow's kernel is a table


@pytest.mark.parametrize(("height", "width"), [(50, 70), (71, 50), (64, 64), (101, 99)])
def test_evaluation_crops_the_center(height, width):
    image = picture(height, width)
    side = round(0.875 * min(height, width))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    expected = resizing.resize(tf.constant(image[top : top + side, left : left + side]), 40)
    np.testing.assert_allclose(
        augment.eval_image(tf.constant(image), 40), np.clip(expected / 255, 0, 1), atol=1e-6
    )


def test_evaluation_crops_an_image_that_has_the_size_already():
    image = picture(64, 64)
    expected = resizing.resize(tf.constant(image[4:60, 4:60]), 64)
    np.testing.assert_allclose(
        augment.eval_image(tf.constant(image), 64), np.clip(expected / 255, 0, 1), atol=1e-6
    )


@pytest.mark.parametrize("size", [8, 32])
def test_small_images_are_evaluated_whole(size):
    same, other = picture(size, size), picture(28, 40)
    np.testing.assert_allclose(augment.eval_image(tf.constant(same), size), same / 255, atol=1e-7)
    expected = np.clip(resizing.resize(tf.constant(other), size) / 255, 0, 1)
    np.testing.assert_allclose(augment.eval_image(tf.constant(other), size), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("area", "aspect"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.3, 0.5), (0.5, 0.8))]
)
def test_crop_areas_and_aspects(area, aspect):
    row, column = np.mgrid[:90, :120]
    image = np.stack([row, column, np.zeros_like(row)], -1).astype(np.uint8)  # a pixel's position
    areas, aspects = [], []
    for i in range(300):
        crop = (
            DecodedImage(image)
            .crops([augment.crop_box(image.shape, [3, i], area, aspect)])[0]
            .numpy()
        )
        (h, w), (top, left) = crop.shape[:2], crop[0, 0, :2]
        np.testing.assert_array_equal(crop, image[top : top + h, left : left + w])
        assert (h + 1) * (w + 1) >= area[0] * 10800
        assert (h - 1) * (w - 1) <= area[1] * 10800
        assert (w + 1) / (h - 1) >= aspect[0]
        assert (w - 1) / (h + 1) <= aspect[1]
        areas.append(h * w / 10800)
        aspects.append(w / h)
    assert (
        np.min(areas) < area[0] + 0.02 and np.max(areas) > area[1] - 0.1
    )  # the whole range is used
    assert np.min(aspects) < aspect[0] + 0.05 and np.max(aspects) > aspect[1] - 0.05


def test_flips_half_of_the_images():
    image = picture(16, 16)
    views = draws(image, 16, use_flip=True)
    flipped = differs(views, image / 255)
    np.testing.assert_allclose(
        views[flipped], np.broadcast_to(image[:, ::-1] / 255, views[flipped].shape), atol=1e-6
    )
    assert abs(flipped.mean() - 0.5) < 0.08


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_jitters_four_of_five_images(strength):
    image = picture(16, 16)
    views = draws(image, 16, color_jitter_strength=strength, grayscale_probability=0)
    assert abs(differs(views, image / 255).mean() - 0.8) < 0.06


@pytest.mark.parametrize("probability", [0.0, 0.2])
def test_grayscale_probability(probability):
    views = draws(
        picture(16, 16), 16, color_jitter_strength=1e-4, grayscale_probability=probability
    )
    grey = np.ptp(views, -1).max((1, 2)) < 1e-6
    assert abs(grey.mean() - probability) <= (0.06 if probability else 0)


def test_blurs_half_of_the_images_with_sigmas_between_a_tenth_and_two():
    """The neighbours of a single bright pixel tell sigma."""
    image = np.zeros((25, 25, 3), np.uint8)
    image[12, 12] = 255
    views = draws(image, 25, use_blur=True)
    blurred = differs(views, image / 255)
    assert abs(blurred.mean() - 0.5) < 0.1
    center, neighbor = views[blurred][:, 12, 12, 0], views[blurred][:, 12, 13, 0]
    sigma = np.sqrt(-0.5 / np.log(neighbor / center))
    assert 0.1 <= sigma.min() < 0.4 and 1.8 < sigma.max() <= 2.0 + 1e-4
    assert abs(np.median(sigma) - 1.08) < 0.25  # uniform


def test_everything_switched_off_is_a_resize():
    image = picture(20, 30)
    resized = np.rint(np.clip(resizing.resize(tf.constant(image), 24), 0, 255)) / 255
    views = draws(
        image, 24, count=60, grayscale_probability=1
    )  # grayscale belongs to the colours, which are off
    np.testing.assert_allclose(views, np.broadcast_to(resized, views.shape), atol=1e-6)


FULL = {
    "use_crop": True,
    "use_flip": True,
    "use_blur": True,
    "color_jitter_strength": 1,
    "grayscale_probability": 0.2,
}


@pytest.fixture(scope="module")
def full_views():
    return draws(picture(24, 24), 24, 200, **FULL)


@pytest.mark.parametrize(
    ("switch", "share"),
    [
        ("use_crop", 1),
        ("use_flip", 0.5),
        ("use_blur", 0.48),
        ("color_jitter_strength", 0.84),
        ("grayscale_probability", 0.2),
    ],
)
def test_a_switch_takes_only_its_own_operation_out(full_views, switch, share):
    """The other random numbers stay, so views without the operation stay the same."""
    changed = differs(full_views, draws(picture(24, 24), 24, 200, **{**FULL, switch: 0}))
    assert abs(changed.mean() - share) < 0.1


def test_an_affine_transform_of_nothing_is_the_identity():
    image = floats(7, 6)
    still = tf.constant([0.5, 0.5])
    np.testing.assert_allclose(
        augment.random_affine(tf.constant(image), still, 90.0, 1.0), image, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rotation_by_90_degrees(dtype):
    image = picture(6, 6).astype(dtype)
    turned = augment.random_affine(tf.constant(image), tf.constant([1.0, 0.5]), 90.0, 0.0)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-3)


def test_shear_moves_rows_and_reflects_at_the_border():
    image = picture(5, 5).astype(np.float32)
    sheared = augment.random_affine(tf.constant(image), tf.constant([0.5, 1.0]), 0.0, 1.0)
    padded = np.pad(image, [(0, 0), (2, 2), (0, 0)], "symmetric")
    np.testing.assert_allclose(sheared, [padded[row, row : row + 5] for row in range(5)], atol=1e-3)


def test_affine_does_not_darken():
    image = picture(60, 60)
    view = augment.random_affine(tf.constant(image), tf.constant([0.7, 0.6]), 30.0, 0.3)
    assert abs(np.mean(view) - image.mean()) < 0.2


def test_rotation_tells_nothing_about_the_crop(monkeypatch):
    angles, aspects, resize = [], [], augment.resize

    def affine(image, u, *limits):
        angles.append(float(u[0]))
        return image

    def record(image, size, resizing):
        aspects.append(image.shape[1] / image.shape[0])
        return resize(image, size, resizing)

    monkeypatch.setattr(augment, "random_affine", affine)
    monkeypatch.setattr(augment, "resize", record)
    for i in range(150):
        augment.crop_and_flip(
            DecodedImage(tf.constant(picture(90, 90))),
            [tf.constant([1, i])],
            8,
            options(max_rotation=10),
        )
    assert abs(np.corrcoef(angles, aspects)[0, 1]) < 0.3


@quick
@given(
    st.sampled_from([(1, 1), (1, 40), (40, 1), (2, 3), (33, 50)]),
    st.integers(0, 1000),
    st.sampled_from([8, 40]),
    st.booleans(),
)
def test_views_have_shape_dtype_and_range(shape, seed, size, affine):
    flags = {"max_rotation": 30, "max_shear": 0.3} if affine else {}
    image, seed = tf.constant(picture(*shape)), tf.constant([0, seed])
    chosen = options(**flags)
    views = augment.pretrain_views(DecodedImage(image), seed, size, chosen)
    assert views["views"].shape == (2, size, size, 3) and views["views"].dtype == tf.uint8
    fine_tuning = augment.crop_and_flip(DecodedImage(image), [seed], size, chosen)
    assert fine_tuning.shape == (1, size, size, 3) and fine_tuning.dtype == tf.uint8
    # Colors depend on none of the flags; with other ones they would be compiled again.
    for view in [*color.network_input(views, options()), augment.eval_image(image, size)]:
        assert view.shape == (size, size, 3) and view.dtype == tf.float32
        assert np.min(view) >= 0 and np.max(view) <= 1


@pytest.mark.parametrize("is_static", [True, False])
def test_small_images_have_the_same_bits_however_they_are_known(is_static):
    """Where the size is known beforehand, nothing is left to decide in the graph."""
    image = picture(32, 24)
    shape = image.shape if is_static else [None, None, 3]
    seed = tf.constant([0, 5])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False)
    def views(contents):
        decoded = DecodedImage(contents)
        assert decoded.is_at_most(32) == is_static and not decoded.is_at_most(31)
        return augment.crop_and_flip(decoded, [seed], 32, options())

    expected = augment.crop_and_flip(DecodedImage(tf.constant(image)), [seed], 32, options())
    np.testing.assert_array_equal(views(image), expected)


def test_cutout_hides_a_square_and_nothing_else():
    """A square of a quarter of 16 pixels, of which at least a quarter lies in the image."""
    views = draws(np.full((16, 16, 3), 255, np.uint8), 16, cutout=0.25)
    is_hidden = np.isclose(views, cutout.FILL / 255).all(-1)  # [N, 16, 16]
    assert np.all(is_hidden | np.isclose(views, 1).all(-1))
    heights, widths = is_hidden.any(2).sum(1), is_hidden.any(1).sum(1)
    np.testing.assert_array_equal(is_hidden.sum((1, 2)), heights * widths)
    assert {*heights} == {*widths} == {2, 3, 4}
    assert is_hidden.any(0).all()  # everywhere, at some time
    # Of the 16 x 16 centers 4 x 4 hide a pixel that is far from the border.
    assert is_hidden[:, 8, 8].mean() == pytest.approx((4 / 16) ** 2, abs=0.04)


def test_cutout_leaves_the_other_random_numbers_alone():
    image, seed = DecodedImage(tf.constant(picture(20, 20))), tf.constant([3, 4])
    flags = {"max_rotation": 20, "color_jitter_strength": 0.5}
    whole = augment.pretrain_views(image, seed, 12, options(**flags))
    cut = augment.pretrain_views(image, seed, 12, options(**flags, cutout=0.5))
    np.testing.assert_array_equal(cut["numbers"], whole["numbers"])
    is_hidden = (cut["views"].numpy() == cutout.FILL).all(-1)
    assert 0 < is_hidden.mean() < 0.5
    np.testing.assert_array_equal(cut["views"].numpy()[~is_hidden], whole["views"][~is_hidden])


@pytest.mark.parametrize("flags", [{}, {"cutout": 0.5}])
def test_what_is_random(flags):
    """Predictions of a teacher are computed once where each view is the same image."""
    assert augment.is_random(options(**PLAIN, **flags)) == bool(flags)


def test_white_stays_white_without_color_changes():
    white = DecodedImage(tf.constant(np.full((9, 9, 3), 255, np.uint8)))
    flags = options(color_jitter_strength=0, use_blur=False, max_rotation=20)
    example = augment.pretrain_views(white, tf.constant([0, 1]), 12, flags)
    assert list(example) == ["views"]
    np.testing.assert_array_equal(example["views"], np.full((2, 12, 12, 3), 255))


U = np.linspace(0.95, 0.05, 8).astype(np.float32)
SEED = np.array([5, 6])
OPERATIONS = {
    "resize": lambda x: resizing.resize(x, 11),
    "random_affine": lambda x: augment.random_affine(x, U[:2], 40.0, 0.5),
    "random_flip": lambda x: augment.random_flip(x, U[6]),
    "jitter": lambda x: color.jitter(tf.transpose(x, [2, 0, 1]), tf.unstack(tf.constant(U)), 1.0),
    "grayscale": lambda x: color.grayscale(tf.transpose(x, [2, 0, 1])),
    "blur": lambda x: blur.blur(tf.transpose(x, [2, 0, 1]), tf.constant(1.3)),
    "pretrain_view": lambda x: augment.pretrain_views(
        DecodedImage(x), SEED, 32, options(max_rotation=20, max_shear=0.1, cutout=0.4)
    )["views"],
    "crop_and_flip": lambda x: augment.crop_and_flip(DecodedImage(x), [SEED], 32, options()),
    "eval_image": lambda x: augment.eval_image(x, 40),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_eager_equals_tf_data(name):
    image = tf.constant(
        floats(24, 24) * (255 if name.endswith(("view", "flip", "eval_image")) else 1)
    )
    inside = next(iter(tf.data.Dataset.from_tensors(image).map(OPERATIONS[name])))
    np.testing.assert_allclose(OPERATIONS[name](image), inside, atol=2e-5)


def test_another_seed_gives_another_view():
    views = draws(picture(32, 32), 16, count=30, use_crop=True, color_jitter_strength=1)
    assert len(np.unique(views.reshape(30, -1), axis=0)) == 30


def test_a_few_very_long_rows():
    """They are shortened before they become many, which would take gigabytes; nothing changes."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 200_000, 3), np.uint8)
    resized = resizing.resize(tf.constant(pixels), 32)
    expected = tf.image.resize(pixels, [32, 32], tf.image.ResizeMethod.BICUBIC, antialias=True)
    np.testing.assert_allclose(resized, expected, atol=1e-2)
