"""--finetune_choice=held_out, --supervised_choice=held_out: decided on held-out labels."""

import dataclasses

import numpy as np
from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.config import Config, held_out_choices, inheritance
from tf_simclr.config.held_out_choices import FEW_LABELS, FINETUNING, NUM_DRAWS, HeldOutChoice
from tf_simclr.config.rules import head_layers
from tf_simclr.data import holdout
from tf_simclr.data.indexed_source import Indexed
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import loop
from tf_simclr.training.experiment import build_experiment
from tf_simclr.training.training_data import load_training_data

HELD_OUT_FRACTION = 0.3


@dataclasses.dataclass(frozen=True)
class Decision:
    """What was chosen, and why.

    Attributes:
        subject: of what, see `HeldOutChoice`.
        chosen: name of a candidate.
        scores: {name of a candidate: accuracy on the held-out labels of each draw}.
        held_out: labels held out in each draw.
    """

    subject: str
    chosen: str
    scores: dict[str, list[float]]
    held_out: int


def settle(settings: Config, related: list[epath.Path], selected_labels: dict | None) -> Config:
    """The configuration of a stage with what does best on held-out labels.

    Each candidate is trained without a third of the labels, as long as the stage itself will be.
    What is finished is not done again; the scores are kept as a file of the run directory. Where
    no label can be held out, the stage is as given.

    Args:
        settings: of the stage.
        related: run directories of the stages before.
        selected_labels: see `training.training_data.load_training_data`.
    """
    choice = held_out_choices.of_training(settings.flat())
    if not settings.mode.trains or choice is None:
        return settings
    directory = RunDirectory(settings.train.model_dir)
    saved = directory.read(run_files.HELD_OUT_CHOICE)
    if saved is None and directory.exists:  # it has begun as given
        return settings
    if saved is None:
        obstacle = _obstacle(settings, related, selected_labels)
        if obstacle:
            logging.warning(
                "--%s=held_out: no label can be held out, since %s; %s is as given",
                *(choice.flag, obstacle, choice.subject),
            )
            return settings
        candidates = _possible(settings, choice)
        decision = _decide(settings, choice, candidates, related, selected_labels)
        saved = dataclasses.asdict(decision)
        _keep(directory, saved, distribute.get_strategy(settings.hardware))
    return settings.replace(**choice.candidates[saved["chosen"]])


def _obstacle(settings, related, selected_labels):
    """Why there are no labels to measure candidates on, in each draw; empty if there are."""
    distribute.get_strategy(settings.hardware)  # before images are decoded
    data = load_training_data(
        settings.replace(eval_every_epochs=0),
        directory=RunDirectory(settings.train.model_dir),
        related=related,
        later=[],
        num_replicas=1,
        selected_labels=selected_labels,
    )
    source = data.train_source
    if not isinstance(source, Indexed):
        return f"{source.name} is read from its files (--cache_dataset=True keeps it in memory)"
    seeds = [settings.train.seed + draw for draw in range(NUM_DRAWS)]
    if all(holdout.num_labels(source, HELD_OUT_FRACTION, seed) for seed in seeds):
        return ""
    return "every class keeps one, and all copies"


def _keep(directory, decision, strategy):
    """Writes a decision in the place of the candidates, whose scores all workers have read."""
    distribute.barrier(strategy)
    if distribute.is_chief(strategy):
        directory.create()
        directory.write(run_files.HELD_OUT_CHOICE, decision)
        (directory.path / run_files.CANDIDATES).rmtree()
    distribute.barrier(strategy)


def _possible(settings, choice):
    """The candidates whose layers the network has from which it starts."""
    if choice is not FINETUNING:
        return choice.candidates
    pretrained = inheritance.saved_flags(settings.objective.checkpoint) or settings.flat()
    num_layers = head_layers(pretrained)
    candidates = {
        name: flags
        for name, flags in choice.candidates.items()
        if flags["ft_proj_selector"] <= num_layers
    }
    if len(candidates) < len(choice.candidates):
        logging.info(
            "--%s=held_out: the pretrained network has no projection head, so %s are compared",
            choice.flag,
            ", ".join(candidates),
        )
    return candidates


def _decide(settings, choice, candidates, related, selected_labels):
    scores = {name: [] for name in candidates}
    num_draws, draw = 1, 0
    first_candidate = []  # its directory
    while draw < num_draws:
        for name, flags in candidates.items():
            candidate = _candidate(settings, choice, name, flags, draw)
            logging.info(
                "choosing the %s: %s, draw %d of held-out labels", choice.subject, name, draw + 1
            )
            # Other draws hold out other labels, of those that the first one was allowed.
            before = [*related, *first_candidate]
            score, num_labels, num_held_out = _score(candidate, before, selected_labels)
            scores[name].append(score)
            first_candidate = first_candidate or [epath.Path(candidate.train.model_dir)]
        num_draws = NUM_DRAWS if num_labels < FEW_LABELS else 1
        draw += 1
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    chosen = max(means, key=means.get)  # of equal ones the first, which changes the least
    texts = ", ".join(f"{name} {mean:.1%}" for name, mean in means.items())
    logging.info(
        "%s: %s is the best on %d held-out labels, mean of %d draws: %s",
        choice.subject,
        chosen,
        num_held_out,
        num_draws,
        texts,
    )
    return Decision(choice.subject, chosen, scores, num_held_out)


def _candidate(settings, choice: HeldOutChoice, name, flags, draw):
    """The configuration of a candidate, in a directory of its own."""
    directory = epath.Path(settings.train.model_dir) / run_files.CANDIDATES
    slug = name.replace(" ", "_")
    return settings.replace(
        **flags,
        **{choice.flag: "given"},
        mode="train",
        model_dir=str(directory / f"{slug}-{draw}"),
        seed=settings.train.seed + draw,
        eval_every_epochs=10**6,  # at the end alone
        holdout_fraction=HELD_OUT_FRACTION,
        track=(),
    )


def _score(settings, related, selected_labels):
    """(accuracy on the held-out labels, labels in all, labels held out) of a candidate."""
    experiment = build_experiment(settings, related=related, selected_labels=selected_labels)
    if distribute.is_chief(experiment.strategy):
        experiment.directory.create()
    loop.fit(experiment, "a candidate")
    best = experiment.directory.path / run_files.BEST
    record = run_files.read_json(best / run_files.BEST_RECORD)
    num_held_out = experiment.data.held_out.num_labeled
    num_labels = experiment.data.train_source.num_labeled + num_held_out
    return record["value"], num_labels, num_held_out
