"""What is chosen by name: modes, training modes, pretext tasks, evaluations, layers."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Mode:
    """What a value of --mode does.

    Attributes:
        trains: it runs a training.
        evaluates: it evaluates and exports.
        of_a_run: it is of weights that exist already, so without them the quick start is not meant.
        weights_from_elsewhere: a run directory that it made has weights that were trained
            elsewhere.
        needs_nothing: neither data nor a run directory.
    """

    trains: bool = False
    evaluates: bool = False
    of_a_run: bool = False
    weights_from_elsewhere: bool = False
    needs_nothing: bool = False


MODES = {
    "train": Mode(trains=True),
    "eval": Mode(evaluates=True, of_a_run=True, weights_from_elsewhere=True),
    "train_then_eval": Mode(trains=True, evaluates=True),
    "export": Mode(of_a_run=True, weights_from_elsewhere=True),
    "embed": Mode(of_a_run=True, weights_from_elsewhere=True),
    "select": Mode(of_a_run=True, weights_from_elsewhere=True),
    "search": Mode(of_a_run=True, weights_from_elsewhere=True),
    "predict": Mode(of_a_run=True, weights_from_elsewhere=True),
    "inspect": Mode(of_a_run=True, weights_from_elsewhere=True),
    "report": Mode(of_a_run=True),
    "weights": Mode(of_a_run=True, needs_nothing=True),
}

TRAIN_MODES = ("pretrain", "finetune", "supervised", "semi", "distill")
LEARNS_LABELS = ("finetune", "supervised", "semi")  # those of them that need labels

# The class of each pretext task. A new task is a file with a subclass of
# `tf_simclr.objectives.pretext.Pretext` and a row here. Classes are named by text, since --help
# lists the tasks without importing TensorFlow.
PRETEXTS = {
    "simclr": "tf_simclr.objectives.simclr.SimCLR",
    "exemplar": "tf_simclr.objectives.exemplar.Exemplar",
    "context_prediction": "tf_simclr.objectives.context_prediction.ContextPrediction",
    "jigsaw": "tf_simclr.objectives.jigsaw.Jigsaw",
    "colorization": "tf_simclr.objectives.colorization.Colorization",
    "context_encoder": "tf_simclr.objectives.context_encoder.ContextEncoder",
    "counting": "tf_simclr.objectives.counting.Counting",
    "rotation": "tf_simclr.objectives.rotation.Rotation",
    "instance_discrimination": (
        "tf_simclr.objectives.instance_discrimination.InstanceDiscrimination"
    ),
    "pirl": "tf_simclr.objectives.pirl.PIRL",
    "cmc": "tf_simclr.objectives.cmc.CMC",
    "cpc": "tf_simclr.objectives.cpc.CPC",
    "moco": "tf_simclr.objectives.moco.MoCo",
    "byol": "tf_simclr.objectives.byol.BYOL",
    "vicreg": "tf_simclr.objectives.vicreg.VICReg",
    "lejepa": "tf_simclr.objectives.lejepa.LeJEPA",
    "distill_features": "tf_simclr.objectives.distill_features.DistillFeatures",
}

# The class of each method of --train_mode=semi. A new method is a file with a subclass of
# `tf_simclr.objectives.semi.base.SemiTask` and a row here.
SEMI_METHODS = {
    "fixmatch": "tf_simclr.objectives.semi.fixmatch.FixMatch",
    "freematch": "tf_simclr.objectives.semi.freematch.FreeMatch",
    "uda": "tf_simclr.objectives.semi.uda.UDA",
    "mean_teacher": "tf_simclr.objectives.semi.mean_teacher.MeanTeacher",
    "pseudo_label": "tf_simclr.objectives.semi.pseudo_label.PseudoLabel",
    "vat_entmin": "tf_simclr.objectives.semi.vat_entmin.VATEntMin",
    "s4l": "tf_simclr.objectives.semi.s4l.S4L",
    "cowmix": "tf_simclr.objectives.semi.cowmix.CowMix",
    "mpl": "tf_simclr.objectives.semi.mpl.MPL",
}

# Tasks that learn from --teacher_checkpoint.
TEACHER_PRETEXTS = ("distill_features",)

# Tasks that compare an image with others of its batch, over all replicas: those whose class
# `couples_examples`.
COMPARING_PRETEXTS = ("simclr", "counting", "cpc", "vicreg", "lejepa")

# Tasks whose encoder sees images of another size than --image_size: patches, tiles.
PATCH_PRETEXTS = ("context_prediction", "jigsaw", "counting", "pirl", "cpc")

# Tasks that compare the two halves of --backbone=lab.
LAB_PRETEXTS = ("cmc",)

# Names of `tf_simclr.curation.selection.STRATEGIES`, where the functions are.
SELECT_STRATEGIES = ("typical", "coverage", "uncertain", "random")

# Names of `tf_simclr.evaluation.metrics.EVALUATIONS`, where the functions are.
EVALUATIONS = (
    "classifier",
    "probe",
    "few_labels",
    "cross_validation",
    "knn",
    "clustering",
    "retrieval",
    "neighbors",
    "health",
)

# Layers whose features can be evaluated; the last one is the mean over block group 4.
ENCODER_LAYERS = ("block_group1", "block_group2", "block_group3", "final_avg_pool")

EXPORT_FORMATS = ("saved_model", "tflite", "onnx", "keras")

REMATERIALIZE = ("none", "norm", "block")  # the cheapest first

# Names of `tf_simclr.runs.tracking.TRACKERS`, where the classes are.
TRACKERS = ("mlflow", "wandb")

FOREIGN_WEIGHTS = {  # by ending, what other programs write and is not read
    ".h5": "a file of Keras (HDF5)",
    ".hdf5": "a file of Keras (HDF5)",
    ".keras": "a file of Keras",
    ".pt": "a file of PyTorch",
    ".pth": "a file of PyTorch",
    ".safetensors": "a safetensors file",
    ".onnx": "an ONNX file",
    ".tflite": "a TFLite file",
    ".npz": "a file of NumPy arrays",
    ".pkl": "a pickle",
}


def foreign_weights(path: str) -> str | None:
    """What kind of weights a file has that can't be read; None: nothing speaks against it."""
    return FOREIGN_WEIGHTS.get(os.path.splitext(path)[1].lower())
