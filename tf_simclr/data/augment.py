"""Augmentation of one image inside tf.data: its geometry, in uint8 (SimCLR appendix A).

`color` does the rest in the training step. A random function takes the uniform numbers it uses, `u`
in [0, 1), so all of a view's numbers come from stateless draws that depend on the seed alone. There
is no mean/std normalization.
"""

import math

import tensorflow as tf

from tf_simclr.config.automatic import is_small
from tf_simclr.config.data_sections import AugmentConfig
from tf_simclr.data import color
from tf_simclr.data.cutout import cut_out
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.resizing import RESIZINGS, resize

CROP_PROPORTION = 0.875  # side of the central crop of evaluation
PAD_VALUE = 128  # gray, of 255
MAX_CROP_ATTEMPTS = 100
NUM_GEOMETRY = 3  # random numbers of a view: angle, shear, flip


def crop_box(shape, seed, area, aspect) -> tuple[tf.Tensor, tf.Tensor]:
    """A crop of random area and aspect ratio.

    Args:
        shape: int32 [3] of the image.
        seed: int32 or int64 [2].
        area: (least, greatest) share of the image's area.
        aspect: (least, greatest) width/height of the crop.

    Returns:
        (begin, extent), each int32 [3].
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed,
        min_object_covered=0.0,  # 0.1 would cut the range of areas off at 0.1
        aspect_ratio_range=aspect,
        area_range=area,
        max_attempts=MAX_CROP_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return begin, tf.concat([extent[:2], [3]], 0)  # of the channels it says -1: all


def random_affine(image, u, max_rotation: float, max_shear: float) -> tf.Tensor:
    """Rotation and horizontal shear about the center.

    Bilinear; what lies outside the image is its reflection.

    Args:
        image: [H, W, 3], may be uint8.
        u: float32 [2].
        max_rotation: in degrees, either way.
        max_shear: slope, either way.

    Returns:
        float32 [H, W, 3].
    """
    angle = color.between(u[0], -1.0, 1.0) * (max_rotation * math.pi / 180)
    shear = color.between(u[1], -1.0, 1.0) * max_shear
    cos, sin = tf.cos(angle), tf.sin(angle)
    # The matrix [[a, b], [d, e]] is rotation @ [[1, shear], [0, 1]].
    a, b = cos, cos * shear - sin
    d, e = sin, sin * shear + cos
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    x = (tf.cast(width, tf.float32) - 1) / 2
    y = (tf.cast(height, tf.float32) - 1) / 2
    transform = tf.stack([a, b, x - a * x - b * y, d, e, y - d * x - e * y, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[None],  # on uint8 the op would round down
        transforms=transform[None],
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


def random_flip(image, u) -> tf.Tensor:
    """Mirrors left-right with probability 0.5. u: float32 scalar."""
    return tf.cond(u < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def crop_and_flip(
    picture, seeds: list, size: int, options: AugmentConfig, resizing: str = "antialias"
) -> tf.Tensor:
    """The geometry of training views of one image: affine, crop, flip, Cutout.

    Fine-tuning uses it alone.

    Args:
        picture: `EncodedImage` or `DecodedImage`.
        seeds: int32 or int64 [2], one for each view.
        size: height and width of a view.
        options: the augment section of the configuration.
        resizing: a key of `RESIZINGS`.

    Returns:
        uint8 [V, size, size, 3].
    """
    if picture.is_at_most(size):
        resizing = "original"  # the same bits where nothing is reduced, and nothing to decide
    u, boxes = [], []
    shape = picture.shape()
    for seed in seeds:
        # With one seed for both, the angle would follow from the aspect ratio.
        u_seed, crop_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        u.append(tf.random.stateless_uniform([NUM_GEOMETRY], u_seed))
        if options.use_crop:
            boxes.append(crop_box(shape, crop_seed, options.crop_area, options.crop_aspect))
        else:
            boxes.append((tf.zeros([3], tf.int32), shape))
    if options.max_rotation or options.max_shear:
        images = _affine_crops(picture.whole(), u, boxes, options)
    else:
        # What the original release resizes it has decoded in full.
        images = picture.crops(boxes, size if resizing == "antialias" else None)
    views = [_as_uint8(resize(image, size, resizing)) for image in images]
    if options.use_flip:
        views = [random_flip(view, view_u[2]) for view, view_u in zip(views, u)]
    if options.cutout:
        views = [cut_out(view, seed, options.cutout) for view, seed in zip(views, seeds)]
    return tf.ensure_shape(tf.stack(views), [len(seeds), size, size, 3])


def _affine_crops(whole, u, boxes, options):
    crops = []
    for view_u, box in zip(u, boxes):
        image = random_affine(whole, view_u[:2], options.max_rotation, options.max_shear)
        crops += DecodedImage(image).crops([box])
    return crops


def _as_uint8(image):
    return tf.cast(tf.clip_by_value(tf.math.rint(image), 0.0, 255.0), tf.uint8)


def is_random(options: AugmentConfig) -> bool:
    """Whether `crop_and_flip` gives another image each time."""
    is_affine = options.max_rotation or options.max_shear
    return bool(options.use_crop or options.use_flip or is_affine or options.cutout)


def pretrain_views(
    picture,
    seed,
    size: int,
    options: AugmentConfig,
    resizing: str = "antialias",
    num_views: int = 2,
    num_numbers: int = color.NUM_NUMBERS,
) -> dict:
    """Augmented views, as for contrastive learning (SimCLR appendix A).

    Their colors are still to be distorted, see `color.network_input`.

    Args:
        picture: `EncodedImage` or `DecodedImage`.
        seed: int32 or int64 [2].
        size: height and width of a view.
        options: the augment section of the configuration.
        resizing: a key of `RESIZINGS`.
        num_views: V.
        num_numbers: n, random numbers of the colors of a view, see `color.NUM_NUMBERS`.

    Returns:
        {"views": uint8 [V, size, size, 3], "numbers": float32 [V, n] in [0, 1), the random numbers
        of the colors}; no numbers where colors stay as they are.
    """
    geometry_seeds, color_seeds = [], []
    for view_seed in tf.unstack(tf.random.experimental.stateless_split(seed, num_views)):
        geometry, colors = tf.unstack(tf.random.experimental.stateless_split(view_seed, 2))
        geometry_seeds.append(geometry)
        color_seeds.append(colors)
    example = {"views": crop_and_flip(picture, geometry_seeds, size, options, resizing)}
    if color.is_active(options):
        numbers = [
            tf.random.stateless_uniform([num_numbers], color_seed) for color_seed in color_seeds
        ]
        example["numbers"] = tf.stack(numbers)
    return example


def _whole(image, size, resizing):
    """The whole image; nothing is resized where it has the size already."""
    has_size = tf.reduce_all(tf.shape(image)[:2] == size)
    return tf.cond(
        has_size, lambda: tf.cast(image, tf.float32), lambda: resize(image, size, resizing)
    )


def _centre(image, size, resizing):
    """A central square of 0.875 of the shorter side; up to 32 pixels the whole image."""
    if is_small(size):
        return _whole(image, size, resizing)
    shape = tf.shape(image)
    shorter = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)
    side = tf.cast(tf.math.rint(CROP_PROPORTION * shorter), tf.int32)
    side = tf.maximum(side, 1)
    begin = (shape[:2] - side + 1) // 2
    return _whole(tf.slice(image, [begin[0], begin[1], 0], [side, side, 3]), size, resizing)


def _pad(image, size, resizing):
    """The whole image with its aspect ratio, and gray beside it."""
    shape = tf.shape(image)[:2]
    longer = tf.reduce_max(shape)
    # Rounded in whole numbers, so that anyone gets the same.
    inner = tf.maximum((2 * size * shape + longer) // (2 * longer), 1)
    has_size = tf.reduce_all(inner == shape)
    image = tf.cond(
        has_size,
        lambda: tf.cast(image, tf.float32),
        lambda: RESIZINGS[resizing](image, inner),
    )
    before = (size - inner) // 2
    after = size - inner - before
    paddings = [[before[0], after[0]], [before[1], after[1]], [0, 0]]
    return tf.pad(image, paddings, constant_values=PAD_VALUE)


# {--eval_crop: function of image, size and resizing}.
EVAL_CROPS = {"centre": _centre, "whole": _whole, "pad": _pad}


def eval_image(
    image, size: int, eval_crop: str = "centre", resizing: str = "antialias"
) -> tf.Tensor:
    """The image as evaluation, embedding and exports see it.

    Args:
        image: uint8 [H, W, 3].
        size: height and width of the result.
        eval_crop: a key of `EVAL_CROPS`.
        resizing: a key of `RESIZINGS`.

    Returns:
        float32 [size, size, 3] in [0, 1].
    """
    image = EVAL_CROPS[eval_crop](image, size, resizing)
    image = tf.ensure_shape(image, [size, size, 3])
    # Not a division: compiled graphs make a product of it, pipelines of tf.data do not, and exports
    # are to see the same bits as evaluation.
    return tf.clip_by_value(image * (1 / 255), 0.0, 1.0)
