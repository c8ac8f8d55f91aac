"""Context encoders: what is hidden, both losses against slow loops, the adversary's optimizer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.helpers.training import Training, values_of
from tf_simclr.data.image import DecodedImage
from tf_simclr.errors import UserError
from tf_simclr.models import layers, resnet
from tf_simclr.models.inpainting import ChannelwiseDense, Discriminator
from tf_simclr.objectives import context_encoder, objective_class
from tf_simclr.training import optimizers

SIZES = (8, 16, 24, 32, 33, 64, 97, 128, 224)


def small(settings, **values):
    """The configuration of a small context encoder."""
    defaults = {"decoder_width": 8, "optimizer": "adam", "learning_rate": 0.01}
    return settings(pretext="context_encoder", **{**defaults, **values})


def unbuilt(options):
    """A context encoder without weights."""
    return objective_class(options)(options, 0)


def build(options):
    objective = unbuilt(options)
    objective.build_variables()
    return objective


def batch_of(rng, options, count=4):
    """A batch of noise, float images."""
    size = options.data.image_size
    batch = {
        "image": tf.constant(rng.random((count, size, size, 3)), tf.float32),
        "label": tf.zeros(count, tf.int64),
    }
    if options.pretext.removed_region == "blocks":
        batch["removed"] = draw_blocks(size, 3, count)
    return batch


def draw_blocks(size, seed, count):
    masks = [context_encoder.random_blocks(size, [seed, number]) for number in range(count)]
    return tf.stack(masks)


def slow_eq_1(images, predicted, removed, begin, overlap_weight):
    """L_rec, a number at a time.

    predicted: of the square from `begin` on. removed: M of each image.
    """
    losses = []
    images, predicted = np.asarray(images, np.float64), np.asarray(predicted, np.float64)
    for image, f, mask in zip(images, predicted, removed, strict=True):
        x, m = image[begin:, begin:], mask[begin:, begin:]
        total, weights = 0.0, 0.0
        for row, column, channel in np.ndindex(f.shape):
            weight = 1.0 if m[row, column] else overlap_weight
            total += weight * (x[row, column, channel] - f[row, column, channel]) ** 2
            weights += weight
        losses.append(total / weights)
    return sum(losses) / len(losses)


def slow_mean(images, removed, side):
    """What would fill a square in the mean color of what is visible."""
    squares = []
    for image, mask in zip(np.asarray(images), removed, strict=True):
        squares.append(np.broadcast_to(image[~mask].mean(0), (side, side, 3)))
    return np.stack(squares)


def slow_center(size, overlap):
    """M of the central square of half the side, of which `overlap` pixels of each edge are left."""
    side = size // 2
    begin = (size - side) // 2
    first, last = begin + overlap, begin + side - overlap - 1
    m = np.zeros((size, size), bool)
    for row, column in np.ndindex(size, size):
        m[row, column] = first <= row <= last and first <= column <= last
    return m


@pytest.mark.parametrize(
    ("size", "values", "overlap"),
    [
        (16, {}, 1),
        (33, {}, 2),
        (64, {}, 4),
        (16, {"region_overlap": False}, 0),
        (16, {"removed_region": "blocks"}, None),
        (33, {"removed_region": "blocks"}, None),
    ],
)
def test_loss_equals_the_loop(settings, rng, size, values, overlap):
    options = small(settings, image_size=size, **values)
    objective, batch = unbuilt(options), batch_of(rng, options)
    if overlap is None:  # random blocks
        removed, begin, side = batch["removed"].numpy(), 0, size
    else:
        removed, side = [slow_center(size, overlap)] * 4, size // 2
        begin = (size - side) // 2
    predicted = rng.random((4, side, side, 3)).astype(np.float32)
    targets = objective.targets(batch, batch["image"], True)
    outputs = {"predicted": tf.constant(predicted), **targets}
    loss, metrics = objective.loss_of(outputs, batch["label"], True)
    weight = 10.0 if overlap else 0.0
    expected = slow_eq_1(batch["image"], predicted, removed, begin, weight)
    assert float(loss) == float(metrics["pretext_loss"]) == pytest.approx(expected, rel=1e-5)
    mean = slow_mean(batch["image"], removed, side)
    expected_chance = slow_eq_1(batch["image"], mean, removed, begin, weight)
    assert float(metrics["pretext_chance"]) == pytest.approx(expected_chance, rel=1e-5)


def test_parts_of_a_batch_average(settings, rng):
    """Also where more is removed of one image than of another."""
    options = small(settings, removed_region="blocks")
    objective, batch = unbuilt(options), batch_of(rng, options, 6)
    one_column = tf.one_hot([3] * 16, 16, True, False)
    batch["removed"] = tf.tensor_scatter_nd_update(batch["removed"], [[0]], [one_column])

    def loss_of(start, stop):
        examples = {name: value[start:stop] for name, value in batch.items()}
        targets = objective.targets(examples, examples["image"], True)
        outputs = {"predicted": 0.3, **targets}
        loss, _ = objective.loss_of(outputs, examples["label"], True)
        return float(loss)

    losses = [loss_of(start, start + 2) for start in (0, 2, 4)]
    assert loss_of(0, 6) == pytest.approx(np.mean(losses), rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_center(settings, size):
    """In the middle, half as wide as the image with what overlaps, which is 7 of 64 pixels."""
    for guard in (True, False):
        objective = unbuilt(small(settings, image_size=size, region_overlap=guard))
        overlap = max(1, round(7 * (size // 2) / 64)) if guard else 0
        removed = objective.removed({}).numpy()
        np.testing.assert_array_equal(removed[0, :, :, 0], slow_center(size, overlap))
        assert removed.any() and objective.overlap == overlap
    assert context_encoder.central_square(128, True) == (32, 64, 7)


@pytest.mark.parametrize("size", SIZES)
def test_random_blocks(size):
    """Up to a quarter of the image, nearly all of that, everywhere, and as the seed says."""
    draw = tf.function(lambda seed: context_encoder.random_blocks(size, seed), autograph=False)
    masks = np.stack([draw(tf.constant([7, i])) for i in range(300)])
    shares = masks.mean((1, 2))
    assert masks.shape == (300, size, size) and masks.dtype == bool
    assert shares.min() > 0 and shares.max() <= 0.25
    assert 0.19 < shares.mean() < 0.25
    frequency = masks.mean(0)
    assert (frequency > 0).mean() > 0.99
    assert np.abs(frequency - frequency[::-1]).mean() < 0.05
    assert np.abs(frequency - frequency.T).mean() < 0.05
    assert len({mask.tobytes() for mask in masks}) > 290
    np.testing.assert_array_equal(context_encoder.random_blocks(size, [7, 5]), masks[5])


def test_blocks_are_squares():
    """What one block removes, by the numbers it is drawn with."""
    u = np.array(tf.random.stateless_uniform([10, 3], [1, 2]), np.float64)
    covered, expected = np.zeros((64, 64), bool), None
    for side, row, column in u:
        side = round(64 * (1 / 8 + side / 8))
        row, column = int(row * (64 - side + 1)), int(column * (64 - side + 1))
        covered[row : row + side, column : column + side] = True
        if covered.mean() > 1 / 4:
            break
        expected = covered.copy()
    np.testing.assert_array_equal(context_encoder.random_blocks(64, [1, 2]), expected)


@pytest.mark.parametrize("region", ["centre", "blocks"])
def test_example_follows_from_the_seed(settings, rng, region):
    """Eagerly and inside tf.data, in any order."""
    objective = unbuilt(small(settings, removed_region=region))
    image = tf.constant(rng.integers(0, 256, (20, 20, 3)), tf.uint8)
    example = lambda number: objective.example(DecodedImage(image), 3, tf.stack([5, number]))

    def examples(numbers):
        dataset = tf.data.Dataset.from_tensor_slices(tf.constant(numbers, tf.int64)).map(example)
        return dict(zip(numbers, dataset))

    forward, backward = examples([0, 1, 2, 3]), examples([3, 2, 1, 0])
    for number in range(4):
        for name, value in example(tf.constant(number, tf.int64)).items():
            np.testing.assert_array_equal(forward[number][name], value)
            np.testing.assert_array_equal(backward[number][name], value)
    assert ("removed" in forward[0]) == (region == "blocks")
    assert np.any(forward[0]["image"] != forward[1]["image"])


@pytest.mark.parametrize("values", [{}, {"removed_region": "blocks"}], ids=str)
def test_what_is_removed_is_not_seen(settings, shallow, eager, rng, values):
    options = small(settings, **values)
    objective, batch = build(options), batch_of(rng, options)
    removed = objective.removed(batch)
    other = tf.where(removed, 1 - batch["image"], batch["image"])
    predict = lambda images: objective.outputs(batch, images, False)["predicted"].numpy()
    np.testing.assert_array_equal(predict(batch["image"]), predict(other))
    for row, column in ((0, 0), (4, 4)):  # a corner of the image, and one of the predicted region
        bright = np.array(batch["image"])
        bright[:, row, column] = np.where(removed[:, row, column], bright[:, row, column], 5.0)
        if np.any(bright != batch["image"]):
            assert np.any(predict(bright) != predict(batch["image"]))


@pytest.mark.parametrize("values", [{}, {"removed_region": "blocks"}], ids=str)
def test_pictures(settings, shallow, eager, rng, values):
    options = small(settings, **values)
    objective, batch = build(options), batch_of(rng, options)
    removed, images = objective.removed(batch), batch["image"]
    pictures = objective.pictures(batch)
    assert {picture.dtype for picture in pictures.values()} == {tf.float32}
    fill = np.array(context_encoder.FILL, np.float32)
    np.testing.assert_allclose(pictures["removed"], np.where(removed, fill, images))
    is_unchanged = pictures["inpainted"] == images
    np.testing.assert_array_equal(is_unchanged, np.broadcast_to(~removed, images.shape))
    assert objective.begin == (0 if values else 4)
    region = objective.predicted_region
    predicted = objective.outputs(batch, images, False)["predicted"]
    expected = np.where(region(removed), predicted, region(images))
    inpainted = region(pictures["inpainted"])
    np.testing.assert_allclose(inpainted, np.clip(expected, 0, 1), atol=1e-6)


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 9), st.floats(0.1, 5))
def test_adversarial_loss_equals_the_formula(seed, batch, scale):
    """Eq. 2, a picture at a time."""
    real, drawn = scale * np.random.default_rng(seed).normal(size=(2, batch))
    d = lambda logit: 1 / (1 + np.exp(-logit))
    l_adv, num_right = 0.0, 0
    for a, b in zip(real, drawn, strict=True):
        l_adv += (np.log(d(a)) + np.log(1 - d(b))) / batch
        num_right += int(d(a) > 0.5) + int(d(b) <= 0.5)
    loss, accuracy = context_encoder.adversarial_loss(tf.constant(real), tf.constant(drawn))
    assert float(loss) == pytest.approx(-l_adv, rel=1e-6)
    assert float(accuracy) == pytest.approx(num_right / (2 * batch))


@pytest.mark.parametrize("values", [{}, {"removed_region": "blocks"}], ids=str)
def test_gradients_of_both_players(settings, shallow, eager, rng, values):
    """The discriminator's is that of its cross-entropy, the generator's that of eq. 3."""
    options = small(settings, adversarial_weight=0.3, **values)
    objective, batch = build(options), batch_of(rng, options)
    adversary = objective.separately_optimized()
    generator = [v for v in objective.trainable_variables if not is_in(v, adversary)]
    objective.decoder.answer.kernel.assign(rng.normal(size=objective.decoder.answer.kernel.shape))
    with tf.GradientTape() as tape:
        loss, metrics = objective.loss(batch, training=True)
    gradients = tape.gradient(loss, [*generator, *adversary])

    removed = tf.broadcast_to(objective.removed(batch), [4, 16, 16, 1])
    visible = tf.where(removed, context_encoder.FILL, batch["image"])
    x = objective.predicted_region(batch["image"])
    m = tf.cast(objective.predicted_region(removed), tf.float32)
    weights = m if values else m + 10 * (1 - m)
    with tf.GradientTape(persistent=True) as tape:
        f = objective.predict(visible, training=True)
        d_x = tf.sigmoid(objective.discriminator(x, training=True))
        d_f = tf.sigmoid(objective.discriminator(f, training=True))
        cross_entropy = -tf.reduce_mean(tf.math.log(d_x)) - tf.reduce_mean(tf.math.log(1 - d_f))
        squares = tf.reduce_sum(weights * (x - f) ** 2, [1, 2, 3])
        l_rec = tf.reduce_mean(squares / (3 * tf.reduce_sum(weights, [1, 2, 3])))
        l_generator = 0.7 * l_rec + 0.3 * tf.reduce_mean(tf.math.log(1 - d_f))
    assert float(metrics["adversarial_loss"]) == pytest.approx(float(cross_entropy), rel=1e-5)
    assert float(metrics["pretext_loss"]) == pytest.approx(float(l_rec), rel=1e-5)
    reference = [*tape.gradient(l_generator, generator), *tape.gradient(cross_entropy, adversary)]
    for v, gradient, expected in zip([*generator, *adversary], gradients, reference, strict=True):
        tolerance = 1e-5 * (1 + np.abs(expected).max())
        np.testing.assert_allclose(gradient, expected, 1e-3, tolerance, err_msg=v.path)
    reversed_gradient = tape.gradient(cross_entropy, objective.decoder.answer.kernel)
    assert np.abs(reversed_gradient).max() > 1e-4  # there is something to reverse


def is_in(variable, variables):
    return any(variable is other for other in variables)


def slow_adam(w, gradients, rate, beta_1=0.5, beta_2=0.999, epsilon=1e-7):
    m = v = 0.0
    for step, g in enumerate(gradients, 1):
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
        corrected = rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        w = w - corrected * m / (np.sqrt(v) + epsilon)
    return w


@pytest.mark.parametrize("name", ["momentum", "lars"])
def test_discriminator_has_its_own_optimizer(settings, shallow, eager, rng, name):
    """Adam for the discriminator alone; the rest moves as without one, and only that decays."""
    options = small(
        settings,
        adversarial_weight=0.1,
        optimizer=name,
        weight_decay=0.5,
        discriminator_learning_rate=0.02,
    )
    objective = build(options)
    optimizer = optimizers.make_optimizer(options, objective, 0.1)
    variables = objective.trainable_variables
    adversary = [v for v in variables if v.path.startswith("discriminator/")]
    generator = [v for v in variables if not is_in(v, adversary)]
    assert len(adversary) > 2
    assert [v.path for v in objective.separately_optimized()] == [v.path for v in adversary]
    before = values_of(objective)
    gradients = {v.path: rng.normal(size=(3, *v.shape)).astype(np.float32) for v in variables}

    def apply(optimizer, variables):
        for step in range(3):
            values = [tf.constant(gradients[v.path][step]) for v in variables]
            optimizer.apply(values, variables)

    apply(optimizer, variables)
    for v in adversary:
        expected = slow_adam(before[v.path], gradients[v.path], 0.02)
        np.testing.assert_allclose(v, expected, rtol=1e-4, atol=1e-5, err_msg=v.path)
    after = values_of(objective)
    for v in generator:
        v.assign(before[v.path])
    main = optimizers.make_optimizer(options, WithoutAdversary(objective, generator), 0.1)
    apply(main, generator)
    for v in generator:
        np.testing.assert_array_equal(v, after[v.path], err_msg=v.path)
    paths = [v.path for v in optimizer.variables]
    assert len(set(paths)) == len(paths) == len(main.variables) + 2 * len(adversary) + 2


class WithoutAdversary:
    """An objective that has the generator's variables alone."""

    supervised_head = None

    def __init__(self, objective, generator):
        self.trainable_variables = generator
        self.encoder = objective.encoder
        self._objective = objective

    @property
    def trained_networks(self):
        return (self,)

    def turn_variables(self):
        return [self.trainable_variables]

    def separately_optimized(self):
        return []

    def _flatten_layers(self):
        return self._objective._flatten_layers()


def test_the_adversary_does_not_decay(settings, shallow, eager):
    options = small(settings, adversarial_weight=0.1, optimizer="momentum", weight_decay=0.5)
    objective = build(options)
    norms = layers.batch_norm_variables(objective)
    expected = 0.0
    for v in objective.trainable_variables:
        if id(v) not in norms and not v.path.startswith("discriminator/"):
            expected += 0.25 * np.sum(v.numpy().astype(np.float64) ** 2)
    penalty = optimizers.weight_decay_penalty(options, objective)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_without_a_weight_there_is_no_adversary(settings, shallow, eager, rng):
    options = small(settings)
    objective = build(options)
    assert objective.separately_optimized() == []
    assert not any("discriminator" in v.path for v in objective.variables)
    assert isinstance(optimizers.make_optimizer(options, objective, 0.1), keras.optimizers.Adam)
    _, metrics = objective.loss(batch_of(rng, options))
    assert set(metrics) == {"pretext_loss", "pretext_chance"}


def test_other_trainings_can_start_from_the_encoder(settings, shallow, eager):
    """By the paths of its variables."""
    encoder = build(settings(train_mode="finetune")).encoder
    inherited = build(small(settings)).inherited()
    assert {v.path for v in inherited} == {v.path for v in encoder.variables}


def test_loss_scaling_and_an_adversary_are_refused(settings):
    message = r"--adversarial_weight=0.1: .*float16; use --precision=bfloat16"
    with pytest.raises(UserError, match=message):
        small(settings, adversarial_weight=0.1, precision="float16")
    small(settings, adversarial_weight=0.1, precision="float16", train_mode="finetune")


def test_channelwise_layer_equals_the_loop(rng):
    x = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
    layer = ChannelwiseDense()
    layer.build(x.shape)
    layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    kernel, expected = layer.kernel.numpy(), np.zeros_like(x)
    for image, channel, start, end in np.ndindex(2, 4, 9, 9):
        value = x[image, start // 3, start % 3, channel] * kernel[channel, start, end]
        expected[image, end // 3, end % 3, channel] += value
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "widths"),
    [
        (4, [64]),
        (8, [64]),
        (16, [64, 128]),
        (33, [64, 128, 256, 512]),
        (112, [64, 128, 256, 512, 512]),
    ],
)
def test_discriminator(side, widths):
    discriminator = Discriminator()
    logits = discriminator(tf.ones([2, side, side, 3]))
    assert logits.shape == (2,) and [conv.filters for conv in discriminator.convs] == widths
    assert discriminator.answer.kernel.shape[0] <= 16 * widths[-1]


@pytest.mark.parametrize("region", ["centre", "blocks"])
@pytest.mark.parametrize("size", [8, 16, 24, 33])
def test_sizes(settings, eager, rng, size, region):
    """With all groups of the encoder."""
    options = small(settings, image_size=size, removed_region=region)
    objective, batch = build(options), batch_of(rng, options, 2)
    assert np.isfinite(objective.loss(batch, training=False)[0])
    assert objective.pictures(batch)["inpainted"].shape == (2, size, size, 3)


@pytest.mark.parametrize(
    "values",
    [
        {"precision": "bfloat16", "adversarial_weight": 0.1},
        {"precision": "float16"},
        {"removed_region": "blocks", "accumulate_steps": 2, "adversarial_weight": 0.1},
    ],
    ids=str,
)
def test_trains(settings, shallow, values):
    history = Training(small(settings, **values)).run(3)
    assert np.isfinite([m["total_loss"] for m in history]).all()


def colors_that_change_evenly(rng, count, size):
    """uint8 images [N, S, S, 3], whose center follows from what is around it."""
    position = np.linspace(-1, 1, size)
    down, across = rng.uniform(-0.25, 0.25, (2, count, 1, 1, 3))
    middle = rng.uniform(0.3, 0.7, (count, 1, 1, 3))
    images = middle + down * position[:, None, None] + across * position[:, None]
    return tf.constant(np.rint(255 * np.clip(images, 0, 1)), tf.uint8)


def test_learns_to_paint(settings, monkeypatch, rng):
    """Clearly better than one color, also for images that it has not seen and in inference mode."""
    monkeypatch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1, 1, 1)))  # a last map of 4x4
    options = small(
        settings,
        train_batch_size=32,
        train_steps=90,
        learning_rate=0.03,
        width_multiplier=0.25,
        decoder_width=16,
        removed_region="blocks",
    )
    training = Training(options)
    batches = []
    for number in range(13):
        images = colors_that_change_evenly(rng, 32, 16)
        removed = draw_blocks(16, number, 32)
        batches.append({"image": images, "removed": removed, "label": tf.zeros(32, tf.int64)})
    *seen, unseen = batches
    for step in range(90):
        metrics = training.step(seen[step % len(seen)])
    _, unseen_metrics = training.objective.loss(unseen, training=False)
    for values in (metrics, unseen_metrics):
        assert values["pretext_loss"] < 0.5 * values["pretext_chance"]
