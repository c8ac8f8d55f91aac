"""What --config=auto decides of images and labels: a table, each row with what was measured.

`python -m tf_simclr.commands.planning.rules` prints the table of docs/auto.md.
"""

from collections.abc import Iterable

from tf_simclr.commands.planning.batch_sizes import batch_size, label_batch_size, size_of
from tf_simclr.commands.planning.facts import RARE, Facts
from tf_simclr.commands.planning.networks import SMALL_SIDE, is_small
from tf_simclr.commands.planning.rule import Decision, Rule
from tf_simclr.config.values import as_flag

MANY_LABELS = 1000
PRETRAINING_PEAK = 0.1  # learning rate with momentum, for batches of 64 and of 256
FINETUNING_PEAK = 0.075  # for batches of 64
LINEAR_BATCH = 256  # at which linear scaling of the learning rate leaves it as it is


def has_many_labels(facts: Facts) -> bool:
    """Whether labels may change the whole network, of the kind of images that was measured."""
    is_measured = is_small(facts) and not facts.is_drawn and not facts.has_rare_class
    return facts.num_labels >= MANY_LABELS and is_measured


def stages(facts: Facts) -> tuple[str, ...]:
    """The stages that make sense."""
    if not facts.has_classes:
        return ("pretrain",)
    if facts.is_mostly_unlabeled:
        return ("supervised", "pretrain", "finetune", "distill")
    return ("supervised", "pretrain", "finetune")


def _always(facts):
    return True


def _stage_flags(facts):
    return {"train_mode": ",".join(stages(facts))}


def _stage_reason(facts):
    if not facts.num_labels:
        return "no labels: pretraining alone; --mode=select says which images to label"
    if not facts.has_classes:
        return "all labels are of one class, which tells nothing apart: pretraining alone"
    labels = f"{facts.num_labels} of {facts.num_images} images have a label"
    if facts.is_mostly_unlabeled:
        return f"{labels}: the rest teaches a student, too"
    return f"{labels}: nothing to distill on"


def _batch_flags(facts):
    return {"train_batch_size": batch_size(facts)}


def _label_stage_flags(facts):
    size = label_batch_size(facts)
    return {
        "supervised.train_batch_size": size,
        "supervised.optimizer": "adam",
        "supervised.learning_rate": 0.002,
        "supervised.learning_rate_scaling": "linear",
        "supervised.warmup_epochs": 0,
        "finetune.train_batch_size": size,
        "finetune.ft_proj_selector": 1,
        "finetune.probe_init_logits_layer": True,
        "finetune.learning_rate": 0.005,
        "finetune.weight_decay": 0.0,
        "finetune.warmup_epochs": 0,
    }


def _momentum_flags(facts):
    return {
        "pretrain.optimizer": "momentum",
        "pretrain.learning_rate": PRETRAINING_PEAK * LINEAR_BATCH / size_of(facts, "pretrain"),
        "pretrain.learning_rate_scaling": "linear",
        "pretrain.weight_decay": 5e-4,
        "finetune.optimizer": "momentum",
        "finetune.learning_rate": FINETUNING_PEAK * LINEAR_BATCH / size_of(facts, "finetune"),
        "finetune.learning_rate_scaling": "linear",
    }


def _distill_flags(facts):
    return {
        "distill.checkpoint": "pretrain",
        "distill.optimizer": "momentum",
        "distill.learning_rate": 0.4,
        "distill.learning_rate_scaling": "linear",
        "distill.warmup_epochs": 1,
    }


RULES = (
    Rule(
        title="stages",
        condition="always",
        applies=_always,
        flags=_stage_flags,
        reason=_stage_reason,
        measured=(
            "thumbnails: supervised 39.3%, fine-tuned 40.6%, distilled 41.7% within 5 minutes, and "
            "40.6%, 43.7%, 42.1% within 6; digits of the quick start: supervised 69.2%, fine-tuned "
            "88.1%, distilled 89.2%"
        ),
    ),
    Rule(
        title="pretraining",
        condition="always",
        applies=_always,
        flags=lambda facts: {
            "temperature": 0.2,
            "learning_rate": 0.075,
            "learning_rate_scaling": "sqrt",
            "weight_decay": 1e-4,
            "warmup_epochs": 2,
        },
        reason=lambda facts: (
            "LARS with the rate for small batches, times the root of their size (SimCLR, appendix "
            "B.1)"
        ),
        measured=("the constants of `folder_example`, not compared with others here"),
    ),
    Rule(
        title="batch",
        condition="always",
        applies=_always,
        flags=_batch_flags,
        reason=lambda facts: f"{facts.num_images} images: more steps before larger ones",
        measured=(
            "not compared here; in figure 9 of SimCLR large batches gain where epochs are few"
        ),
    ),
    Rule(
        title="thumbnails",
        condition=f"a median side of at most {SMALL_SIDE} pixels",
        applies=is_small,
        flags=lambda facts: {
            "crop_area": [0.2, 1.0],
            "color_jitter_strength": 0.5,
            "use_blur": False,
        },
        reason=lambda facts: f"{facts.short_side} pixels: no blur, milder crops and colors",
        measured=("the constants of the recipes for CIFAR-10, as in appendix B.9 of SimCLR"),
    ),
    Rule(
        title="gray images",
        condition="no colors",
        applies=lambda facts: facts.is_gray,
        flags=lambda facts: {"grayscale_probability": 0.0},
        reason=lambda facts: "gray images: no colors to drop",
        measured=("nothing to measure: a gray image stays as it is"),
    ),
    Rule(
        title="drawn characters",
        condition="gray, with a black or white border",
        applies=lambda facts: facts.is_drawn,
        flags=lambda facts: {
            "use_flip": False,
            "crop_area": [0.6, 1.0],
            "max_rotation": 15.0,
            "max_shear": 0.3,
            "temperature": 0.5,
        },
        reason=lambda facts: (
            "strokes on a plain background: a mirrored or tightly cropped character may be another "
            "one, so none is made (--use_flip for other drawings)"
        ),
        measured=(
            "digits, 20 labels, 400 steps, probe on the training split: 86.7%; with flips 76.0%; "
            "with flips, crops of 0.2 to 1, no rotation and a temperature of 0.2 73.1%"
        ),
    ),
    Rule(
        title="stages on labels",
        condition="labels",
        applies=lambda facts: facts.has_classes,
        flags=_label_stage_flags,
        reason=lambda facts: "the linear head starts as logistic regression on the features",
        measured=(
            "thumbnails, top 1: supervised with Adam at two rates 40.2 and 40.1%, SGD 38.2%; "
            "fine-tuned from the encoder 41.9%, from the first layer of the head with SGD 43.8%, "
            "with LARS 44.1%, a frozen encoder 43.7%"
        ),
    ),
    Rule(
        title="many labels",
        condition=(
            f"{MANY_LABELS} labels or more of thumbnails without a rare class, no characters"
        ),
        applies=has_many_labels,
        flags=lambda facts: {
            "finetune.crop_area": [0.5, 1.0],
            "supervised.crop_area": [0.5, 1.0],
        },
        reason=lambda facts: f"{facts.num_labels} labels: milder crops than those of pretraining",
        measured=(
            "thumbnails, all 3,000 with a label, 600 steps each of pretraining and fine-tuning, "
            "top 1: 56.3%, with small crops 54.8%"
        ),
    ),
    Rule(
        title="momentum",
        condition="the same, where there is pretraining and no --optimizer is given",
        applies=has_many_labels,
        of_mode="pretrain",
        unless=("optimizer", "pretrain.optimizer", "finetune.optimizer"),
        flags=_momentum_flags,
        reason=lambda facts: (
            f"{facts.num_labels} labels: pretraining with momentum instead, whose weights stand "
            "fine-tuning at a high rate"
        ),
        measured=(
            "the same thumbnails with the milder crops: 63.1%, with LARS for both 56.3%; with 50 "
            "labels momentum has 42.5%, LARS 47.4%"
        ),
    ),
    Rule(
        title="side classifier",
        condition="labels",
        applies=lambda facts: bool(facts.num_labels),
        flags=lambda facts: {"pretrain.lineareval_while_pretraining": False},
        reason=lambda facts: "none during pretraining: probes and later stages read more",
        measured=(
            "CIFAR-10, 5,000 labels, 250 steps: the classifier on the side 28.4%, a probe on the "
            "same features 41.1%; with 50 labels 14.6 and 22.5%"
        ),
    ),
    Rule(
        title="student",
        condition="at most half of the images have a label",
        applies=lambda facts: "distill" in stages(facts),
        flags=_distill_flags,
        reason=lambda facts: "it starts from the pretrained network and follows the fine-tuned one",
        measured=("the constants of the quick start, not compared with others here"),
    ),
    Rule(
        title="rare class",
        condition=f"a class with less than 1/{RARE} of the labels of the most frequent one",
        applies=lambda facts: facts.has_rare_class,
        # Heavy weights of rare labels make the usual rate of fine-tuning diverge.
        flags=lambda facts: {"class_weights": "balanced", "finetune.learning_rate": 0.0015},
        reason=lambda facts: (
            f"{min(filter(None, facts.class_counts))} to {max(facts.class_counts)} labels a class: "
            "a rare class weighs more"
        ),
        measured=(
            "20,000 thumbnails of five classes, 87 to 4,497 labels a class, 200 steps of "
            "fine-tuning: balanced accuracy 56.3% (top 1 56.9%), without weights 47.7% (59.2%); "
            "with weights at a rate of 0.005 it diverges at first: 56.4% (55.2%)"
        ),
    ),
)


def decide(facts: Facts, given: Iterable[str] = (), modes: Iterable[str] = ()) -> list[Decision]:
    """What all rules say of some images, in their order.

    Args:
        facts: of the images.
        given: names of the flags, or stage.flag, of the command line.
        modes: training modes of its stages; none: those that make sense.
    """
    modes = set(modes) or set(stages(facts))
    given = set(given)
    return [
        Decision(rule.title, rule.reason(facts), rule.flags(facts))
        for rule in RULES
        if rule.applies(facts)
        and (not rule.of_mode or rule.of_mode in modes)
        and given.isdisjoint(rule.unless)
    ]


EXAMPLE = Facts(  # of docs/auto.md
    num_images=3000,
    num_labels=50,
    class_counts=(25, 20, 5),
    num_evaluated=300,
    short_side=32,
    is_gray=True,
    is_drawn=True,
)


def markdown() -> str:
    """The rules as the table of docs/auto.md, with their flags for `EXAMPLE`."""
    lines = ["| decision | when | flags | measured |", "|---|---|---|---|"]
    for rule in RULES:
        flags = ", ".join(f"`{as_flag(*item)}`" for item in rule.flags(EXAMPLE).items())
        lines.append(f"| {rule.title} | {rule.condition} | {flags} | {rule.measured} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
