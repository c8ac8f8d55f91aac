"""One training step of one replica: forward, loss, backward, update of the weights."""

import dataclasses
import math

import keras
import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.objectives.base import Objective
from tf_simclr.training.optimizers import CombinedOptimizer, weight_decay_penalty


@dataclasses.dataclass(frozen=True, eq=False)
class ReplicaStep:
    """The step of one replica, and its two halves, which micro-batches use by themselves.

    Attributes:
        objective: network and loss.
        optimizer: built for the trainable variables of `objective`.
        settings: the whole configuration.
        num_replicas: how many replicas share a batch.
    """

    objective: Objective
    optimizer: keras.optimizers.Optimizer | CombinedOptimizer
    settings: Config
    num_replicas: int

    @property
    def variables(self) -> list:
        """What the step updates."""
        return self.objective.trainable_variables

    def __call__(self, batch: dict) -> dict:
        """One step on the whole batch of the replica.

        Args:
            batch: {name: tensor [B, ...]}, examples of `Objective.example`.

        Returns:
            {metric name: scalar}.
        """
        self.objective.begin_step()
        all_metrics = {}
        for variables, loss_function in self.objective.turns(batch):
            with tf.GradientTape() as tape:
                loss, metrics = loss_function()
                differentiated_loss, metrics = self.differentiated_loss(loss, metrics)
            gradients = tape.gradient(differentiated_loss, variables)
            metrics = self._update(gradients, variables, metrics)
            all_metrics = {**metrics, **all_metrics}  # of the first turn where several have one
        self.objective.end_step()
        return all_metrics

    def differentiated_loss(self, loss: tf.Tensor, metrics: dict) -> tuple[tf.Tensor, dict]:
        """Adds weight decay to a loss and scales it for differentiation.

        Args:
            loss: float32 scalar of this replica.
            metrics: {metric name: scalar}.

        Returns:
            (what is differentiated, all metrics). Gradients are summed over the replicas, so each
            one differentiates its share. In float16 the share is scaled against underflow.
        """
        weight_decay = weight_decay_penalty(self.settings, self.objective)
        total_loss = loss + weight_decay
        metrics = {"total_loss": total_loss, "weight_decay": weight_decay, **metrics}
        share = total_loss / self.num_replicas
        if self._is_float16:
            share = self.optimizer.scale_loss(share)
        return share, metrics

    def apply_gradients(self, gradients: list, metrics: dict) -> dict:
        """Ends a step of a single turn by this replica's gradients.

        Returns:
            The metrics, with the norm of the gradient where this replica knows it.
        """
        metrics = self._update(gradients, self.variables, metrics)
        self.objective.end_step()
        return metrics

    def _update(self, gradients, variables, metrics):
        """Updates weights by this replica's gradients, which are summed over the replicas."""
        if self._is_float16:
            gradients = _agree_on_overflow(gradients)
        elif self.num_replicas == 1:  # on one of many it would be the norm of a part
            metrics = {**metrics, "gradient_norm": tf.linalg.global_norm(gradients)}
        self.optimizer.apply(gradients, variables)
        return metrics

    @property
    def _is_float16(self):
        return self.settings.model.precision == "float16"


def _agree_on_overflow(gradients):
    """Makes gradients not finite on every replica if they are not finite on one of them.

    The loss scaling of Keras looks at one replica only: the others would update their weights.
    """
    context = tf.distribute.get_replica_context()
    overflows = [tf.cast(~tf.math.is_finite(gradient), tf.float32) for gradient in gradients]
    count = sum(tf.reduce_sum(overflow) for overflow in overflows)
    count = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    poison = tf.where(count > 0, math.nan, 0.0)
    return [gradient + tf.cast(poison, gradient.dtype) for gradient in gradients]
