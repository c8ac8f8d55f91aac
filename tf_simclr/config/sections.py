"""The settings in sections. A flag, its default, its type and its help exist here, once.

`command_line.py` derives the command line, the YAML keys and the tables of docs/flags.md from them.
The settings of pretext tasks are in `pretext_section.py`, those of what is done with a trained
network in `application_sections.py`.
"""

import dataclasses

from tf_simclr.config.backbones import INPUTS, PIXELS, UNTRAINED
from tf_simclr.config.held_out_choices import CHOSEN
from tf_simclr.config.registry import EVALUATIONS, EXPORT_FORMATS, MODES, TRACKERS, TRAIN_MODES
from tf_simclr.config.setting import setting
from tf_simclr.config.values import SMALLEST_POSITIVE


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images and labels."""

    dataset: str = setting(
        "imagenet2012",
        "digits, folder:PATH (of images, or of a text file with their paths; several with commas "
        "between), or the name of a tensorflow-datasets data set, e.g. cifar10",
    )
    data_dir: str = setting(
        "", "where tensorflow-datasets keeps its data sets (empty: its own default)", fixed=False
    )
    labels: str = setting(
        "",
        "labels of a folder's images. Empty: its folders are the classes; none: no labels; "
        "FILE.csv: a table beside them, or FILE.csv:file=COLUMN,label=COLUMN",
    )
    folder_layout: str = setting(
        "auto",
        "recognized: what the folders mean follows from all of them, and images are held out by a "
        "hash of their contents; simple: as before this flag existed; auto: that of the run or the "
        "checkpoint, else recognized",
        choices=("auto", "recognized", "simple"),
        before="simple",
    )
    value_range: str = setting(
        "auto",
        "of images with 16 bits a value LOW,HIGH, which become black and white; top_byte: their "
        "upper 8 bits, as before this flag existed; auto: as the run or the checkpoint, else the "
        "range of the training images",
        before="top_byte",
    )
    train_split: str = setting("train", "split to train on")
    eval_split: str = setting("validation", "split to evaluate on; never trained on", fixed=False)
    cache_dataset: bool = setting(
        False,
        "keep the encoded images in memory whatever their size (under 1 GiB they always are)",
        fixed=False,
    )
    label_fraction: float = setting(
        1.0,
        "share of the training labels that is used, the same share of each class",
        low=SMALLEST_POSITIVE,
        high=1.0,
    )
    labels_per_class: int = setting(
        0, "number of labels of each class that are used (0: see label_fraction)", low=0
    )
    labels_chosen: str = setting(
        "drawn",
        "which labels label_fraction and labels_per_class keep; drawn: at random, as many of each "
        "class; selected: as many in all, of the images that --mode=select would ask for with the "
        "weights of checkpoint",
        choices=("drawn", "selected"),
    )
    unlabeled_dataset: str = setting(
        "",
        "further images, of any source that dataset can name; their labels are not used (empty: "
        "none)",
    )
    unlabeled_split: str = setting("train", "split of unlabeled_dataset")
    unlabeled_ratio: float = setting(
        0.0,
        "images without label for each one with a label in a batch (0: as many as there are of "
        "each)",
        low=0.0,
        high=1e6,
    )
    image_size: int = setting(
        224,
        "height and width of the network's input in pixels",
        low=8,
    )
    eval_crop: str = setting(
        "auto",
        "what evaluation, embedding and exports see of an image; centre: the central crop of 0.875 "
        "of the shorter side (all of it up to 32 pixels); whole: all of it, the aspect ratio "
        "changes; pad: all of it, with gray beside it; auto: that of the run or the checkpoint, "
        "else centre with use_crop and whole without",
        choices=("auto", "centre", "whole", "pad"),
        before="centre",
    )
    resizing: str = setting(
        "auto",
        "antialias: bicubic, antialiased where an image is reduced, as in Pillow; original: "
        "bicubic without antialiasing, as in the original SimCLR release; auto: that of the run or "
        "the checkpoint, else antialias",
        choices=("auto", "antialias", "original"),
        before="original",
    )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How views of an image are made."""

    use_crop: bool = setting(True, "random resized crop")
    crop_area: tuple[float, float] = setting(
        (0.08, 1.0),
        "least and greatest share of the image's area in a crop",
        low=SMALLEST_POSITIVE,
        high=1.0,
    )
    crop_aspect: tuple[float, float] = setting(
        (3 / 4, 4 / 3), "least and greatest width/height of a crop", low=0.01, high=100.0
    )
    use_flip: bool = setting(True, "mirror left-right with probability 0.5")
    color_jitter_strength: float = setting(
        1.0,
        "strength s of brightness, contrast, saturation (0.8 s) and hue (0.2 s); 0: no color "
        "augmentation",
        low=0.0,
        high=2.5,
    )
    brightness: str = setting(
        "multiplicative",
        "how brightness changes: a factor, or the additive offset of the first paper",
        choices=("multiplicative", "additive"),
    )
    grayscale_probability: float = setting(
        0.2, "probability of dropping the colors", low=0.0, high=1.0
    )
    use_blur: bool = setting(True, "Gaussian blur with probability 0.5")
    max_rotation: float = setting(0.0, "rotate by up to so many degrees", low=0.0, high=180.0)
    max_shear: float = setting(0.0, "shear horizontally by up to this slope", low=0.0, high=2.0)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network."""

    backbone: str = setting(
        "resnet",
        "the encoder; resnet: as the flags below say; hub:PRESET: a published network of keras-hub "
        "with its weights, e.g. hub:dinov2_small; hub:PATH: a folder of save_to_preset, or a "
        ".keras file",
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
        "finetune, distill; start the linear head from that of checkpoint where its classes are "
        "the same, as the original SimCLR release does; otherwise it is a new one",
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
        "a task without labels, see pretext; labels, from a checkpoint or from scratch; "
        "a teacher's predictions; "
        "several with commas between",
        choices=TRAIN_MODES,
    )
    temperature: float = setting(0.1, "temperature tau of the contrastive loss", low=1e-3)
    hidden_norm: bool = setting(True, "normalize the projections to length 1 (cosine similarity)")
    memory_size: int = setting(
        0, "past keys kept as further negatives, 65536 in SimCLRv2 (0: no memory)", low=0
    )
    memory_momentum: float = setting(
        0.999, "momentum of the key encoder that fills the memory", low=0.0, high=1.0
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
    class_weights: str = setting(
        "none",
        "finetune, supervised; balanced: the loss of a label weighs the more the rarer its class "
        "is among the labels that are used, 1 in the mean",
        choices=("none", "balanced"),
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
        "run directory: checkpoints, results, exports (empty: runs/ and the config's name)",
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
        "block: keep only what goes into each residual block and compute its activations again for "
        "the gradient: "
        "a third more time, a fraction of the memory",
        choices=("none", "block"),
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


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """How a run is evaluated."""

    eval_every_epochs: int = setting(
        0,
        "epochs between evaluations on a held-out part of the training split while training (0: "
        "none, and nothing is held out)",
        low=0,
    )
    holdout_fraction: float = setting(
        0.1, "share of the training split that is held out for it", low=SMALLEST_POSITIVE, high=0.5
    )
    eval_steps: int = setting(
        0,
        "batches to evaluate, drawn at random with a fixed seed, where the original SimCLR release "
        "takes the first (0: all examples)",
        low=0,
        fixed=False,
    )
    eval_batch_size: int = setting(256, "images a step while evaluating", low=1, fixed=False)
    eval_name: str = setting(
        "", "name of the folder of the evaluation's TensorBoard events (empty: eval)", fixed=False
    )
    eval_timeout: float = setting(
        0.0,
        "seconds --mode=eval waits for a newer checkpoint when no training is seen on this machine",
        low=0.0,
        fixed=False,
    )
    evaluations: tuple[str, ...] = setting(
        EVALUATIONS, "what is evaluated, with commas between", choices=EVALUATIONS, fixed=False
    )
    eval_layers: tuple[str, ...] = setting(
        ("final_avg_pool",),
        "layers whose features are evaluated, with commas between: block_group1 to 3, "
        "final_avg_pool, "
        "proj_head_1 and so on, or all",
        fixed=False,
    )
    knn_examples: int = setting(
        50000,
        "training images in the k-NN and linear-probe evaluation (0: neither)",
        low=0,
        fixed=False,
    )
    knn_k: int = setting(
        0, "neighbors that vote in k-NN (0: chosen on the training images)", low=0, fixed=False
    )
    knn_temperature: float = setting(
        0.0,
        "temperature of the k-NN vote: exp(cosine/temperature) (0: chosen on the training images)",
        low=0.0,
        fixed=False,
    )
    untrained_baseline: bool = setting(
        True,
        "False: as baselines without untrained and pixels",
        fixed=False,
    )
    baselines: tuple[str, ...] = setting(
        (UNTRAINED, PIXELS),
        "what is evaluated beside the trained network, with commas between; untrained: the same "
        "network with its initial weights; pixels: raw pixels; hub:PRESET or hub:PATH: a published "
        "network, frozen, see backbone (empty: nothing)",
        fixed=False,
    )
    transfer_datasets: tuple[str, ...] = setting(
        (),
        "other data sets that the encoder is probed and fine-tuned on, with commas between",
        fixed=False,
    )
    transfer_epochs: int = setting(
        10, "epochs of fine-tuning on each of them (0: only probed)", low=0, fixed=False
    )


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What is exported."""

    export_formats: tuple[str, ...] = setting(
        ("saved_model",),
        "what is exported, with commas between; the SavedModel always is",
        choices=EXPORT_FORMATS,
        fixed=False,
    )
    keep_hub_module_max: int = setting(
        1, "newest exports kept of each format (0: all)", low=0, fixed=False
    )
    serving_max_pixels: int = setting(
        2**25,
        "images with more pixels are refused by the signatures of the SavedModel before they are "
        "decoded; JPEGs of up to three times as many are decoded at half their size or less",
        low=1,
        fixed=False,
    )


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What --mode=report shows."""

    report_runs: tuple[str, ...] = setting(
        (),
        "run directories that --mode=report shows side by side, with commas between (empty: that "
        "of model_dir)",
        fixed=False,
    )


@dataclasses.dataclass(frozen=True)
class HardwareConfig:
    """What a run is computed on."""

    strategy: str = setting(
        "auto",
        "how to distribute; auto: a TPU that is named, else all GPUs, else the CPU",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        fixed=False,
    )
    num_cpu_devices: int = setting(
        1, "logical CPU devices, to try distribution without GPUs", low=1, high=64, fixed=False
    )
    jit_compile: str = setting(
        "auto",
        "give the training step to XLA; auto: on one GPU. A TPU always does, on CPUs its "
        "convolutions are slow",
        choices=("auto", "true", "false"),
        fixed=False,
    )
    steps_per_loop: int = setting(
        1,
        "training steps without returning to the host between them, for TPUs; more than 1: fewer "
        "summaries, and data_time is not measured",
        low=1,
        fixed=False,
    )
    data_service: str = setting(
        "",
        "grpc://host:port of a tf.data service cluster that computes the training batches (empty: "
        "this machine does)",
        fixed=False,
    )
    connect_timeout: float = setting(
        120.0,
        "seconds to wait for a TPU's address or a tf.data service that takes no connections",
        low=0.0,
        fixed=False,
    )
    use_tpu: bool = setting(
        True, "let strategy=auto use the TPU of --tpu_name or --master", fixed=False
    )
    tpu_name: str = setting("", "name or grpc:// address of the Cloud TPU", fixed=False)
    tpu_zone: str = setting("", "zone of the Cloud TPU", fixed=False)
    gcp_project: str = setting("", "project of the Cloud TPU", fixed=False)
    master: str = setting("", "address of the TPU's master, in place of tpu_name", fixed=False)
