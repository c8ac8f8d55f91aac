"""The contract of everything that can be trained."""

import tensorflow as tf

from tf_simclr.data import augment, color
from tf_simclr.models.network import Network


class Objective(Network):
    """A network and its loss. All state (also a queue) is in its variables, so a checkpoint holds it; a teacher is not, it never changes.

    A subclass gives `outputs`, `loss_of`, `example` where one crop of an image is not enough, and `head_layers` where not the whole head is needed.

    Args:
        settings: `config.Config`.
        num_classes: outputs of the supervised head; 0: no such head.
        num_images: how many images the training has.
    """

    has_task = False  # True: `loss` gives the metrics of `pretext.Pretext`
    couples_examples = False  # True: the loss of one example depends on the others of its batch; `output_shapes` is needed then
    needs_index = False  # True: `example` has to know which of all images it gets, which a stream does not know
    needs_teacher = False  # True: `teacher` is set before the training: images [B, H, W, 3] -> logits [B, num_classes]

    def __init__(self, settings, num_classes, num_images=0):
        super().__init__(settings, num_classes, self.head_layers(settings))
        self.num_images = num_images

    @classmethod
    def head_layers(cls, settings):
        """How many layers of the projection head are used; None: all."""
        return None

    @classmethod
    def labeled_only(cls, settings):
        """Whether only labelled examples are fed; a source without labels is refused then."""
        return False

    @classmethod
    def chosen(cls, settings, source):
        """Which images of a source to train on: a source."""
        return source

    def build_variables(self):
        super().build_variables()
        self.encoder.freeze(self.settings.model.fine_tune_after_block)

    def example(self, picture, label, seed, index=0, constant=None):
        """One training example, inside tf.data: a picture (see there), label int64, seed int64 [2] -> dict of tensors.

        `index` is the image's number among all that are trained on, int64; of a stream it is any number. `constant` is
        what `constant_function` has computed of the image before the training; None: nothing.

        This one is a random crop, mirrored or not: "image" uint8 [S, S, 3].
        """
        return {
            "image": augment.crop_and_flip(
                picture, [seed], self.settings.data.image_size, self.settings.augment
            )[0],
            "label": label,
        }

    def constant_function(self):
        """What of an image never changes during the training, so that it is computed once, or None.

        Returns:
            (function of images [B, S, S, 3] -> [B, n], n)
        """

    def eval_example(self, image, label):
        """One example for evaluation: uint8 image [H, W, 3] -> image float32 [S, S, 3], label."""
        return {"image": augment.eval_image(image, self.settings.data.image_size), "label": label}

    def images(self, batch):
        """The augmented images of a batch of `example`s, float32 [N, S, S, 3] in [0, 1]; None: it has only what was computed of them."""
        return color.network_input(batch, self.settings.augment)

    def pictures(self, batch):
        """What one looks at to see what is learned of a batch of `example`s: {what: images float32 [B, ..., 3] in [0, 1]}, one kind beside the other."""
        images = self.images(batch)
        views = tf.reshape(images, [len(batch["label"]), -1, *images.shape[1:]])
        return {f"view {number}": view for number, view in enumerate(tf.unstack(views, axis=1), 1)}

    def loss(self, batch, training=True):
        """A batch of `example`s -> (scalar loss of this replica, {metric name: scalar}), all float32."""
        if training:
            self.begin_step()
        images = self.images(batch)
        outputs = {**self.outputs(batch, images, training), **self.targets(batch, images, training)}
        return self.loss_of(outputs, batch["label"], training)

    def begin_step(self):
        """Called before anything else of a training step."""

    def outputs(self, batch, images, training):
        """What the loss reads of the network that learns: {name: [B, ...]}. images: those of `batch`, see `images`."""
        raise NotImplementedError

    def targets(self, batch, images, training):
        """What the loss reads besides, without gradient: {name: [B, ...]}."""
        return {}

    def loss_of(self, outputs, labels, training):
        """`outputs` and `targets` in one, and labels int64 [B] -> as `loss`."""
        raise NotImplementedError

    def start_linear_head(self, kernel, bias):
        """Starts the supervised head from kernel [C, num_classes] and bias [num_classes]."""
        self.supervised_head.kernel.assign(kernel)
        self.supervised_head.bias.assign(bias)

    def apart(self):
        """The variables that have an optimizer of their own, see `optimizers.make`; they do not decay."""
        return []

    def inherited(self):
        """The variables that start from another run's checkpoint; the others are new by design."""
        return self.variables

    def start(self):
        """Called once before the first step of a run, after a start from another run's checkpoint if there is one."""

    def warning(self, metrics):
        """What is wrong with a run that shows these metrics ({name: float}), as a line, or None."""
