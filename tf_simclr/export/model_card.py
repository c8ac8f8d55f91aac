"""The model card: what an export is, what it takes and gives, how to load it."""

import dataclasses
import json

from tf_simclr import config
from tf_simclr.config import Config
from tf_simclr.runs import files as run_files

HIDDEN = (
    "model_dir",
    "data_dir",
    "checkpoint",
    "teacher_checkpoint",
)  # paths of the machine it was trained on


@dataclasses.dataclass(frozen=True)
class ModelDescription:
    """What an export is of. `figures`: content of the `result.json`, empty if nothing was evaluated. `data`: of the `data.json`."""

    settings: Config
    class_names: tuple[str, ...]
    step: int
    figures: dict
    data: dict


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
tensorflow_model_server --rest_api_port=8501 --model_name=simclr --model_base_path=$(dirname $(realpath PATH))
curl -d "{\"instances\": [{\"b64\": \"$(base64 -w0 image.jpg)\"}]}" http://localhost:8501/v1/models/simclr:predict
```"""


def asset_files(about):
    """{name: text} of what stands in the assets."""
    fields = config.fields()
    network = {
        name: value
        for name, value in about.settings.flat().items()
        if fields[name].section == "model" or name in ("image_size", "train_mode", "pretext")
    }
    found = {
        "model_card.md": markdown(about),
        run_files.CONFIG: network,
        run_files.DATA: about.data,
        f"result_{about.step}.json": about.figures,
    }
    if about.class_names:
        found[run_files.CLASS_NAMES] = "\n".join(about.class_names) + "\n"
    return {
        name: content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        for name, content in found.items()
        if content
    }


def markdown(about):
    """The text of `model_card.md`."""
    settings = about.settings
    model, size, classes = settings.model, settings.data.image_size, len(about.class_names)
    sk = f", selective kernels ({model.sk_ratio:g})" if model.sk_ratio else ""
    what = (
        f"classifies images into {classes} classes and embeds them" if classes else "embeds images"
    )
    return f"""# ResNet-{model.resnet_depth} {model.width_multiplier:g}x{sk}, SimCLR

This model {what}. {_origin(about)}

## Figures

{_figures(about.figures)}

## Input and output

- Signature `serving_default`: `image_bytes`, string [B], encoded images of any size (JPEG, PNG, BMP, GIF). They are decoded, {_cropped(size)}
  resized to {size} x {size} pixels (bicubic) and scaled to [0, 1] inside. Output: `embedding` float32 [B, C]{_outputs(classes)}.
- `images`: float32 [B, {size}, {size}, 3] in [0, 1], RGB, as `preprocess` makes them of encoded images; the same outputs.
- `images_uint8`: uint8 [B, H, W, 3], RGB, preprocessed inside; the same outputs. `embed`: as `serving_default`, the embedding alone.
- A request with an image that can't be decoded, or has too many pixels, fails with InvalidArgument.
- The model itself, `m(images)`: the embedding; `m(images, trainable=False)`: all endpoints by name. `training=True` or `trainable=True` moves the statistics of
  batch norm. `m.trainable_variables` are the encoder's, `m.head_variables` those of the heads, `m.variables` all.

{LOADING}

## Configuration

Flags that differ from their defaults:

```json
{_configuration(settings)}
```
"""


def _origin(about):
    data, settings = about.data, about.settings
    if "images" not in data:
        return "Its weights come from elsewhere; tf_simclr brought them into this form."
    source = settings.data.dataset
    name = source.rstrip("/").split("/")[-1] if source.startswith("folder:") else source
    task = f" ({settings.pretext.pretext})" if settings.objective.train_mode == "pretrain" else ""
    return (
        f"It was trained with tf_simclr, stage `{settings.objective.train_mode}`{task}, {about.step} steps, on {name}, split {settings.data.train_split}: "
        f"{data['images']} images, {data['labels']} of them with a label."
    )


def _figures(figures):
    found = {name: value for name, value in figures.items() if name.startswith("eval/")}
    if not found:
        return "Not evaluated."
    return "\n".join(
        [
            "| figure | value |",
            "|---|---|",
            *(f"| {name.removeprefix('eval/')} | {value:.4f} |" for name, value in found.items()),
        ]
    )


def _cropped(size):
    from tf_simclr.data import augment  # late: this module needs no TensorFlow otherwise

    return (
        f"cut to the central {augment.CROP_PROPORTION:g} of the shorter side,"
        if size > augment.UNCROPPED_SIZE
        else "not cropped,"
    )


def _outputs(classes):
    return (
        f", `probabilities` float32 [B, {classes}], and the most probable classes: `classes` string [B, K], `scores` float32 [B, K]"
        if classes
        else ""
    )


def _configuration(settings):
    defaults = config.Config().flat()
    fixed = {name for name, field in config.fields().items() if field.fixed} - {*HIDDEN}
    different = {
        name: value
        for name, value in settings.flat().items()
        if name in fixed and value != defaults[name]
    }
    if different.get("dataset", "").startswith("folder:"):
        different["dataset"] = "folder:" + different["dataset"].rstrip("/").split("/")[-1]
    return json.dumps(different, indent=2)
