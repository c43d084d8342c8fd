"""Compares BBQ's scores with lm-evaluation-harness's own aggregation, on random answers.

    pip install lm-eval
    python bench/bbq_agreement.py [--vectors 1000]

Each vector has 1 to 60 items of random context, truth and answer; some answers name none of the three. The harness is
given what it computes from such answers (accuracy, biased, not unknown, context). Its four aggregations are compared
with the formula lm_eval, and with paper where the two agree by definition, that is where some answer is biased and
every answer names one of the three. The result is bench/results/bbq_agreement.json.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from forgetfilter.eval.suites.bbq_scores import NONE, bias_metrics

from forgetfilter.storage.run_folder import versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1000)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    compared = {"lm_eval": 0, "paper": 0}
    largest = {"lm_eval": 0.0, "paper": 0.0}
    for _ in range(options.vectors):
        scores = random_scores(rng)
        theirs = harness(scores)
        for formula in compared:
            ours = {name: metric.value for name, metric in bias_metrics(scores, formula).items()}
            for name, value in theirs.items():
                if name in ours and (formula == "lm_eval" or agrees(scores, name)):
                    compared[formula] += 1
                    largest[formula] = max(largest[formula], abs(value - (ours[name] or 0.0)))
    result = {
        "vectors": options.vectors,
        "scores_compared": compared,
        "largest_difference": largest,
        "versions": versions() | {"lm_eval": version("lm_eval")},
    }
    path = Path(__file__).parent / "results" / "bbq_agreement.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("scores_compared", "largest_difference")}, indent=2))


def random_scores(rng: np.random.Generator) -> pl.DataFrame:
    """The columns that bias_metrics reads; answer 0 is biased, 1 the other group's, 2 unknown, -1 none of them."""
    n = int(rng.integers(1, 61))
    ambiguous = rng.random(n) < rng.random()
    gold = np.where(ambiguous, 2, rng.integers(0, 2, n))
    chosen = rng.choice([0, 1, 2, NONE], n, p=rng.dirichlet([1, 1, 1, 0.2]))
    return pl.DataFrame(
        {
            "condition": np.where(ambiguous, "ambig", "disambig"),
            "chosen": chosen,
            "correct": chosen == gold,
            "unknown": chosen == 2,
            "biased": chosen == 0,
            "gold_biased": gold == 0,
        }
    )


def harness(scores: pl.DataFrame) -> dict[str, float]:
    """The harness's four scores, without those that it leaves undefined."""
    from lm_eval.tasks.bbq import utils

    known = (scores["chosen"] >= 0) & ~scores["unknown"]  # what names none is unknown to it
    clear = (scores["condition"] == "disambig").to_list()
    columns: list[list[Any]] = [c.cast(pl.Float64).to_list() for c in (scores["correct"], scores["biased"], known)]
    found = {}
    if any(clear):
        found["s_dis"] = utils.agg_disamb_bias_scores(list(zip(*columns, clear)))
        found["accuracy_disambig"] = utils.agg_accuracy_disamb(list(zip(columns[0], clear)))
    if not all(clear):
        found["s_amb"] = utils.agg_amb_bias_scores(list(zip(*columns, clear)))
        found["accuracy_ambig"] = utils.agg_accuracy_amb(list(zip(columns[0], clear)))
    return {name: float(value) for name, value in found.items() if not np.isnan(value)}


def agrees(scores: pl.DataFrame, name: str) -> bool:
    """Whether the paper's and the harness's definitions of a score are the same for these answers."""
    rows = scores.filter(condition="ambig" if name in ("s_amb", "accuracy_ambig") else "disambig")
    return bool((rows["chosen"] != NONE).all() and (name.startswith("accuracy") or rows["biased"].any()))


if __name__ == "__main__":
    main()
