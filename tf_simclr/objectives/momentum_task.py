"""What the methods share whose targets come from a moving average of the network."""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.models.momentum_encoder import KEY_NETWORK, MomentumEncoder
from tf_simclr.models.network import make_encoder
from tf_simclr.objectives.stepped_task import SteppedTask


class MomentumTask(SteppedTask):
    """A `SteppedTask` with a slow copy of encoder and projector.

    A step begins with the average that the step before it would end with: what the loss sees is the
    same, and the first step has nothing to average.

    Attributes:
        key_network: the slow copy; it gets no gradient, and is neither exported nor fine-tuned.
    """

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.key_network = MomentumEncoder(
            make_encoder(settings, KEY_NETWORK), self.make_head("projector")
        )

    def build_heads(self):
        super().build_heads()
        self.key_network.build_frozen(self.settings.data.image_size)

    def start(self):
        self.key_network.copy_from(self._followed_variables())

    def begin_step(self):
        self.key_network.update(self._followed_variables(), self.momentum())
        super().begin_step()

    def momentum(self) -> tf.Tensor | float:
        """Share of the key network's weights that stays."""
        raise NotImplementedError

    def _followed_variables(self):
        return self.encoder.variables + self.projector.variables
