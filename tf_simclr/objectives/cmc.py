"""CMC: Tian, Krishnan and Isola 2020, "Contrastive Multiview Coding", of lightness and colors.

What the paper leaves open is as in the authors' code (train_CMC.py of HobbitLong/CMC).
"""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.models.color_space import lab_to_rgb, rgb_to_lab
from tf_simclr.models.memory_bank import MemoryBank
from tf_simclr.objectives import collapse
from tf_simclr.objectives.bank_task import BANK_MOMENTUM, BankTask

MIDDLE_LIGHTNESS = 50.0  # of the picture that shows the colors alone


class CMC(BankTask):
    """Which of all images has the colors that belong to this lightness, and the other way round?

    The two halves of the encoder, see `models.lab`, each have a projector and a memory bank; the
    features of one are compared with the bank of the other.

    Attributes:
        color_projector: of the colors, as `projector` is of the lightness.
        color_bank: of the colors, as `bank` is of the lightness.
    """

    published_negatives = 4096

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.color_projector = self.make_head("color_projector")
        seed = (settings.train.seed, 2)
        self.color_bank = MemoryBank(num_images, BANK_MOMENTUM, seed=seed, name="color_bank")

    @property
    def projected_dim(self):
        """Those of one half."""
        return self.encoder.feature_dim // 2

    def build_heads(self):
        super().build_heads()
        self.color_projector.build([None, self.projected_dim])
        self.color_bank.build([None, self.embedding_dim])

    def outputs(self, batch, images, training):
        """{"features", "color_features": float32 [B, d]}, of length 1."""
        pooled = self.encoder(images, training=training)["final_avg_pool"]
        lightness, color = tf.split(pooled, 2, -1)
        features = self.projector(lightness, training=training)
        color_features = self.color_projector(color, training=training)
        return {
            "features": tf.math.l2_normalize(features, -1),
            "color_features": tf.math.l2_normalize(color_features, -1),
        }

    def output_shapes(self):
        return {**super().output_shapes(), "color_features": [self.embedding_dim]}

    def loss_of(self, outputs, labels, training):
        """The sum of both directions (section 3.2). The accuracy is that of the lightness."""
        features, color_features = outputs["features"], outputs["color_features"]
        index = tf.cast(outputs["index"], tf.int64)
        lightness_loss, metrics = self.choice(features, index, self.color_bank)
        color_loss, _ = self.choice(color_features, index, self.bank)
        if training:
            self.remember(features, index, self.bank)
            self.remember(color_features, index, self.color_bank)
        loss = lightness_loss + color_loss
        return loss, {
            **metrics,
            "pretext_loss": loss,
            "pretext_chance": 2 * metrics["pretext_chance"],
            "cmc_lightness_loss": lightness_loss,
            "cmc_color_loss": color_loss,
            **collapse.gauge(features, color_features),
        }

    def warning(self, metrics):
        remedies = "a smaller learning rate or more warm-up; of gray images all colors are one"
        return collapse.warning(metrics, self.embedding_dim, remedies)

    def pictures(self, batch):
        """The view, its lightness, and its colors in one lightness."""
        images = self.images(batch)
        lab = rgb_to_lab(images)
        lightness, color = lab[..., :1], lab[..., 1:]
        lab_images = {
            "lightness": tf.concat([lightness, tf.zeros_like(color)], -1),
            "colors": tf.concat([tf.fill(lightness.shape, MIDDLE_LIGHTNESS), color], -1),
        }
        return {"view 1": images, **{name: lab_to_rgb(value) for name, value in lab_images.items()}}
