"""Context encoders: what is removed and hidden, both losses against slow loops of the paper's formulas, and the adversary's own optimizer."""

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


def of(settings, **values):
    """The configuration of a small context encoder."""
    return settings(pretext="context_encoder", **{"decoder_width": 8, **values})


def unbuilt(options):
    """A context encoder without weights."""
    return objective_class(options)(options, 0)


def built(options):
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
        batch["removed"] = tf.stack(
            [context_encoder.random_blocks(size, [3, i]) for i in range(count)]
        )
    return batch


def slow_eq_1(images, predicted, removed, begin, overlap_weight):
    """L_rec, a number at a time. predicted: of the square from `begin` on. removed: M of each image."""
    losses = []
    for x, f, m in zip(
        np.asarray(images, np.float64), np.asarray(predicted, np.float64), removed, strict=True
    ):
        total, weights = 0.0, 0.0
        for row in range(len(f)):
            for column in range(len(f)):
                weight = 1.0 if m[begin + row, begin + column] else overlap_weight
                for c in range(3):
                    total += weight * (x[begin + row, begin + column, c] - f[row, column, c]) ** 2
                    weights += weight
        losses.append(total / weights)
    return sum(losses) / len(losses)


def slow_mean(images, removed, side):
    """What would fill a square in the mean colour of what is visible."""
    return np.stack(
        [
            np.broadcast_to(image[~m].mean(0), (side, side, 3))
            for image, m in zip(np.asarray(images), removed, strict=True)
        ]
    )


def slow_centre(size, overlap):
    """M of the central square of half the side, of which `overlap` pixels of each edge are left."""
    begin, side = (size - size // 2) // 2, size // 2
    m = np.zeros((size, size), bool)
    for row in range(size):
        for column in range(size):
            m[row, column] = all(
                begin + overlap <= place < begin + side - overlap for place in (row, column)
            )
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
    options = of(settings, image_size=size, **values)
    objective, batch = unbuilt(options), batch_of(rng, options)
    blocks = overlap is None
    removed = batch["removed"].numpy() if blocks else [slow_centre(size, overlap)] * 4
    begin, side = (0, size) if blocks else ((size - size // 2) // 2, size // 2)
    predicted = rng.random((4, side, side, 3)).astype(np.float32)
    outputs = {
        "predicted": tf.constant(predicted),
        **objective.targets(batch, batch["image"], True),
    }
    loss, metrics = objective.loss_of(outputs, batch["label"], True)
    weight = 10.0 if overlap else 0.0
    assert (
        float(loss)
        == float(metrics["pretext_loss"])
        == pytest.approx(slow_eq_1(batch["image"], predicted, removed, begin, weight), rel=1e-5)
    )
    mean = slow_mean(batch["image"], removed, side)
    assert float(metrics["pretext_chance"]) == pytest.approx(
        slow_eq_1(batch["image"], mean, removed, begin, weight), rel=1e-5
    )


def test_parts_of_a_batch_average(settings, rng):
    """Also where more is removed of one image than of another."""
    options = of(settings, removed_region="blocks")
    objective, batch = unbuilt(options), batch_of(rng, options, 6)
    batch["removed"] = tf.tensor_scatter_nd_update(
        batch["removed"], [[0]], [tf.one_hot([3] * 16, 16, True, False)]
    )

    def loss(rows):
        part = {name: value[rows] for name, value in batch.items()}
        return float(
            objective.loss_of(
                {"predicted": 0.3, **objective.targets(part, part["image"], True)},
                part["label"],
                True,
            )[0]
        )

    assert loss(slice(None)) == pytest.approx(
        np.mean([loss(slice(2 * i, 2 * i + 2)) for i in range(3)]), rel=1e-6
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_centre(settings, size):
    """In the middle, half as wide as the image with what overlaps, which is 7 of 64 pixels."""
    for guard in (True, False):
        objective = unbuilt(of(settings, image_size=size, region_overlap=guard))
        overlap = max(1, round(7 * (size // 2) / 64)) if guard else 0
        removed = objective.removed({}).numpy()
        np.testing.assert_array_equal(removed[0, :, :, 0], slow_centre(size, overlap))
        assert removed.any() and objective.overlap == overlap
    assert context_encoder.centre(128, True) == (32, 64, 7)


@pytest.mark.parametrize("size", SIZES)
def test_random_blocks(size):
    """Up to a quarter of the image, nearly all of that, everywhere, and as the seed says."""
    draw = tf.function(lambda seed: context_encoder.random_blocks(size, seed), autograph=False)
    masks = np.stack([draw(tf.constant([7, i])) for i in range(300)])
    shares = masks.mean((1, 2))
    assert masks.shape == (300, size, size) and masks.dtype == bool
    assert shares.min() > 0 and shares.max() <= 0.25
    assert 0.19 < shares.mean() < 0.25
    often = masks.mean(0)
    assert (
        (often > 0).mean() > 0.99
        and np.abs(often - often[::-1]).mean() < 0.05
        and np.abs(often - often.T).mean() < 0.05
    )
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
    objective = unbuilt(of(settings, removed_region=region))
    image = tf.constant(rng.integers(0, 256, (20, 20, 3)), tf.uint8)
    example = lambda number: objective.example(DecodedImage(image), 3, tf.stack([5, number]))
    forward, backward = (
        {
            int(number): made
            for number, made in zip(order, tf.data.Dataset.from_tensor_slices(order).map(example))
        }
        for order in (tf.range(4, dtype=tf.int64), tf.range(3, -1, -1, tf.int64))
    )
    for number in range(4):
        for name, value in example(tf.constant(number, tf.int64)).items():
            np.testing.assert_array_equal(forward[number][name], value)
            np.testing.assert_array_equal(backward[number][name], value)
    assert ("removed" in forward[0]) == (region == "blocks")
    assert np.any(forward[0]["image"] != forward[1]["image"])


@pytest.mark.parametrize("values", [{}, {"removed_region": "blocks"}], ids=str)
def test_what_is_removed_is_not_seen(settings, shallow, eager, rng, values):
    options = of(settings, **values)
    objective, batch = built(options), batch_of(rng, options)
    removed = objective.removed(batch)
    other = tf.where(removed, 1 - batch["image"], batch["image"])
    predict = lambda images: objective.outputs(batch, images, False)["predicted"].numpy()
    np.testing.assert_array_equal(predict(batch["image"]), predict(other))
    for row, column in ((0, 0), (4, 4)):  # a corner of the image, and one of the predicted region
        bright = np.array(batch["image"])
        bright[:, row, column] = np.where(removed[:, row, column], bright[:, row, column], 5.0)
        if np.any(bright != batch["image"]):
            assert np.any(predict(bright) != predict(batch["image"]))
    pictures = objective.pictures(batch)
    np.testing.assert_allclose(
        pictures["removed"],
        np.where(removed, np.array(context_encoder.FILL, np.float32), batch["image"]),
    )
    np.testing.assert_array_equal(
        pictures["inpainted"] == batch["image"], np.broadcast_to(~removed, batch["image"].shape)
    )
    begin, inside = objective.begin, slice(objective.begin, objective.begin + objective.side)
    expected = np.where(
        removed[:, inside, inside], predict(batch["image"]), batch["image"][:, inside, inside]
    )
    np.testing.assert_allclose(
        pictures["inpainted"][:, inside, inside], np.clip(expected, 0, 1), atol=1e-6
    )
    assert begin == (0 if values else 4) and {p.dtype for p in pictures.values()} == {tf.float32}


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.integers(1, 9), st.floats(0.1, 5))
def test_adversarial_loss_equals_the_formula(seed, batch, scale):
    """Eq. 2, a picture at a time."""
    real, drawn = scale * np.random.default_rng(seed).normal(size=(2, batch))
    d = lambda logit: 1 / (1 + np.exp(-logit))
    l_adv = sum(np.log(d(a)) + np.log(1 - d(b)) for a, b in zip(real, drawn, strict=True)) / batch
    loss, accuracy = context_encoder.told_apart(tf.constant(real), tf.constant(drawn))
    assert float(loss) == pytest.approx(-l_adv, rel=1e-6)
    assert float(accuracy) == pytest.approx(
        sum([*(d(a) > 0.5 for a in real), *(d(b) <= 0.5 for b in drawn)]) / (2 * batch)
    )


@pytest.mark.parametrize("values", [{}, {"removed_region": "blocks"}], ids=str)
def test_gradients_of_both_players(settings, shallow, eager, rng, values):
    """The discriminator's is that of its cross-entropy, the generator's that of eq. 3, each written down for itself."""
    options = of(settings, adversarial_weight=0.3, **values)
    objective, batch = built(options), batch_of(rng, options)
    adversary = objective.apart()
    generator = [
        v for v in objective.trainable_variables if id(v) not in {id(a) for a in adversary}
    ]
    objective.decoder.answer.kernel.assign(rng.normal(size=objective.decoder.answer.kernel.shape))
    with tf.GradientTape() as tape:
        loss, metrics = objective.loss(batch, training=True)
    gradients = tape.gradient(loss, [*generator, *adversary])

    removed = tf.broadcast_to(objective.removed(batch), [4, 16, 16, 1])
    inside = slice(objective.begin, objective.begin + objective.side)
    x, m = batch["image"][:, inside, inside], tf.cast(removed[:, inside, inside], tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        f = objective.predict(
            tf.where(removed, context_encoder.FILL, batch["image"]), training=True
        )
        d_x, d_f = (tf.sigmoid(objective.discriminator(p, training=True)) for p in (x, f))
        cross_entropy = -tf.reduce_mean(tf.math.log(d_x)) - tf.reduce_mean(tf.math.log(1 - d_f))
        weights = m if values else m + 10 * (1 - m)
        l_rec = tf.reduce_mean(
            tf.reduce_sum(weights * (x - f) ** 2, [1, 2, 3])
            / (3 * tf.reduce_sum(weights, [1, 2, 3]))
        )
        l_generator = 0.7 * l_rec + 0.3 * tf.reduce_mean(tf.math.log(1 - d_f))
    assert float(metrics["adversarial_loss"]) == pytest.approx(float(cross_entropy), rel=1e-5)
    assert float(metrics["pretext_loss"]) == pytest.approx(float(l_rec), rel=1e-5)
    expected = [*tape.gradient(l_generator, generator), *tape.gradient(cross_entropy, adversary)]
    for v, gradient, own in zip([*generator, *adversary], gradients, expected, strict=True):
        np.testing.assert_allclose(
            gradient, own, rtol=1e-3, atol=1e-5 * (1 + np.abs(own).max()), err_msg=v.path
        )
    assert (
        np.abs(tape.gradient(cross_entropy, objective.decoder.answer.kernel)).max() > 1e-4
    )  # there is something to reverse


def slow_adam(w, gradients, rate, beta_1=0.5, beta_2=0.999, epsilon=1e-7):
    m = v = 0.0
    for step, g in enumerate(gradients, 1):
        m, v = beta_1 * m + (1 - beta_1) * g, beta_2 * v + (1 - beta_2) * g**2
        w = w - rate * np.sqrt(1 - beta_2**step) / (1 - beta_1**step) * m / (np.sqrt(v) + epsilon)
    return w


@pytest.mark.parametrize("name", ["momentum", "lars"])
def test_own_optimizer(settings, shallow, eager, rng, name):
    """Adam for the discriminator alone; the rest moves as without one, and only that decays."""
    options = of(
        settings,
        adversarial_weight=0.1,
        optimizer=name,
        weight_decay=0.5,
        discriminator_learning_rate=0.02,
    )
    objective = built(options)
    optimizer = optimizers.make_optimizer(options, objective, 0.1)
    apart = {v.path for v in objective.apart()}
    variables = objective.trainable_variables
    assert (
        apart == {v.path for v in variables if v.path.startswith("discriminator/")}
        and len(apart) > 2
    )
    before = values_of(objective)
    gradients = [[rng.normal(size=v.shape).astype(np.float32) for v in variables] for _ in range(3)]
    rest = [(v, [g[i] for g in gradients]) for i, v in enumerate(variables) if v.path not in apart]
    for step in gradients:
        optimizer.apply([tf.constant(g) for g in step], variables)
    for i, v in enumerate(variables):
        if v.path in apart:
            np.testing.assert_allclose(
                v,
                slow_adam(before[v.path], [g[i] for g in gradients], 0.02),
                rtol=1e-4,
                atol=1e-5,
                err_msg=v.path,
            )
    after = values_of(objective)
    for v, _ in rest:
        v.assign(before[v.path])
    main = optimizers.make_optimizer(options, _Only(objective, [v for v, _ in rest]), 0.1)
    for step in range(3):
        main.apply([tf.constant(g[step]) for _, g in rest], [v for v, _ in rest])
    for v, _ in rest:
        np.testing.assert_array_equal(v, after[v.path], err_msg=v.path)
    paths = [v.path for v in optimizer.variables]
    assert len(set(paths)) == len(paths) == len(main.variables) + 2 * len(apart) + 2


class _Only:
    """An objective that has these variables alone."""

    supervised_head = None

    def __init__(self, objective, variables):
        self.trainable_variables, self._objective = variables, objective

    def apart(self):
        return []

    def _flatten_layers(self):
        return self._objective._flatten_layers()


def test_the_adversary_does_not_decay(settings, shallow, eager):
    options = of(settings, adversarial_weight=0.1, optimizer="momentum", weight_decay=0.5)
    objective = built(options)
    norms = layers.batch_norm_variables(objective)
    decayed = [
        v
        for v in objective.trainable_variables
        if id(v) not in norms and not v.path.startswith("discriminator/")
    ]
    expected = 0.25 * sum(np.sum(v.numpy().astype(np.float64) ** 2) for v in decayed)
    np.testing.assert_allclose(
        optimizers.weight_decay_penalty(options, objective), expected, rtol=1e-5
    )


def test_without_a_weight_there_is_no_adversary(settings, shallow, eager, rng):
    options = of(settings)
    objective = built(options)
    assert objective.apart() == [] and not any(
        "discriminator" in v.path for v in objective.variables
    )
    assert isinstance(optimizers.make_optimizer(options, objective, 0.1), keras.optimizers.Adam)
    assert set(objective.loss(batch_of(rng, options))[1]) == {"pretext_loss", "pretext_chance"}


def test_other_trainings_can_start_from_the_encoder(settings, shallow, eager):
    """By the paths of its variables."""
    known = built(settings(train_mode="finetune"))
    assert {v.path for v in built(of(settings)).inherited()} == {
        v.path for v in known.encoder.variables
    }


def test_loss_scaling_and_an_adversary_are_refused(settings):
    with pytest.raises(
        UserError, match=r"--adversarial_weight=0.1: .*float16; use --precision=bfloat16"
    ):
        of(settings, adversarial_weight=0.1, precision="float16")
    of(settings, adversarial_weight=0.1, precision="float16", train_mode="finetune")


def test_channelwise_layer_equals_the_loop(rng):
    x = rng.normal(size=(2, 3, 3, 4)).astype(np.float32)
    layer = ChannelwiseDense()
    layer.build(x.shape)
    layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    kernel, expected = layer.kernel.numpy(), np.zeros_like(x)
    for image in range(2):
        for channel in range(4):
            for to in range(9):
                expected[image, to // 3, to % 3, channel] = sum(
                    x[image, place // 3, place % 3, channel] * kernel[channel, place, to]
                    for place in range(9)
                )
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
    options = of(settings, image_size=size, removed_region=region)
    objective, batch = built(options), batch_of(rng, options, 2)
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
    history = Training(of(settings, **values)).run(3)
    assert np.isfinite([m["total_loss"] for m in history]).all()


def colours_that_change_evenly(rng, count, size):
    """uint8 images [N, S, S, 3], whose centre follows from what is around it."""
    place = np.linspace(-1, 1, size)
    slopes = rng.uniform(-0.25, 0.25, (2, count, 1, 1, 3))
    images = (
        rng.uniform(0.3, 0.7, (count, 1, 1, 3))
        + slopes[0] * place[:, None, None]
        + slopes[1] * place[:, None]
    )
    return tf.constant(np.rint(255 * np.clip(images, 0, 1)), tf.uint8)


def test_learns_to_paint(settings, monkeypatch, rng):
    """Clearly better than one colour, also for images that it has not seen and in inference mode."""
    monkeypatch.setitem(resnet.FAMILY, 18, (resnet.FAMILY[18][0], (1, 1, 1)))  # a last map of 4x4
    options = of(
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
        batch = {**batch_of(rng, options, 32), "image": colours_that_change_evenly(rng, 32, 16)}
        batch["removed"] = tf.stack(
            [context_encoder.random_blocks(16, [number, i]) for i in range(32)]
        )
        batches.append(batch)
    for step in range(90):
        metrics = training.step(batches[step % 12])
    unseen = training.objective.loss(batches[12], training=False)[1]
    for found in (metrics, unseen):
        assert found["pretext_loss"] < 0.5 * found["pretext_chance"]
