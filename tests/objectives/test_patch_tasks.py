"""Rotation, jigsaw and context prediction: geometry, losses in loops, guards against shortcuts."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.training import Training
from tf_simclr.data import datasets, patches
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.objectives import jigsaw, objective_class, rotation

pytestmark = pytest.mark.usefixtures("shallow")
PLAIN = {
    "use_crop": False,
    "use_flip": False,
    "color_jitter_strength": 0,
    "optimizer": "adam",
    "learning_rate": 0.003,
}


def cross_entropy(logits, targets):
    """Mean of -log softmax, an example at a time."""
    return np.mean(
        [
            np.log(np.sum(np.exp(row.astype(np.float64)))) - row[target]
            for row, target in zip(logits, targets, strict=True)
        ]
    )


def held_out(training, images, seed=7):
    """{metric: value} on images that were not trained on."""
    objective = training.objective

    @tf.autograph.experimental.do_not_convert
    def example(number, image):
        seed_of_image = tf.stack([tf.constant(seed, tf.int64), number])
        return objective.example(DecodedImage(image), tf.constant(-1, tf.int64), seed_of_image)

    images = tf.data.Dataset.from_tensor_slices(np.stack(images))
    (batch,) = images.enumerate().map(example).batch(len(images))
    return {name: float(value) for name, value in objective.loss(batch, training=False)[1].items()}


def trained_on(images, settings, steps, **values):
    """A training on images uint8 [N, S, S, 3] without labels."""
    options = settings(
        train_steps=steps,
        train_batch_size=32,
        width_multiplier=0.25,
        image_size=images.shape[1],
        **{**PLAIN, **values},
    )
    training = Training(
        options,
        source=Indexed("planted", "train", (), DecodedImage, images, np.full(len(images), -1)),
    )
    training.run(steps)
    return training


# Rotation


def test_quarter_turns_are_those_of_numpy(rng):
    images = rng.random((3, 5, 5, 3)).astype(np.float32)
    for turns in range(4):
        np.testing.assert_array_equal(
            rotation.quarter_turns(tf.constant(images), turns), np.rot90(images, turns, axes=(1, 2))
        )


def test_resampled_turns_are_off_by_a_row(rng):
    images = rng.random((2, 6, 6, 3)).astype(np.float32)
    for turns in range(4):
        exact = np.rot90(images, turns, axes=(1, 2))
        moved = rotation.resampled_turns(tf.constant(images), turns).numpy()
        row, column = int(turns in (1, 2)), int(turns in (2, 3))
        rows, columns = slice(row, None), slice(column, None)
        np.testing.assert_allclose(
            moved[:, rows, columns],
            exact[:, : 6 - row, : 6 - column],
            atol=1e-5,
            err_msg=str(turns),
        )
        assert not moved[:, :row].any() and not moved[:, :, :column].any()


def test_rotation_loss(settings, rng):
    """Eq. 2 and 3: -1/K sum over y of log F^y(g(X|y)), a rotation at a time."""
    options = settings(pretext="rotation", **PLAIN)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    images = rng.integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    loss, metrics = objective.loss(
        {"image": tf.constant(images), "label": tf.constant([-1] * 3)}, training=False
    )
    losses, right = [], []
    for image, turns in itertools.product(images, range(4)):
        seen = np.rot90(image, turns).astype(np.float32)[None] / 255
        logits = objective.head(
            objective.encoder(tf.constant(seen.copy()))["final_avg_pool"]
        ).numpy()
        losses.append(cross_entropy(logits, [turns]))
        right.append(logits.argmax() == turns)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(
        [metrics["pretext_acc"], metrics["pretext_chance"]], [np.mean(right), np.log(4)], rtol=1e-5
    )


@pytest.mark.parametrize(("exact", "learns"), [(False, True), (True, False)])
def test_rotation_guard(settings, rng, exact, learns):
    """Noise has no up and down; but resampling leaves a trace that shows the angle."""
    images = rng.integers(0, 256, (256, 8, 8, 3)).astype(np.uint8)
    training = trained_on(
        images[:192], settings, 100, pretext="rotation", rotation_exact=exact, learning_rate=0.02
    )
    accuracy = held_out(training, images[192:])["pretext_acc"]
    assert accuracy > 0.8 if learns else accuracy < 0.4


# Patches


def test_cut_and_shift(rng):
    canvas = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    corners = np.array([[0, 0], [2, 5], [5, 5]], np.int32)
    tiles = patches.cut(tf.constant(canvas), tf.constant(corners), 4)
    np.testing.assert_array_equal(tiles, [canvas[r : r + 4, c : c + 4] for r, c in corners])
    shift = rng.integers(-2, 3, (3, 3, 2)).astype(np.int32)
    moved = patches.cut(tf.constant(canvas), tf.constant(corners), 4, tf.constant(shift)).numpy()
    for number, channel in itertools.product(range(3), repeat=2):
        r, c = np.clip(corners[number] + shift[number, channel], 0, 5)
        np.testing.assert_array_equal(
            moved[number, ..., channel], canvas[r : r + 4, c : c + 4, channel]
        )


def test_standardized(rng):
    noise = rng.random((4, 6, 6, 3)).astype(np.float32)
    contrast = rng.random((4, 1, 1, 3))
    tiles = noise * contrast + 0.3
    standardized = patches.standardized(tf.constant(tiles, tf.float32)).numpy()
    np.testing.assert_allclose(standardized.mean((1, 2)), 0.5, atol=1e-5)
    np.testing.assert_allclose(standardized.std((1, 2)), 0.25, atol=0.01)
    flat = patches.standardized(tf.fill([1, 4, 4, 3], 0.7)).numpy()
    np.testing.assert_allclose(flat, 0.5, atol=1e-3)


def test_drop_colors(rng):
    """One channel stays, each as often; the others are noise a hundredth as strong."""
    patch = rng.random((20, 20, 3)).astype(np.float32)
    kept = []
    for number in range(60):
        dropped = patches.drop_colors(tf.constant(patch), tf.constant([number, 3])).numpy()
        same = [np.array_equal(dropped[..., channel], patch[..., channel]) for channel in range(3)]
        kept.append(same.index(True))
        noise = dropped[..., np.flatnonzero(~np.array(same))]
        assert same.count(True) == 1 and abs(noise.mean() - 0.5) < 0.001
        assert noise.std() == pytest.approx(0.01 * patch[..., kept[-1]].std(), rel=0.2)
    assert min(np.bincount(kept, minlength=3)) > 8


def test_project_colors(rng):
    """B = I - a'a / (aa'), with a = [-1, 2, -1]."""
    patch = rng.random((4, 5, 3)).astype(np.float32)
    a = np.array([[-1.0, 2.0, -1.0]])
    expected = patch @ (np.eye(3) - a.T @ a / (a @ a.T))
    np.testing.assert_allclose(patches.project_colors(tf.constant(patch)), expected, atol=1e-6)


def test_pixelated(rng):
    patch = tf.constant(rng.random((24, 24, 3)), tf.float32)
    changed = [
        bool(np.any(patches.pixelated(patch, tf.constant([number, 1])) != patch))
        for number in range(40)
    ]
    assert 10 < sum(changed) < 30
    small = patch[:9, :9]
    assert patches.pixelated(small, tf.constant([1, 1])) is small


# Jigsaw


def test_permutations_against_the_algorithm():
    """Algorithm 1 on all 9! permutations, a sum of Hamming distances at a time."""
    permutations = jigsaw.permutations(100, 3)
    assert (
        permutations.shape == (100, 9)
        and (np.sort(permutations, 1) == np.arange(9)).all()
        and len(np.unique(permutations, axis=0)) == 100
    )
    everything = np.array(list(itertools.permutations(range(9))), np.uint8)
    for number in range(1, 4):
        chosen, earlier = permutations[number], permutations[:number]
        sums = sum((everything != before).sum(1) for before in earlier)
        assert sum((chosen != before).sum() for before in earlier) == sums.max()
    distance = (permutations[:, None] != permutations[None]).sum(-1)
    assert (
        distance[np.triu_indices(100, 1)].mean() > 8 > 9 * (1 - 1 / 9) - 0.01
    )  # at random it would be 8
    assert np.any(jigsaw.permutations(100, 4) != permutations)
    np.testing.assert_array_equal(jigsaw.permutations(20, 3), permutations[:20])


def test_jigsaw_loss(settings, rng):
    """The tiles in the drawn order, each through the encoder by itself; then the cross-entropy."""
    options = settings(pretext="jigsaw", **PLAIN)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    tiles = rng.integers(0, 256, (4, 9, 5, 5, 3)).astype(np.uint8)
    target = np.array([0, 7, 3, 3], np.int32)
    loss, _ = objective.loss(
        {
            "views": tf.constant(tiles),
            "target": tf.constant(target),
            "label": tf.constant([-1] * 4),
        },
        training=False,
    )
    logits = []
    for image, number in zip(tiles, target, strict=True):
        ordered = image[jigsaw.permutations(8, 0)[number]].astype(np.float32) / 255
        normal = np.stack(
            [
                0.5 + 0.25 * (tile - tile.mean((0, 1))) / np.sqrt(tile.var((0, 1)) + 1e-5)
                for tile in ordered
            ]
        )
        features = [
            objective.encoder(tf.constant(tile[None], tf.float32))["final_avg_pool"]
            for tile in normal
        ]
        logits.append(objective.head(tf.stack(features, 1)).numpy()[0])
    np.testing.assert_allclose(loss, cross_entropy(logits, target), rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "patch", "tile", "cell"),
    [(225, 0, 64, 75), (32, 0, 9, 11), (16, 0, 5, 6), (32, 20, 20, 23)],
)
def test_jigsaw_geometry(settings, rng, size, patch, tile, cell):
    """Tiles come from anywhere in their cells, and from nowhere else."""
    options = settings(
        pretext="jigsaw",
        image_size=size,
        patch_size=patch,
        grey_probability=0,
        shift_channels=False,
        **PLAIN,
    )
    objective = objective_class(options)(options, 10)
    assert (objective.size, objective.cell) == (tile, cell)
    side = 3 * cell
    row, column = np.indices((side, side))
    where = np.stack([row, column, np.zeros_like(row)], -1).astype(np.uint8)  # of each pixel
    starts = set()
    for number in range(30):
        views = objective.example(DecodedImage(tf.constant(where)), 0, tf.constant([number, 0]))[
            "views"
        ].numpy()
        corners = views[:, 0, 0, :2].astype(int)
        np.testing.assert_array_equal(views[:, -1, -1, :2], corners + tile - 1)
        inside = corners - cell * np.array(list(itertools.product(range(3), repeat=2)))
        starts |= set(inside.ravel())
    assert min(starts) == 0 and max(starts) == cell - tile


def test_grey_images_are_mixed_in(settings, rng):
    """Their channels stay where they are, those of others do not."""
    options = settings(pretext="jigsaw", patch_size=32, **PLAIN)
    objective = objective_class(options)(options, 10)
    image = DecodedImage(
        tf.constant(
            np.repeat(rng.integers(0, 256, (18, 18, 1)), 3, -1).astype(np.uint8)
            // np.uint8([1, 1, 2])
        )
    )

    @tf.autograph.experimental.do_not_convert
    def views_of(number):
        return objective.example(image, 0, tf.stack([number, 0]))["views"]

    grey = []
    for views in tf.data.Dataset.range(100).map(views_of).as_numpy_iterator():
        views = views.astype(int)
        grey.append(not np.ptp(views, -1).any())
        assert grey[-1] or np.any(views[..., 0] != views[..., 1])
    assert 15 < sum(grey) < 45


@pytest.mark.parametrize(("guard", "learns"), [(False, True), (True, False)])
def test_jigsaw_guard(settings, rng, guard, learns):
    """Noise that grows brighter to the lower right corner: the mean of a tile tells its place."""
    ramp = 4.0 * np.add.outer(np.arange(24), 1.5 * np.arange(24))[None, ..., None]
    noise = rng.integers(0, 60, (320, 24, 24, 3))
    images = np.clip(noise + 0.45 * ramp, 0, 255).astype(np.uint8)
    training = trained_on(
        images[:256], settings, 50, pretext="jigsaw", standardize_patches=guard, patch_size=7
    )
    accuracy = held_out(training, images[256:])["pretext_acc"]
    assert accuracy > 0.6 if learns else accuracy < 0.35  # one of eight is chance


# Context prediction


def test_context_prediction_geometry(settings):
    options = settings(
        pretext="context_prediction",
        image_size=224,
        chromatic_guard="none",
        pixelate_patches=False,
        **PLAIN,
    )
    objective = objective_class(options)(options, 10)
    assert (objective.size, objective.pitch, objective.jitter) == (96, 144, 7)
    side = 2 * 144 + 96 + 14
    where = np.stack(
        [
            *np.meshgrid(np.arange(side) // 2, np.arange(side) // 2, indexing="ij"),
            np.zeros((side, side)),
        ],
        -1,
    ).astype(np.uint8)
    targets = set()
    for number in range(40):
        example = objective.example(DecodedImage(tf.constant(where)), 0, tf.constant([number, 0]))
        center, other = 2 * np.rint(example["views"].numpy()[:, 0, 0, :2] * 255)
        step = np.rint((other - center) / 144).astype(int)
        assert (
            np.abs(other - center - 144 * step).max() <= 15
        )  # twice the jitter, and the halved numbers
        row, column = divmod(int(example["target"]) + (int(example["target"]) > 3), 3)
        np.testing.assert_array_equal(step, [row - 1, column - 1])
        targets.add(int(example["target"]))
    assert targets == set(range(8))


def test_context_prediction_loss(settings, rng):
    options = settings(pretext="context_prediction", **PLAIN)
    objective = objective_class(options)(options, 10)
    objective.build_variables()
    views, target = (
        rng.random((5, 2, 7, 7, 3)).astype(np.float32),
        np.array([0, 7, 3, 3, 5], np.int32),
    )
    loss, _ = objective.loss(
        {
            "views": tf.constant(views),
            "target": tf.constant(target),
            "label": tf.constant([-1] * 5),
        },
        training=False,
    )
    logits = []
    for both in views:
        features = [objective.encoder(tf.constant(patch[None]))["final_avg_pool"] for patch in both]
        logits.append(objective.head(tf.stack(features, 1)).numpy()[0])
    np.testing.assert_allclose(loss, cross_entropy(logits, target), rtol=1e-4)


@pytest.mark.parametrize(("guard", "learns"), [("none", True), ("drop", False)])
def test_context_prediction_guard(settings, rng, guard, learns):
    """Green is moved away from the center, as by a lens: the channels tell a patch's place."""
    grey = tf.image.resize(rng.random((320, 20, 20, 1)), [60, 60]).numpy()
    places = np.clip(np.rint(29.5 + (np.arange(60) - 29.5) * 0.86), 0, 59).astype(int)
    green = grey[:, places][:, :, places]
    images = (255 * np.concatenate([grey, green, grey], -1)).astype(np.uint8)
    training = trained_on(
        images[:256],
        settings,
        120,
        pretext="context_prediction",
        chromatic_guard=guard,
        patch_size=14,
        pixelate_patches=False,
        learning_rate=0.02,
    )
    accuracy = held_out(training, images[256:])["pretext_acc"]
    assert accuracy > 0.4 if learns else accuracy < 0.25  # one of eight is chance


@pytest.mark.parametrize("task", ["rotation", "jigsaw", "context_prediction"])
def test_better_than_chance_on_held_out_digits(settings, task):
    options = settings(
        pretext=task,
        train_steps=60,
        train_batch_size=32,
        width_multiplier=0.25,
        patch_size=0 if task == "rotation" else 8,
        **{**PLAIN, "learning_rate": 0.02},
    )
    training = Training(options)
    training.run(60)
    test = datasets.load(options.data, "test").take(np.arange(200))
    metrics = held_out(training, test.records)
    assert metrics["pretext_acc"] > 1.5 * np.exp(-metrics["pretext_chance"])  # one of so many
    assert metrics["pretext_loss"] < 0.9 * metrics["pretext_chance"]
