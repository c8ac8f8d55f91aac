"""What a configuration takes over from runs on disk and from the stages before. No TensorFlow."""

import json

from etils import epath

from tf_simclr import config
from tf_simclr.config import held_out_choices, original_release, published
from tf_simclr.config.automatic import AUTO, AUTOMATIC, OF_A_DATASET, OF_A_RUN
from tf_simclr.config.config import Config
from tf_simclr.config.recipes import CONFIG_FILE
from tf_simclr.config.registry import TRAIN_MODES
from tf_simclr.config.stages import BEST_DIRECTORY
from tf_simclr.config.values import same_data_set
from tf_simclr.errors import UserError

SAVED_MODEL_FILE = "saved_model.pb"
ASSETS = "assets"  # in a SavedModel
CHECKPOINT_INDEX = ".index"
# What a network is besides its architecture; and what data a run is of.
NETWORK_SECTIONS = ("model", "augment", "pretext", "semi")
NETWORK_FLAGS = ("image_size", "eval_crop", "resizing", "value_range", "train_mode")
DATA_SECTIONS = ("data",)
DATA_FLAGS = ("seed", "class_weights")  # labels that are drawn, and how they count


def saved_flags(path: str) -> dict | None:
    """The flags beside weights, completed by what the run had of flags that are newer.

    Args:
        path: a run directory, a checkpoint's prefix, a SavedModel or the name of a published
            model.

    Returns:
        {flag name: value}; None where there are neither any of this package nor of the original
        SimCLR release.
    """
    if published.is_name(path):
        published.check(path, f"--checkpoint={path}")
        return config.build(published.flags(path)).resolved()
    original = _of_original_run(path)
    if original is not None:
        return original
    try:
        saved = json.loads((folder_of(path) / CONFIG_FILE).read_text(encoding="utf-8"))
        return config.build(config.completed(saved)).resolved()
    except Exception:  # of a file or a bucket; what is wrong shows where the weights are read
        return None


def newest_export(path: str) -> str:
    """The newest SavedModel in a folder of them, such as `saved_model/` of a run; else the path."""
    folder = epath.Path(path)
    if not folder.is_dir() or (folder / SAVED_MODEL_FILE).exists():
        return path
    numbered = [each for each in folder.iterdir() if each.name.isdigit()]
    exports = [each for each in numbered if (each / SAVED_MODEL_FILE).exists()]
    return str(max(exports, key=lambda export: int(export.name))) if exports else path


def folder_of(path: str) -> epath.Path:
    """The folder in which the files beside weights are: a run directory, or assets."""
    path = epath.Path(newest_export(path))
    if (path / SAVED_MODEL_FILE).exists():
        return path / ASSETS
    return path if path.is_dir() else path.parent


def _of_original_run(path):
    """The flags of a run of the original release; None: it is none.

    Its SavedModels are in saved_model/STEP of the run directory, with nothing beside them.
    """
    try:
        path = epath.Path(newest_export(path))
        is_saved_model = (path / SAVED_MODEL_FILE).exists()
        folder = path.parent.parent if is_saved_model else folder_of(path)
        saved = original_release.saved_in(folder)
        return None if saved is None else config.build(original_release.flags(saved)).resolved()
    except Exception:  # of a bucket, or a network that does not exist here
        return None


def _is_of_original_release(path):
    """Whether there are weights which have nothing of this package beside them."""
    if saved_flags(path) is not None:
        return False
    try:
        is_chain = any((epath.Path(path) / mode / CONFIG_FILE).exists() for mode in TRAIN_MODES)
        exists = epath.Path(path).exists() or epath.Path(path + CHECKPOINT_INDEX).exists()
        return exists and not is_chain
    except Exception:  # of a bucket
        return False


def of_a_run(path: str, with_data: bool) -> dict:
    """What a run is: its network, image size and preprocessing.

    Args:
        path: of its weights.
        with_data: whether its data are meant, too.

    Returns:
        {flag name: value}, empty where nothing is known.
    """
    saved = saved_flags(path)
    if saved is None:
        return {}
    sections = NETWORK_SECTIONS + (DATA_SECTIONS if with_data else ())
    names = NETWORK_FLAGS + (DATA_FLAGS if with_data else ())
    return {
        name: saved[name]
        for name, field in config.fields().items()
        if field.section in sections or name in names
    }


def inherit(stages: list[dict]) -> tuple[list[Config], list[str]]:
    """The configurations of stages, where `auto` is decided by a run if one decides it.

    That is the run in model_dir, else what a stage starts from.

    Args:
        stages: {flag name: value} of each stage, in order, as said by the user.

    Returns:
        (a configuration for each stage, what was decided as lines to log).

    Raises:
        UserError: as `config.build`.
    """
    known = {}  # {run directory: flags} of the stages before
    networks = {}  # {run directory: flags of the network it follows} of the stages before
    configs, notes = [], []
    for values in stages:
        new = config.build(values)
        checkpoint = new.objective.checkpoint
        original_release.check_model_dir(new.train.model_dir)
        network = _network_of_start(checkpoint, networks)
        networks[new.train.model_dir] = network
        # A run that is continued stays what it is, also if its start is gone by now.
        continued = saved_flags(new.train.model_dir) if new.train.model_dir else None
        followed = _followed(values, network, checkpoint=checkpoint, continued=continued)
        new = new.replace(**followed)
        decided = continued
        if continued is None:
            decided = _decided_by_start(checkpoint, known)
        flags = _inherited(new, decided) | held_out_choices.settled(new.flat(), continued)
        settings = new.replace(**flags)
        flags = _that_differ(followed) | flags
        configs.append(settings)
        known[settings.train.model_dir] = settings.resolved()
        if continued is None and flags:
            texts = ", ".join(f"--{name}={value}" for name, value in flags.items())
            notes.append(f"{texts}, as --checkpoint={checkpoint} was trained")
    return configs, notes


def _inherited(settings, decided):
    """{flag name: value} of what is `auto` and decided in another way than it would be else."""
    flags, derived = settings.flat(), settings.resolved()
    is_same_dataset = same_data_set(decided.get("dataset", ""), flags["dataset"])
    inherited = {}
    for name in AUTOMATIC:
        if name in OF_A_DATASET and not is_same_dataset:
            continue
        if flags[name] == AUTO and decided.get(name, derived[name]) != derived[name]:
            inherited[name] = decided[name]
    return inherited


def _that_differ(flags):
    """Those flags that are not what they are by default."""
    return {name: value for name, value in flags.items() if value != config.fields()[name].default}


def _network_of_start(checkpoint, networks):
    """{flag name: value} of the network of the original release that a stage starts from.

    It may be a published one or that of a run, and there may be other stages in between.
    """
    if published.is_name(checkpoint):
        return original_release.network_flags(saved_flags(checkpoint))
    original = _of_original_run(checkpoint) if checkpoint else None
    if original is not None:
        return original_release.network_flags(original)
    network = networks.get(checkpoint.removesuffix(f"/{BEST_DIRECTORY}"), {})
    # What the linear head reads may be another layer in each stage.
    return {name: network[name] for name in network if name != "ft_proj_selector"}


def _followed(values, network, *, checkpoint, continued):
    """{flag name: value} of what is not said of the network: as in the weights that it starts from.

    Args:
        values: {flag name: value} as said by the user, which must not contradict these weights.
        network: {flag name: value} of these weights.
        checkpoint: what they are.
        continued: {flag name: value} of the run that is continued, which counts instead.
    """
    if continued is None:
        _check_network(values, network, checkpoint)
    return {name: (continued or network)[name] for name in network if name not in values}


def _check_network(values, network, checkpoint):
    """What is said of the network has to be what it is in the weights that are started from."""
    for name in published.ARCHITECTURE_FLAGS:
        said = values.get(name, AUTO)
        if name in network and said != AUTO and config.coerce(name, said) != network[name]:
            raise UserError(
                f"--{name}={said}: {checkpoint} is a network with --{name}={network[name]}; "
                f"leave --{name} out, it follows from --checkpoint"
            )


def _decided_by_start(checkpoint, known):
    """The flags that a new run takes from what it starts from where they are `auto`."""
    start = _flags_of_start(checkpoint, known) if checkpoint else {}
    return {name: start[name] for name in start if name not in OF_A_RUN}


def _flags_of_start(checkpoint, known):
    """What is known of the flags of what a stage starts from."""
    stage = known.get(checkpoint.removesuffix(f"/{BEST_DIRECTORY}"))
    if stage is not None:
        return stage
    saved = saved_flags(checkpoint)
    if saved is not None:
        return saved
    return {"resizing": "original"} if _is_of_original_release(checkpoint) else {}
