"""Rules over several flags: how many head layers a run has, and what can't be combined.

Flags come as a dict {flag name: value}, since those that are saved with a run have to follow the
same rules as those of a `Config`.
"""

from tf_simclr.config import backbones, published
from tf_simclr.config.automatic import AUTO, TOP_BYTE, limits_of
from tf_simclr.config.plan_section import MIN_BUDGET, seconds_of
from tf_simclr.config.registry import (
    COMPARING_PRETEXTS,
    ENCODER_LAYERS,
    LAB_PRETEXTS,
    MODES,
    PATCH_PRETEXTS,
)
from tf_simclr.config.splits import are_disjoint
from tf_simclr.config.values import FOLDER, as_text, same_data_set
from tf_simclr.errors import UserError, did_you_mean


def projection_head_layers(flags: dict) -> int:
    """How many layers the whole projection head has."""
    layers = {"none": 0, "linear": 1, "nonlinear": flags["num_proj_layers"]}
    return layers[flags["proj_head_mode"]]


def head_layers(flags: dict) -> int:
    """How many layers of the projection head a run has.

    SimCLR trains all of them, the other pretext tasks none. Training with labels or a teacher
    keeps the first `ft_proj_selector` of them (SimCLRv2, section 2).
    """
    if flags["train_mode"] == "pretrain":
        return projection_head_layers(flags) if flags["pretext"] == "simclr" else 0
    if flags["ft_proj_selector"] < 0:
        return projection_head_layers(flags)
    return flags["ft_proj_selector"]


def evaluated_layers(flags: dict) -> tuple[str, ...]:
    """The names of all layers of a run whose features can be evaluated."""
    layers = range(1, head_layers(flags) + 1)
    return (*ENCODER_LAYERS, *(f"proj_head_{layer}" for layer in layers))


def solves_pretext(flags: dict, name: str) -> bool:
    """Whether a run with these flags trains the pretext task `name`."""
    return flags["train_mode"] == "pretrain" and flags["pretext"] == name


def has_weights_from_elsewhere(flags: dict) -> bool:
    """Whether the run that saved these flags trained nothing, so that its weights are imported."""
    mode = MODES.get(flags.get("mode"))
    return mode is not None and mode.weights_from_elsewhere


def check(flags: dict):
    """Checks all rules.

    Raises:
        UserError: flags that contradict each other.
    """
    for rule in RULES:
        rule(flags)


def _ranges_ascend(flags):
    for name in ("crop_area", "crop_aspect"):
        low, high = flags[name]
        if low > high:
            raise UserError(
                f"--{name}={as_text((low, high))}: the first number has to be the smaller one, "
                f"e.g. --{name}={as_text((high, low))}"
            )


def _labels_are_chosen_one_way(flags):
    if flags["labels_per_class"] and flags["label_fraction"] < 1:
        raise UserError(
            "--labels_per_class and --label_fraction are both given: leave one of them out"
        )


def _linear_head_starts_one_way(flags):
    names = ("zero_init_logits_layer", "probe_init_logits_layer", "keep_logits_layer")
    ways = [f"--{name}" for name in names if flags[name]]
    if len(ways) > 1:
        raise UserError(f"{' and '.join(ways)} are both given: leave one of them out")


def _supervised_starts_from_random_weights(flags):
    is_supervised = flags["train_mode"] == "supervised"
    if is_supervised and flags["checkpoint"] and MODES[flags["mode"]].trains:
        raise UserError(
            f"--checkpoint={flags['checkpoint']}: --train_mode=supervised starts from random "
            "or published weights; leave it out, or use --train_mode=finetune"
        )


def _adversary_needs_an_unscaled_loss(flags):
    has_adversary = flags["adversarial_weight"] and solves_pretext(flags, "context_encoder")
    if has_adversary and flags["precision"] == "float16":
        raise UserError(
            f"--adversarial_weight={flags['adversarial_weight']:g}: two optimizers can't share "
            "the scaled loss of --precision=float16; use --precision=bfloat16"
        )


def _has_images_to_compare_with(flags):
    """The loss sees the batch of all replicas, and with --accumulate_steps all of its parts."""
    compares = any(solves_pretext(flags, name) for name in COMPARING_PRETEXTS)
    has_memory = solves_pretext(flags, "simclr") and flags["memory_size"]
    trains = MODES[flags["mode"]].trains
    if trains and compares and not has_memory and flags["train_batch_size"] < 2:
        raise UserError(
            f"--train_batch_size=1: --pretext={flags['pretext']} compares an image with the others "
            "of its batch, and there would be none; give at least 2"
        )


def _evaluated_layers_exist(flags):
    known = evaluated_layers(flags)
    for name in flags["eval_layers"] or ("",):
        if name not in (*known, "all"):
            raise UserError(
                f"--eval_layers={name}: accepted for --train_mode={flags['train_mode']} are "
                f"{', '.join(known)} and all.{did_you_mean(name, known)}"
            )


def _held_out_images_stay_out(flags):
    is_same = same_data_set(flags["unlabeled_dataset"], flags["dataset"])
    # A split of folders has several names.
    is_folder = flags["dataset"].startswith(FOLDER)
    may_share = is_folder or not are_disjoint(flags["train_split"], flags["unlabeled_split"])
    if flags["eval_every_epochs"] and is_same and may_share:
        raise UserError(
            f"--eval_every_epochs={flags['eval_every_epochs']}: the images that it holds out "
            f"may be trained on as --unlabeled_dataset={flags['dataset']}; leave one of them out"
        )


def _selected_head_layer_exists(flags):
    layers = projection_head_layers(flags)
    if flags["ft_proj_selector"] > layers:
        raise UserError(
            f"--ft_proj_selector={flags['ft_proj_selector']}: the projection head has {layers} "
            f"layers, so at most {layers} is possible (or -1, the last)"
        )


def _value_range_is_a_range(flags):
    try:
        limits_of(flags["value_range"])
    except ValueError:
        raise UserError(
            f"--value_range={flags['value_range']}: {AUTO}, {TOP_BYTE} or "
            "two numbers from 0 to 65535 are expected, the smaller one first, "
            "e.g. --value_range=0,4095"
        ) from None


def _search_has_a_query(flags):
    if flags["mode"] == "search" and not flags["query"].strip():
        raise UserError(
            "--query=: --mode=search looks for what is most like an image; give the path of a "
            "file, or the name of an image of the set, e.g. --query=a.jpg"
        )


def _budget_is_a_time(flags):
    try:
        seconds = seconds_of(flags["budget"])
    except ValueError:
        seconds = 0
    if seconds < MIN_BUDGET:
        raise UserError(
            f"--budget={flags['budget']}: a time of a minute or more is expected, such as 90s, "
            "30m, 2h, 1h30m or 1d, e.g. --budget=30m"
        )


def needs_float32(flags: dict) -> bool:
    """Whether images are changed by less than fewer bits can tell apart."""
    return flags["train_mode"] == "semi" and flags["semi_method"] == "vat_entmin"


def _perturbations_need_float32(flags):
    if needs_float32(flags) and flags["precision"] != "float32":
        raise UserError(
            f"--precision={flags['precision']}: --semi_method=vat_entmin changes images by a "
            "thousandth, which is less than it can tell apart; use --precision=float32, or another "
            "--semi_method"
        )


def takes_whole_batches(flags: dict) -> bool:
    """Whether a step can't take its batch in parts."""
    return flags["train_mode"] == "semi" and flags["semi_method"] == "mpl"


def _meta_pseudo_labels_take_whole_steps(flags):
    if not takes_whole_batches(flags):
        return
    reason = "the student is updated in the middle of a step of --semi_method=mpl"
    if flags["accumulate_steps"] > 1:
        raise UserError(
            f"--accumulate_steps={flags['accumulate_steps']}: {reason}, which takes the whole "
            "batch; use 1, and --rematerialize=block to save memory"
        )
    if flags["precision"] == "float16":
        raise UserError(
            f"--precision=float16: {reason}, and two optimizers can't share the scaled loss; use "
            "--precision=bfloat16"
        )


def _published_models_exist(flags):
    for name in ("checkpoint", "teacher_checkpoint"):
        if published.is_name(flags[name]):
            published.check(flags[name], f"--{name}={flags[name]}")


def _backbone_has_a_name(flags):
    backbones.check("backbone", flags["backbone"])


def _baselines_have_names(flags):
    backbones.check_baselines(flags["baselines"])


def _halves_to_compare(flags):
    needs_halves = any(solves_pretext(flags, name) for name in LAB_PRETEXTS)
    if needs_halves and flags["backbone"] not in (AUTO, backbones.LAB):
        raise UserError(
            f"--backbone={flags['backbone']}: --pretext={flags['pretext']} compares the two halves "
            f"of --backbone={backbones.LAB}; give that, and no --checkpoint of another network"
        )


def _published_backbone_sees_whole_images(flags):
    is_of_patches = any(solves_pretext(flags, name) for name in PATCH_PRETEXTS)
    if backbones.is_published(flags["backbone"]) and is_of_patches:
        raise UserError(
            f"--backbone={flags['backbone']}: it sees images of --image_size alone, and "
            f"--pretext={flags['pretext']} is of parts of them; use --pretext=simclr, or "
            f"--backbone={backbones.RESNET}"
        )


def _published_backbone_keeps_its_activations(flags):
    if backbones.is_published(flags["backbone"]) and flags["rematerialize"] != "none":
        raise UserError(
            f"--rematerialize={flags['rematerialize']}: it is of --backbone={backbones.RESNET}; "
            "to save memory take --accumulate_steps"
        )


RULES = (
    _published_models_exist,
    _backbone_has_a_name,
    _baselines_have_names,
    _halves_to_compare,
    _published_backbone_sees_whole_images,
    _published_backbone_keeps_its_activations,
    _budget_is_a_time,
    _value_range_is_a_range,
    _ranges_ascend,
    _labels_are_chosen_one_way,
    _linear_head_starts_one_way,
    _supervised_starts_from_random_weights,
    _adversary_needs_an_unscaled_loss,
    _perturbations_need_float32,
    _meta_pseudo_labels_take_whole_steps,
    _has_images_to_compare_with,
    _evaluated_layers_exist,
    _held_out_images_stay_out,
    _selected_head_layer_exists,
    _search_has_a_query,
)
