"""The configuration: the sections put together, every value converted and checked."""

import dataclasses

from tf_simclr.config import automatic, backbones, rules, values
from tf_simclr.config.aliases import flag_hint
from tf_simclr.config.application_sections import (
    EmbedConfig,
    InspectConfig,
    PredictConfig,
    SearchConfig,
    SelectConfig,
)
from tf_simclr.config.automatic import Preprocessing
from tf_simclr.config.data_sections import AugmentConfig, DataConfig
from tf_simclr.config.evaluation_sections import EvalConfig, ExportConfig, ReportConfig
from tf_simclr.config.hardware_section import HardwareConfig
from tf_simclr.config.plan_section import PlanConfig
from tf_simclr.config.pretext_section import PretextConfig
from tf_simclr.config.registry import MODES, Mode
from tf_simclr.config.sections import (
    ModelConfig,
    ObjectiveConfig,
    OptimizerConfig,
    TrainConfig,
)
from tf_simclr.config.semi_section import SemiConfig
from tf_simclr.errors import UserError

DATA_SET_FLAGS = ("dataset", "unlabeled_dataset", "transfer_datasets")


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration.

    `command_line.parse` builds it, or code does: `Config(data=DataConfig(dataset="digits"))`.

    Raises:
        UserError: a value that is out of range, or flags that contradict each other.
    """

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    pretext: PretextConfig = PretextConfig()
    semi: SemiConfig = SemiConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    plan: PlanConfig = PlanConfig()
    eval: EvalConfig = EvalConfig()
    export: ExportConfig = ExportConfig()
    embed: EmbedConfig = EmbedConfig()
    select: SelectConfig = SelectConfig()
    search: SearchConfig = SearchConfig()
    predict: PredictConfig = PredictConfig()
    inspect: InspectConfig = InspectConfig()
    report: ReportConfig = ReportConfig()
    hardware: HardwareConfig = HardwareConfig()

    def __post_init__(self):
        flags = self.flat()
        for name, field in fields().items():
            values.check(name, field, coerce(name, flags[name]))
        rules.check(flags)

    def flat(self) -> dict:
        """{flag name: value} over all sections."""
        return {
            name: getattr(getattr(self, field.section), name) for name, field in fields().items()
        }

    def resolved(self) -> dict:
        """As `flat`, with what `auto` means instead of it, see `automatic`."""
        return automatic.resolve(self.flat())

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to an image before the network sees it in evaluation."""
        flags = self.resolved()
        return Preprocessing(flags["image_size"], flags["eval_crop"], flags["resizing"])

    @property
    def backbone(self) -> str:
        """What the encoder is, see `backbones`."""
        return self.resolved()["backbone"]

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Of images with 16 bits, the values that become 0 and 255, see `decoding.decode`."""
        return automatic.limits_of(self.data.value_range)

    def replace(self, **flags) -> "Config":
        """The same configuration with these flags changed."""
        return build({**self.flat(), **flags})

    @property
    def mode(self) -> Mode:
        """What `--mode` does."""
        return MODES[self.train.mode]

    @property
    def head_layers(self) -> int:
        """How many layers of the projection head the network has."""
        return rules.head_layers(self.flat())

    @property
    def baselines(self) -> tuple[str, ...]:
        """What is evaluated beside the trained network."""
        return backbones.baselines_of(self.flat())

    @property
    def evaluation_flags(self) -> dict:
        """The flags that metrics depend on and that may change between two starts in a directory.

        Tuples are lists, as they come back from JSON.
        """
        names = [
            name for name, field in fields().items() if name == "eval_split" or field.of_evaluation
        ]
        return self._as_in_json(names)

    @property
    def export_flags(self) -> dict:
        """The flags that exports depend on and that may change between two starts in a directory.

        Tuples are lists, as they come back from JSON.
        """
        return self._as_in_json(["export_formats", "serving_max_pixels"])

    def _as_in_json(self, names):
        flags = self.flat()
        return {
            name: list(flags[name]) if isinstance(flags[name], tuple) else flags[name]
            for name in names
        }


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
    before: object

    @property
    def of_evaluation(self) -> bool:
        """Whether it says how to evaluate, and may change from one evaluation to the next."""
        return self.section == "eval" and not self.fixed


_FIELDS = {
    field.name: Field(section.name, field.type, field.default, **field.metadata)
    for section in dataclasses.fields(Config)
    for field in dataclasses.fields(section.type)
}


def fields() -> dict[str, Field]:
    """{flag name: Field}, in the order of the sections."""
    return _FIELDS


def build(flags: dict) -> Config:
    """The configuration of some flags; a flag that is not named keeps its default.

    Args:
        flags: {flag name: value}; values may be texts.

    Raises:
        UserError: an unknown name, or as `Config`.
    """
    sections = {}
    for name, value in flags.items():
        if name not in fields():
            raise UserError(f"unknown key '{name}'.{flag_hint(name, fields())}")
        section = sections.setdefault(fields()[name].section, {})
        section[name] = coerce(name, value)
    types = {section.name: section.type for section in dataclasses.fields(Config)}
    return Config(**{name: types[name](**section) for name, section in sections.items()})


def is_same(name: str, first, second) -> bool:
    """Whether two values of the flag `name` mean the same: a folder may be called in several ways.

    Args:
        name: of the flag.
        first: of the type of the flag.
        second: likewise.
    """
    if name in DATA_SET_FLAGS and isinstance(first, str):
        return values.same_data_set(first, second)
    return first == second


def completed(saved: dict) -> dict:
    """The flags of a run, with what it had of those that did not exist yet when it was saved.

    Everything that reads saved flags goes through here.

    Args:
        saved: {flag name: value, or name of a stage: {flag name: value}}.
    """
    sections = [value for value in saved.values() if isinstance(value, dict)]
    known = set(saved).union(*sections)
    before = {name: field.before for name, field in fields().items() if name not in known}
    return {**before, **saved}


def coerce(name: str, value):
    """`value` (from YAML, JSON or the command line) as the type of the flag `name`.

    Raises:
        UserError: it isn't one.
    """
    field = fields()[name]
    try:
        converted = values.convert(value, field.type)
    except (ValueError, TypeError, KeyError, OverflowError):
        expected = values.EXPECTED[field.type]
        example = values.as_text(field.default)
        raise UserError(
            f"--{name}={value}: {expected} is expected, e.g. --{name}={example}"
        ) from None
    if name not in DATA_SET_FLAGS:
        return converted
    if isinstance(converted, tuple):
        return tuple(map(values.data_set, converted))
    return values.data_set(converted)
