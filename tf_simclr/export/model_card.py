"""The model card: what an export is, its inputs and outputs, how to load it."""

import dataclasses
import json

from tf_simclr import config
from tf_simclr.config import Config, backbones
from tf_simclr.config.automatic import FULL_RANGE, limits_of
from tf_simclr.data.source import first_names
from tf_simclr.errors import printable
from tf_simclr.export import calibration_text, preprocessing_code
from tf_simclr.report import markdown_tables, metric_names
from tf_simclr.runs import files as run_files
from tf_simclr.runs.calibration import Calibration

# Paths of the machine it was trained on.
HIDDEN_FLAGS = ("model_dir", "data_dir", "checkpoint", "teacher_checkpoint")
# Flags outside the model section without which the network can't be built again.
NETWORK_FLAGS = ("image_size", "eval_crop", "resizing", "value_range", "train_mode", "pretext")

# {prefix of the metrics in `result.json`: head of their column}.
COLUMNS = {"eval": "this model", "untrained": "untrained network", "pixels": "raw pixels"}


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """What an export is.

    Attributes:
        settings: the whole configuration.
        class_names: outputs of the linear head, empty without one.
        step: of the training.
        metrics: content of the `result.json`, empty if nothing was evaluated.
        data: content of the `data.json`.
        calibration: of the classifier; None: there is none.
        backbone: content of the `backbone.json`; None: of the ResNet.
        trained_steps: of the training; None: `step`, which is another one where weights are
            exported as those of another run.
    """

    settings: Config
    class_names: tuple[str, ...]
    step: int
    metrics: dict
    data: dict
    calibration: Calibration | None = None
    backbone: dict | None = None
    trained_steps: int | None = None


LOADING = r"""## Loading

```python
import tensorflow as tf
m = tf.saved_model.load(PATH)
answer = m.signatures["serving_default"](image_bytes=tf.constant([open("image.jpg", "rb").read()]))

import tensorflow_hub as hub, tf_keras                 # TF-Hub, in Keras 2
layer = hub.KerasLayer(PATH, trainable=True)
model = tf_keras.Sequential([layer, tf_keras.layers.Dense(10)])

import keras                                           # Keras 3
layer = keras.layers.TFSMLayer(PATH, call_endpoint="images", trainable=False)
```

```
saved_model_cli show --dir PATH --all
tensorflow_model_server --rest_api_port=8501 --model_name=simclr \
  --model_base_path=$(dirname $(realpath PATH))
(printf '{"instances": [{"b64": "'; base64 < image.jpg | tr -d '\n'; printf '"}]}') |
  curl -d @- http://localhost:8501/v1/models/simclr:predict
```"""


def asset_files(description: ModelDescription) -> dict[str, str]:
    """{name: text} of the files in the assets of an export."""
    resolved = description.settings.resolved()
    network_flags = {
        **dataclasses.asdict(description.settings.model),
        "backbone": backbones.without_path(description.settings.model.backbone),
        **{name: resolved[name] for name in NETWORK_FLAGS},
    }
    contents = {
        run_files.CONFIG: network_flags,
        run_files.DATA: description.data,
        run_files.BACKBONE: description.backbone,
        run_files.result_of_step(description.step): description.metrics,
    }
    texts = {run_files.MODEL_CARD: markdown(description)}
    for name, content in contents.items():
        if content:
            texts[name] = json.dumps(content, indent=2) + "\n"
    if description.class_names:
        names = map(printable, description.class_names)  # a line each, also with a line break
        texts[run_files.CLASS_NAMES] = "\n".join(names) + "\n"
    return texts


def markdown(description: ModelDescription) -> str:
    """The text of the model card."""
    settings = description.settings
    size = settings.data.image_size
    num_classes = len(description.class_names)
    purpose = "embeds images"
    if num_classes:
        purpose = f"classifies images into {num_classes} classes and embeds them"
    return f"""# {_title(description)}

This model {purpose}. {_origin(description)}{_starts(settings)}{_backbone_license(description)}
{_classes(description.class_names)}
## Metrics

{_metrics(settings, description.metrics)}

## Input and output

- Signature `serving_default`: `image_bytes`, string [B], encoded images of any size (JPEG, PNG,
  BMP, GIF). They are decoded and preprocessed inside, see below. Output: `embedding` float32
  [B, C]{_outputs(num_classes)}.
- `images`: float32 [B, {size}, {size}, 3] in [0, 1], RGB, as `preprocess` makes them of encoded
  images; the same outputs.
- `images_uint8`: uint8 [B, H, W, 3], RGB, preprocessed inside; the same outputs. `embed`: as
  `serving_default`, the embedding alone.
- A request with an image that can't be decoded, or has too many pixels, fails with InvalidArgument.
- The model itself, `m(images)`: the embedding; `m(images, trainable=False)`: all endpoints by name.
  `training=True` or `trainable=True` moves the statistics of batch norm. `m.trainable_variables`
  are the encoder's, `m.head_variables` those of the heads, `m.variables` all.

{calibration_text.section(description.calibration)}## Preprocessing

Images are {preprocessing_code.words(settings.preprocessing)}.
{_sixteen_bits(settings)}
In PIL and NumPy, for programs that call the model with images of their own:

```python
{preprocessing_code.code(settings.preprocessing, settings.value_range)}
```

{LOADING}

## Configuration

Flags that differ from their defaults:

```json
{_configuration(settings)}
```
"""


def _title(description):
    model = description.settings.model
    if description.backbone:
        return description.backbone["name"]
    selective_kernels = f", selective kernels ({model.sk_ratio:g})" if model.sk_ratio else ""
    name = f"ResNet-{model.resnet_depth} {model.width_multiplier:g}x{selective_kernels}"
    if description.settings.backbone == backbones.LAB:
        return f"{name}, half of it for lightness and half for colors"
    return name


def _backbone_license(description):
    """Whose the backbone was before, and its license, in words; empty of the ResNet."""
    if not description.backbone:
        return ""
    preset = description.backbone["name"]
    terms = description.backbone["license"] or "see the preset"
    return f" Its backbone began as the published network {preset}; the license of that: {terms}."


def _sixteen_bits(settings):
    """What becomes of images with 16 bits a value, in words."""
    if settings.value_range is None:
        return "Of files with 16 bits a value the upper 8 are taken."
    low, high = settings.value_range
    if (low, high) == limits_of(FULL_RANGE):
        return "Files may have 16 bits a value, of which the whole range is used."
    return (
        f"Of files with 16 bits a value {low:g} is black and {high:g} white; the rest is cut off."
    )


def _origin(description):
    data, settings = description.data, description.settings
    if "images" not in data:
        return "Its weights come from elsewhere; tf_simclr brought them into this form."
    num_steps = description.step
    if description.trained_steps is not None:
        num_steps = description.trained_steps
    train_mode = settings.objective.train_mode
    methods = {"pretrain": settings.pretext.pretext, "semi": settings.semi.semi_method}
    method = f" ({methods[train_mode]})" if train_mode in methods else ""
    return (
        f"It was trained with tf_simclr, stage `{train_mode}`{method}, {num_steps} steps, "
        f"on {_without_path(settings.data.dataset)}, split {settings.data.train_split}: "
        f"{data['images']} images, {data['labels']} of them with a label."
    )


def _without_path(dataset):
    """The name of a data set; of a folder its last component alone."""
    if not dataset.startswith("folder:"):
        return dataset
    paths = dataset.removeprefix("folder:").split(",folder:")
    return ", ".join(path.rstrip("/").split("/")[-1] for path in paths)


def _starts(settings):
    """Which runs it has learned from besides, by their names alone; its data may be few labels."""
    objective = settings.objective
    texts = []
    if objective.checkpoint:
        texts.append(f" It started from the weights of `{_run_name(objective.checkpoint)}`.")
    if objective.teacher_checkpoint:
        texts.append(f" Its teacher was `{_run_name(objective.teacher_checkpoint)}`.")
    return "".join(texts)


def _run_name(path):
    return path.rstrip("/").removesuffix(f"/{run_files.BEST}").split("/")[-1]


def _classes(names):
    if not names:
        return ""
    listed = first_names(list(names))
    return f"\nThe classes, as in `{run_files.CLASS_NAMES}`: {listed}\n"


def _metrics(settings, metrics):
    """The metrics as reports have them, beside those of the baselines."""
    columns = [_metrics_of(metrics, prefix) for prefix in COLUMNS]
    known = [name for name in columns[0] if metric_names.metric(name).explanation]
    if not known:
        return "Not evaluated."
    lines = []
    for name in metric_names.in_table_order(known):
        cells = [metric_names.format_value(name, column.get(name)) for column in columns]
        lines.append((metric_names.metric(name).label, *cells))
    rules = [markdown_tables.TEXT_RULE] + [markdown_tables.NUMBER_RULE] * len(columns)
    table = markdown_tables.table(("metric", *COLUMNS.values()), lines, rules)
    split = metrics.get("evaluated_with", {}).get("eval_split", settings.data.eval_split)
    return f"On {_without_path(settings.data.dataset)}, split {split}.\n\n{table}"


def _metrics_of(metrics, prefix):
    """{name: value} of the metrics with a prefix; those of single layers are left out."""
    names = [tag.removeprefix(f"{prefix}/") for tag in metrics if tag.startswith(f"{prefix}/")]
    return {name: metrics[f"{prefix}/{name}"] for name in names if "/" not in name}


def _outputs(num_classes):
    if not num_classes:
        return ""
    return (
        f", `probabilities` float32 [B, {num_classes}], and the most probable classes: `classes` "
        "string [B, K], `scores` float32 [B, K]"
    )


def _configuration(settings):
    """The flags that make the run what it is, as JSON; without the machine's paths."""
    defaults = Config().flat()
    fields = config.fields()
    flags = {}
    for name, value in settings.resolved().items():
        is_shown = fields[name].fixed and name not in HIDDEN_FLAGS
        if is_shown and value != defaults[name]:
            flags[name] = value
    if "backbone" in flags:
        flags["backbone"] = backbones.without_path(flags["backbone"])
    if "labels" in flags:
        flags["labels"] = flags["labels"].split("/")[-1]
    for name in ("dataset", "unlabeled_dataset"):
        if flags.get(name, "").startswith("folder:"):
            flags[name] = f"folder:{_without_path(flags[name])}"
    return json.dumps(flags, indent=2)
