"""Trained weights applied to images: what --mode=embed, select, predict and the like begin with."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging
from etils import epath

from tf_simclr import distribute
from tf_simclr.checkpoints import pretrained
from tf_simclr.checkpoints.pretrained import Pretrained
from tf_simclr.config import Config
from tf_simclr.config.data_sections import DataConfig
from tf_simclr.data import augment, crop_check, datasets
from tf_simclr.data.cores import num_cores
from tf_simclr.data.source import Source
from tf_simclr.evaluation import features
from tf_simclr.evaluation.network_features import LOGITS
from tf_simclr.report.evaluated import ENCODER_OUTPUT
from tf_simclr.training.earlier_runs import saved_division

DECODED_AT_ONCE = 32  # images, of which some may be large


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Trained weights, ready to be applied to images; made by `build_extractor`.

    Attributes:
        model: the trained network.
        data: the data section of the configuration, with the value range of the network.
        split: the only split that is meant; empty: all.
        strategy: how batches are distributed.
        run_directories: where the run of the weights may have saved something.
        moved: how the run of the weights has divided the images, see `datasets.load`.
        compute: a function (source, name of the work) -> {"label", ENCODER_OUTPUT, and LOGITS where
            the network has a linear head: array [N, ...]}.
        batches: a function of a source that yields the same batch by batch, with "position".
    """

    model: Pretrained
    data: DataConfig
    split: str
    strategy: tf.distribute.Strategy
    run_directories: list[epath.Path]
    moved: dict[str, bool] | None
    compute: Callable[[Source, str], dict[str, np.ndarray]]
    batches: Callable[[Source], Iterator[dict[str, np.ndarray]]]

    @property
    def splits(self) -> list[str]:
        """The names of the splits that are meant."""
        return [self.split] if self.split else list(datasets.splits(self.data, self.moved))

    def load(self, split: str, flag: str | None = None) -> Source:
        """The images of a split; what the crop of evaluation cuts off is in the log.

        Args:
            split: its name.
            flag: whose value it is, for messages; None: train_split or eval_split.

        Raises:
            UserError: as `datasets.load`.
        """
        source = datasets.load(self.data, split, flag, self.moved)
        crop_check.warn_of_cropping(source, self.model.settings.preprocessing)
        return source


def load_all(extractor: Extractor) -> list[Source]:
    """The images of the splits that are meant; the log says which, where those are several.

    Args:
        extractor: whose splits they are.

    Raises:
        UserError: as `datasets.load`.
    """
    sources = [extractor.load(split, "embed_split") for split in extractor.splits]
    if len(sources) > 1:
        logging.info(
            "all %d images are used, whatever their split (%s); --embed_split takes one",
            sum(source.num_examples for source in sources),
            ", ".join(source.split for source in sources),
        )
    return sources


def build_extractor(settings: Config, alone: bool = True) -> Extractor:
    """Loads the weights that a configuration means: the run's own, or those of --checkpoint.

    Args:
        settings: the whole configuration.
        alone: whether it is a single run, not a stage of a chain.

    Raises:
        UserError: as `extractor_of`.
    """
    path, flag = pretrained.weights_path(settings, alone)
    return extractor_of(path, flag, settings)


def extractor_of(path: str, flag: str, settings: Config) -> Extractor:
    """Loads weights.

    Args:
        path: of the weights.
        flag: whose value it is, for messages.
        settings: the whole configuration.

    Raises:
        UserError: there are no weights, or a batch that can't be split over the devices.
    """
    strategy = distribute.get_strategy(settings.hardware)
    distribute.check_batch_sizes(strategy, settings, ("eval_batch_size",))
    with strategy.scope():
        model = pretrained.load(path, flag, settings)
    run_directories = [epath.Path(path), *epath.Path(path).parents[:2]]  # also that of an export
    preprocessing = model.settings.preprocessing

    def example(image, label):
        return {"image": augment.eval_image(image, *preprocessing), "label": label}

    batches = features.batch_mapper(
        features.layer_features(model.network, (ENCODER_OUTPUT, LOGITS)),
        example,
        settings.eval.eval_batch_size,
        strategy,
    )
    value_range = model.settings.data.value_range
    return Extractor(
        model=model,
        data=dataclasses.replace(settings.data, value_range=value_range),
        split=settings.embed.embed_split,
        strategy=strategy,
        run_directories=run_directories,
        moved=saved_division(settings.data.dataset, run_directories),
        compute=features.collected(batches),
        batches=batches,
    )


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images of one or several splits, and what a network makes of them.

    Attributes:
        sources: of the images, one after the other.
        names: [N] texts, what the user knows them by.
        splits: [N] texts.
        labels: int64 [N], -1 where unknown.
        class_names: of the labels.
        features: float32 [N, C].
        logits: float32 [N, num_classes] of the linear head, whose classes may have other names;
            None: it has none.
    """

    sources: tuple[Source, ...]
    names: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    features: np.ndarray
    logits: np.ndarray | None

    def __len__(self):
        return len(self.labels)

    @property
    def label_texts(self) -> np.ndarray:
        """[N] texts, the class of each image, "" where unknown."""
        return np.array([*self.class_names, ""])[self.labels]  # the last one is at -1

    def images(self, index: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (position, uint8 [H, W, 3]) of some of the images, by ascending position.

        Args:
            index: int64 [n], their positions.
        """
        first = 0
        for source in self.sources:
            end = first + source.num_examples
            chosen = np.unique(index[(index >= first) & (index < end)])
            for position, image in zip(chosen, decoded(source, chosen - first)):
                yield int(position), image
            first = end


def decoded(source: Source, index: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the whole images uint8 [H, W, 3] of some examples, decoded several at a time.

    Args:
        source: that has them.
        index: int64 [n], their positions, ascending.
    """

    def decode(example):
        record, _ = example
        return source.decode(record).numpy()

    examples = iter(source.pick(index))
    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        while batch := list(itertools.islice(examples, DECODED_AT_ONCE)):
            yield from pool.map(decode, batch)


def names_of(sources: list[Source]) -> np.ndarray:
    """[N] texts, what the user knows the images of some splits by, one split after the other."""
    return np.array([name for source in sources for name in source.names()])


def compute_image_set(extractor: Extractor, sources: list[Source], work: str) -> ImageSet:
    """Applies a network to all images of some splits.

    Args:
        extractor: the network.
        sources: the splits of one data set.
        work: its name, for the progress.
    """
    arrays_of_splits = [extractor.compute(source, f"{work}, {source.split}") for source in sources]
    splits = [np.full(source.num_examples, source.split) for source in sources]
    arrays = {
        name: _joined([arrays[name] for arrays in arrays_of_splits]) for name in arrays_of_splits[0]
    }
    return ImageSet(
        sources=tuple(sources),
        names=names_of(sources),
        splits=np.concatenate(splits),
        labels=arrays["label"],
        class_names=sources[0].class_names,
        features=arrays[ENCODER_OUTPUT],
        logits=arrays.get(LOGITS),
    )


def _joined(arrays):
    """Arrays one after the other; a single one is not copied, since it may be large."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
