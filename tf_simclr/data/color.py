"""Color distortion of a batch of views, and their blur, in the training step (SimCLR appendix A).

An image is held as planes, float32 [3, S, S] in [0, 1]. Everything is written for planes of any
number of images, [..., 3, S, S], with amounts of shape [...]. With XLA one image at a time is
fastest on a CPU: it stays in the cache, and only what was drawn for it is computed. Accelerators
take all images at once, where everything is computed and chosen from.
"""

import functools

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config.data_sections import AugmentConfig
from tf_simclr.data.blur import blur, blur_taps
from tf_simclr.data.color_policy import SIMCLR, ColorPolicy

# Random numbers of a view: 4 for the order of the jitter, 4 amounts, whether jitter, gray and blur,
# sigma of the blur; one more, whether solarized, where that may be.
NUM_NUMBERS = 12
NUM_WITH_SOLARIZATION = 13
JITTER_NUMBERS = slice(0, 8)
WHETHER_JITTER, WHETHER_GRAY, WHETHER_BLUR, SIGMA, WHETHER_SOLARIZED = 8, 9, 10, 11, 12  # positions
JITTER_PROBABILITY = 0.8
SOLARIZED_FROM = 0.5  # values from which on solarization inverts (BYOL appendix B)
BLUR_SIGMA = (0.1, 2.0)
LUMA = (0.2989, 0.587, 0.114)  # weights of red, green and blue in gray


def between(u, low, high):
    """A uniform number in [low, high) from `u` in [0, 1)."""
    return low + u * (high - low)


def is_active(options: AugmentConfig) -> bool:
    """Whether anything is left to do after the geometry."""
    return options.color_jitter_strength > 0 or options.use_blur


def network_input(
    batch: dict, options: AugmentConfig, policies: tuple[ColorPolicy, ...] = (SIMCLR,)
) -> tf.Tensor | None:
    """What the network sees of a batch.

    Args:
        batch: "views" [B, V, S, S, 3] or "image" [B, S, S, 3], uint8, or float32 in [0, 1]; with
            "numbers" [B, V, n] their colors are distorted.
        options: the augment section of the configuration.
        policies: one for all views, or one for each of them.

    Returns:
        float32 [N, S, S, 3] in [0, 1], the views of an image one after the other; None: there are
        no images in the batch.
    """
    images = batch.get("views", batch.get("image"))
    if images is None:
        return None
    images = tf.reshape(images, [-1, *images.shape[-3:]])
    if "numbers" not in batch:
        return tf.image.convert_image_dtype(images, tf.float32)
    numbers = tf.reshape(batch["numbers"], [-1, batch["numbers"].shape[-1]])
    if len(policies) == 1:
        return distort(images, numbers, options, one_by_one=distribute.on_cpu(), policy=policies[0])
    views = [
        distort(
            images[number :: len(policies)],
            numbers[number :: len(policies)],
            options,
            one_by_one=distribute.on_cpu(),
            policy=policy,
        )
        for number, policy in enumerate(policies)
    ]
    return tf.reshape(tf.stack(views, 1), images.shape)


def distort(
    images, numbers, options: AugmentConfig, one_by_one: bool, policy: ColorPolicy = SIMCLR
):
    """Color jitter, grayscale, blur and solarization, each of the images that were drawn for it.

    Args:
        images: uint8 [N, S, S, 3].
        numbers: float32 [N, 12] in [0, 1), 13 where the policy solarizes.
        options: the augment section of the configuration.
        one_by_one: one image after the other, as is best on a CPU, or all at once.
        policy: what is done otherwise than by SimCLR.

    Returns:
        float32 [N, S, S, 3] in [0, 1].
    """
    return _compiled(options, one_by_one, policy)(images, numbers)


@functools.cache
def _compiled(options, one_by_one, policy):
    """`distort` compiled: once for equal options, since that takes seconds."""

    @tf.function(jit_compile=True, autograph=False)
    def distort_batch(images, numbers):
        if not one_by_one:
            return _distort(images, numbers, options, policy)
        return tf.map_fn(
            lambda pair: _distort(*pair, options, policy),
            (images, numbers),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )

    return distort_batch


def _distort(images, u, options, policy):
    """As `distort`, of [..., S, S, 3] by [..., n]."""
    u = tf.unstack(u, axis=-1)
    channels = tf.unstack(images, axis=-1)
    planes = tf.cast(tf.stack(channels, -3), tf.float32) * (1 / 255)
    strength = options.color_jitter_strength
    if strength > 0:
        is_additive = options.brightness == "additive"
        planes = _apply_where(
            u[WHETHER_JITTER] < JITTER_PROBABILITY,
            lambda x: jitter(x, u[JITTER_NUMBERS], strength, is_additive, policy.saturation),
            planes,
        )
        is_gray = u[WHETHER_GRAY] < options.grayscale_probability
        planes = _apply_where(is_gray, grayscale, planes)
    if options.use_blur and blur_taps(images.shape[-2]) > 1:
        planes = _apply_where(
            u[WHETHER_BLUR] < policy.blur_probability,
            lambda x: blur(x, between(u[SIGMA], *BLUR_SIGMA)),
            planes,
        )
    if policy.solarize_probability > 0 and strength > 0:
        is_solarized = u[WHETHER_SOLARIZED] < policy.solarize_probability
        planes = _apply_where(is_solarized, solarize, planes)
    return tf.stack(tf.unstack(planes, axis=-3), -1)


def jitter(
    planes,
    u: list,
    strength: float,
    is_additive: bool = False,
    relative_saturation: float = 1.0,
):
    """Brightness, contrast, saturation and hue in random order, clipped after each.

    Args:
        planes: [..., 3, S, S].
        u: 4 numbers for the order and 4 amounts, each [...].
        strength: s; brightness, contrast and saturation change by 0.8 s, hue by 0.2 s.
        is_additive: whether brightness is an offset, as in the first paper, or a factor.
        relative_saturation: of its change, relative to that of contrast.
    """
    s = 0.8 * strength
    low, high = _factors(s)
    saturation_range = _factors(s * relative_saturation)
    max_hue = 0.2 * strength
    order = tf.argsort(tf.stack(u[:4], -1))  # [..., 4]

    def brightness(x):
        if is_additive:
            return x + _expand(between(u[4], -s, s))
        return x * _expand(between(u[4], low, high))

    changes = [
        brightness,
        lambda x: contrast(x, between(u[5], low, high)),
        lambda x: saturation(x, between(u[6], *saturation_range)),
        lambda x: hue(x, between(u[7], -max_hue, max_hue)),
    ]

    def step(k, x):
        return k + 1, tf.clip_by_value(_apply_one(order[..., k], changes, x), 0.0, 1.0)

    # A loop: each of the four is compiled once.
    _, planes = tf.while_loop(lambda k, x: k < len(changes), step, (0, planes))
    return planes


def _factors(change):
    """(least, greatest) factor of a change by at most `change`."""
    return max(1 - change, 0.0), 1 + change


def contrast(planes, factor):
    """Moves each channel away from its mean. factor: [...]."""
    row_means = tf.reduce_mean(planes, -2, keepdims=True)  # rows first: that is vectorized
    mean = tf.reduce_mean(row_means, -1, keepdims=True)
    return (planes - mean) * _expand(factor) + mean


def saturation(planes, factor):
    """Scales the saturation of HSV, up to 1: exactly the moving away from the largest channel.

    factor: [...].
    """
    value = tf.reduce_max(planes, -3, keepdims=True)
    least = tf.reduce_min(planes, -3, keepdims=True)
    largest_factor = value / tf.maximum(value - least, 1e-9)
    return value - (value - planes) * tf.minimum(_expand(factor), largest_factor)


def hue(planes, delta):
    """Turns the hue of HSV by `delta` [...] of a whole turn, at most one.

    The hue is kept times the chroma, which saves all divisions; each channel follows from it by a
    ramp between the least and the largest one.
    """
    r, g, b = tf.unstack(planes, axis=-3)
    value = tf.maximum(tf.maximum(r, g), b)
    least = tf.minimum(tf.minimum(r, g), b)
    chroma = value - least
    # In sixths of a turn, times the chroma.
    if_not_red = tf.where(value == g, b - r + 2 * chroma, r - g + 4 * chroma)
    angle = tf.where(value == r, g - b, if_not_red)
    angle += 6 * delta[..., None, None] * chroma
    angle += tf.where(angle < 0, 6 * chroma, 0.0)
    angle -= tf.where(angle >= 6 * chroma, 6 * chroma, 0.0)
    ramps = [
        tf.abs(angle - 3 * chroma) - chroma,
        2 * chroma - tf.abs(angle - 2 * chroma),
        2 * chroma - tf.abs(angle - 4 * chroma),
    ]
    channels = [least + tf.minimum(tf.maximum(ramp, 0.0), chroma) for ramp in ramps]
    return tf.stack(channels, -3)


def grayscale(planes):
    """Drops the colors, keeps three channels."""
    r, g, b = tf.unstack(planes, axis=-3)
    red, green, blue = LUMA
    gray = red * r + green * g + blue * b
    return tf.stack([gray] * 3, -3)


def solarize(planes):
    """Inverts the values from the middle on (BYOL appendix B)."""
    return tf.where(planes < SOLARIZED_FROM, planes, 1 - planes)


def _expand(amount):
    """[...] -> [..., 1, 1, 1], for planes."""
    return amount[..., None, None, None]


def _apply_where(condition, change, planes):
    """Changed planes where the condition [...] holds."""
    if condition.shape.rank:
        return tf.where(_expand(condition), change(planes), planes)
    return tf.cond(condition, lambda: change(planes), lambda: planes)


def _apply_one(index, changes, planes):
    """Planes changed by `changes[index]`. index: int32 [...]."""
    if not index.shape.rank:
        branches = [lambda change=change: change(planes) for change in changes]
        return tf.switch_case(index, branches)
    changed = planes
    for number, change in enumerate(changes):
        changed = tf.where(_expand(index == number), change(planes), changed)
    return changed
