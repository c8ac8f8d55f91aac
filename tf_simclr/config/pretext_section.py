"""The settings of pretext tasks."""

import dataclasses

from tf_simclr.config.registry import PRETEXTS
from tf_simclr.config.setting import setting
from tf_simclr.config.values import SMALLEST_POSITIVE


@dataclasses.dataclass(frozen=True)
class PretextConfig:
    """Which task pretraining solves, and how."""

    pretext: str = setting(
        "simclr", "task that pretraining solves without labels", choices=PRETEXTS
    )
    pretext_width: int = setting(4096, "width of the hidden layers of a task's head", low=1)
    projector_dim: int = setting(
        0,
        "instance_discrimination, pirl, cmc, cpc, moco, byol, vicreg, lejepa: outputs of the "
        "projector (0: as published, 128, 128, 128, 64, 128, 256, 8192 and 16)",
        low=0,
    )
    pretext_temperature: float = setting(
        0.07, "instance_discrimination, pirl, cmc, moco: temperature of the similarities", low=1e-3
    )
    nce_negatives: int = setting(
        0,
        "instance_discrimination, pirl, cmc: images, drawn at random in each step, that the right "
        "one is told from by noise-contrastive estimation (0: as published, 4096, 32000 and 4096); "
        "where there are no more, all by a softmax",
        low=0,
    )
    lejepa_weight: float = setting(
        0.02,
        "lejepa: weight lambda of the regularization; that of the prediction is 1 - lambda",
        low=0.0,
        high=1.0,
    )
    proximal_weight: float = setting(
        0.0,
        "instance_discrimination: weight lambda of the squared distance between the feature of an "
        "image and that in the memory bank",
        low=0.0,
    )
    byol_momentum: float = setting(
        0.996,
        "byol: momentum of the target network at the start, from where it rises to 1 at the end",
        low=0.0,
        high=1.0,
    )
    patch_size: int = setting(
        0,
        "jigsaw, pirl, context_prediction, cpc: side of a patch in pixels (0: 64/225 of "
        "image_size, as in the papers, 96/224 of context_prediction and 80/260 of cpc)",
        low=0,
    )
    patch_gaps: bool = setting(
        True,
        "jigsaw, pirl, context_prediction, against shortcuts: gaps between patches, and chance in "
        "where each of them is",
    )
    num_permutations: int = setting(
        100, "jigsaw: permutations that are told apart", low=2, high=1000
    )
    standardize_patches: bool = setting(
        True, "jigsaw, against shortcuts: each tile has the same mean and deviation"
    )
    shift_channels: bool = setting(
        True, "jigsaw, against shortcuts: the channels of a tile are moved by up to 2 of 64 pixels"
    )
    grey_probability: float = setting(
        0.3,
        "jigsaw, against shortcuts: probability of an image without its colors",
        low=0.0,
        high=1.0,
    )
    chromatic_guard: str = setting(
        "drop",
        "context_prediction, against shortcuts: drop two of the channels of a patch, project it on "
        "what is not between green and magenta, "
        "or none",
        choices=("drop", "project", "none"),
    )
    pixelate_patches: bool = setting(
        True,
        "context_prediction, against shortcuts: half of the patches are reduced to as little as "
        "10 pixels a side and enlarged again",
    )
    rotation_exact: bool = setting(
        True,
        "rotation, against shortcuts: turn the pixels themselves; off: through an affine "
        "transform, whose traces give the angle away",
    )
    colour_rebalancing: bool = setting(
        True,
        "colorization: rare colors weigh more in the loss; off: all weigh the same, and the "
        "predictions are grayish",
    )
    removed_region: str = setting(
        "centre",
        "context_encoder: what is removed of an image and has to be painted in; centre: a square "
        "of half the side; "
        "blocks: random ones, up to a quarter of the image",
        choices=("centre", "blocks"),
    )
    region_overlap: bool = setting(
        True,
        "context_encoder: against seams, what is predicted reaches over the center into what is "
        "visible, where the loss weighs 10 times as much",
    )
    decoder_width: int = setting(
        256,
        "colorization, context_encoder: channels of the decoder; of context_encoder each map "
        "twice as large has half as many, down to 32",
        low=1,
    )
    adversarial_weight: float = setting(
        0.0,
        "context_encoder: weight w of the adversarial loss, 0.001 in the paper; that of the "
        "reconstruction is 1 - w (0: no adversary)",
        low=0.0,
        high=1.0,
    )
    discriminator_learning_rate: float = setting(
        2e-4, "context_encoder: constant learning rate of the discriminator's own Adam", low=0.0
    )
    counting_margin: float = setting(
        10.0,
        "counting: least squared distance M between the counts of two images",
        low=SMALLEST_POSITIVE,
    )
    counting_grey_probability: float = setting(
        0.67,
        "counting, against shortcuts: probability of an image with the mean of its channels in "
        "each of them",
        low=0.0,
        high=1.0,
    )
    random_downsampling: bool = setting(
        True,
        "counting, against shortcuts: each image is downsampled by another method, drawn at "
        "random; off: by the mean of 2 x 2 pixels",
    )
    seed_patch: float = setting(
        1 / 3,
        "exemplar: side of the patch that an image gives, as a share of the image's shorter side",
        low=0.01,
        high=1.0,
    )
    seed_images: int = setting(
        0,
        "exemplar, instance_discrimination, pirl, cmc: images of each split, drawn at random, that "
        "are classes and are trained on (0: all); each has to be seen many times",
        low=0,
    )
    sampled_classes: int = setting(
        0,
        "exemplar: classes, drawn at random in each step, that the right one is told from (0: "
        "all, which are as many as images)",
        low=0,
    )
    feature_loss: str = setting(
        "regression",
        "distill_features; regression: the squared distance of normalized features (SimReg); "
        "similarity: the similarities to past features of the teacher (SEED)",
        choices=("regression", "similarity"),
    )
    teacher_view: str = setting(
        "whole",
        "distill_features, what the teacher sees; whole: the image as in evaluation, so that its "
        "features are computed once; view: the crop that the student sees, in each step",
        choices=("whole", "view"),
    )
    feature_queue: int = setting(
        65536,
        "moco: past keys that are kept; distill_features with similarity: past features",
        low=1,
    )
    feature_student_temperature: float = setting(
        0.2, "distill_features with similarity: temperature of the student", low=1e-3
    )
    feature_teacher_temperature: float = setting(
        0.01, "distill_features with similarity: temperature of the teacher", low=1e-3
    )
