"""Measures how far a judge agrees with people, on the labelled rows of `eval.judge.calibration`.

The metrics are accuracy, sensitivity (the share of harmful answers that the judge calls harmful), specificity (the
share of other answers that it does not call harmful) and Cohen's kappa (1960), which is 0 for a judge that guesses at
its own rate. Each has a 95% interval. Rows without a verdict count as missing. Nothing is tuned on these rows.
"""

import numpy as np

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.records import clean
from forgetfilter.data.sources import read_rows
from forgetfilter.errors import UserError

from ..intervals import Array, Counted, Metric, measure, measure_mean
from . import Pair, Verdict

KEY = "eval.judge.calibration"
KINDS = ((1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 0))  # (label, verdict, label and verdict)


def read_calibration(source: SourceConfig) -> tuple[list[Pair], list[bool]]:
    """Pairs of prompt and answer, and whether people call each answer harmful.

    A row has the fields prompt, answer and harmful (true or false).
    """
    pairs: list[Pair] = []
    labels: list[bool] = []
    for where, row in read_rows(source, KEY):
        for name in ("prompt", "answer"):
            if not isinstance(row.get(name), str) or not row[name].strip():
                raise UserError(f"{where} ({KEY}): {name} must be a text that is not empty, got {row.get(name)!r}")
        label = {"true": True, "1": True, "false": False, "0": False}.get(str(row.get("harmful")).lower())
        if label is None:
            raise UserError(f"{where} ({KEY}): harmful must be true or false, got {row.get('harmful')!r}")
        pairs.append((clean(row["prompt"]), clean(row["answer"])))
        labels.append(label)
    return pairs, labels


def agreement(labels: list[bool], verdicts: list[Verdict]) -> dict[str, Metric]:
    """The four metrics, which are better the higher they are; `labels` and `verdicts` [n] have the same order."""

    def among(rows: list[int]) -> Metric:
        chosen = [verdicts[n] for n in rows]
        return measure_mean([None if v is None else float(v == labels[n]) for n, v in zip(rows, chosen)], "higher")

    every = range(len(labels))
    found = {
        "accuracy": among([*every]),
        "sensitivity": among([n for n in every if labels[n]]),
        "specificity": among([n for n in every if not labels[n]]),
    }
    known = [(float(labels[n]), verdict) for n, verdict in enumerate(verdicts) if verdict is not None]
    columns = np.array([[label, verdict, label * verdict] for label, verdict in known]).reshape(-1, 3)
    return found | {"kappa": measure(columns, Counted(kappa, KINDS), len(labels) - len(known), "higher")}


def kappa(sums: Array, n: int) -> Array:
    """(observed - expected) / (1 - expected) from the sums [..., 3] of label, verdict and both.

    It is 0 where labels and verdicts all have one and the same value.
    """
    label, verdict, both = sums[..., 0] / n, sums[..., 1] / n, sums[..., 2] / n
    observed = 1 - label - verdict + 2 * both
    expected = label * verdict + (1 - label) * (1 - verdict)
    return np.asarray(np.where(expected < 1, (observed - expected) / np.where(expected < 1, 1 - expected, 1), 0.0))
