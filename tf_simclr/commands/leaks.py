"""Images of the evaluation split that are in the training split, too, and what they do."""

import numpy as np
from absl import logging

from tf_simclr.commands.image_issues import Issue
from tf_simclr.commands.image_set import Extractor, ImageSet
from tf_simclr.config import Config
from tf_simclr.data.source import UNLABELED
from tf_simclr.evaluation.metrics import knn
from tf_simclr.evaluation.metrics.base import Examples, NotPossible


def effects_of(
    images: ImageSet, leaks: list[Issue], extractor: Extractor, settings: Config
) -> list[dict]:
    """The accuracy on the evaluation split with and without the images that leak.

    Args:
        images: of all splits.
        leaks: pairs of copies across the splits.
        extractor: the network.
        settings: the whole configuration.

    Returns:
        [{"by", "with", "without", "leaked", "evaluated"}] for the classifier, where its classes are
        those of the images, and for weighted k-NN; empty where nothing leaks or has a label.
    """
    train_split, eval_split = extractor.data.train_split, extractor.data.eval_split
    is_labeled = images.labels != UNLABELED
    train = np.flatnonzero(is_labeled & (images.splits == train_split))
    test = np.flatnonzero(is_labeled & (images.splits == eval_split))
    leaked = [_in_split(images, issue, eval_split, train_split) for issue in leaks]
    is_leaked = np.isin(test, [position for position in leaked if position is not None])
    if not is_leaked.any() or not len(train):
        return []
    effects = []
    for name, correct in _correct(images, train, test, extractor, settings).items():
        rest = correct[~is_leaked]
        effects.append(
            {
                "by": name,
                "with": float(correct.mean()),
                "without": float(rest.mean()) if len(rest) else None,
                "leaked": int(is_leaked.sum()),
                "evaluated": len(test),
            }
        )
    return effects


def in_words(effects: list) -> str:
    """A line on the effect of leaks."""
    accuracies = []
    for effect in effects:
        rest = "" if effect["without"] is None else f", {effect['without']:.1%} without them"
        accuracies.append(f"{effect['by']} {effect['with']:.1%} with them{rest}")
    first = effects[0]
    return (
        f"{first['leaked']} of {first['evaluated']} images that are evaluated are copies of "
        f"images of the training split: {'; '.join(accuracies)}"
    )


def _in_split(images, issue, split, other_split):
    """The image of a pair that is in one split while the other one is in the other; or None."""
    for position, other in ((issue.position, issue.other), (issue.other, issue.position)):
        if images.splits[position] == split and images.splits[other] == other_split:
            return position
    return None


def _correct(images, train, test, extractor, settings):
    """{what predicts: bool [n], whether each test image is predicted right}."""
    labels = images.labels[test]
    correct = {}
    if images.logits is not None and tuple(extractor.model.class_names) == images.class_names:
        correct["classifier"] = images.logits[test].argmax(1) == labels
    examples = Examples(images.features[train], images.labels[train])
    try:
        predicted = knn.predict(examples, images.features[test], settings.eval)
        correct["k-NN"] = predicted == labels
    except NotPossible as reason:
        logging.info("no k-NN accuracy without the leaks: %s", reason)
    return correct
