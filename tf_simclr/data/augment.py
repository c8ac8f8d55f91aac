"""Augmentation of one image inside tf.data: its geometry, in uint8 (SimCLR app. A); `colour` does the rest in the step.

A random function takes the uniform numbers it uses, `u` in [0, 1), so all of a view's numbers come from stateless draws
that depend on the seed alone. There is no mean/std normalisation.
"""

import math

import tensorflow as tf

from tf_simclr.data import color
from tf_simclr.data.image import DecodedImage

CROP_PROPORTION = 0.875  # side of the central crop of evaluation
UNCROPPED_SIZE = 32  # up to this size evaluation does not crop
MAX_CROP_ATTEMPTS = 100


def resize(image, size):
    """uint8 or float image [H, W, 3] -> [size, size, 3], bicubic, in the image's range (it may overshoot a little)."""
    return tf.image.resize(image, [size, size], tf.image.ResizeMethod.BICUBIC)


def crop_box(shape, seed, area, aspect):
    """The place of a crop of random area and aspect ratio.

    Args:
        shape: int32 [3] of the image. seed: int32 or int64 [2].
        area: (least, greatest) share of the image's area. aspect: the same of the crop's width/height.

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


def random_affine(image, u, max_rotation, max_shear):
    """Rotation by up to `max_rotation` degrees and horizontal shear by up to `max_shear`, about the centre.

    Bilinear; what lies outside the image is its reflection. The image may be uint8, the result is float32. u: [2].
    """
    angle = color.between(u[0], -1.0, 1.0) * (max_rotation * math.pi / 180)
    shear = color.between(u[1], -1.0, 1.0) * max_shear
    cos, sin = tf.cos(angle), tf.sin(angle)
    a, b, d, e = cos, cos * shear - sin, sin, sin * shear + cos  # rotation @ [[1, shear], [0, 1]]
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    x, y = (tf.cast(width, tf.float32) - 1) / 2, (tf.cast(height, tf.float32) - 1) / 2
    transform = tf.stack([a, b, x - a * x - b * y, d, e, y - d * x - e * y, 0.0, 0.0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[None],  # on uint8 the op would round down
        transforms=transform[None],
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


def random_flip(image, u):
    """Mirrors left-right with probability 0.5. u: scalar."""
    return tf.cond(u < 0.5, lambda: tf.reverse(image, [1]), lambda: image)


def crop_and_flip(picture, seeds, size, options):
    """The geometry of training views of one image, which fine-tuning uses alone: affine, crop, flip.

    Args:
        picture: of module `picture`. seeds: a list of int32 or int64 [2], one for each view. options: the augment section.

    Returns:
        uint8 [V, size, size, 3].
    """
    numbers, crops = zip(
        *(tf.unstack(tf.random.experimental.stateless_split(seed, 2)) for seed in seeds)
    )  # with one seed, the angle would follow from the aspect
    u = [tf.random.stateless_uniform([3], seed) for seed in numbers]
    shape = picture.shape()
    boxes = [
        crop_box(shape, seed, options.crop_area, options.crop_aspect)
        if options.use_crop
        else (tf.zeros([3], tf.int32), shape)
        for seed in crops
    ]
    if options.max_rotation or options.max_shear:
        whole = picture.whole()
        images = [
            DecodedImage(
                random_affine(whole, own[:2], options.max_rotation, options.max_shear)
            ).crops([box])[0]
            for own, box in zip(u, boxes)
        ]
    else:
        images = picture.crops(boxes)
    views = [
        tf.cast(tf.clip_by_value(tf.math.rint(resize(image, size)), 0.0, 255.0), tf.uint8)
        for image in images
    ]
    if options.use_flip:
        views = [random_flip(view, own[2]) for view, own in zip(views, u)]
    return tf.ensure_shape(tf.stack(views), [len(seeds), size, size, 3])


def is_random(options):
    """Whether `crop_and_flip` gives another image each time."""
    return bool(options.use_crop or options.use_flip or options.max_rotation or options.max_shear)


def pretrain_views(picture, seed, size, options):
    """Two augmented views for contrastive learning (app. A), whose colours are still to be distorted, see `colour.images`.

    Arguments as `crop_and_flip`, with one seed [2].

    Returns:
        {"views": uint8 [2, size, size, 3], "numbers": float32 [2, 12] in [0, 1), the random numbers of the colours}.
    """
    views = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
    geometry, colours = zip(
        *(tf.unstack(tf.random.experimental.stateless_split(view, 2)) for view in views)
    )
    example = {"views": crop_and_flip(picture, geometry, size, options)}
    if color.is_active(options):
        example["numbers"] = tf.stack(
            [tf.random.stateless_uniform([color.NUMBERS], own) for own in colours]
        )
    return example


def eval_image(image, size):
    """The image as evaluation sees it: uint8 [H, W, 3] -> float32 [size, size, 3] in [0, 1].

    A central crop of 0.875 of the side, with the shape of the result, then a bicubic resize. Up to 32 pixels there is no
    crop, and no resize where the image has the size already.
    """
    shape = tf.shape(image)
    if size > UNCROPPED_SIZE:
        side = tf.cast(
            tf.math.rint(CROP_PROPORTION * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32)),
            tf.int32,
        )
        side = tf.maximum(side, 1)
        begin = (shape[:2] - side + 1) // 2
        image = tf.slice(image, [begin[0], begin[1], 0], [side, side, 3])
    same = tf.reduce_all(tf.shape(image)[:2] == size)
    image = tf.cond(same, lambda: tf.cast(image, tf.float32), lambda: resize(image, size))
    # Not a division: compiled graphs make a product of it, pipelines of tf.data do not, and exports are to see the same bits as evaluation.
    return tf.clip_by_value(tf.ensure_shape(image, [size, size, 3]) * (1 / 255), 0.0, 1.0)
