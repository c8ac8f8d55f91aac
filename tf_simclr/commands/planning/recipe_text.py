"""A planned recipe: as the content of a YAML file, as YAML with its reasons, as a table."""

import dataclasses
import textwrap
from collections.abc import Sequence

import yaml

from tf_simclr.commands.planning.budget import StagePlan
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.commands.planning.rule import Decision
from tf_simclr.config.plan_section import text_of
from tf_simclr.config.stages import CHECKPOINT_FLAGS, mode_of, separate_sections
from tf_simclr.config.values import as_flag

COLUMNS = 80  # of a terminal
TITLE = 18  # columns of the first column
NOT_KEPT = ("mode", "model_dir", "plan")  # flags of a command that are not part of a recipe


def values_of(decisions: Sequence[Decision], with_sections: bool = True) -> dict:
    """What some decisions say together; later ones override.

    Args:
        decisions: in order.
        with_sections: whether what is said of a single stage is taken, too.

    Returns:
        {flag: value, or stage: {flag: value}}.
    """
    values = {}
    for decision in decisions:
        for name, value in decision.flags.items():
            stage, _, flag = name.rpartition(".")
            if not stage:
                values[flag] = value
            elif with_sections:
                values.setdefault(stage, {})[flag] = value
    return values


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe with its reasons.

    Attributes:
        flags: {flag: value} for all stages: those of the command line, and what the network is that
            they start from.
        typed_flags: those of the command line.
        stage_flags: {stage: {flag: value}} of the command line.
        decisions: what was decided, in order; flags of the command line override them.
        plans: {stage: how long it is}.
        facts: of the images.
        elapsed: seconds that reading the images and timing the networks took.
    """

    flags: dict
    typed_flags: dict
    stage_flags: dict
    decisions: Sequence[Decision]
    plans: dict[str, StagePlan]
    facts: Facts
    elapsed: float = 0.0

    def values(self) -> dict:
        """{flag: value, or stage: {flag: value}}, what the command line says included."""
        kept = {name: value for name, value in self.flags.items() if name not in NOT_KEPT}
        common, planned = separate_sections({**values_of(self.decisions), **kept})
        stages = {}
        for name in [*planned, *self.stage_flags]:
            if name in self._sections:
                own = planned.get(name, {})
                stages[name] = {
                    flag: own[flag] for flag in own if not self._is_given(f"{name}.{flag}")
                }
                stages[name] |= self.stage_flags.get(name, {})
        return {**common, **stages}

    def _is_given(self, name):
        """Whether the command line says something else of `flag` or `stage.flag`."""
        stage, _, flag = name.rpartition(".")
        of_stage = [self.stage_flags.get(scope, {}) for scope in (stage, mode_of(stage))]
        if any(flag in flags for flags in of_stage):
            return True
        # What a chain starts from is not what each of its stages starts from.
        is_of_chain = stage and flag in CHECKPOINT_FLAGS and len(self.plans) > 1
        said = self.typed_flags if stage else self.flags
        return flag in said and not is_of_chain

    @property
    def _sections(self):
        """The names of the sections that the stages read: their own and those of their modes."""
        return {*self.plans, *map(mode_of, self.plans)}

    def yaml(self) -> str:
        """The content of the file."""
        lines = [f"# {line}" for line in self._headline()]
        for decision in self.decisions:
            text = f"{decision.title}: {decision.reason}"
            lines += textwrap.wrap(
                text, 100, initial_indent="#   ", subsequent_indent="#     ", break_on_hyphens=False
            )
        body = yaml.safe_dump(self.values(), sort_keys=False, allow_unicode=True, width=100)
        return "\n".join([*lines, body])

    def _headline(self):
        yield f"Planned by --config=auto for {_images(self.facts)}."
        times = [f"{stage} {text_of(plan.seconds)}" for stage, plan in self.plans.items()]
        yield f"Expected, with evaluations and exports: {', '.join(times)}."

    def table(self) -> str:
        """What was decided and why, with its flags, and the time of each stage."""
        lines = [*_cell("images", _images(self.facts))]
        for decision in self.decisions:
            lines += _cell(decision.title, decision.reason)
            lines += _flag_lines(self._effective(decision))
        lines += ["", "stage".ljust(TITLE) + "     steps    epochs      time"]
        lines.append(_time_line("reading, trials", self.elapsed))
        for stage, plan in self.plans.items():
            time = text_of(plan.seconds)
            lines.append(f"{stage:{TITLE}}{plan.steps:10,}{plan.epochs:10.3g}{time:>10}")
        total = self.elapsed + sum(plan.seconds for plan in self.plans.values())
        lines.append(_time_line("in all", total))
        return "\n".join(lines)

    def _effective(self, decision):
        """{flag: value} of a decision that nothing after it overrides."""
        index = self.decisions.index(decision)
        decided_later = set()
        for later in self.decisions[index + 1 :]:
            decided_later |= set(later.flags)
        sections = self._sections
        return {
            name: value
            for name, value in decision.flags.items()
            if name not in decided_later
            and not self._is_given(name)
            and name.rpartition(".")[0] in (*sections, "")
        }


def _images(facts):
    labels = f"{facts.num_labels:,} labels" if facts.num_labels else "no labels"
    return (
        f"{facts.num_images:,} images of about {facts.short_side} pixels, {labels}, "
        f"{facts.num_evaluated:,} images held out"
    )


def _cell(title, text):
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=title.ljust(TITLE),
        subsequent_indent=" " * TITLE,
        break_on_hyphens=False,
    )


def _time_line(title, seconds):
    return f"{title:{TITLE}}{text_of(seconds):>30}"


def _flag_lines(flags):
    texts = [as_flag(name, value) for name, value in flags.items()]
    indent = " " * TITLE
    return textwrap.wrap(
        " ".join(texts),
        COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
