"""The contract of everything that can be trained."""

from collections.abc import Callable, Iterator

import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.data import augment, color
from tf_simclr.data.source import Source
from tf_simclr.models.network import Network


class Objective(Network):
    """A network and its loss.

    All state (also a queue) is in its variables, so a checkpoint holds it; a teacher is not among
    them, it never changes. A subclass gives `outputs` and `loss_of`, and `example` where one crop
    of an image is not enough.

    Args:
        settings: the whole configuration.
        num_classes: outputs of the supervised head; 0: no such head.
        num_images: how many images the training has.

    Attributes:
        has_task: whether `loss` gives the metrics of `pretext.Pretext`.
        couples_examples: whether the loss of an example depends on the others of its batch;
            `output_shapes` is needed then.
        loss_has_state: whether `loss_of` changes what it reads (a queue, a bank). Of micro-batches
            it gets the outputs of all at once then; `output_shapes` is needed.
        needs_index: whether `example` has to know which of all images it gets, which a stream does
            not know.
        teacher_output: the output of a network that its teacher gives, e.g. "logits_sup"; None: it
            has no teacher.
        class_weights: float32 [num_classes], see `supervised.balanced_weights`; None: all are 1.
        teacher: `checkpoints.teacher.Teacher`, set before the variables are made, or None.
    """

    has_task = False
    couples_examples = False
    loss_has_state = False
    needs_index = False
    teacher_output = None
    class_weights = None
    teacher = None

    def __init__(self, settings: Config, num_classes: int, num_images: int = 0):
        super().__init__(settings, num_classes)
        self.num_images = num_images

    # Data.

    @classmethod
    def labeled_only(cls, settings: Config) -> bool:
        """Whether only labeled examples are fed; a source without labels is refused then."""
        return False

    @classmethod
    def needs_labels(cls, settings: Config) -> bool:
        """Whether it can't be trained without any label."""
        return cls.labeled_only(settings)

    @classmethod
    def unlabeled_ratio(cls, settings: Config) -> float:
        """Images without label for each one with a label in a batch; 0: as many as there are."""
        return settings.data.unlabeled_ratio

    @classmethod
    def select_images(cls, settings: Config, source: Source) -> Source:
        """Which images of a source to train on."""
        return source

    def example(self, picture, label, seed, index=0, constant=None) -> dict:
        """One training example, made inside tf.data.

        This one is a random crop, mirrored or not: "image" uint8 [S, S, 3].

        Args:
            picture: `data.image.EncodedImage` or `DecodedImage`.
            label: int64 scalar, -1 where unknown.
            seed: integer [2]; all randomness has to follow from it.
            index: int64 scalar, the image's number among all that are trained on; of a stream it
                is any number.
            constant: what `constant_function` has computed of the image before the training; None:
                nothing.

        Returns:
            {name: tensor}, with "label".
        """
        size = self.settings.data.image_size
        return {"image": self.random_crop(picture, seed, size), "label": label}

    def random_crop(self, picture, seed, size: int) -> tf.Tensor:
        """A random crop, mirrored or not, uint8 [size, size, 3]; arguments as of `example`."""
        options, resizing = self.settings.augment, self.settings.preprocessing.resizing
        return augment.crop_and_flip(picture, [seed], size, options, resizing)[0]

    def random_views(
        self, picture, seed, num_views: int = 2, num_numbers: int = color.NUM_NUMBERS
    ) -> dict:
        """Views of an image and numbers of their colors; arguments of `augment.pretrain_views`."""
        return augment.pretrain_views(
            picture,
            seed,
            self.settings.data.image_size,
            self.settings.augment,
            self.settings.preprocessing.resizing,
            num_views,
            num_numbers,
        )

    def eval_example(self, image, label) -> dict:
        """One example for evaluation.

        Args:
            image: uint8 [H, W, 3].
            label: int64 scalar.

        Returns:
            {"image": float32 [S, S, 3] in [0, 1], "label"}.
        """
        image = augment.eval_image(image, *self.settings.preprocessing)
        return {"image": image, "label": label}

    def constant_function(self):
        """What of an image never changes during the training, so that it is computed once.

        Returns:
            (function of the images of `constant_example` -> [B, n], n), or None.
        """
        return None

    def constant_example(self, picture, label) -> dict:
        """What `constant_function` sees of an image, "image"; arguments as of `example`."""
        # Any seed will do: were anything in it random, there would be no constant function.
        return self.example(picture, label, tf.constant([0, 0]))

    @property
    def encoder_input(self) -> tuple[int, int]:
        """(how many images of an example the encoder sees, their height and width)."""
        return 1, self.settings.data.image_size

    # Forward pass and loss.

    def images(self, batch: dict) -> tf.Tensor | None:
        """The augmented images of a batch of `example`s.

        Returns:
            float32 [N, S, S, 3] in [0, 1]; None: the batch has only what was computed of them.
        """
        return color.network_input(batch, self.settings.augment)

    @property
    def later_variables(self) -> list:
        """Those that checkpoints of earlier versions lack, where they have what they start with."""
        return []

    def begin_step(self):
        """Called once in each training step, before anything else of it."""

    def end_step(self):
        """Called once in each training step, after its update of the weights."""

    def outputs(self, batch: dict, images: tf.Tensor | None, training: bool) -> dict:
        """What the loss reads of the network that learns.

        Args:
            batch: of `example`s.
            images: those of `batch`, see `images`.
            training: whether batch norm uses the batch's statistics.

        Returns:
            {name: tensor [B, ...]}.
        """
        raise NotImplementedError

    def targets(self, batch: dict, images: tf.Tensor | None, training: bool) -> dict:
        """What the loss reads besides, without gradient; arguments and result as `outputs`."""
        return {}

    def output_shapes(self) -> dict[str, list[int]]:
        """{name: shape of one example} of `outputs` and `targets`.

        Needed where `couples_examples` or `loss_has_state`: micro-batches keep the outputs of the
        whole batch.
        """
        raise NotImplementedError

    def loss_of(self, outputs: dict, labels: tf.Tensor, training: bool) -> tuple[tf.Tensor, dict]:
        """The loss of a batch.

        Args:
            outputs: `outputs` and `targets` in one.
            labels: int64 [B], -1 where unknown.
            training: whether the state of the objective changes.

        Returns:
            (loss of this replica, {metric name: scalar}), all float32.
        """
        raise NotImplementedError

    def loss(self, batch: dict, training: bool = True) -> tuple[tf.Tensor, dict]:
        """The whole forward pass: a batch of `example`s -> as `loss_of`."""
        if training:
            self.begin_step()
        return self.part_loss(batch, training)

    def part_loss(self, batch: dict, training: bool) -> tuple[tf.Tensor, dict]:
        """As `loss`, within a step that has begun: of a part of its batch, or of all of it."""
        images = self.images(batch)
        outputs = self.outputs(batch, images, training)
        targets = self.targets(batch, images, training)
        return self.loss_of({**outputs, **targets}, batch["label"], training)

    def turns(self, batch: dict) -> Iterator[tuple[list, Callable]]:
        """What is updated in a step that has begun, one after the other.

        Args:
            batch: of `example`s.

        Yields:
            (variables, function without arguments -> as `loss_of`). What comes after a `yield` is
            computed after the update.
        """
        yield self.trainable_variables, lambda: self.part_loss(batch, True)

    # Variables.

    def turn_variables(self) -> list[list]:
        """The variables of each of `turns`."""
        return [self.trainable_variables]

    @property
    def trained_networks(self) -> tuple[Network, ...]:
        """The networks that get gradients; others than this one where this one is an average."""
        return (self,)

    def build_variables(self):
        """Makes all variables, and freezes what `fine_tune_after_block` says."""
        super().build_variables()
        self.encoder.freeze(self.settings.model.fine_tune_after_block)

    def inherited(self) -> list:
        """The variables that start from another run's checkpoint; others are new by design."""
        return self.variables

    def separately_optimized(self) -> list:
        """The variables that have an optimizer of their own and do not decay.

        See `optimizers.make_optimizer`.
        """
        return []

    def start(self):
        """Called once before the first step of a run, after a start from a checkpoint."""

    def start_linear_head(self, kernel, bias):
        """Starts the supervised head from kernel [C, num_classes] and bias [num_classes]."""
        self.supervised_head.kernel.assign(kernel)
        self.supervised_head.bias.assign(bias)

    # Reporting.

    def pictures(self, batch: dict) -> dict[str, tf.Tensor]:
        """Images that show what is learned of a batch of `example`s.

        Returns:
            {caption: float32 [B, ..., 3] in [0, 1]}, one kind beside the other.
        """
        images = self.images(batch)
        views = tf.reshape(images, [len(batch["label"]), -1, *images.shape[1:]])
        return {f"view {number}": view for number, view in enumerate(tf.unstack(views, axis=1), 1)}

    def warning(self, metrics: dict[str, float]) -> str | None:
        """What is wrong with a run that has these metrics, as a line, or None."""
        return None
