"""Measures how well a toxicity scorer finds the texts that people labelled toxic, by the AUROC on each labelled file.

    python bench/scorers.py FILE:TEXT:LABEL:TOXIC[,TOXIC] ... [--scorer profanity-check]

TEXT and LABEL are columns, and TOXIC are the values of the label that mean toxic: `tweets.jsonl:tweet:class:0,1`.
Nothing is tuned on the files. The result, bench/results/scorers.json, has 95% intervals over resampled texts.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from forgetfilter.eval.scorers import open_scorer
from sklearn.metrics import roc_auc_score

from forgetfilter.config.schema import SourceConfig
from forgetfilter.data.sources import read_rows
from forgetfilter.storage.run_folder import versions

RESAMPLES = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", metavar="FILE:TEXT:LABEL:TOXIC")
    parser.add_argument("--scorer", default="profanity-check")
    options = parser.parse_args()
    results = []
    for given in options.files:
        path, text, label, toxic = given.rsplit(":", 3)
        rows = [row for _, row in read_rows(SourceConfig(path=path), given)]
        scores = open_scorer(options.scorer)([str(row[text]) for row in rows])
        wanted = np.array([str(row[label]) in toxic.split(",") for row in rows])
        low, high = interval(wanted, scores)
        counts = {"texts": len(rows), "toxic": int(wanted.sum())}
        results.append(
            {"file": Path(path).name, **counts, "auroc": round(float(roc_auc_score(wanted, scores)), 4)}
            | {"low": round(low, 4), "high": round(high, 4)}
        )
        print(json.dumps(results[-1]))
    path = Path(__file__).parent / "results" / "scorers.json"
    path.write_text(json.dumps({"scorer": options.scorer, "results": results, "versions": versions()}, indent=2) + "\n")


def interval(wanted: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = (rng.integers(len(wanted), size=len(wanted)) for _ in range(RESAMPLES))
    values = [roc_auc_score(wanted[rows], scores[rows]) for rows in drawn if 0 < wanted[rows].sum() < len(rows)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
