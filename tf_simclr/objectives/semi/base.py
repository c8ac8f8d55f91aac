"""What the methods share that learn from labels and from images without."""

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.config.length import total_steps
from tf_simclr.data import augment
from tf_simclr.data.source import UNLABELED
from tf_simclr.models import moving_average
from tf_simclr.models.layers import repeated_pass
from tf_simclr.models.network import Network
from tf_simclr.objectives.semi.pseudo_labels import PredictionWatch
from tf_simclr.objectives.stepped_task import CountedTask
from tf_simclr.objectives.supervised import Supervised, classification_loss

LEARNER = "learner"


class SemiTask(CountedTask, Supervised):
    """The loss of the labels, and a weight times that of the images without.

    The network itself is the moving average of another one, `learner`, that is trained. So whatever
    reads the network of a run evaluates, exports, continues or learns from the average. Statistics
    of batch norm are averaged like weights, as in the code of "Milking CowMask".

    A subclass gives `unlabeled_loss`, and `outputs`, `targets` and `output_shapes` where logits of
    each view are not enough. Which images of a batch have labels follows from the labels alone.

    Attributes:
        num_crops: of an image in an example.
        num_views: V, of an image that the learner sees.
        published_ratio: images without label for each one with a label.
        published_weight: of the loss of images without label.
        published_decay: of the moving average.
        published_threshold: least probability of a prediction that counts; 0: all count.
        flags: those of the section that the method reads besides what all of them read.
        learner: the network that is trained.
        decay: of the moving average.
        threshold: least probability of a prediction that counts.
        full_weight: of the loss of images without label, where no ramp makes it less.
    """

    couples_examples = True  # each mean is over the images of one kind
    num_crops = 1
    num_views = 1
    published_ratio = 7.0
    published_weight = 1.0
    published_decay = 0.999
    published_threshold = 0.0
    flags: tuple[str, ...] = ()

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes, num_images)
        self.learner = Network(settings, num_classes, LEARNER)
        self.num_classes = num_classes
        self.num_steps = total_steps(settings.train, num_images)
        self.decay = settings.semi.ema_decay or self.published_decay
        self.threshold = settings.semi.confidence_threshold or self.published_threshold
        self.full_weight = settings.semi.unlabeled_weight or self.published_weight
        self._watch = PredictionWatch(num_classes)

    # Data.

    @classmethod
    def labeled_only(cls, settings):
        return False

    @classmethod
    def needs_labels(cls, settings):
        return True

    @classmethod
    def unlabeled_ratio(cls, settings):
        return settings.data.unlabeled_ratio or cls.published_ratio

    def example(self, picture, label, seed, index=0, constant=None):
        """Crops, mirrored or not: "views" uint8 [num_crops, S, S, 3]."""
        options, resizing = self.settings.augment, self.settings.preprocessing.resizing
        seeds = tf.unstack(tf.random.experimental.stateless_split(seed, self.num_crops))
        size = self.settings.data.image_size
        views = augment.crop_and_flip(picture, seeds, size, options, resizing)
        return {"views": views, "label": label}

    def constant_function(self):
        return None

    @property
    def encoder_input(self):
        return self.num_views, self.settings.data.image_size

    # Forward pass and loss.

    def outputs(self, batch, images, training):
        """{"logits": float32 [B, V, C]} of the learner for all views."""
        logits = self.learner(images, training=training)["logits_sup"]
        return {"logits": self.by_image(logits)}

    def output_shapes(self):
        return {"logits": [self.num_views, self.num_classes]}

    def by_image(self, values: tf.Tensor) -> tf.Tensor:
        """[B V, ...] -> [B, V, ...]."""
        return tf.reshape(values, [-1, self.num_views, *values.shape[1:]])

    def average_logits(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """What the moving average says of images, without gradient: float32 [N, C].

        Its statistics of batch norm stay, which follow those of the learner.
        """
        with repeated_pass():
            return tf.stop_gradient(self(images, training=training)["logits_sup"])

    def loss_of(self, outputs, labels, training):
        is_unlabeled = tf.cast(labels == UNLABELED, tf.float32)
        label_loss, label_metrics = self.label_loss(outputs, labels)
        unlabeled_loss, metrics = self.unlabeled_loss(outputs, is_unlabeled, training)
        weight = self.weight()
        return label_loss + weight * unlabeled_loss, {
            "unlabeled_loss": unlabeled_loss,
            "unlabeled_weight": weight,
            **metrics,
            **label_metrics,
        }

    def label_loss(self, outputs: dict, labels: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """The loss of the labels, of the first view; arguments and result as of `loss_of`."""
        return classification_loss(outputs["logits"][:, 0], labels, self.class_weights)

    def unlabeled_loss(
        self, outputs: dict, is_unlabeled: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, dict]:
        """The loss of the images without label.

        Args:
            outputs: `outputs` and `targets` in one.
            is_unlabeled: float32 [B], 1 for an image without label, else 0.
            training: whether the state of the objective changes.

        Returns:
            (this replica's part of the global mean, {metric name: scalar}).
        """
        raise NotImplementedError

    def weight(self) -> tf.Tensor:
        """Weight of the loss of the images without label in this step: float32 scalar."""
        return self.full_weight * self.ramp(self.progress())

    def ramp(self, progress: tf.Tensor) -> tf.Tensor:
        """Share of the weight when a share of the training is done."""
        return tf.constant(1.0)

    def progress(self) -> tf.Tensor:
        """Share of the training before this step: float32 scalar."""
        steps_before = tf.cast(self.counter.value() - 1, tf.float32)
        return tf.clip_by_value(steps_before / self.num_steps, 0.0, 1.0)

    # The moving average.

    @property
    def trained_networks(self):
        return (self.learner,)

    def end_step(self):
        momentum = moving_average.warmed_up(self.decay, self.counter.value())
        moving_average.follow(_weights(self), _weights(self.learner), momentum)

    def build_variables(self):
        size = self.settings.data.image_size
        self(tf.zeros([1, size, size, 3]))  # first, so that it starts as in other trainings
        for network in self.trained_networks:
            network.build_variables()
        self.counter.build()
        self.build_state()
        super().build_variables()
        for network in self.trained_networks:
            network.encoder.freeze(self.settings.model.fine_tune_after_block)
        for v in _weights(self):
            v.trainable = False

    def build_state(self):
        """Makes the variables that a method has besides."""

    def inherited(self):
        return self.encoder.variables + self.projection_head.variables

    def start(self):
        for network in self.trained_networks:
            moving_average.copy(_weights(network), _weights(self))

    # Reporting.

    def warning(self, metrics):
        return self._watch.after(metrics)


def _weights(network):
    """Weights and statistics of the layers that are exported."""
    return [v for layer in network.exported_layers() for v in layer.weights]
