"""The configuration: frozen dataclasses in sections. A flag, its default, its type and its help exist here, once.

`flags.py` derives the command line, the YAML keys and the tables of README from the fields below. A field with
`fixed=True` is part of what a run directory *is*: it can't change between two starts in the same directory.
"""

import dataclasses
import difflib
import math
import os


class UserError(Exception):
    """A mistake in what the user gave (flag, config, file, image, checkpoint). One line; ends the program."""

    status = 2  # the program's exit status

    def __init__(self, message):
        super().__init__(" ".join(str(message).splitlines()))  # a value or file name may hold line breaks


class Diverged(UserError):
    """The training can't go on: a loss or gradient is not finite."""

    status = 1


class Interrupted(UserError):
    """SIGINT or SIGTERM; the training was saved."""

    def __init__(self, message, signal_number):
        super().__init__(message)
        self.status = 128 + signal_number  # as shells report it


def setting(default, help, *, choices=None, low=None, high=None, fixed=True):
    """A dataclass field with its help text and what values it accepts (`low` and `high` are inclusive)."""
    if type(default) is int and choices is None and high is None:
        high = MAX_INT
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high, "fixed": fixed})


def nearest(name, names):
    """` Did you mean 'x'?`, where x is the one of `names` spelled most like `name`; of numbers the closest one."""
    if not names:
        return ""
    if isinstance(name, int) and all(isinstance(other, int) for other in names):
        best = min(names, key=lambda other: abs(other - name))
    else:
        best = max(names, key=lambda other: difflib.SequenceMatcher(None, str(name).lower(), str(other).lower()).ratio())
    return f" Did you mean '{best}'?"


TINY = 1e-12  # lower bound of what has to be above zero
MAX_INT = 2**31 - 1  # what TensorFlow takes as an int32


@dataclasses.dataclass(frozen=True)
class Data:
    dataset: str = setting("imagenet2012", "digits, folder:PATH, or the name of a tensorflow-datasets data set, e.g. cifar10")
    data_dir: str = setting("", "where tensorflow-datasets keeps its data sets (empty: its own default)", fixed=False)
    train_split: str = setting("train", "split to train on")
    eval_split: str = setting("validation", "split to evaluate on; never trained on", fixed=False)
    cache_dataset: bool = setting(False, "keep the encoded images in memory whatever their size (under 1 GiB they always are)", fixed=False)
    label_fraction: float = setting(1.0, "share of the training labels that is used, the same share of each class", low=TINY, high=1.0)
    labels_per_class: int = setting(0, "number of labels of each class that are used (0: see label_fraction)", low=0)
    image_size: int = setting(224, "height and width of the network's input in pixels; up to 32 the CIFAR stem is used", low=8)


@dataclasses.dataclass(frozen=True)
class Augment:
    use_crop: bool = setting(True, "random resized crop")
    crop_area: tuple[float, float] = setting((0.08, 1.0), "least and greatest share of the image's area in a crop", low=TINY, high=1.0)
    crop_aspect: tuple[float, float] = setting((3 / 4, 4 / 3), "least and greatest width/height of a crop", low=0.01, high=100.0)
    use_flip: bool = setting(True, "mirror left-right with probability 0.5")
    color_jitter_strength: float = setting(1.0, "strength s of brightness, contrast, saturation (0.8 s) and hue (0.2 s); 0: no colour augmentation", low=0.0, high=2.5)
    brightness: str = setting("multiplicative", "how brightness changes: a factor, or the additive offset of the first paper", choices=("multiplicative", "additive"))
    grayscale_probability: float = setting(0.2, "probability of dropping the colours", low=0.0, high=1.0)
    use_blur: bool = setting(True, "Gaussian blur with probability 0.5")
    max_rotation: float = setting(0.0, "rotate by up to so many degrees", low=0.0, high=180.0)
    max_shear: float = setting(0.0, "shear horizontally by up to this slope", low=0.0, high=2.0)


@dataclasses.dataclass(frozen=True)
class Model:
    resnet_depth: int = setting(50, "depth of the ResNet", choices=(18, 34, 50, 101, 152, 200))
    width_multiplier: float = setting(1.0, "factor on all numbers of channels", low=0.02, high=16.0)
    sk_ratio: float = setting(0.0, "selective-kernel ratio, 0.0625 recommended (0: off)", low=0.0, high=1.0)
    se_ratio: float = setting(0.0, "squeeze-and-excite ratio (0: off)", low=0.0, high=1.0)
    batch_norm_decay: float = setting(0.9, "momentum of the batch norm statistics", low=0.0, high=1.0)
    global_bn: bool = setting(True, "batch norm statistics over all replicas instead of each replica's own")
    proj_head_mode: str = setting("nonlinear", "projection head", choices=("none", "linear", "nonlinear"))
    proj_out_dim: int = setting(128, "output dimension of the projection head", low=1)
    num_proj_layers: int = setting(3, "layers of the nonlinear projection head", low=1)
    ft_proj_selector: int = setting(0, "what the linear head reads: 0 the encoder's output, m the m-th projection layer, -1 the last", low=-1)
    zero_init_logits_layer: bool = setting(False, "start the linear head at zero")
    fine_tune_after_block: int = setting(-1, "freeze: -1 nothing, 0 the stem, k the stem and block groups 1 to k (4: only heads are trained)", low=-1, high=4)
    precision: str = setting("float32", "dtype of the computation; variables and loss stay float32", choices=("float32", "bfloat16", "float16"))


@dataclasses.dataclass(frozen=True)
class Objective:
    train_mode: str = setting("pretrain", "what is trained: contrastive pretraining, or the whole network on labels", choices=("pretrain", "finetune"))
    temperature: float = setting(0.1, "temperature tau of the contrastive loss", low=1e-3)
    hidden_norm: bool = setting(True, "normalise the projections to length 1 (cosine similarity)")
    memory_size: int = setting(0, "past keys kept as further negatives, 65536 in SimCLRv2 (0: no memory)", low=0)
    memory_momentum: float = setting(0.999, "momentum of the key encoder that fills the memory", low=0.0, high=1.0)
    lineareval_while_pretraining: bool = setting(True, "train a linear classifier on the side; no gradient of it reaches the encoder")
    checkpoint: str = setting("", "run directory, directory of checkpoints or checkpoint prefix to start from")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    optimizer: str = setting("lars", "optimiser", choices=("momentum", "adam", "lars"))
    learning_rate: float = setting(0.3, "base learning rate, see learning_rate_scaling", low=0.0)
    learning_rate_scaling: str = setting("linear", "linear: times batch/256; sqrt: times sqrt(batch)", choices=("linear", "sqrt"))
    warmup_epochs: float = setting(10.0, "epochs of linear warm-up", low=0.0)
    momentum: float = setting(0.9, "momentum of lars and momentum", low=0.0, high=1.0)
    weight_decay: float = setting(1e-6, "weight decay", low=0.0)


@dataclasses.dataclass(frozen=True)
class Train:
    mode: str = setting("train", "what to do", choices=("train", "eval", "train_then_eval"), fixed=False)
    model_dir: str = setting("", "run directory: checkpoints, results, exports (empty: runs/ and the config's name)", fixed=False)
    train_batch_size: int = setting(512, "images a step, over all replicas", low=1)
    train_epochs: int = setting(100, "epochs to train", low=1)
    train_steps: int = setting(0, "steps to train; overrides train_epochs (0: unused)", low=0)
    checkpoint_epochs: int = setting(1, "epochs between checkpoints", low=1, fixed=False)
    checkpoint_steps: int = setting(0, "steps between checkpoints; overrides checkpoint_epochs (0: unused)", low=0, fixed=False)
    keep_checkpoint_max: int = setting(5, "newest checkpoints that are kept (0: all)", low=0, fixed=False)
    seed: int = setting(0, "seed of weights, data order, augmentation and of the labels that are kept", low=0)
    deterministic: bool = setting(False, "use only deterministic kernels: the same run gives the same bits", fixed=False)


@dataclasses.dataclass(frozen=True)
class Eval:
    eval_steps: int = setting(0, "batches to evaluate (0: all examples)", low=0, fixed=False)
    eval_batch_size: int = setting(256, "images a step while evaluating", low=1, fixed=False)
    eval_name: str = setting("", "name of the folder of the evaluation's TensorBoard events (empty: eval)", fixed=False)
    eval_timeout: float = setting(0.0, "seconds --mode=eval waits for a newer checkpoint when no training is seen on this machine", low=0.0, fixed=False)
    knn_examples: int = setting(10000, "training images in the k-NN and linear-probe evaluation (0: neither)", low=0, fixed=False)
    knn_k: int = setting(200, "neighbours that vote in k-NN", low=1, fixed=False)
    knn_temperature: float = setting(0.1, "temperature of the k-NN vote: exp(cosine/temperature)", low=1e-3, fixed=False)
    untrained_baseline: bool = setting(True, "evaluate the same network with its initial weights as well, once a run", fixed=False)


@dataclasses.dataclass(frozen=True)
class Export:
    keep_hub_module_max: int = setting(1, "newest exports kept in saved_model/ (0: all)", low=0, fixed=False)


@dataclasses.dataclass(frozen=True)
class Hardware:
    strategy: str = setting("auto", "how to distribute; auto: a TPU that is named, else all GPUs, else the CPU",
                            choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"), fixed=False)
    num_cpu_devices: int = setting(1, "logical CPU devices, to try distribution without GPUs", low=1, high=64, fixed=False)
    use_tpu: bool = setting(True, "let strategy=auto use the TPU of --tpu_name or --master", fixed=False)
    tpu_name: str = setting("", "name or grpc:// address of the Cloud TPU", fixed=False)
    tpu_zone: str = setting("", "zone of the Cloud TPU", fixed=False)
    gcp_project: str = setting("", "project of the Cloud TPU", fixed=False)
    master: str = setting("", "address of the TPU's master, in place of tpu_name", fixed=False)


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration. Built by `flags.parse`, or in code: `Config(data=Data(dataset="digits"))`."""

    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Model()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    train: Train = Train()
    eval: Eval = Eval()
    export: Export = Export()
    hardware: Hardware = Hardware()

    def __post_init__(self):
        for name, field in fields().items():
            _check(name, field, coerce(name, getattr(getattr(self, field.section), name)))
        _check_together(self)

    def flat(self):
        """{flag name: value} over all sections."""
        return {name: getattr(getattr(self, field.section), name) for name, field in fields().items()}

    def replace(self, **values):
        """The same configuration with these flags changed."""
        return build({**self.flat(), **values})


@dataclasses.dataclass(frozen=True)
class Field:
    """One flag: its section, type, default, help text and what it accepts."""

    section: str
    type: object
    default: object
    help: str
    choices: tuple | None
    low: float | None
    high: float | None
    fixed: bool


_FIELDS = {
    field.name: Field(section.name, field.type, field.default, **field.metadata)
    for section in dataclasses.fields(Config)
    for field in dataclasses.fields(section.type)
}


def fields():
    """{flag name: Field}, in the order of the sections."""
    return _FIELDS


BOOLS = {"true": True, "t": True, "1": True, "yes": True, "on": True, "false": False, "f": False, "0": False, "no": False, "off": False}


def build(values):
    """Config from {flag name: value}; what is not named keeps its default.

    Raises:
        UserError: an unknown name or a value out of range.
    """
    sections = {}
    for name, value in values.items():
        if name not in fields():
            raise UserError(f"unknown key '{name}'.{nearest(name, fields())}")
        sections.setdefault(fields()[name].section, {})[name] = coerce(name, value)
    types = {section.name: section.type for section in dataclasses.fields(Config)}
    return Config(**{name: types[name](**given) for name, given in sections.items()})


def coerce(name, value):
    """`value` (from YAML, JSON or the command line) as the type of the flag `name`; UserError if it isn't one."""
    kind = fields()[name].type
    try:
        if kind is bool:
            if isinstance(value, bool):
                return value
            return BOOLS[str(value).lower()]
        if isinstance(value, bool) or value is None:
            raise ValueError
        if kind is int:
            if isinstance(value, float) and value != int(value):
                raise ValueError
            return int(value)
        if kind is float:
            return _finite(value)
        if kind is str:
            if isinstance(value, (list, tuple, dict, set)):
                raise ValueError
            return _at_home(str(value))
        first, second = value.split(",") if isinstance(value, str) else value
        return (_finite(first), _finite(second))
    except (ValueError, TypeError, KeyError, OverflowError):
        what = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}.get(kind, "two numbers: a,b")
        raise UserError(f"--{name}={value}: {what} is expected, e.g. --{name}={_shown(fields()[name].default)}") from None


def _at_home(text):
    """`~` in a path, also behind folder:, where no shell sees it."""
    kind, colon, path = text.partition(":")
    return f"folder:{os.path.expanduser(path)}" if kind == "folder" and colon else os.path.expanduser(text)


def _finite(value):
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _shown(value):
    return ",".join(map(_shown, value)) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def _check(name, field, value):
    if field.choices is not None and value not in field.choices:
        accepted = ", ".join(str(choice) for choice in field.choices)
        raise UserError(f"--{name}={value}: accepted are {accepted}.{nearest(value, field.choices)}")
    numbers = value if isinstance(value, tuple) else (value,)
    defaults = field.default if isinstance(value, tuple) else (field.default,)
    near = tuple(_inside(field, number, default) for number, default in zip(numbers, defaults))
    if near != numbers:
        low = "" if field.low is None else "more than 0" if field.low == TINY else f"at least {_shown(field.low)}"
        high = "" if field.high is None else f"at most {_shown(field.high)}"
        raise UserError(f"--{name}={_shown(value)}: it has to be {' and '.join(filter(None, (low, high)))}, e.g. --{name}={_shown(tuple(sorted(near)))}")


def _inside(field, number, default):
    """`number` if the field accepts it, else an accepted one near it."""
    if field.low is not None and number < field.low:
        return default if field.low == TINY else field.low
    return field.high if field.high is not None and number > field.high else number


def _check_together(config):
    flat = config.flat()
    for name in ("crop_area", "crop_aspect"):
        if flat[name][0] > flat[name][1]:
            raise UserError(f"--{name}={_shown(flat[name])}: the first number has to be the smaller one, e.g. --{name}={_shown(flat[name][::-1])}")
    if flat["labels_per_class"] and flat["label_fraction"] < 1:
        raise UserError("--labels_per_class and --label_fraction are both given: leave one of them out")
    layers = {"none": 0, "linear": 1, "nonlinear": flat["num_proj_layers"]}[flat["proj_head_mode"]]
    if flat["ft_proj_selector"] > layers:
        raise UserError(f"--ft_proj_selector={flat['ft_proj_selector']}: the projection head has {layers} layers, so at most {layers} is possible (or -1, the last)")
