"""--finetune_choice=held_out: how to fine-tune, chosen on held-out labels."""

import dataclasses

import numpy as np
from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.config import Config, inheritance
from tf_simclr.config.finetunings import CHOSEN, FEW_LABELS, FINETUNINGS, NUM_DRAWS
from tf_simclr.config.rules import head_layers
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training import loop
from tf_simclr.training.experiment import build_experiment

HELD_OUT_FRACTION = 0.3


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Attributes:
        chosen: a key of `FINETUNINGS`.
        scores: {key of `FINETUNINGS`: accuracy on the held-out labels of each draw}.
        held_out: labels held out in each draw.
    """

    chosen: str
    scores: dict[str, list[float]]
    held_out: int


def settle(settings: Config, related: list[epath.Path], selected_labels: dict | None) -> Config:
    """The configuration of a stage with the fine-tuning that does best on held-out labels.

    Each candidate is trained without a third of the labels, as long as the stage itself will be.
    What is finished is not done again; the scores are kept as a file of the run directory.

    Args:
        settings: of the stage.
        related: run directories of the stages before.
        selected_labels: see `training.training_data.load_training_data`.
    """
    is_finetuning = settings.mode.trains and settings.objective.train_mode == "finetune"
    if not is_finetuning or settings.objective.finetune_choice != CHOSEN:
        return settings
    directory = RunDirectory(settings.train.model_dir)
    saved = directory.read(run_files.FINETUNING)
    if saved is None:
        names = _possible(settings)
        saved = dataclasses.asdict(_choose(settings, names, related, selected_labels))
        directory.create()
        directory.write(run_files.FINETUNING, saved)
        (directory.path / run_files.CANDIDATES).rmtree()
    return settings.replace(**FINETUNINGS[saved["chosen"]])


def _possible(settings):
    """The names of the candidates whose layers the pretrained network has."""
    pretrained = inheritance.saved_flags(settings.objective.checkpoint) or settings.flat()
    num_layers = head_layers(pretrained)
    names = [name for name, flags in FINETUNINGS.items() if flags["ft_proj_selector"] <= num_layers]
    if len(names) < len(FINETUNINGS):
        logging.info(
            "--finetune_choice=held_out: the pretrained network has no projection head, so %s are "
            "compared",
            ", ".join(names),
        )
    return names


def _choose(settings, names, related, selected_labels):
    scores = {name: [] for name in names}
    num_draws, draw = 1, 0
    while draw < num_draws:
        for name in names:
            candidate = _candidate(settings, name, draw)
            logging.info("choosing a fine-tuning: %s, draw %d of held-out labels", name, draw + 1)
            score, num_labels, num_held_out = _score(candidate, related, selected_labels)
            scores[name].append(score)
        num_draws = NUM_DRAWS if num_labels < FEW_LABELS else 1
        draw += 1
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    chosen = max(means, key=means.get)  # of equal ones the first, which changes the least
    texts = ", ".join(f"{name} {mean:.1%}" for name, mean in means.items())
    logging.info(
        "fine-tuning: %s is the best on %d held-out labels, mean of %d draws: %s",
        chosen,
        num_held_out,
        num_draws,
        texts,
    )
    return Choice(chosen, scores, num_held_out)


def _candidate(settings, name, draw):
    """The configuration of a candidate, in a directory of its own."""
    directory = epath.Path(settings.train.model_dir) / run_files.CANDIDATES
    slug = name.replace(" ", "_")
    return settings.replace(
        **FINETUNINGS[name],
        mode="train",
        finetune_choice="given",
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
