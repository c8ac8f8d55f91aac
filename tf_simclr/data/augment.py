"""Augmentation: pure functions image -> image (SimCLR app. A).

Images are float32 [H, W, 3] in [0, 1] unless said otherwise; there is no mean/std normalisation. A random function takes
the uniform numbers it uses, `u` in [0, 1), so all of a view's numbers come from one stateless draw that depends on the
seed alone.
"""

import functools
import math

import tensorflow as tf

CROP_PROPORTION = 0.875  # side of the central crop of evaluation
UNCROPPED_SIZE = 32  # up to this size evaluation does not crop
BLUR_SIGMA = (0.1, 2.0)
MAX_CROP_ATTEMPTS = 100


def between(u, low, high):
    """Uniform number in [low, high) from `u` in [0, 1)."""
    return low + u * (high - low)


def resize(image, size):
    """uint8 or float image [H, W, 3] -> [size, size, 3], bicubic, in the image's range (it may overshoot a little)."""
    return tf.image.resize(image, [size, size], tf.image.ResizeMethod.BICUBIC)


def random_resized_crop(image, seed, size, area, aspect):
    """A crop of random area and aspect ratio, resized.

    Args:
        image: uint8 or float32 [H, W, 3] in the range of uint8. seed: int32 or int64 [2].
        area: (least, greatest) share of the image's area. aspect: the same of the crop's width/height.

    Returns:
        float32 [size, size, 3] in the range of uint8.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image), tf.constant([[[0.0, 0.0, 1.0, 1.0]]]), seed,
        min_object_covered=0.0,  # 0.1 would cut the range of areas off at 0.1
        aspect_ratio_range=aspect, area_range=area, max_attempts=MAX_CROP_ATTEMPTS,
        use_image_if_no_bounding_boxes=True)
    return resize(tf.slice(image, begin, extent), size)


def random_affine(image, u, max_rotation, max_shear):
    """Rotation by up to `max_rotation` degrees and horizontal shear by up to `max_shear`, about the centre.

    Bilinear; what lies outside the image is its reflection. The image may be uint8, the result is float32. u: [2].
    """
    angle = between(u[0], -1.0, 1.0) * (max_rotation * math.pi / 180)
    shear = between(u[1], -1.0, 1.0) * max_shear
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b, d, e = cos, cos * shear - sin, sin, sin * shear + cos  # rotation @ [[1, shear], [0, 1]]
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    x, y = (tf.cast(width, tf.float32) - 1) / 2, (tf.cast(height, tf.float32) - 1) / 2
    transform = tf.stack([a, b, x - a * x - b * y, d, e, y - d * x - e * y, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[None],  # on uint8 the op would round down
        transforms=transform[None], output_shape=[height, width], fill_value=0.0,
        interpolation="BILINEAR", fill_mode="REFLECT")[0]


def random_flip(image, u):
    """Mirrors left-right with probability 0.5. u: scalar."""
    return tf.cond(u < 0.5, lambda: image[:, ::-1], lambda: image)


def color_jitter(image, u, strength, additive_brightness=False):
    """Brightness, contrast, saturation and hue in random order, clipped after each. u: [8], 4 for the order, 4 amounts."""
    s = 0.8 * strength
    low, high = max(1 - s, 0.0), 1 + s

    def brightness(x):
        return tf.image.adjust_brightness(x, between(u[4], -s, s)) if additive_brightness else x * between(u[4], low, high)

    changes = [
        brightness,
        lambda x: tf.image.adjust_contrast(x, between(u[5], low, high)),
        lambda x: tf.image.adjust_saturation(x, between(u[6], low, high)),
        lambda x: tf.image.adjust_hue(x, between(u[7], -0.2 * strength, 0.2 * strength)),
    ]
    for which in tf.unstack(tf.argsort(u[:4])):
        image = tf.clip_by_value(tf.switch_case(which, [functools.partial(change, image) for change in changes]), 0.0, 1.0)
    return image


def grayscale(image):
    """Drops the colours, keeps three channels."""
    return tf.repeat(tf.image.rgb_to_grayscale(image), 3, -1)


def blur_taps(height):
    """Number of taps of the blur's kernel at this image height: 23 at 224."""
    return 2 * int((height // 10) / 2) + 1


def gaussian_blur(image, sigma):
    """Gaussian blur, separable, zero-padded. The kernel's size depends on the image's static height, see `blur_taps`."""
    radius = blur_taps(image.shape[0]) // 2
    x = tf.range(-radius, radius + 1, dtype=tf.float32)
    taps = tf.exp(-tf.square(x) / (2 * tf.square(sigma)))
    taps = tf.tile((taps / tf.reduce_sum(taps))[:, None], [1, 3])  # [taps, 3]
    image = tf.nn.depthwise_conv2d(image[None], taps[:, None, :, None], [1, 1, 1, 1], "SAME")
    return tf.nn.depthwise_conv2d(image, taps[None, :, :, None], [1, 1, 1, 1], "SAME")[0]


def _maybe(probability, u, change, image):
    return tf.cond(u < probability, lambda: change(image), lambda: image)


def crop_and_flip(image, seed, size, options):
    """The geometry of a training view, which fine-tuning uses alone: affine, crop, flip.

    Args:
        image: uint8 [H, W, 3]. seed: int32 or int64 [2]. options: the augment section of the configuration.

    Returns:
        float32 [size, size, 3] in [0, 1].
    """
    numbers, crop = tf.unstack(tf.random.experimental.stateless_split(seed, 2))  # with one seed, the angle would follow from the aspect
    u = tf.random.stateless_uniform([3], numbers)
    if options.max_rotation or options.max_shear:
        image = random_affine(image, u[:2], options.max_rotation, options.max_shear)
    image = random_resized_crop(image, crop, size, options.crop_area, options.crop_aspect) if options.use_crop else resize(image, size)
    if options.use_flip:
        image = random_flip(image, u[2])
    return tf.clip_by_value(tf.ensure_shape(image, [size, size, 3]) / 255, 0.0, 1.0)


def is_random(options):
    """Whether `crop_and_flip` gives another image each time."""
    return bool(options.use_crop or options.use_flip or options.max_rotation or options.max_shear)


def pretrain_view(image, seed, size, options):
    """One augmented view for contrastive learning: crop, flip, colour jitter, grayscale, blur.

    Arguments and result as `crop_and_flip`.
    """
    geometry, colour = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    image = crop_and_flip(image, geometry, size, options)
    u = tf.random.stateless_uniform([12], colour)
    strength = options.color_jitter_strength
    if strength > 0:
        additive = options.brightness == "additive"
        image = _maybe(0.8, u[8], lambda x: color_jitter(x, u[:8], strength, additive), image)
        image = _maybe(options.grayscale_probability, u[9], grayscale, image)
    if options.use_blur:
        image = _maybe(0.5, u[10], lambda x: gaussian_blur(x, between(u[11], *BLUR_SIGMA)), image)
    return tf.clip_by_value(image, 0.0, 1.0)


def eval_image(image, size):
    """The image as evaluation sees it: uint8 [H, W, 3] -> float32 [size, size, 3] in [0, 1].

    A central crop of 0.875 of the side, with the shape of the result, then a bicubic resize. Up to 32 pixels there is no
    crop, and no resize where the image has the size already.
    """
    shape = tf.shape(image)
    if size > UNCROPPED_SIZE:
        side = tf.cast(tf.math.rint(CROP_PROPORTION * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)), tf.int32)
        side = tf.maximum(side, 1)
        begin = (shape[:2] - side + 1) // 2
        image = tf.slice(image, [begin[0], begin[1], 0], [side, side, 3])
    same = tf.reduce_all(tf.shape(image)[:2] == size)
    image = tf.cond(same, lambda: tf.cast(image, tf.float32), lambda: resize(image, size))
    # Not a division: compiled graphs make a product of it, pipelines of tf.data do not, and exports are to see the same bits as evaluation.
    return tf.clip_by_value(tf.ensure_shape(image, [size, size, 3]) * (1 / 255), 0.0, 1.0)
