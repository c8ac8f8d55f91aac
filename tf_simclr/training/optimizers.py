"""LARS, the learning rate schedule, and which variables decay or are apart (chosen by structure, never by name)."""

import math

import keras
import tensorflow as tf

from tf_simclr.models.layers import batch_norm_variables

LARS_ETA = 0.001  # trust coefficient
DCGAN_MOMENTUM = 0.5  # beta_1 of a discriminator's Adam (Radford et al. 2016, sec. 4)
NAME = "optimizer"  # fixed: Keras would number the optimizers of a process, and checkpoints go by the names of variables


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 at step 0 to `peak` at step `warmup`, then a cosine to 0 at step `total`."""

    def __init__(self, peak, warmup, total):
        self.peak, self.warmup, self.total = peak, warmup, total

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        progress = (step - self.warmup) / max(self.total - self.warmup, 1)
        cosine = 0.5 * self.peak * (1 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))
        return tf.where(step < self.warmup, self.peak * step / max(self.warmup, 1), cosine)

    def get_config(self):
        return {"peak": self.peak, "warmup": self.warmup, "total": self.total}


def total_steps(train, num_examples):
    """Steps of the whole training."""
    return train.train_steps or num_examples * train.train_epochs // train.train_batch_size + 1


def learning_rate_schedule(settings, num_examples):
    """The learning rate schedule of `settings` on `num_examples` training examples."""
    batch, options = settings.train.train_batch_size, settings.optimizer
    scale = {"linear": batch / 256, "sqrt": math.sqrt(batch)}[options.learning_rate_scaling]
    warmup = round(options.warmup_epochs * num_examples // batch)
    return WarmupCosine(
        options.learning_rate * scale, warmup, total_steps(settings.train, num_examples)
    )


def lars_update(w, g, v, learning_rate, momentum, decay, eta=LARS_ETA):
    """One step of LARS for one variable: (new w, new v). With `eta` None it is SGD with momentum, not adapted."""
    g = g + decay * w
    rate = 1.0
    if eta is not None:
        w_norm, g_norm = tf.norm(w), tf.norm(g)
        rate = tf.where(
            (w_norm > 0) & (g_norm > 0), eta * w_norm / tf.where(g_norm > 0, g_norm, 1.0), 1.0
        )
    v = momentum * v + learning_rate * rate * g
    return w - v, v


class LARS(keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017) as SimCLR uses it.

    Args:
        decay: weight decay, part of the gradient before adaptation.
        plain: ids of the variables that are neither decayed nor adapted.
    """

    def __init__(self, learning_rate, momentum=0.9, decay=0.0, plain=(), name="lars", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum, self.decay, self.plain = momentum, decay, frozenset(plain)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = [self.add_variable_from_reference(v, name="velocity") for v in variables]
        self.is_plain = [id(v) in self.plain for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        decay, eta = (0.0, None) if self.is_plain[index] else (self.decay, LARS_ETA)
        velocity = self.velocities[index]
        w, v = lars_update(
            tf.convert_to_tensor(variable),
            gradient,
            tf.convert_to_tensor(velocity),
            learning_rate,
            self.momentum,
            decay,
            eta,
        )
        self.assign(variable, w)
        self.assign(velocity, v)


class CombinedOptimizer:
    """Two optimizers that are used as one.

    Args:
        main, other: optimizers that are built. apart: the variables that `other` updates; `main` updates the rest.
    """

    def __init__(self, main, other, apart):
        self._main, self._other, self._apart = main, other, {id(v) for v in apart}

    @property
    def variables(self):
        """The state of both."""
        return [*self._main.variables, *self._other.variables]

    def apply(self, gradients, variables):
        """Updates `variables`, in any order, those of both."""
        pairs = list(zip(gradients, variables))
        for optimizer, is_apart in ((self._main, False), (self._other, True)):
            optimizer.apply(*zip(*((g, v) for g, v in pairs if (id(v) in self._apart) == is_apart)))


def make_optimizer(settings, objective, learning_rate):
    """The optimizer of `settings`, built for the trainable variables of `objective`; those that are `apart` get an Adam of their own.

    With float16 it scales the loss; use its `scale_loss`.
    """
    options, apart = settings.optimizer, objective.apart()
    variables = _without(objective.trainable_variables, apart)
    if options.optimizer == "lars":
        optimizer = LARS(
            learning_rate,
            options.momentum,
            options.weight_decay,
            plain=_plain(objective),
            name=NAME,
        )
    elif options.optimizer == "momentum":
        optimizer = keras.optimizers.SGD(
            learning_rate, momentum=options.momentum, nesterov=True, name=NAME
        )
    else:
        optimizer = keras.optimizers.Adam(learning_rate, name=NAME)
    if settings.model.precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    optimizer.build(variables)  # before the first step: under a strategy it can't be done inside
    if not apart:
        return optimizer
    other = keras.optimizers.Adam(
        settings.pretext.discriminator_learning_rate, beta_1=DCGAN_MOMENTUM, name=f"{NAME}_apart"
    )
    other.build(apart)
    return CombinedOptimizer(optimizer, other, apart)


def _without(variables, others):
    """Those of `variables` that are not among `others`."""
    ids = {id(v) for v in others}
    return [v for v in variables if id(v) not in ids]


def _plain(objective):
    """ids of batch norm parameters, biases and the supervised head: LARS neither decays nor adapts them."""
    head = objective.supervised_head.variables if objective.supervised_head is not None else []
    biases = [v for v in objective.trainable_variables if len(v.shape) <= 1]
    return batch_norm_variables(objective) | {id(v) for v in [*head, *biases]}


def weight_decay_penalty(settings, objective):
    """The L2 term of the loss, a float32 scalar: weight_decay/2 * sum ||w||^2.

    With LARS only over the supervised head's kernel, which LARS itself leaves alone; else over every trainable variable
    but those of batch norm and those that are apart.
    """
    if settings.optimizer.optimizer == "lars":
        decayed = (
            [objective.supervised_head.kernel] if objective.supervised_head is not None else []
        )
    else:
        norms = batch_norm_variables(objective)
        decayed = [
            v
            for v in _without(objective.trainable_variables, objective.apart())
            if id(v) not in norms
        ]
    decayed = [v for v in decayed if v.trainable]
    return settings.optimizer.weight_decay * sum(
        (tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in decayed), tf.constant(0.0)
    )
