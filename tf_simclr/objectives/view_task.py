"""What the methods share that compare the embeddings of augmented views."""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import color
from tf_simclr.data.color_policy import SIMCLR, ColorPolicy
from tf_simclr.models.heads import TaskHead
from tf_simclr.objectives import collapse
from tf_simclr.objectives.pretext import Pretext


class ViewTask(Pretext):
    """Augmented views of an image, and a projector whose outputs are compared.

    `loss_of` of a subclass has `collapse.gauge` among its metrics.

    Attributes:
        num_views: V, of an image.
        color_policies: one for all views, or one for each of them.
        hidden_layers: of the projector, each of --pretext_width.
        published_dim: outputs of the projector where --projector_dim is 0.
        embedding_dim: d, outputs of the projector.
    """

    num_views = 2
    color_policies: tuple[ColorPolicy, ...] = (SIMCLR,)
    hidden_layers = 0
    published_dim = 128

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.embedding_dim = settings.pretext.projector_dim or self.published_dim
        self.projector = self.make_head("projector")

    def make_head(self, name: str) -> TaskHead:
        """A projector, or what has the form of one."""
        widths = [self.settings.pretext.pretext_width] * self.hidden_layers
        return TaskHead(widths, self.embedding_dim, *self.norm_options, name=name)

    @property
    def projected_dim(self) -> int:
        """How many features of the encoder a projector sees."""
        return self.encoder.feature_dim

    def build_heads(self):
        self.projector.build([None, self.projected_dim])

    def example(self, picture, label, seed, index=0, constant=None):
        """Views, and the random numbers of their colors, see `augment.pretrain_views`."""
        solarizes = any(policy.solarize_probability for policy in self.color_policies)
        num_numbers = color.NUM_WITH_SOLARIZATION if solarizes else color.NUM_NUMBERS
        views = self.random_views(picture, seed, self.num_views, num_numbers)
        return {**views, "label": label}

    @property
    def encoder_input(self):
        return self.num_views, self.settings.data.image_size

    def images(self, batch):
        return color.network_input(batch, self.settings.augment, self.color_policies)

    def embed(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """The projections of images: float32 [N, d]."""
        features = self.encoder(images, training=training)["final_avg_pool"]
        return self.projector(features, training=training)

    def by_image(self, values: tf.Tensor) -> tf.Tensor:
        """[B V, ...] -> [B, V, ...]."""
        return tf.reshape(values, [-1, self.num_views, *values.shape[1:]])

    def warning(self, metrics):
        remedies = "a smaller learning rate or more warm-up"
        return collapse.warning(metrics, self.embedding_dim, remedies)
