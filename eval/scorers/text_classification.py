"""Any text classifier of transformers, by folder or hub id."""

import numpy as np

from forgetfilter.models.classifiers import Classifier
from forgetfilter.models.loading import hub_or_folder
from forgetfilter.process.distributed import world

from .base import KEY, Scorer

LABELS_KEY = "eval.toxicity_labels"


def text_classification(name: str, labels: tuple[str, ...]) -> Scorer:
    """A scorer that gives the probability of one of the labels; without labels, of those whose names mean toxic."""
    classifier = Classifier(hub_or_folder(name, None, KEY), [*labels], world().device, KEY, LABELS_KEY)
    return lambda texts: np.asarray(classifier.probabilities(texts))
