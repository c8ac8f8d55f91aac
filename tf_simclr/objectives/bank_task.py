"""What the methods share that tell an image from all others by a memory bank of their features."""

import math

import tensorflow as tf

from tf_simclr import distribute
from tf_simclr.config import Config
from tf_simclr.models.memory_bank import MemoryBank
from tf_simclr.objectives.numbered_images import NumberedImages
from tf_simclr.objectives.pretext import guess
from tf_simclr.objectives.stepped_task import SteppedTask

BANK_MOMENTUM = 0.5  # of the authors' code, NCEAverage of zhirongw/lemniscate.pytorch


class BankTask(NumberedImages, SteppedTask):
    """Which image is this, by the features that all images had when they were last seen?

    Attributes:
        published_negatives: m where --nce_negatives is 0.
        num_negatives: m, images that are drawn in each step; 0: all are compared.
    """

    num_views = 1
    loss_has_state = True
    published_dim = 128
    published_negatives: int

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        num_negatives = settings.pretext.nce_negatives or self.published_negatives
        self.num_negatives = num_negatives if num_negatives < num_images else 0
        self.bank = MemoryBank(num_images, BANK_MOMENTUM, seed=(settings.train.seed, 1))

    def build_heads(self):
        super().build_heads()
        self.bank.build([None, self.embedding_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """A view, and the number of the image."""
        view = super().example(picture, label, seed)
        return {**view, "index": tf.cast(index, tf.int64)}

    def outputs(self, batch, images, training):
        """{"features": float32 [B, d]}, of length 1."""
        return {"features": tf.math.l2_normalize(self.embed(images, training), -1)}

    def targets(self, batch, images, training):
        """{"index": float32 [B]}: micro-batches keep floats.

        They are exact up to 2^24 images, whose bank would take 9 GB.
        """
        return {"index": tf.cast(batch["index"], tf.float32)}

    def output_shapes(self):
        return {"features": [self.embedding_dim], "index": []}

    def choice(
        self, features: tf.Tensor, index: tf.Tensor, bank: MemoryBank
    ) -> tuple[tf.Tensor, dict]:
        """The loss of telling images from others.

        Args:
            features: of length 1, float32 [B, d].
            index: int64 [B], the images.
            bank: with the features of all images.

        Returns:
            (loss, metrics of `Pretext`).
        """
        if self.num_negatives:
            return self._contrastive_estimation(features, index, bank.values())
        return guess(self._logits(features, bank.values()), index)

    def remember(self, features: tf.Tensor, index: tf.Tensor, bank: MemoryBank):
        """Moves a bank towards the features of all replicas; arguments as of `choice`."""
        # TPUs sum no int64.
        indices = distribute.all_gather(tf.cast(index, tf.int32))
        bank.update(tf.cast(indices, tf.int64), distribute.all_gather(features))

    def _logits(self, features, others):
        """The similarities of features [B, d] to others [n, d] by the temperature: [B, n]."""
        temperature = self.settings.pretext.pretext_temperature
        return tf.matmul(features, others, transpose_b=True) / temperature

    def _contrastive_estimation(self, features, index, bank):
        """NCE with images that are drawn uniformly, the same ones for all of a batch."""
        count = self.num_negatives
        drawn = tf.random.stateless_uniform([count], self.step_seed(), 0, self.num_images, tf.int64)
        negatives = self._logits(features, tf.gather(bank, drawn))  # [B, m]
        temperature = self.settings.pretext.pretext_temperature
        positives = tf.reduce_sum(features * tf.gather(bank, index), -1) / temperature  # [B]
        log_normalizer = self._log_normalizer(negatives)
        loss = nce_loss(positives, negatives, log_normalizer, self.num_images)
        chance = math.log(count + 1) + count * math.log1p(1 / count)  # of equal probabilities
        return loss, {"pretext_loss": loss, "pretext_chance": tf.constant(chance)}

    def _log_normalizer(self, negatives):
        """ln Z of equation 8, over the global batch, without gradient.

        The paper keeps Z of its first batches, when the bank is random. It soon has features that
        are much alike; their Z is larger by orders of magnitude, and with the first one all of them
        were pushed the same way, round and round, while the loss grew.
        """
        # Sums of logarithms alone: with a low temperature exp overflows.
        local_log_sum = tf.reduce_logsumexp(tf.stop_gradient(negatives))
        log_sum = tf.reduce_logsumexp(distribute.all_gather(local_log_sum[None]))
        count = negatives.shape.num_elements() * distribute.replica_count()
        return log_sum + math.log(self.num_images / count)


def nce_loss(positives, negatives, log_normalizer, num_images: int) -> tf.Tensor:
    """Noise-contrastive estimation with uniform noise (equations 6 and 7).

    h = P / (P + m / N) of a probability P = exp(logit) / Z is the sigmoid of ln P - ln(m / N).

    Args:
        positives: logits of the right images, float32 [B].
        negatives: logits of m drawn ones, float32 [B, m].
        log_normalizer: ln Z, scalar.
        num_images: N.

    Returns:
        float32 scalar, the mean over images.
    """
    shift = log_normalizer + math.log(negatives.shape[1] / num_images)
    of_positives = tf.nn.softplus(shift - positives)
    of_negatives = tf.reduce_sum(tf.nn.softplus(negatives - shift), -1)
    return tf.reduce_mean(of_positives + of_negatives)
