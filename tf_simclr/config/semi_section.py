"""The settings of the methods that learn from labels and from images without."""

import dataclasses

from tf_simclr.config.registry import SEMI_METHODS
from tf_simclr.config.setting import setting
from tf_simclr.config.values import SMALLEST_POSITIVE


@dataclasses.dataclass(frozen=True)
class SemiConfig:
    """How --train_mode=semi learns from images without label."""

    semi_method: str = setting(
        "fixmatch",
        "method that learns from labels and from images without",
        choices=SEMI_METHODS,
    )
    unlabeled_weight: float = setting(
        0.0,
        "semi: weight of the loss of the images without label; that of the labels is 1 (0: as "
        "published of the method)",
        low=0.0,
    )
    confidence_threshold: float = setting(
        0.0,
        "semi fixmatch, uda, pseudo_label, cowmix, mpl: probability from which on a prediction "
        "counts (0: as published, 0.95, 0.8, none, 0.6 and 0.6)",
        low=0.0,
        high=1.0,
    )
    ema_decay: float = setting(
        0.0,
        "semi: decay of the moving average of the weights, which is what is evaluated and exported "
        "(0: as published, 0.97 of cowmix and 0.999 of the others)",
        low=0.0,
        high=1.0,
    )
    tsa: str = setting(
        "none",
        "semi uda, training signal annealing: a label counts only while its class is less likely "
        "than a threshold, which rises to 1 along this schedule",
        choices=("none", "linear", "log", "exp"),
    )
    vat_epsilon: float = setting(
        3.0,
        "semi vat_entmin: length of the perturbation of an image of 32 pixels with values from 0 "
        "to 1; of other sizes in proportion to the side",
        low=SMALLEST_POSITIVE,
    )
