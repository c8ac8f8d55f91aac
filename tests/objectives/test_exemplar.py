"""Exemplar: patches, their transformations against slow NumPy, and the sampled softmax."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers.training import Training
from tf_simclr.data import datasets, seed_patches
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.data.streamed_source import Streamed
from tf_simclr.errors import UserError
from tf_simclr.evaluation import evaluator, report_images
from tf_simclr.objectives.exemplar import Exemplar, SeedClasses, sampled_logits
from tf_simclr.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("shallow")
TASK = {"pretext": "exemplar"}
UNCHANGED = [
    0.5,
    0.5,
    float(np.log(1 / 0.7) / np.log(2)),
    0.5,
]  # draws of a geometry that leaves the patch as it is
quick = hypothesis_settings(max_examples=15, deadline=None, derandomize=True)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)


def planted(height, width, top, left, side):
    """Grey, with noise in one square."""
    image = np.full((height, width, 3), 0.5, np.float32)
    image[top : top + side, left : left + side] = picture(side, side)
    return image


def slow_chances(image, side):
    """{corner of a patch: its chance}, of an image that is not reduced."""
    strength = np.zeros(image.shape[:2])
    for y, x in np.ndindex(*strength.shape):
        for c in range(3):
            down = image[y + 1, x, c] - image[y, x, c] if y + 1 < len(image) else 0.0
            right = image[y, x + 1, c] - image[y, x, c] if x + 1 < image.shape[1] else 0.0
            strength[y, x] += down**2 + right**2
    corners = {
        (y, x): strength[y : y + side, x : x + side].sum()
        for y, x in np.ndindex(image.shape[0] - side + 1, image.shape[1] - side + 1)
    }
    return {corner: value / sum(corners.values()) for corner, value in corners.items()}


def test_places_are_as_frequent_as_their_gradients_are_strong():
    image = picture(6, 5) * np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    chances = slow_chances(image, 2)
    draws = (np.arange(1000) + 0.5) / 1000
    places = np.array(
        list(
            tf.data.Dataset.from_tensor_slices(draws.astype(np.float32)).map(
                lambda u: seed_patches.seed_position(tf.constant(image), 0.4, u)
            )
        )
    )
    corners = np.rint(places * [6, 5] - 1).astype(int)
    for corner, chance in chances.items():
        assert np.all(corners == corner, 1).mean() == pytest.approx(chance, abs=0.003), corner


@pytest.mark.parametrize(
    "shape", [(60, 90), (400, 300)]
)  # the second one is searched in a reduced copy
def test_seed_positions_fall_on_gradients(shape):
    side = min(shape) // 5
    image = tf.constant(planted(*shape, shape[0] // 2, shape[1] // 3, side))
    center = np.array([shape[0] // 2 + side / 2, shape[1] // 3 + side / 2])
    seed_position = tf.function(seed_patches.seed_position, autograph=False)
    draws = tf.random.stateless_uniform([100], [0, 1])
    positions = np.array([seed_position(image, 0.2, u) for u in draws]) * shape
    assert (
        np.abs(positions - center).max(-1) <= side + 1
    ).mean() > 0.95  # the patch and the square overlap
    assert len(np.unique(positions, axis=0)) > 20


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 500), (7, 7)])
def test_images_without_gradients_and_without_extent(shape):
    places = np.array(
        [
            seed_patches.seed_position(tf.zeros([*shape, 3]), 1 / 3, tf.constant(u))
            for u in (0.0, 0.5, 0.99999994)
        ]
    )
    assert ((places > 0) & (places < 1)).all() and (
        np.diff(places[:, np.argmax(shape)]) > 0
    ).all() == (max(shape) > 2)
    patch = seed_patches.resampled(
        tf.fill([*shape, 3], 0.25),
        tf.constant(places[0]),
        1 / 3,
        tf.constant([0.9, 0.1, 0.9, 0.9]),
        16,
    )
    np.testing.assert_allclose(patch, np.full([16, 16, 3], 0.25), atol=1e-6)


def slow_patch(image, position, side, u, size):
    """Of an image that is not reduced, pixel by pixel, reflected at its edges."""
    height, width = image.shape[:2]
    dy, dx = (0.4 * u[:2] - 0.2) * side
    scale, angle = 0.7 * 2 ** u[2], np.deg2rad(40 * u[3] - 20)
    result = np.zeros([size, size, 3])

    def pixel(y, x):
        y, x = y % (2 * height), x % (2 * width)
        return image[min(y, 2 * height - 1 - y), min(x, 2 * width - 1 - x)]

    for i, j in np.ndindex(size, size):
        v, w = ((i + 0.5) / size - 0.5) * side * scale, ((j + 0.5) / size - 0.5) * side * scale
        y = position[0] * height + dy + np.sin(angle) * w + np.cos(angle) * v - 0.5
        x = position[1] * width + dx + np.cos(angle) * w - np.sin(angle) * v - 0.5
        top, left = int(np.floor(y)), int(np.floor(x))
        b, a = y - top, x - left
        upper = (1 - a) * pixel(top, left) + a * pixel(top, left + 1)
        lower = (1 - a) * pixel(top + 1, left) + a * pixel(top + 1, left + 1)
        result[i, j] = (1 - b) * upper + b * lower
    return result


@quick
@given(
    st.integers(0, 100),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
    st.floats(0.1, 0.9),
    st.floats(0.1, 0.9),
)
def test_geometry_is_the_loop(seed, u, row, column):
    image, u = picture(12, 15, seed), np.array(u, np.float32)
    actual = seed_patches.resampled(
        tf.constant(image), tf.constant([row, column]), 0.5, tf.constant(u), 8
    )
    np.testing.assert_allclose(actual, slow_patch(image, (row, column), 6.0, u, 8), atol=1e-4)


def test_a_patch_of_the_results_size_is_cut_out():
    image = picture(40, 30)
    patch = seed_patches.resampled(
        tf.constant(image), tf.constant([20 / 40, 15 / 30]), 1 / 3, tf.constant(UNCHANGED), 10
    )
    np.testing.assert_allclose(patch, image[15:25, 10:20], atol=1e-5)


def test_large_patches_are_means_not_samples():
    """A checkerboard of pixels is grey in a patch of an eighth of its size."""
    checkerboard = np.indices((256, 256)).sum(0) % 2
    image = np.repeat(checkerboard[..., None], 3, -1).astype(np.float32)
    patch = seed_patches.resampled(
        tf.constant(image), tf.constant([0.5, 0.5]), 0.5, tf.constant(UNCHANGED), 16
    )
    np.testing.assert_allclose(patch, np.full([16, 16, 3], 0.5), atol=1e-5)


def slow_distorted(image, u):
    pixels = image.reshape(-1, 3).astype(np.float64)
    mean = pixels.mean(0)
    _, components = np.linalg.eigh(np.cov(pixels.T))
    changed = np.zeros_like(pixels)
    for n, x in enumerate(pixels):
        changed[n] = mean + sum(
            0.5 * 4 ** u[k] * ((x - mean) @ components[:, k]) * components[:, k] for k in range(3)
        )
    power, factor, offset, hue = (
        0.25 * 16 ** u[3],
        0.7 * 2 ** u[4],
        0.2 * u[5] - 0.1,
        0.2 * u[6] - 0.1,
    )
    result = []
    for rgb in np.clip(changed, 0, 1):
        h, s, v = colorsys.rgb_to_hsv(*rgb)
        s, v = (min(max(factor * x**power + offset, 0), 1) for x in (s, v))
        result.append(colorsys.hsv_to_rgb((h + hue) % 1, s, v))
    return np.reshape(result, image.shape)


@quick
@given(st.integers(0, 100), st.lists(st.floats(0, 1), min_size=7, max_size=7))
def test_colors_are_the_loop(seed, u):
    image, u = 0.2 + 0.6 * picture(9, 9, seed), np.array(u, np.float32)
    actual = seed_patches.distorted(tf.constant(image), tf.constant(u))
    np.testing.assert_allclose(
        actual, slow_distorted(image, u), atol=3e-3
    )  # of colours all but grey, a power of 0.25 makes much of rounding


def test_ranges():
    """The paper's, sec. 2, met at both ends."""
    u = tf.random.stateless_uniform([4000], [1, 2])
    for (low, high), limits in (
        ((0.5, 2), seed_patches.CONTRAST),
        ((0.25, 4), seed_patches.POWER),
        ((0.7, 1.4), seed_patches.FACTOR),
        ((0.7, 1.4), seed_patches.SCALE),
    ):
        drawn = seed_patches.between_logarithms(u, limits).numpy()
        assert drawn.min() == pytest.approx(low, rel=0.01) and drawn.max() == pytest.approx(
            high, rel=0.01
        )
        assert drawn.min() >= low - 1e-6 and drawn.max() <= high + 1e-6
    assert (0.2, np.deg2rad(20)) == (seed_patches.TRANSLATION, seed_patches.ROTATION)
    assert seed_patches.OFFSET == seed_patches.HUE == (-0.1, 0.1)


def test_the_position_is_of_the_image_not_of_the_epoch(settings, monkeypatch):
    """Another epoch: the same place, another patch. Another index or seed: another place."""
    image = tf.constant((255 * picture(50, 40)).astype(np.uint8))
    positions = []
    seed_position = seed_patches.seed_position

    def record(*arguments):
        positions.append(seed_position(*arguments))
        return positions[-1]

    monkeypatch.setattr(seed_patches, "seed_position", record)

    def example(epoch, index, **flags):
        objective = Exemplar(settings(**TASK, **flags), 0, 100)
        seed = tf.constant([epoch, 3], tf.int64)
        return objective.example(DecodedImage(image), 0, seed, tf.constant(index, tf.int64))

    first, other_epoch, again = example(0, 7), example(1, 7), example(0, 7)
    example(0, 8)
    example(0, 7, seed=1)
    of_first, of_other_epoch, _, of_other_index, of_other_seed = positions
    np.testing.assert_array_equal(of_first, of_other_epoch)
    assert not np.array_equal(of_first, of_other_index)
    assert not np.array_equal(of_first, of_other_seed)
    assert not np.array_equal(first["image"], other_epoch["image"])
    np.testing.assert_array_equal(first["image"], again["image"])
    assert first["image"].dtype == tf.uint8 and first["image"].shape == [16, 16, 3]
    assert first["index"] == 7


def test_the_same_inside_tf_data(settings):
    objective = Exemplar(settings(**TASK), 0, 100)
    pictures = np.stack([picture(30, 20, seed) for seed in range(8)])
    images = (255 * pictures).astype(np.uint8)

    def make(index, image):
        return objective.example(DecodedImage(image), 0, tf.stack([5, index]), index)

    dataset = tf.data.Dataset.from_tensor_slices(images).enumerate().map(make).batch(8)
    batch = next(iter(dataset))
    for index in range(8):
        eager = make(tf.constant(index, tf.int64), tf.constant(images[index]))["image"].numpy()
        assert np.abs(batch["image"][index].numpy().astype(int) - eager).max() <= 1


def test_seed_images(settings):
    """Only they are trained on and are classes; evaluation and files are of all images."""
    draws = []
    for seed in (0, 1):
        experiment = build_experiment(settings(**TASK, seed_images=50, seed=seed))
        (part,) = experiment.data.batch_parts
        assert part.source.num_examples == experiment.data.num_images == 50
        assert experiment.objective.classes.num_classes == 50
        source = experiment.data.train_source
        data = evaluator.evaluation_data(source, source, experiment.settings)
        assert data.train.num_examples == 1437
        description = experiment.data_description
        assert description["images"] == description["labels"] == 1437
        draws.append(contents(part.source.records))
    first_images = contents(source.records[:50])
    assert [len(draw) for draw in draws] == [50, 50]
    assert draws[0] != draws[1] and first_images not in draws
    all_images = build_experiment(settings(**TASK, seed_images=5000))
    assert all_images.data.num_images == 1437


def contents(records):
    return {record.tobytes() for record in records}


def test_views_are_of_what_is_trained_on(settings, monkeypatch, tmp_path):
    """And of the patches that are the classes."""
    experiment = build_experiment(settings(**TASK, seed_images=50))
    objective = experiment.objective
    images = {}
    example = objective.example

    def record(self, picture, label, seed, index):
        images[int(index)] = picture.whole()
        return example(picture, label, seed, index)

    monkeypatch.setattr(Exemplar, "example", record)
    (part,) = experiment.data.batch_parts
    source = part.source
    report_images._write_view_sheet(tmp_path, objective, source, experiment.settings)
    assert len(images) == 8
    for index, image in images.items():
        np.testing.assert_array_equal(image, source.decode(source.records[index]))


def test_seed_images_with_unlabeled_ones(settings):
    """As many of each data set."""
    both = build_experiment(
        settings(
            **TASK,
            seed_images=50,
            unlabeled_dataset="digits",
            unlabeled_split="test",
            train_batch_size=16,
        )
    )
    assert [part.source.num_examples for part in both.data.batch_parts] == [50, 50]
    assert both.objective.classes.num_classes == 100
    assert both.data_description["images"] == 1437 + 360


def test_seed_images_of_a_stream(settings):
    """They are taken into memory, where each has its number."""

    def record(i):
        return tf.strings.as_string(i), tf.strings.as_string(100 + i), i % 2

    def read(context):
        return tf.data.Dataset.range(10).map(record)

    stream = Streamed("films", "train", ("a", "b"), str, read, 10, 10)
    images = Exemplar.select_images(settings(**TASK, seed_images=4), stream)
    assert isinstance(images, Indexed) and images.name == "films"
    assert images.records.tolist() == [b"100", b"101", b"102", b"103"]
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.example_names == ("0", "1", "2", "3")


@pytest.mark.parametrize("seeds", [0, 5])
def test_other_images_are_other_classes(settings, tmp_path, seeds):
    """A run whose folder has lost or renamed an image does not resume: class 7 would be another."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.png").write_bytes(
            tf.io.encode_png((255 * picture(20, 20, number)).astype(np.uint8)).numpy()
        )
    options = settings(**TASK, dataset=f"folder:{folder}", eval_split="train", seed_images=seeds)
    begun = build_experiment(options)
    begun.directory.create()
    begun.commit_directory()
    build_experiment(options).commit_directory()
    (folder / "3.png").rename(folder / "99.png")
    message = r"those here \((\d+)\) are not those that the run began with "
    with pytest.raises(UserError, match=message + r"\(\1\)"):
        build_experiment(options)
    (folder / "99.png").unlink()
    with pytest.raises(UserError, match=message + r"\((?!\1)\d+\)"):
        build_experiment(options.replace(mode="eval"))


def test_one_image_is_no_task(settings):
    with pytest.raises(UserError, match="there is one to train on"):
        build_experiment(settings(**TASK, seed_images=1))


def slow_sampled(features, kernel, index, classes):
    total = 0.0
    for x, target in zip(features.astype(np.float64), index):
        others = [c for c in classes if c != target]
        norm = np.log(sum(np.exp(x @ kernel[c]) for c in [target, *others]))
        total -= x @ kernel[target] - norm
    return total / len(features)


def cross_entropy(logits, target):
    return float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)))


@hypothesis_settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(2, 9), st.integers(1, 12))
def test_sampled_softmax_is_the_loop(seed, batch, classes, drawn):
    """Hits of the true class are no class; with every class drawn it is the softmax."""
    rng = np.random.default_rng(seed)
    features, kernel = (
        rng.normal(size=(batch, 4)).astype(np.float32),
        rng.normal(size=(classes, 4)).astype(np.float32),
    )
    index, sample = rng.integers(0, classes, batch), rng.integers(0, classes, drawn)
    sampled = cross_entropy(*sampled_logits(features, kernel, index, sample))
    expected = slow_sampled(features, kernel, index, sample)
    assert sampled == pytest.approx(expected, rel=1e-5, abs=1e-5)
    full = cross_entropy(*sampled_logits(features, kernel, index, rng.permutation(classes)))
    assert full == pytest.approx(cross_entropy(features @ kernel.T, index), rel=1e-5, abs=1e-5)


def test_gradient_with_every_class_drawn_is_that_of_the_full_softmax(rng):
    features = tf.constant(rng.normal(size=(5, 4)))
    kernel = tf.constant(rng.normal(size=(7, 4)))
    index = tf.constant(np.array([0, 3, 3, 6, 1]))
    gradients = []
    for logits in (
        lambda: sampled_logits(features, kernel, index, tf.constant(rng.permutation(7))),
        lambda: (tf.matmul(features, kernel, transpose_b=True), index),
    ):
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            result, target = logits()
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(target, result)
        gradients.append(tape.gradient(loss, [features, kernel]))
    for actual, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-9)


def test_gradient_of_the_sample_is_dense():
    """And zero for what has not been drawn."""
    layer = SeedClasses(50, 5, 0)
    layer.build([None, 4])
    with tf.GradientTape() as tape:
        logits, _ = layer(tf.ones([2, 4]), tf.constant([3, 8], tf.int64))
        loss = tf.reduce_sum(logits)
    gradient = tape.gradient(loss, layer.trainable_variables)[0]
    assert isinstance(gradient, tf.Tensor)
    assert set(np.flatnonzero(np.any(gradient.numpy(), 1))) == {3, 8} | set(
        layer.sample().numpy().tolist()
    )


def test_draws_of_classes():
    """All of them as often, others after each step, the same ones from the same count on."""
    layer, other = SeedClasses(10, 100, 3), SeedClasses(10, 100, 3)
    for each in (layer, other):
        each.build([None, 4])
    drawn = []
    for _ in range(20):
        layer.next_sample()
        drawn.append(layer.sample().numpy())
    assert np.bincount(np.concatenate(drawn), minlength=10) / 2000 == pytest.approx(
        [0.1] * 10, abs=0.03
    )
    assert not np.array_equal(drawn[0], drawn[1])
    other.draws.assign(layer.draws)
    np.testing.assert_array_equal(other.sample(), drawn[-1])


@pytest.mark.parametrize("sampled", [0, 5])
def test_held_out_images_have_the_chance_loss_and_no_gradient(settings, sampled):
    objective = Exemplar(settings(**TASK, sampled_classes=sampled), 0, 12)
    objective.build_variables()
    batch = {
        "image": tf.constant(np.stack([picture(16, 16, seed) for seed in range(2)])),
        "label": tf.zeros(2, tf.int64),
    }
    for index, known in (([12, -1], False), ([11, 0], True)):
        with tf.GradientTape() as tape:
            loss, metrics = objective.loss(
                {**batch, "index": tf.constant(index, tf.int64)}, training=False
            )
        gradient = tape.gradient(loss, objective.classes.kernel.value)
        assert bool(np.any(gradient)) == known and np.isfinite(loss)
        if not known:
            assert (
                float(loss)
                == pytest.approx(float(metrics["pretext_chance"]))
                == np.log(1 + sampled if sampled else 12).astype(np.float32)
            )
            assert metrics["pretext_acc"] == 0
    if sampled:
        assert int(objective.classes.draws) == 0  # only a step of the training draws anew


def test_learns_digits(settings):
    """Which of ten digits a patch is from."""
    options = settings(
        **TASK,
        sampled_classes=5,
        train_batch_size=32,
        train_steps=400,
        seed_patch=0.75,
        width_multiplier=0.5,
        learning_rate=1.0,
        optimizer="momentum",
    )
    history = Training(
        options, source=datasets.load(options.data, "train").take(np.arange(10))
    ).run(200)
    last = {
        name: np.mean([m[name] for m in history[-10:]])
        for name in ("pretext_loss", "pretext_chance", "pretext_acc")
    }
    assert last["pretext_chance"] == pytest.approx(
        1.69, abs=0.03
    )  # E ln(1 + Bin(5, 9/10)): the draws that are the class itself are left out
    assert last["pretext_loss"] < 0.8 * last["pretext_chance"]
    assert last["pretext_acc"] > 0.45
