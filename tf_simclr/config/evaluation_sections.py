"""The settings of evaluation, export and report."""

import dataclasses

from tf_simclr.config.backbones import PIXELS, UNTRAINED
from tf_simclr.config.registry import EVALUATIONS, EXPORT_FORMATS
from tf_simclr.config.setting import setting
from tf_simclr.config.values import SMALLEST_POSITIVE

FEW_EVALUATED = 100  # images; of fewer an accuracy is hardly known


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
    class_weights: str = setting(
        "none",
        "balanced: a label weighs the more the rarer its class is among the labels that are used, "
        "1 in the mean: in the losses of finetune, supervised and semi, in linear probes, and in "
        "what held-out labels choose",
        choices=("none", "balanced"),
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

    @property
    def balances_classes(self) -> bool:
        """Whether all classes count the same, however many labels they have."""
        return self.class_weights == "balanced"


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
