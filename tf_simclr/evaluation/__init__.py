"""What can be measured of a network, from arrays alone. A new evaluation is one file and one line here.

Each is a function (train, test, options) -> iterator of (name, value): {endpoint: array, "label": int64 [N]} of labelled
training and test examples, and the eval section of the configuration.
"""

from tf_simclr.evaluation import classifier, neighbors, probe

EVALUATIONS = {"classifier": classifier.evaluate, "knn": neighbors.evaluate, "probe": probe.evaluate}
NEED_TRAINING_FEATURES = ("knn", "probe")
