"""What the methods share in which something depends on the number of the step."""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.models.step_counter import StepCounter
from tf_simclr.objectives.base import Objective
from tf_simclr.objectives.view_task import ViewTask


class CountedTask(Objective):
    """An `Objective` that knows how many steps have begun, also after it was resumed.

    Attributes:
        counter: of the steps; a subclass builds it.
    """

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.counter = StepCounter()

    def begin_step(self):
        self.counter.advance()

    def step_seed(self) -> tf.Tensor:
        """A seed that is another one in each step, equal on all replicas: int64 [2]."""
        return tf.stack([tf.constant(self.settings.train.seed, tf.int64), self.counter.value()])


class SteppedTask(CountedTask, ViewTask):
    """A `ViewTask` that counts its steps."""

    def build_heads(self):
        super().build_heads()
        self.counter.build()
