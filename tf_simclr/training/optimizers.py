"""LARS, the learning rate schedule, weight decay, and which optimizer updates which variables.

Variables are chosen by structure, never by name.
"""

import math

import keras
import tensorflow as tf

from tf_simclr.config import Config
from tf_simclr.config.length import total_steps
from tf_simclr.models.layers import batch_norm_variables
from tf_simclr.objectives.base import Objective
from tf_simclr.training import layer_decay

CUT_WARMUP = 10  # a warm-up that is too long becomes this part of the training
LARS_ETA = 0.001  # trust coefficient
DCGAN_MOMENTUM = 0.5  # beta_1 of a discriminator's Adam (Radford et al. 2016, section 4)
# Keras would number the optimizers of a process, and checkpoints go by the names of variables.
OPTIMIZER_NAME = "optimizer"


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 at step 0 to the peak, then a cosine to 0 at the last step.

    Args:
        peak: the highest learning rate.
        warmup: the step at which it is reached.
        total: the step at which it is 0 again.
    """

    def __init__(self, peak: float, warmup: int, total: int):
        self.peak = peak
        self.warmup = warmup
        self.total = total

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        progress = (step - self.warmup) / max(self.total - self.warmup, 1)
        cosine = 0.5 * self.peak * (1 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))
        linear = self.peak * step / max(self.warmup, 1)
        return tf.where(step < self.warmup, linear, cosine)

    def get_config(self):
        return {"peak": self.peak, "warmup": self.warmup, "total": self.total}


def learning_rate_schedule(settings: Config, num_images: int) -> WarmupCosine:
    """The learning rate schedule of a training on `num_images` images an epoch."""
    options = settings.optimizer
    batch_size = settings.train.train_batch_size
    scales = {"linear": batch_size / 256, "sqrt": math.sqrt(batch_size)}
    peak = options.learning_rate * scales[options.learning_rate_scaling]
    warmup = warmup_steps(settings, num_images)
    total = total_steps(settings.train, num_images)
    if warmup >= total and settings.resolved()["long_warmup"] == "cut":
        warmup = total // CUT_WARMUP
    return WarmupCosine(peak, warmup, total)


def warmup_steps(settings: Config, num_images: int) -> int:
    """Steps of the warm-up as --warmup_epochs asks for them, which may be more than there are."""
    batch_size = settings.train.train_batch_size
    return round(settings.optimizer.warmup_epochs * num_images // batch_size)


def lars_update(w, g, v, learning_rate, momentum, decay, eta=LARS_ETA):
    """One step of LARS for one variable (You et al. 2017, algorithm 1).

    Args:
        w: the variable.
        g: its gradient, of the same shape.
        v: its velocity, of the same shape.
        learning_rate: scalar.
        momentum: of the velocity.
        decay: weight decay, part of the gradient before the rate is adapted.
        eta: trust coefficient; None: SGD with momentum, whose rate is not adapted.

    Returns:
        (new w, new v).
    """
    g = g + decay * w
    rate = 1.0
    if eta is not None:
        w_norm = tf.norm(w)
        g_norm = tf.norm(g)
        ratio = eta * w_norm / tf.where(g_norm > 0, g_norm, 1.0)
        rate = tf.where((w_norm > 0) & (g_norm > 0), ratio, 1.0)
    v = momentum * v + learning_rate * rate * g
    return w - v, v


class LARS(keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017) as SimCLR uses it.

    Args:
        learning_rate: float or schedule.
        momentum: of the velocity.
        decay: weight decay, part of the gradient before the rate is adapted.
        not_adapted: ids of the variables that are neither decayed nor adapted.
    """

    def __init__(
        self, learning_rate, momentum=0.9, decay=0.0, not_adapted=(), name="lars", **kwargs
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.decay = decay
        self.not_adapted = frozenset(not_adapted)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.velocities = [self.add_variable_from_reference(v, name="velocity") for v in variables]
        self.is_adapted = [id(v) not in self.not_adapted for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        velocity = self.velocities[index]
        is_adapted = self.is_adapted[index]
        w, v = lars_update(
            tf.convert_to_tensor(variable),
            gradient,
            tf.convert_to_tensor(velocity),
            learning_rate,
            self.momentum,
            decay=self.decay if is_adapted else 0.0,
            eta=LARS_ETA if is_adapted else None,
        )
        self.assign(variable, w)
        self.assign(velocity, v)


class CombinedOptimizer:
    """Several optimizers that are used as one.

    Args:
        optimizers: [(optimizer, the variables that it is built for and updates)].
    """

    def __init__(self, optimizers: list[tuple]):
        self._optimizers = [
            (optimizer, {id(v) for v in variables}) for optimizer, variables in optimizers
        ]

    @property
    def variables(self) -> list:
        """The state of all."""
        return [v for optimizer, _ in self._optimizers for v in optimizer.variables]

    def apply(self, gradients: list, variables: list):
        """Updates `variables`, in any order, each by its optimizer; those without any stay."""
        pairs = list(zip(gradients, variables))
        for optimizer, ids in self._optimizers:
            chosen = [(g, v) for g, v in pairs if id(v) in ids]
            if chosen:
                optimizer.apply(*zip(*chosen))


def make_optimizer(settings: Config, objective: Objective, learning_rate):
    """The optimizer of a training, built for the trainable variables of `objective`.

    What is updated in turn has an optimizer for each turn, and variables that the objective wants
    optimized separately get an Adam of their own. With float16 the optimizer scales the loss; use
    its `scale_loss`.

    Args:
        settings: the whole configuration.
        objective: with its variables built.
        learning_rate: float or schedule.
    """
    separate_variables = objective.separately_optimized()
    optimizers = []
    for number, variables_of_turn in enumerate(objective.turn_variables()):
        variables = _without(variables_of_turn, separate_variables)
        optimizer = _main_optimizer(settings, objective, learning_rate, number)
        optimizers.append((optimizer, variables))
    if separate_variables:
        separate = keras.optimizers.Adam(
            settings.pretext.discriminator_learning_rate,
            beta_1=DCGAN_MOMENTUM,
            name=f"{OPTIMIZER_NAME}_apart",  # part of the keys of checkpoints
        )
        optimizers.append((separate, separate_variables))
    for optimizer, variables in optimizers:
        optimizer.build(variables)  # before a step: under a strategy it can't be done inside
    if len(optimizers) == 1:
        return optimizers[0][0]
    return CombinedOptimizer(optimizers)


def _main_optimizer(settings, objective, learning_rate, turn):
    """That of a turn, which are numbered from 0."""
    options = settings.optimizer
    kinds = {"lars": LARS, "momentum": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    arguments = {"name": f"{OPTIMIZER_NAME}_{turn}" if turn else OPTIMIZER_NAME}
    if options.optimizer == "lars":
        arguments["decay"] = options.weight_decay
        arguments["not_adapted"] = _not_adapted(objective)
    if options.optimizer == "momentum":
        arguments["nesterov"] = True
    if options.optimizer != "adam":
        arguments["momentum"] = options.momentum
    kind = kinds[options.optimizer]
    if options.layer_decay < 1:
        kind = layer_decay.by_depth(kind)
        arguments["factors"] = _rate_factors(objective, options.layer_decay)
    optimizer = kind(learning_rate, **arguments)
    if settings.model.precision == "float16":
        return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
    return optimizer


def _rate_factors(objective, decay):
    """{id of a variable: factor of its learning rate}."""
    factors = {}
    for network in objective.trained_networks:
        factors |= layer_decay.factors(network.encoder, decay)
    return factors


def _heads(objective):
    """The supervised heads that are trained."""
    heads = [network.supervised_head for network in objective.trained_networks]
    return [head for head in heads if head is not None]


def _without(variables, excluded):
    """The `variables` that are not among `excluded`."""
    excluded_ids = {id(v) for v in excluded}
    return [v for v in variables if id(v) not in excluded_ids]


def _not_adapted(objective):
    """ids of what LARS neither decays nor adapts: batch norm, biases and the supervised head."""
    heads = [v for head in _heads(objective) for v in head.variables]
    vectors = [v for v in objective.trainable_variables if len(v.shape) <= 1]
    return _undecayed(objective) | {id(v) for v in [*heads, *vectors, *_biases(objective)]}


def _biases(objective):
    """Those of all layers, some of which have more than one axis."""
    biases = [getattr(layer, "bias", None) for layer in objective._flatten_layers()]
    return [bias for bias in biases if bias is not None]


def _undecayed(objective):
    """ids of the variables of batch norm, and of what else of the encoder does not decay."""
    undecayed = batch_norm_variables(objective)
    for network in objective.trained_networks:
        undecayed |= {id(v) for v in network.encoder.not_decayed}
    return undecayed


def weight_decay_penalty(settings: Config, objective: Objective) -> tf.Tensor:
    """The L2 term of the loss: weight_decay/2 * sum ||w||^2.

    With LARS it is of the supervised head's kernel only, which LARS itself does not decay; else of
    every trainable variable but those of batch norm and those that are optimized separately.

    Returns:
        float32 scalar.
    """
    terms = [tf.nn.l2_loss(tf.convert_to_tensor(v)) for v in _penalized(settings, objective)]
    return settings.optimizer.weight_decay * sum(terms, tf.constant(0.0))


def _penalized(settings, objective):
    """The variables of the L2 term."""
    if settings.optimizer.optimizer == "lars":
        variables = [head.kernel for head in _heads(objective)]
    else:
        undecayed = _undecayed(objective)
        variables = _without(objective.trainable_variables, objective.separately_optimized())
        variables = [v for v in variables if id(v) not in undecayed]
    return [v for v in variables if v.trainable]
