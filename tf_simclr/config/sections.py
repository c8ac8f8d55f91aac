"""The settings in sections. A flag, its default, its type and its help exist once.

`command_line.py` derives the command line, the YAML keys and the tables of docs/flags.md from them.
Network, objective, optimizer and training are here; beside it `data_sections.py`,
`evaluation_sections.py`, `pretext_section.py`, `semi_section.py`, `hardware_section.py`,
`plan_section.py`, and what is done with a trained network in `application_sections.py`.
"""

import dataclasses

from tf_simclr.config.backbones import INPUTS
from tf_simclr.config.held_out_choices import CHOSEN
from tf_simclr.config.registry import MODES, REMATERIALIZE, TRACKERS, TRAIN_MODES
from tf_simclr.config.setting import setting
from tf_simclr.config.values import SMALLEST_POSITIVE


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    backbone: str = setting(
        "auto",
        "the encoder; resnet: as the flags below say; lab: two of half the width, one sees the "
        "lightness of an image and one its colors; hub:PRESET: a published network of keras-hub "
        "with its weights, e.g. hub:dinov2_small; hub:PATH: a folder of save_to_preset, or a "
        ".keras file; auto: that of the run or the checkpoint, else lab with pretext cmc, and "
        "resnet",
    )
    backbone_input: str = setting(
        "auto",
        "values of the images that a published backbone sees; auto: as its preset says, else unit; "
        "unit: 0 to 1; signed: -1 to 1; imagenet: with the mean and the deviation of ImageNet; "
        "bytes: 0 to 255",
        choices=("auto", *INPUTS),
    )
    resnet_depth: int = setting(50, "depth of the ResNet", choices=(18, 34, 50, 101, 152, 200))
    width_multiplier: float = setting(1.0, "factor on all numbers of channels", low=0.02, high=16.0)
    sk_ratio: float = setting(
        0.0, "selective-kernel ratio, 0.0625 recommended (0: off)", low=0.0, high=1.0
    )
    se_ratio: float = setting(0.0, "squeeze-and-excite ratio (0: off)", low=0.0, high=1.0)
    stem: str = setting(
        "auto",
        "first layers; cifar: a 3x3 convolution that keeps the resolution; imagenet: a quarter of "
        "it; auto: that of the run or the checkpoint, else cifar up to 32 pixels of image_size",
        choices=("auto", "cifar", "imagenet"),
    )
    batch_norm_decay: float = setting(
        0.9, "momentum of the batch norm statistics", low=0.0, high=1.0
    )
    global_bn: bool = setting(
        True, "batch norm statistics over all replicas instead of each replica's own"
    )
    proj_head_mode: str = setting(
        "nonlinear", "projection head", choices=("none", "linear", "nonlinear")
    )
    proj_out_dim: int = setting(128, "output dimension of the projection head", low=1)
    num_proj_layers: int = setting(3, "layers of the nonlinear projection head", low=1, high=100)
    ft_proj_selector: int = setting(
        0,
        "what the linear head reads: 0 the encoder's output, m the m-th projection layer, -1 the "
        "last",
        low=-1,
    )
    zero_init_logits_layer: bool = setting(False, "start the linear head at zero")
    probe_init_logits_layer: bool = setting(
        False,
        "start the linear head as logistic regression on the features that the training starts "
        "with",
    )
    keep_logits_layer: bool = setting(
        False,
        "finetune, semi, distill; start the linear head from that of checkpoint where its classes "
        "are the same, as the original SimCLR release does; otherwise it is a new one",
    )
    fine_tune_after_block: int = setting(
        -1,
        "freeze: -1 nothing, 0 the stem, k the stem and block groups 1 to k (4: only heads are "
        "trained); also in pretrain, where the original SimCLR release refuses it",
        low=-1,
        high=4,
    )
    precision: str = setting(
        "float32",
        "dtype of the computation; variables and loss stay float32",
        choices=("float32", "bfloat16", "float16"),
    )


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """What is learned, and from which weights."""

    train_mode: str = setting(
        "pretrain",
        "a task without labels, see pretext; labels, from a checkpoint or from scratch; labels and "
        "images without, see semi_method; a teacher's predictions; several with commas between",
        choices=TRAIN_MODES,
    )
    temperature: float = setting(0.1, "temperature tau of the contrastive loss", low=1e-3)
    hidden_norm: bool = setting(True, "normalize the projections to length 1 (cosine similarity)")
    memory_size: int = setting(
        0, "past keys kept as further negatives, 65536 in SimCLRv2 (0: no memory)", low=0
    )
    memory_momentum: float = setting(
        0.999,
        "momentum of the key encoder that fills the memory, also with pretext moco",
        low=0.0,
        high=1.0,
    )
    lineareval_while_pretraining: bool = setting(
        True,
        "train a linear classifier on the side, with pretext simclr; no gradient of it reaches "
        "the encoder",
    )
    finetune_choice: str = setting(
        "given",
        "finetune; given: as ft_proj_selector and fine_tune_after_block say; held_out: a frozen "
        "encoder, from the encoder, or from the first layer of the projection head, whichever is "
        "best on held-out labels",
        choices=("given", CHOSEN),
    )
    supervised_choice: str = setting(
        "given",
        "supervised; given: as many steps as the flags say; held_out: as many or three times as "
        "many, whichever is better on held-out labels",
        choices=("given", CHOSEN),
    )
    checkpoint: str = setting(
        "",
        "what to start from, or to evaluate, export or embed with: a run directory, a checkpoint "
        "or a SavedModel, "
        "also those of the original SimCLR release; simclrv2:NAME is a published model, see "
        "mode weights",
    )
    teacher_checkpoint: str = setting(
        "",
        "teacher of distill: a run directory, a checkpoint prefix in one, any SavedModel with "
        "logits_sup, or simclrv2:NAME; of pretext distill_features also hub:PRESET, and none of "
        "them needs logits",
    )
    distill_temperature: float = setting(
        1.0,
        "temperature of teacher and student, 0.1 in SimCLRv2 where both are the same network",
        low=1e-3,
    )
    distill_alpha: float = setting(
        1.0, "weight of the distillation loss; that of the labels is 1 - alpha", low=0.0, high=1.0
    )
    distill_unlabeled: bool = setting(
        True, "distill on all images; otherwise on those with a label only"
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How weights are updated."""

    optimizer: str = setting("lars", "optimizer", choices=("momentum", "adam", "lars"))
    learning_rate: float = setting(0.3, "base learning rate, see learning_rate_scaling", low=0.0)
    learning_rate_scaling: str = setting(
        "linear", "linear: times batch/256; sqrt: times sqrt(batch)", choices=("linear", "sqrt")
    )
    warmup_epochs: float = setting(10.0, "epochs of linear warm-up", low=0.0)
    long_warmup: str = setting(
        "auto",
        "of a warm-up that is as long as the training: cut it to a tenth of the training, or keep "
        "it; auto: as the run began, else keep where warmup_epochs is given on the command line",
        choices=("auto", "cut", "keep"),
        before="keep",
    )
    momentum: float = setting(0.9, "momentum of lars and momentum", low=0.0, high=1.0)
    weight_decay: float = setting(1e-6, "weight decay", low=0.0)
    layer_decay: float = setting(
        1.0,
        "learning rate of each level of the encoder to that of the next one, 0.65 to 0.9 in BEiT; "
        "1: the same of all",
        low=SMALLEST_POSITIVE,
        high=1.0,
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What is run, for how long, and what is kept."""

    mode: str = setting(
        "train",
        "what to do",
        choices=tuple(MODES),
        fixed=False,
    )
    model_dir: str = setting(
        "",
        "run directory: checkpoints, results, exports (empty: runs/ and the name of the recipe; "
        "of a planned one that of the folder; without any, data set and stages)",
        fixed=False,
    )
    train_batch_size: int = setting(512, "images a step, over all replicas", low=1)
    train_epochs: int = setting(
        100, "epochs to train; more of them than before train a run further", low=1
    )
    train_steps: int = setting(0, "steps to train; overrides train_epochs (0: unused)", low=0)
    min_steps: int = setting(
        0,
        "steps that train_epochs are at least; epochs of a handful of labels are too few steps to "
        "learn anything",
        low=0,
    )
    steps_factor: int = setting(
        1, "steps are so many times what the flags above say, see supervised_choice", low=1
    )
    checkpoint_epochs: int = setting(1, "epochs between checkpoints", low=1, fixed=False)
    checkpoint_steps: int = setting(
        0, "steps between checkpoints; overrides checkpoint_epochs (0: unused)", low=0, fixed=False
    )
    keep_checkpoint_max: int = setting(
        5, "newest checkpoints that are kept (0: all)", low=0, fixed=False
    )
    accumulate_steps: int = setting(
        1,
        "parts of a batch that go through the network one after the other; the loss still sees "
        "the whole batch, batch norm one part",
        low=1,
    )
    rematerialize: str = setting(
        "none",
        "what is computed again for the gradient instead of being kept; norm: batch norm and ReLU "
        "between the convolutions of a residual block, which is cheap; block: all of a block but "
        "its input, a third more time and a fraction of the memory",
        choices=REMATERIALIZE,
        fixed=False,
    )
    skip_nonfinite: int = setting(
        0,
        "steps with a loss, gradient or weight that is not finite that are left out, as if they "
        "had not been; one more ends the training "
        "(0: the first one does). More than 0 takes a copy of weights and optimizer in memory",
        low=0,
        fixed=False,
    )
    seed: int = setting(
        0, "seed of weights, data order, augmentation and of the labels that are kept", low=0
    )
    track: tuple[str, ...] = setting(
        (),
        "where the metrics of training and evaluation go beside the run directory, with commas "
        "between: MLflow, Weights & Biases (empty: nowhere)",
        choices=TRACKERS,
        fixed=False,
    )
    offline: bool = setting(
        False,
        "take published models from the cache alone, ~/.cache/tf_simclr/weights",
        fixed=False,
    )
    deterministic: bool = setting(
        False, "use only deterministic kernels: the same run gives the same bits", fixed=False
    )
