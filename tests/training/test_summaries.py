"""The metrics that the progress shows."""

from tf_simclr.training import summaries

METRICS = {"contrast_loss": 2.0, "contrast_chance": 3.0, "contrast_acc": 0.5, "total_loss": 2.0}


def test_label_accuracy_only_where_there_are_labels():
    unlabeled = {**METRICS, "supervised_loss": 0.0, "supervised_acc": 0.0}
    assert summaries.describe(unlabeled) == "loss 2.000 (chance 3.00), positives found 50%"
    labeled = {**unlabeled, "supervised_loss": 0.1, "supervised_acc": 0.25}
    assert summaries.describe(labeled).endswith(", label accuracy 25%")
