"""What --mode=inspect finds of faults that are planted in images of CIFAR-10.

    python -m benchmarks.inspection --checkpoint=RUN --data_dir=TFDS_DIR --photos=FOLDER

Of 5,000 training images 5% get a wrong label, 30 get a near-copy (10 each by crop, brightness and
JPEG quality) and 10 foreign images are added. Seeds from 0 to 99 draw from the first half of the
training images, on which thresholds were chosen; those from 100 on from the second half.
"""

import argparse
import io
import pathlib

import numpy as np
from absl import flags as absl_flags
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits

from tf_simclr import console
from tf_simclr.config import command_line
from tf_simclr.data.image import DecodedImage
from tf_simclr.data.indexed_source import Indexed

FIRST_MEASURED_SEED = 100
NUM_IMAGES = 5000
SHARE_WRONG = 0.05
NUM_COPIES = 10  # of each kind
NUM_FOREIGN = {"digit": 3, "texture": 3, "photo": 4}
SIDE = 32


def crop(image, rng):
    """A crop to 80 to 95% of each side."""
    side = rng.uniform(0.8, 0.95) * SIDE
    left, top = rng.uniform(0, SIDE - side, 2)
    box = (left, top, left + side, top + side)
    return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box)


def change_brightness(image, rng):
    factor = rng.choice([rng.uniform(0.6, 0.85), rng.uniform(1.15, 1.4)])
    return ImageEnhance.Brightness(image).enhance(factor)


def compress(image, rng):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(20, 61)))
    return Image.open(file).convert("RGB")


CHANGES = {"crop": crop, "brightness": change_brightness, "JPEG": compress}


def digit(rng, photos):
    gray = Image.fromarray(np.uint8(load_digits().images[rng.integers(1797)] * 15))
    return np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB"))


def texture(rng, photos):
    """Stripes of a random direction, width and color, with noise."""
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(rng.uniform(0.3, 2) * (x * rng.normal() + y * rng.normal()))
    color = rng.uniform(0, 1, (2, 3))
    mix = (wave[..., None] + 1) / 2
    noise = 0.1 * rng.normal(size=(SIDE, SIDE, 3))
    return np.uint8(255 * np.clip(mix * color[0] + (1 - mix) * color[1] + noise, 0, 1))


def photo(rng, photos):
    picture = Image.open(photos[rng.integers(len(photos))]).convert("RGB")
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


FOREIGN = {"digit": digit, "texture": texture, "photo": photo}


def plant(images, labels, photos, rng):
    """(images, labels, {what: positions or pairs of what was planted})."""
    wrong = rng.choice(len(labels), round(SHARE_WRONG * len(labels)), replace=False)
    labels = labels.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10
    planted = {"wrong labels": wrong}
    added, added_labels = [], []
    originals = rng.choice(len(images), NUM_COPIES * len(CHANGES), replace=False)
    for number, (kind, change) in enumerate(CHANGES.items()):
        pairs = []
        for original in originals[number * NUM_COPIES :][:NUM_COPIES]:
            pairs.append((int(original), len(images) + len(added)))
            added.append(np.asarray(change(Image.fromarray(images[original]), rng)))
            added_labels.append(labels[original])
        planted[kind] = pairs
    for kind, count in NUM_FOREIGN.items():
        first = len(images) + len(added)
        if kind == "photo" and not photos:
            continue
        added += [FOREIGN[kind](rng, photos) for _ in range(count)]
        added_labels += rng.integers(0, 10, count).tolist()
        planted[kind] = np.arange(first, first + count)
    images = np.concatenate([images, np.stack(added)])
    return images, np.concatenate([labels, added_labels]), planted


def connected(issues, pairs):
    """How many of the pairs are copies of one another by the issues, directly or through others."""
    original = {}
    for name in ("exact_copy", "near_copy", "leak"):
        original |= {issue.position: issue.other for issue in issues[name]}

    def root(position):
        while position in original:
            position = original[position]
        return position

    return sum(root(first) == root(second) for first, second in pairs)


def label_quality(ranked, wrong):
    """Shares of the ranked positions that are wrong, and of the wrong ones that are reached."""
    is_wrong = np.isin(ranked, wrong)
    number = np.cumsum(is_wrong)
    precision = number / np.arange(1, len(ranked) + 1)
    recall = number / len(wrong)
    at_half = recall[precision >= 0.5].max(initial=0)
    reached = np.flatnonzero(recall >= 0.6)
    at_60 = f"{precision[reached[0]]:.1%}" if len(reached) else "not reached"
    return len(ranked), precision[-1], recall[-1], at_half, at_60


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--photos", help="folder of photos, some of which are foreign images")
    parser.add_argument("--seeds", default="100,101,102")
    options = parser.parse_args()
    console.set_up_logging()
    console.start_tensorflow()
    from tf_simclr.commands import image_issues, image_set
    from tf_simclr.data import datasets

    photos = sorted(pathlib.Path(options.photos).iterdir()) if options.photos else []
    flags = {"mode": "inspect", "dataset": "cifar10", "checkpoint": options.checkpoint}
    flags["data_dir"] = options.data_dir
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    flag_values = absl_flags.FlagValues()
    command_line.define(flag_values)
    (settings,), _ = command_line.parse(["inspection", *arguments], flag_values)
    extractor = image_set.build_extractor(settings)
    train = datasets.load(settings.data, "train")
    for seed in map(int, options.seeds.split(",")):
        rng = np.random.default_rng(seed)
        half = train.num_examples // 2
        start = half if seed >= FIRST_MEASURED_SEED else 0
        chosen = train.take(np.sort(start + rng.choice(half, NUM_IMAGES, replace=False)))
        images = np.stack([train.decode(record).numpy() for record in chosen.records])
        images, labels, planted = plant(images, chosen.labels, photos, rng)
        source = Indexed("planted", "train", train.class_names, DecodedImage, images, labels)
        image_features = image_set.compute_image_set(extractor, [source], "features")
        issues = image_issues.find(image_features, image_issues.look_at(image_features))
        report(seed, issues, planted)


def report(seed, issues, planted):
    print(f"seed {seed}:")
    num_copies = sum(len(issues[name]) for name in ("exact_copy", "near_copy"))
    for kind in CHANGES:
        pairs = planted[kind]
        print(f"  copies by {kind}: {connected(issues, pairs)} of {len(pairs)}")
    print(f"  copies in all: {num_copies}, of which {NUM_COPIES * len(CHANGES)} were planted")
    positions = [issue.position for issue in issues["outlier"]]
    for kind in NUM_FOREIGN:
        if kind in planted:
            reached = np.isin(planted[kind], positions).sum()
            print(f"  foreign, {kind}: {reached} of {len(planted[kind])}")
    print(f"  unlike the others in all: {len(positions)}")
    ranked = np.array([issue.position for issue in issues["doubtful_label"]], int)
    number, precision, recall, at_half, at_60 = label_quality(ranked, planted["wrong labels"])
    print(f"  doubtful labels: {number}; {precision:.1%} are wrong, {recall:.1%} of the wrong ones")
    print(f"  wrong labels at 50% precision: {at_half:.1%}; precision at 60% of them: {at_60}")


if __name__ == "__main__":
    main()
