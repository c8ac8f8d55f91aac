"""The configuration: the sections put together, every value converted and checked."""

import dataclasses
import difflib
import math
import os

from tf_simclr.config.sections import (
    ENCODER_LAYERS,
    TINY,
    Augment,
    Data,
    Embed,
    Eval,
    Export,
    Hardware,
    Model,
    Objective,
    Optimizer,
    Pretext,
    Report,
    Train,
)


class UserError(Exception):
    """A mistake in what the user gave (flag, config, file, image, checkpoint). One line; ends the program."""

    status = 2  # the program's exit status

    def __init__(self, message):
        super().__init__(
            " ".join(str(message).splitlines())
        )  # a value or file name may hold line breaks


class Failed(UserError):
    """What was asked for is right, and could not be done."""

    status = 1


class Diverged(Failed):
    """The training can't go on: a loss or gradient is not finite."""


class Interrupted(UserError):
    """SIGINT or SIGTERM; the training was saved."""

    def __init__(self, message, signal_number):
        super().__init__(message)
        self.status = 128 + signal_number  # as shells report it


def nearest(name, names):
    """` Did you mean 'x'?`, where x is the one of `names` spelled most like `name`; of numbers the closest one."""
    if not names:
        return ""
    if isinstance(name, int) and all(isinstance(other, int) for other in names):
        best = min(names, key=lambda other: abs(other - name))
    else:
        best = max(
            names,
            key=lambda other: difflib.SequenceMatcher(
                None, str(name).lower(), str(other).lower()
            ).ratio(),
        )
    return f" Did you mean '{best}'?"


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration. Built by `flags.parse`, or in code: `Config(data=Data(dataset="digits"))`."""

    data: Data = Data()
    augment: Augment = Augment()
    model: Model = Model()
    objective: Objective = Objective()
    pretext: Pretext = Pretext()
    optimizer: Optimizer = Optimizer()
    train: Train = Train()
    eval: Eval = Eval()
    export: Export = Export()
    embed: Embed = Embed()
    report: Report = Report()
    hardware: Hardware = Hardware()

    def __post_init__(self):
        for name, field in fields().items():
            _check(name, field, coerce(name, getattr(getattr(self, field.section), name)))
        _check_together(self)

    def flat(self):
        """{flag name: value} over all sections."""
        return {
            name: getattr(getattr(self, field.section), name) for name, field in fields().items()
        }

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


BOOLS = {
    "true": True,
    "t": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "f": False,
    "0": False,
    "no": False,
    "off": False,
}


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
        if kind == tuple[str, ...]:
            names = map(str.strip, value.split(",") if isinstance(value, str) else value)
            return tuple(_at_home(name) for name in names if name)
        first, second = value.split(",") if isinstance(value, str) else value
        return (_finite(first), _finite(second))
    except (ValueError, TypeError, KeyError, OverflowError):
        what = {
            bool: "true or false",
            int: "a whole number",
            float: "a number",
            str: "a text",
            tuple[str, ...]: "names with commas between",
        }.get(kind, "two numbers: a,b")
        raise UserError(
            f"--{name}={value}: {what} is expected, e.g. --{name}={_shown(fields()[name].default)}"
        ) from None


def _at_home(text):
    """`~` in a path, also behind folder:, where no shell sees it."""
    kind, colon, path = text.partition(":")
    return (
        f"folder:{os.path.expanduser(path)}"
        if kind == "folder" and colon
        else os.path.expanduser(text)
    )


def _finite(value):
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _shown(value):
    return (
        ",".join(map(_shown, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _check(name, field, value):
    if field.choices is not None:
        for one in value if isinstance(value, tuple) else (value,):
            if one not in field.choices:
                raise UserError(
                    f"--{name}={one}: accepted are {', '.join(map(str, field.choices))}.{nearest(one, field.choices)}"
                )
    if field.choices is not None or field.type == tuple[str, ...]:
        return
    numbers = value if isinstance(value, tuple) else (value,)
    defaults = field.default if isinstance(value, tuple) else (field.default,)
    near = tuple(_inside(field, number, default) for number, default in zip(numbers, defaults))
    if near != numbers:
        low = (
            ""
            if field.low is None
            else "more than 0"
            if field.low == TINY
            else f"at least {_shown(field.low)}"
        )
        high = "" if field.high is None else f"at most {_shown(field.high)}"
        raise UserError(
            f"--{name}={_shown(value)}: it has to be {' and '.join(filter(None, (low, high)))}, e.g. --{name}={_shown(tuple(sorted(near)))}"
        )


def _inside(field, number, default):
    """`number` if the field accepts it, else an accepted one near it."""
    if field.low is not None and number < field.low:
        return default if field.low == TINY else field.low
    return field.high if field.high is not None and number > field.high else number


def evaluated_with(settings):
    """The flags that figures depend on and that may change between two starts in a run directory."""
    return {
        name: list(value) if isinstance(value, tuple) else value  # as JSON gives it back
        for name, value in settings.flat().items()
        if (_FIELDS[name].section == "eval" and not _FIELDS[name].fixed) or name == "eval_split"
    }


def _all_head_layers(flat):
    return {"none": 0, "linear": 1, "nonlinear": flat["num_proj_layers"]}[flat["proj_head_mode"]]


def head_layers(flat):
    """How many layers of the projection head a network with these flags has."""
    if flat["train_mode"] == "pretrain":
        return _all_head_layers(flat) if flat["pretext"] == "simclr" else 0
    return _all_head_layers(flat) if flat["ft_proj_selector"] < 0 else flat["ft_proj_selector"]


def _check_together(config):
    flat = config.flat()
    for name in ("crop_area", "crop_aspect"):
        if flat[name][0] > flat[name][1]:
            raise UserError(
                f"--{name}={_shown(flat[name])}: the first number has to be the smaller one, e.g. --{name}={_shown(flat[name][::-1])}"
            )
    if flat["labels_per_class"] and flat["label_fraction"] < 1:
        raise UserError(
            "--labels_per_class and --label_fraction are both given: leave one of them out"
        )
    if flat["zero_init_logits_layer"] and flat["probe_init_logits_layer"]:
        raise UserError(
            "--zero_init_logits_layer and --probe_init_logits_layer are both given: leave one of them out"
        )
    if flat["train_mode"] == "supervised" and flat["checkpoint"]:
        raise UserError(
            f"--checkpoint={flat['checkpoint']}: --train_mode=supervised starts from random weights; leave it out, or use --train_mode=finetune"
        )
    if (
        flat["adversarial_weight"]
        and flat["precision"] == "float16"
        and flat["pretext"] == "context_encoder"
        and flat["train_mode"] == "pretrain"
    ):
        raise UserError(
            f"--adversarial_weight={flat['adversarial_weight']:g}: two optimizers can't share the scaled loss of --precision=float16; use --precision=bfloat16"
        )
    if (
        flat["pretext"] == "counting"
        and flat["train_mode"] == "pretrain"
        and flat["train_batch_size"] < 2
    ):
        raise UserError(
            "--train_batch_size=1: --pretext=counting compares an image with another one of its batch; give at least 2"
        )
    known = (*ENCODER_LAYERS, *(f"proj_head_{layer}" for layer in range(1, head_layers(flat) + 1)))
    for name in flat["eval_layers"] or ("",):
        if name not in (*known, "all"):
            raise UserError(
                f"--eval_layers={name}: accepted for --train_mode={flat['train_mode']} are {', '.join(known)} and all.{nearest(name, known)}"
            )
    if flat["eval_every_epochs"] and flat["unlabeled_dataset"] == flat["dataset"]:
        raise UserError(
            f"--eval_every_epochs={flat['eval_every_epochs']}: the images that it holds out would be trained on as "
            f"--unlabeled_dataset={flat['dataset']}; leave one of them out"
        )
    layers = _all_head_layers(flat)
    if flat["ft_proj_selector"] > layers:
        raise UserError(
            f"--ft_proj_selector={flat['ft_proj_selector']}: the projection head has {layers} layers, so at most {layers} is possible (or -1, the last)"
        )
