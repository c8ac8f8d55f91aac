"""What the methods share that compare a weak view of an image with a strong one."""

import tensorflow as tf

from tf_simclr.data import rand_augment
from tf_simclr.objectives.semi.base import SemiTask


class WeakStrongTask(SemiTask):
    """Two crops of an image, the second of which goes through RandAugment and Cutout."""

    num_crops = 2
    num_views = 2

    def example(self, picture, label, seed, index=0, constant=None):
        """Two crops, and the random numbers of the strong one."""
        view_seed, number_seed = tf.unstack(tf.random.experimental.stateless_split(seed, 2))
        numbers = tf.random.stateless_uniform([rand_augment.NUM_NUMBERS], number_seed)
        return {**super().example(picture, label, view_seed), "strong_numbers": numbers}

    def images(self, batch):
        """The weak and the strong view of an image one after the other."""
        weak, strong = tf.unstack(self.by_image(super().images(batch)), axis=1)
        strong = rand_augment.strong(strong, batch["strong_numbers"])
        return tf.reshape(tf.stack([weak, strong], 1), [-1, *weak.shape[1:]])
