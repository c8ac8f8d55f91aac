"""CowMix: French, Oliver and Salimans 2020.

"Milking CowMask for Semi-Supervised Image Classification", and the authors' code
(https://github.com/google-research/google-research/tree/master/milking_cowmask).
"""

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.data.source import UNLABELED
from tf_simclr.objectives.semi import pseudo_labels
from tf_simclr.objectives.semi.base import SemiTask
from tf_simclr.objectives.semi.cow_masks import NUM_NUMBERS, cow_masks


class CowMix(SemiTask):
    """What the learner predicts for a mix of two images is the mix of the average's predictions.

    An image is mixed with its neighbor in the batch. Images with a label stay as they are.
    """

    flags = ("confidence_threshold",)
    # Of main_semisup.py of the authors' code, for CIFAR-10.
    published_weight = 30.0
    published_decay = 0.97
    published_threshold = 0.6
    published_ratio = 1.0

    def example(self, picture, label, seed, index=0, constant=None):
        """A crop, and what the mask follows from."""
        seeds = tf.random.experimental.stateless_split(seed, 3)
        view_seed, number_seed, noise_seed = tf.unstack(seeds)
        return {
            **super().example(picture, label, view_seed),
            "mask_numbers": tf.random.stateless_uniform([NUM_NUMBERS], number_seed),
            "noise_seed": noise_seed,
        }

    def images(self, batch):
        """Images with a label, and mixes of the others."""
        images = super().images(batch)
        return mix(images, partners(images), self._masks(batch)[..., None])

    def targets(self, batch, images, training):
        """The mixed predictions, float32 [B, C], and confidences, [B], of the average."""
        shares = tf.reduce_mean(self._masks(batch), [1, 2])
        logits = self.average_logits(super().images(batch), training=False)
        predictions = tf.nn.softmax(logits)
        confidences = tf.reduce_max(predictions, -1)
        return {
            "teacher": mix(predictions, partners(predictions), shares[:, None]),
            "confidences": mix(confidences, partners(confidences), shares),
        }

    def output_shapes(self):
        return {**super().output_shapes(), "teacher": [self.num_classes], "confidences": []}

    def _masks(self, batch):
        """Where the neighbor of an image is seen, float32 [B, S, S]."""
        size = self.settings.data.image_size
        masks = cow_masks(batch["noise_seed"], batch["mask_numbers"], size)
        is_unlabeled = batch["label"] == UNLABELED
        return tf.where(is_unlabeled[:, None, None], masks, 0.0)

    def unlabeled_loss(self, outputs, is_unlabeled, training):
        """The share of confident predictions is a factor on the whole loss, `mix_conf_avg`."""
        student, teacher = outputs["logits"][:, 0], tf.stop_gradient(outputs["teacher"])
        is_confident = tf.cast(outputs["confidences"] > self.threshold, tf.float32)
        mask_rate = pseudo_labels.global_mean(is_confident[:, None], is_unlabeled)[0]
        difference = tf.math.squared_difference(tf.nn.softmax(student), teacher)
        losses = tf.reduce_sum(difference, -1)
        loss = mask_rate * distribute.weighted_mean(losses, is_unlabeled)
        return loss, {"mask_rate": mask_rate, **pseudo_labels.gauge(teacher, is_unlabeled)}


def partners(values: tf.Tensor) -> tf.Tensor:
    """What each is mixed with: the first with the second, the third with the fourth and so on.

    So the pairs are the same on any number of replicas that have an even number of images each.

    Args:
        values: [B, ...]; the last of an odd number is its own partner.
    """
    count = values.shape[0]
    indices = [min(index ^ 1, count - 1) for index in range(count)]
    return tf.gather(values, indices)


def mix(values: tf.Tensor, others: tf.Tensor, shares: tf.Tensor) -> tf.Tensor:
    """Values, and others where or as much as their share is 1."""
    return values + (others - values) * shares
