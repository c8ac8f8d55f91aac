"""Colour distortion and blur of a batch of views, in the training step (SimCLR app. A).

An image is held as planes, float32 [3, S, S] in [0, 1]. Everything is written for planes of any number of images,
[..., 3, S, S], with amounts of shape [...]. With XLA one image at a time is fastest on a CPU: it stays in the cache, and
only what was drawn for it is computed. Accelerators take all images at once, where everything is computed and chosen from.
"""

import tensorflow as tf

from tf_simclr import distribute

NUMBERS = 12  # random numbers of a view: 4 for the order of the jitter, 4 amounts, whether jitter, grey and blur, sigma
BLUR_SIGMA = (0.1, 2.0)
GREY = (0.2989, 0.587, 0.114)
BLOCK = 32  # rows or columns of a product of the blur


def between(u, low, high):
    """Uniform number in [low, high) from `u` in [0, 1)."""
    return low + u * (high - low)


def is_active(options):
    """Whether anything is left to do after the geometry. options: the augment section of the configuration."""
    return options.color_jitter_strength > 0 or options.use_blur


def network_input(batch, options):
    """What the network sees of a batch.

    Args:
        batch: "views" [B, V, S, S, 3] or "image" [B, S, S, 3], uint8, or float32 in [0, 1]; with "numbers" [B, V, 12] their colours are distorted.

    Returns:
        float32 [N, S, S, 3] in [0, 1], the views of an image one after the other; None: there are no images in the batch.
    """
    found = batch.get("views", batch.get("image"))
    if found is None:
        return None
    found = tf.reshape(found, [-1, *found.shape[-3:]])
    if "numbers" not in batch:
        return tf.image.convert_image_dtype(found, tf.float32)
    return distort(
        found, tf.reshape(batch["numbers"], [-1, NUMBERS]), options, one_by_one=distribute.on_cpu()
    )


@tf.function(jit_compile=True, autograph=False)
def distort(images, numbers, options, one_by_one):
    """Colour jitter, grayscale and blur, each of them of the images that were drawn for it.

    Args:
        images: uint8 [N, S, S, 3]. numbers: float32 [N, 12] in [0, 1). options: the augment section.
        one_by_one: one image after the other, as is best on a CPU, or all at once.

    Returns:
        float32 [N, S, S, 3] in [0, 1].
    """

    def change(images, u):
        u = tf.unstack(u, axis=-1)
        planes = tf.cast(tf.stack(tf.unstack(images, axis=-1), -3), tf.float32) * (1 / 255)
        if options.color_jitter_strength > 0:
            planes = _only(
                u[8] < 0.8,
                lambda x: jitter(
                    x, u[:8], options.color_jitter_strength, options.brightness == "additive"
                ),
                planes,
            )
            planes = _only(u[9] < options.grayscale_probability, grayscale, planes)
        if options.use_blur and blur_taps(images.shape[-2]) > 1:
            planes = _only(u[10] < 0.5, lambda x: blur(x, between(u[11], *BLUR_SIGMA)), planes)
        return tf.stack(tf.unstack(planes, axis=-3), -1)

    if not one_by_one:
        return change(images, numbers)
    return tf.map_fn(
        lambda pair: change(*pair),
        (images, numbers),
        fn_output_signature=tf.float32,
        parallel_iterations=1,
    )


def jitter(planes, u, strength, additive=False):
    """Brightness, contrast, saturation and hue in random order, clipped after each. u: 4 for the order, 4 amounts, each [...]."""
    s = 0.8 * strength
    low, high = max(1 - s, 0.0), 1 + s
    order = tf.argsort(tf.stack(u[:4], -1))  # [..., 4]
    kinds = [
        lambda x: (
            x + _wide(between(u[4], -s, s)) if additive else x * _wide(between(u[4], low, high))
        ),
        lambda x: contrast(x, between(u[5], low, high)),
        lambda x: saturation(x, between(u[6], low, high)),
        lambda x: hue(x, between(u[7], -0.2 * strength, 0.2 * strength)),
    ]
    step = lambda k, x: (k + 1, tf.clip_by_value(_one_of(order[..., k], kinds, x), 0.0, 1.0))
    return tf.while_loop(lambda k, x: k < 4, step, (0, planes))[
        1
    ]  # a loop: each of the four is compiled once


def contrast(planes, factor):
    """Moves each channel away from its mean. factor: [...]."""
    mean = tf.reduce_mean(
        tf.reduce_mean(planes, -2, keepdims=True), -1, keepdims=True
    )  # rows first: that is vectorised
    return (planes - mean) * _wide(factor) + mean


def saturation(planes, factor):
    """Scales the saturation of HSV, up to 1: exactly the moving away from the largest channel. factor: [...]."""
    value, least = (
        tf.reduce_max(planes, -3, keepdims=True),
        tf.reduce_min(planes, -3, keepdims=True),
    )
    return value - (value - planes) * tf.minimum(
        _wide(factor), value / tf.maximum(value - least, 1e-9)
    )


def hue(planes, delta):
    """Turns the hue of HSV by `delta` [...] of a whole turn, at most one.

    The hue is kept times the chroma, which saves all divisions; each channel follows from it by a ramp between the least and
    the largest one.
    """
    r, g, b = tf.unstack(planes, axis=-3)
    value, least = tf.maximum(tf.maximum(r, g), b), tf.minimum(tf.minimum(r, g), b)
    chroma = value - least
    angle = tf.where(
        value == r, g - b, tf.where(value == g, b - r + 2 * chroma, r - g + 4 * chroma)
    )  # in sixths of a turn, times the chroma
    angle += 6 * delta[..., None, None] * chroma
    angle += tf.where(angle < 0, 6 * chroma, 0.0)
    angle -= tf.where(angle >= 6 * chroma, 6 * chroma, 0.0)
    ramps = [
        tf.abs(angle - 3 * chroma) - chroma,
        2 * chroma - tf.abs(angle - 2 * chroma),
        2 * chroma - tf.abs(angle - 4 * chroma),
    ]
    return tf.stack([least + tf.minimum(tf.maximum(ramp, 0.0), chroma) for ramp in ramps], -3)


def grayscale(planes):
    """Drops the colours, keeps three channels."""
    r, g, b = tf.unstack(planes, axis=-3)
    return tf.stack([GREY[0] * r + GREY[1] * g + GREY[2] * b] * 3, -3)


def blur_taps(height):
    """Number of taps of the blur's kernel at this image height: 23 at 224."""
    return 2 * int((height // 10) / 2) + 1


def blur(planes, sigma):
    """Gaussian blur, zero-padded, with a kernel of `blur_taps`. sigma: [...].

    A product with a banded matrix along the rows and one along the columns: more arithmetic than the sum over the taps, but
    what every device is best at. It is taken block by block, without most of the matrix that is zero.
    """
    size = planes.shape[-1]
    radius = blur_taps(size) // 2
    squares = tf.square(tf.cast(tf.range(size)[:, None] - tf.range(size), tf.float32))  # [S, S]
    variance = 2 * tf.square(sigma)[..., None, None]
    total = tf.reduce_sum(
        tf.exp(-tf.square(tf.range(-radius, radius + 1, dtype=tf.float32)) / variance),
        -1,
        keepdims=True,
    )
    band = tf.where(squares <= radius**2, tf.exp(-squares / variance), 0.0) / total  # [..., S, S]
    band = tf.broadcast_to(band[..., None, :, :], tf.shape(planes))
    ends = [(begin, min(begin + BLOCK, size)) for begin in range(0, size, BLOCK)]
    blocks = [
        (slice(begin, end), slice(max(begin - radius, 0), end + radius)) for begin, end in ends
    ]  # of the result, and what it depends on
    planes = tf.concat(
        [tf.matmul(planes[..., :, near], band[..., near, block]) for block, near in blocks], -1
    )
    planes = tf.concat(
        [tf.matmul(band[..., block, near], planes[..., near, :]) for block, near in blocks], -2
    )
    return tf.clip_by_value(planes, 0.0, 1.0)


def _wide(amount):
    """[...] -> [..., 1, 1, 1], for planes."""
    return amount[..., None, None, None]


def _only(condition, change, planes):
    """`change`d planes where the condition [...] holds."""
    if condition.shape.rank:
        return tf.where(_wide(condition), change(planes), planes)
    return tf.cond(condition, lambda: change(planes), lambda: planes)


def _one_of(which, kinds, planes):
    """Planes changed by `kinds[which]`. which: int32 [...]."""
    if not which.shape.rank:
        return tf.switch_case(which, [lambda kind=kind: kind(planes) for kind in kinds])
    changed = planes
    for number, kind in enumerate(kinds):
        changed = tf.where(_wide(which == number), kind(planes), changed)
    return changed
