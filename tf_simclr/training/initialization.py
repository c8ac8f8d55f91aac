"""The weights that a new training starts from."""

import tensorflow as tf
from absl import logging

from tf_simclr.checkpoints import backbones, pretrained, weights
from tf_simclr.checkpoints.class_names import saved_class_names
from tf_simclr.checkpoints.weights import Weights
from tf_simclr.config import Config, inheritance
from tf_simclr.config.backbones import RESNET_FLAGS, is_published
from tf_simclr.data.source import Source
from tf_simclr.objectives.base import Objective
from tf_simclr.training.linear_head import start_as_probe
from tf_simclr.training.prior_networks import other_classes

# The stem is compared with the weights themselves, of which no flag may say it.
COMPARED_FLAGS = tuple(name for name in RESNET_FLAGS if name != "stem")


def initialize(
    objective: Objective,
    *,
    settings: Config,
    train_source: Source,
    strategy: tf.distribute.Strategy,
):
    """Gives the objective the weights that a new training starts from.

    Args:
        objective: with random weights.
        settings: the whole configuration.
        train_source: the training images, of which those with a label fit the linear head.
        strategy: of the objective's variables.

    Raises:
        UserError: the checkpoint can't be used, or there are too few labels.
    """
    if settings.objective.checkpoint:
        start = Weights(settings.objective.checkpoint, offline=settings.train.offline)
        of_resnet = () if is_published(settings.backbone) else COMPARED_FLAGS
        pretrained.check_same_network(start, settings, ("backbone", *of_resnet))
        inherited = _inherited(objective, start, settings=settings, source=train_source)
        weights.start_from(objective, start, inherited)
    elif is_published(settings.model.backbone):
        backbones.initialize(objective.encoder, settings.model.backbone)
    if settings.model.probe_init_logits_layer and objective.supervised_head is not None:
        start_as_probe(objective, train_source.labeled(), settings=settings, strategy=strategy)
    objective.start()


def _inherited(objective, start, *, settings, source):
    """The variables that start from a checkpoint: whether the linear head does, depends on it.

    A pretraining takes over the classifier on its side, a fine-tuning that of --keep_logits_layer.
    """
    inherited = objective.inherited()
    if objective.supervised_head is None:
        return inherited
    head = objective.supervised_head.variables
    head_ids = {id(v) for v in head}
    without_head = [v for v in inherited if id(v) not in head_ids]
    is_side_classifier = len(without_head) < len(inherited)
    difference = _other_head(objective, start, settings, source)
    if is_side_classifier:
        if start.num_classes == objective.supervised_head.units:
            return inherited
        logging.warning("the linear classifier starts anew: %s", difference)
    elif settings.model.keep_logits_layer:
        if not difference:
            return without_head + head
        logging.warning("--keep_logits_layer: the linear head starts anew: %s", difference)
    elif not difference:
        logging.info(
            "the linear head starts anew, though --checkpoint has one of the same classes; "
            "--keep_logits_layer keeps it, as the original SimCLR release does"
        )
    return without_head


def _other_head(objective, start, settings, source):
    """Why the linear head of weights can't be that of an objective; empty: it can."""
    if not start.num_classes:
        return f"{start.path} has none"
    num_classes = objective.supervised_head.units
    if start.num_classes != num_classes:
        return f"that of {start.path} knows {start.num_classes} classes, and here are {num_classes}"
    difference = other_classes(start.num_classes, saved_class_names(start.directory), source)
    if difference:
        return f"{start.path}: {difference}"
    saved = inheritance.saved_flags(start.path) or {}
    layer = settings.model.ft_proj_selector
    saved_layer = saved.get("ft_proj_selector", layer)
    if saved_layer != layer:
        return f"that of {start.path} reads --ft_proj_selector={saved_layer}, and this one {layer}"
    return ""
