"""The settings of images, labels and augmentation."""

import dataclasses

from tf_simclr.config.setting import setting
from tf_simclr.config.values import SMALLEST_POSITIVE


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images and labels."""

    dataset: str = setting(
        "imagenet2012",
        "digits, folder:PATH (of images, or of a text file with their paths; several with commas "
        "between), or the name of a tensorflow-datasets data set, e.g. cifar10; a training without "
        "it and without --config is the quick start, on digits",
    )
    data_dir: str = setting(
        "", "where tensorflow-datasets keeps its data sets (empty: its own default)", fixed=False
    )
    labels: str = setting(
        "",
        "labels of a folder's images. Empty: its folders are the classes; none: no labels; "
        "FILE.csv: a table beside them, or FILE.csv:file=COLUMN,label=COLUMN",
    )
    folder_layout: str = setting(
        "auto",
        "recognized: what the folders mean follows from all of them, and images are held out by a "
        "hash of their contents; simple: as before this flag existed; auto: that of the run or the "
        "checkpoint, else recognized",
        choices=("auto", "recognized", "simple"),
        before="simple",
    )
    value_range: str = setting(
        "auto",
        "LOW,HIGH: of images with 16 bits a value, the value that becomes black and the one that "
        "becomes white; top_byte: their upper 8 bits, as before this flag existed; auto: as the "
        "run or the checkpoint, else the range of the training images",
        before="top_byte",
    )
    train_split: str = setting("train", "split to train on")
    eval_split: str = setting(
        "validation",
        "split to evaluate on; a warning says where it is trained on, too",
        fixed=False,
    )
    cache_dataset: bool = setting(
        False,
        "keep the encoded images in memory whatever their size, of which it takes twice as much "
        "(under 1 GiB they always are)",
        fixed=False,
    )
    label_fraction: float = setting(
        1.0,
        "share of the training labels that is used, the same share of each class",
        low=SMALLEST_POSITIVE,
        high=1.0,
    )
    labels_per_class: int = setting(
        0, "number of labels of each class that are used (0: see label_fraction)", low=0
    )
    labels_chosen: str = setting(
        "drawn",
        "which labels label_fraction and labels_per_class keep; drawn: at random, as many of each "
        "class; selected: as many in all, of the images that --mode=select would ask for with the "
        "weights of checkpoint",
        choices=("drawn", "selected"),
    )
    unlabeled_dataset: str = setting(
        "",
        "further images, of any source that dataset can name; their labels are not used (empty: "
        "none)",
    )
    unlabeled_split: str = setting("train", "split of unlabeled_dataset")
    unlabeled_ratio: float = setting(
        0.0,
        "images without label for each one with a label in a batch (0: as many as there are of "
        "each; of train_mode semi as published of its method)",
        low=0.0,
        high=1e6,
    )
    image_size: int = setting(
        224,
        "height and width of the network's input in pixels",
        low=8,
    )
    eval_crop: str = setting(
        "auto",
        "what evaluation, embedding and exports see of an image; centre: the central crop of 0.875 "
        "of the shorter side (all of it up to 32 pixels); whole: all of it, the aspect ratio "
        "changes; pad: all of it, with gray beside it; auto: that of the run or the checkpoint, "
        "else centre with use_crop and whole without",
        choices=("auto", "centre", "whole", "pad"),
        before="centre",
    )
    resizing: str = setting(
        "auto",
        "antialias: bicubic, antialiased where an image is reduced, as in Pillow; original: "
        "bicubic without antialiasing, as in the original SimCLR release; auto: that of the run or "
        "the checkpoint, else antialias",
        choices=("auto", "antialias", "original"),
        before="original",
    )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How views of an image are made."""

    use_crop: bool = setting(True, "random resized crop")
    crop_area: tuple[float, float] = setting(
        (0.08, 1.0),
        "least and greatest share of the image's area in a crop",
        low=SMALLEST_POSITIVE,
        high=1.0,
    )
    crop_aspect: tuple[float, float] = setting(
        (3 / 4, 4 / 3), "least and greatest width/height of a crop", low=0.01, high=100.0
    )
    use_flip: bool = setting(True, "mirror left-right with probability 0.5")
    color_jitter_strength: float = setting(
        1.0,
        "strength s of brightness, contrast, saturation (0.8 s) and hue (0.2 s); 0: no color "
        "augmentation",
        low=0.0,
        high=2.5,
    )
    brightness: str = setting(
        "multiplicative",
        "how brightness changes: a factor, or the additive offset of the first paper",
        choices=("multiplicative", "additive"),
    )
    grayscale_probability: float = setting(
        0.2, "probability of dropping the colors", low=0.0, high=1.0
    )
    use_blur: bool = setting(True, "Gaussian blur with probability 0.5")
    max_rotation: float = setting(0.0, "rotate by up to so many degrees", low=0.0, high=180.0)
    max_shear: float = setting(0.0, "shear horizontally by up to this slope", low=0.0, high=2.0)
    cutout: float = setting(
        0.0,
        "side of a gray square that hides a part of the image, as a share of the image's side (0: "
        "none)",
        low=0.0,
        high=1.0,
    )
