"""--config=auto: a recipe for these images, this machine and a budget of time."""

import dataclasses
import math

from absl import logging

from tf_simclr import config, distribute
from tf_simclr.checkpoints import backbones
from tf_simclr.commands.planning import (
    budget,
    network_choice,
    networks,
    recipe_text,
    rules,
    time_decisions,
    trial,
)
from tf_simclr.commands.planning.budget import StagePlan
from tf_simclr.commands.planning.costs import Pace
from tf_simclr.commands.planning.facts import Facts
from tf_simclr.commands.planning.forecast import work_of_view
from tf_simclr.commands.planning.look import facts_of
from tf_simclr.commands.planning.networks import Candidate
from tf_simclr.commands.planning.request import Request
from tf_simclr.config import inheritance
from tf_simclr.config.plan_section import seconds_of, text_of
from tf_simclr.config.rules import head_layers
from tf_simclr.config.stages import mode_of, stage_names
from tf_simclr.data import datasets
from tf_simclr.errors import UserError
from tf_simclr.runs import files as run_files
from tf_simclr.runs.directory import RunDirectory
from tf_simclr.training.earlier_runs import directories_of_starts, saved_division
from tf_simclr.training.eval_data import load_eval_source
from tf_simclr.training.training_data import load_training_data

NOT_OF_A_NETWORK = ("train_mode", "mode", "model_dir")


def make_recipe(flags: dict, stage_flags: dict, began: float) -> dict:
    """Plans a recipe, prints it, and keeps it in the run directory unless --plan is given.

    Args:
        flags: {flag name: value} of the command line; they win.
        stage_flags: {stage: {flag name: value}} of the command line.
        began: when the budget began to run, as of `time.monotonic`.

    Returns:
        The content of the recipe: {flag name: value, or stage: {flag name: value}}.

    Raises:
        UserError: images that can't be had, or a budget that is too small for anything.
    """
    request = Request(_with_network_of_checkpoint(flags), stage_flags, began)
    first = _first_look(request)
    _check_one_process(first)
    distribute.get_strategy(first.hardware)  # before any image is decoded on a device
    _check_directory(first)
    _check_backbone(first, flags.get("checkpoint"))
    facts, eval_split = _look_at_images(first, request)
    given_batch = int(flags.get("train_batch_size", 0))
    facts = dataclasses.replace(facts, batch_size=given_batch, stage_batches=request.batches)
    decisions = rules.decide(facts, request.given, map(mode_of, request.stages))
    decisions = _with_given_stages(decisions, request)
    decisions = _with_head_of_start(decisions, request)
    candidate, pace = _choose_network(facts, decisions, request)
    plans = _stage_plans(facts, decisions, request, pace)
    _check_budget(facts, plans, decisions, request, pace)
    decisions += time_decisions.decide(
        candidate,
        plans,
        facts,
        left_out=[stage for stage in _stages(decisions, request) if stage not in plans],
        pace=pace,
        eval_split=eval_split,
        given=request.given,
    )
    recipe = recipe_text.Recipe(
        request.flags, flags, stage_flags, decisions, plans, facts, request.elapsed()
    )
    logging.info("planned for --budget=%s:\n\n%s\n", first.plan.budget, recipe.table())
    _warn_of_short_training(plans, first.plan.budget)
    _warn_of_rates(request)
    if not first.plan.plan:
        _write(recipe, first)
    return recipe.values()


def _with_network_of_checkpoint(flags):
    """What the network is that the first stage starts from."""
    checkpoint = flags.get("checkpoint")
    of_run = inheritance.of_a_run(str(checkpoint), with_data=False) if checkpoint else {}
    known = {name: value for name, value in of_run.items() if name not in NOT_OF_A_NETWORK}
    return {**known, **flags}


def _first_look(request):
    """A configuration with what is said of the images."""
    own = {"train_mode": "pretrain", "checkpoint": "", "teacher_checkpoint": ""}
    return config.build({**request.flags, **own})


def _check_one_process(settings):
    """Several workers would plan by a clock each, and not train the same."""
    if settings.hardware.strategy == "multi_worker":
        raise UserError(
            "--strategy=multi_worker: a recipe can't be planned by several workers; plan it on one "
            "machine, and give each of them --config=RUN/recipe.yaml"
        )


def _check_directory(settings):
    """A directory that holds a run without a plan is not planned for."""
    directory = RunDirectory(settings.train.model_dir)
    if directory.exists:
        raise UserError(
            f"--model_dir={directory.path}: it holds a run that was not planned; give the flags "
            "that it was started with to resume it, or another --model_dir"
        )


def _check_backbone(settings, checkpoint):
    """What can't be downloaded should show before anything is read or timed."""
    start = inheritance.folder_of(str(checkpoint)) if checkpoint else None
    directory = start or RunDirectory(settings.train.model_dir).path
    backbones.require(settings, directory)
    backbones.make_known(settings, directory)


def _look_at_images(settings, request):
    """(facts, the split to evaluate on)."""
    stages = request.configs({}) if "train_mode" in request.flags else []
    starts = directories_of_starts(stages or [config.build(request.flags)])
    eval_split = settings.data.eval_split
    if "eval_split" not in request.flags:
        # The training divides the images as what it starts from did.
        moved = saved_division(settings.data.dataset, starts)
        known = datasets.splits(settings.data, moved)
        usual = [name for name in datasets.EVAL_SPLITS if name in known]
        if eval_split not in known and usual:
            eval_split = usual[0]
            settings = settings.replace(eval_split=eval_split)
    data = load_training_data(
        settings,
        directory=RunDirectory(settings.train.model_dir),
        related=starts,
        later=stages,
        num_replicas=1,
    )
    eval_source = load_eval_source(settings, data.train_source)
    return facts_of(settings, data.train_source, eval_source), eval_split


def _with_given_stages(decisions, request):
    """The decisions; stages that the command line names take the place of those decided."""
    if not request.stages:
        return decisions
    changed = []
    for decision in decisions:
        flags = {name: value for name, value in decision.flags.items() if name != "train_mode"}
        if "distill.checkpoint" in flags and "pretrain" not in request.stages:
            flags["distill.checkpoint"] = request.flags.get("checkpoint", "")
        if flags:
            changed.append(dataclasses.replace(decision, flags=flags))
    return changed


def _with_head_of_start(decisions, request):
    """The decisions, without a layer of a projection head where the start has none."""
    if not request.flags.get("checkpoint") or not request.stages or "pretrain" in request.stages:
        return decisions
    saved = inheritance.saved_flags(str(request.flags["checkpoint"]))
    if saved is None or head_layers(saved):
        return decisions
    changed = []
    for decision in decisions:
        flags = dict(decision.flags)
        flags.pop("finetune.ft_proj_selector", None)
        changed.append(dataclasses.replace(decision, flags=flags))
    return changed


def _choose_network(facts, decisions, request) -> tuple[Candidate, Pace]:
    """The network that the time is enough for, and its pace."""
    known = _known_candidates(networks.candidates(facts), request)
    values = recipe_text.values_of(decisions, with_sections=False)

    def settings_of(candidate):
        # A trial is of pretraining, with which the other stages are compared.
        of_pretraining = {**request.flags, "train_mode": "pretrain"}
        own_flags = {"pretrain": request.stage_flags.get("pretrain", {})}
        pretraining = dataclasses.replace(request, flags=of_pretraining, stage_flags=own_flags)
        (settings,) = pretraining.configs({**values, **candidate.flags})
        return settings.replace(mode="train", checkpoint="", labels_chosen="drawn")

    def suits(candidate, pace):
        plans = _stage_plans(facts, decisions, request, pace)
        # Without pretraining there are labels alone, which a large network learns by heart.
        return "pretrain" in plans and network_choice.is_enough(plans["pretrain"])

    def measure(candidate):
        logging.info("timing some steps of a %s", candidate)
        return trial.time_steps(settings_of(candidate))

    def work_of(candidate):
        return work_of_view(settings_of(candidate))

    chosen, paces = network_choice.choose(known, work_of, measure, suits)
    return chosen, paces[chosen]


def _known_candidates(candidates, request):
    """The candidates with what the command line says of them; the same one only once."""
    given = {
        flag: config.coerce(flag, request.flags[flag])
        for flag in candidates[0].flags
        if flag in request.flags
    }
    changed = [dataclasses.replace(candidate, **given) for candidate in candidates]
    return list(dict.fromkeys(changed))


def _stages(decisions, request):
    """The names of the stages."""
    values = {**recipe_text.values_of(decisions), **request.flags}
    return stage_names(values["train_mode"])


def _stage_plans(facts: Facts, decisions, request, pace) -> dict[str, StagePlan]:
    """How long each stage is; some are left out where the time is not enough for them."""
    return budget.divide(
        facts,
        _stages(decisions, request),
        pace,
        request.seconds_left(),
        may_shorten="train_mode" not in request.flags,
    )


def _check_budget(facts, plans, decisions, request, pace):
    """There has to be time for steps besides what each stage takes anyway.

    A rest of a few seconds is less than that is known to: it would be one step now and twenty in
    the next plan.
    """
    overhead = budget.overhead(facts, list(plans), pace)
    left = request.seconds_left()
    missing = overhead / (1 - budget.LEAST_STEPS_SHARE) - left
    if missing <= 0:
        return
    total = seconds_of(request.budget)
    least = math.ceil((total + missing) / (1 - budget.MARGIN) / 60) + 1
    raise UserError(
        f"--budget={request.budget}: reading the images, evaluating and exporting take about "
        f"{text_of(total + overhead - left)} by themselves here; give at least "
        f"--budget={least}m, or fewer stages with --train_mode"
    )


def _write(recipe, settings):
    directory = RunDirectory(settings.train.model_dir)
    directory.create()
    directory.write_text(run_files.RECIPE, recipe.yaml())
    logging.info("the recipe: %s", directory.path / run_files.RECIPE)


def _warn_of_short_training(plans, text):
    plan = plans.get("pretrain")
    if plan is not None and plan.epochs < budget.LEAST_EPOCHS:
        logging.warning(
            "--budget=%s: the time is enough for %.2g epochs of pretraining: not every image is "
            "seen once; give more, or fewer pixels with --image_size",
            text,
            plan.epochs,
        )


def _warn_of_rates(request):
    for name, value in request.given.items():
        scope, is_optimizer, _ = name.partition("optimizer")
        rate = f"{scope}learning_rate"
        if is_optimizer and not {rate, "learning_rate"} & request.given.keys():
            logging.warning(
                "--%s=%s without --%s: rates are planned for other optimizers",
                name,
                value,
                rate,
            )
