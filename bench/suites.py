"""Measures one model on published data: runs `forgetfilter eval` for each data set and collects all metrics.

    python bench/suites.py --data DATA [--only SQuAD GSM8K] [--model smollm2-135m-instruct] [--runs FOLDER]

DATA holds the files below, as they were published. The result, bench/results/suites.json, has each metric with its
interval, n and missing, and the seconds. Data sets that are in it already are kept, so that it can be made in pieces.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from forgetfilter import cli
from forgetfilter.storage.run_folder import versions

RESULT = Path(__file__).parent / "results" / "suites.json"
TOXIC = {"max_new_tokens": 24, "samples": 4}
# name: suite, file, rows (0 for all), settings below `eval`
SETS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    "BBQ": ("bias", "bbq.jsonl.gz", 0, {}),
    "BBQ by generation": ("bias_generation", "bbq.jsonl.gz", 200, {"max_new_tokens": 16}),
    "HarmBench": ("harmfulness", "harmbench.jsonl", 100, {}),
    "HarmfulQA": ("harmfulness", "harmfulqa.jsonl", 100, {}),
    "Q-Harm": ("harmfulness", "Q-Harm.jsonl", 0, {}),
    "I-Controversial": ("harmfulness", "I-Controversial.jsonl", 0, {}),
    "I-PhysicalSafety, unsafe": ("harmfulness", "I-PhysicalSafetyUnsafe.jsonl", 0, {}),
    "SQuAD": ("task", "squad_v1.1_train.jsonl.gz", 100, {"max_new_tokens": 24}),
    "Alpaca": ("task", "alpaca.jsonl", 100, {"max_new_tokens": 64}),
    "SST-2": ("task", "sst2_val.jsonl", 100, {"max_new_tokens": 8}),
    "AG News": ("task", "ag_news_test.jsonl", 100, {"max_new_tokens": 8}),
    "GSM8K": ("task", "gsm8k_test.jsonl", 50, {"max_new_tokens": 256}),
    "toxicity, Davidson's tweets": ("toxicity", "toxicity_davidson.jsonl", 100, TOXIC | {"columns": {"text": "tweet"}}),
    "toxicity, surge-ai": ("toxicity", "toxicity_surge.jsonl", 100, TOXIC),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--runs", type=Path, help="where the run folders go; else nowhere that stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.only:
            start = time.monotonic()
            metrics = measured(name, options.data, options.model, (options.runs or Path(temporary)).resolve())
            entry = {"suite": SETS[name][0], "rows": SETS[name][2] or "all", "settings": SETS[name][3]}
            entry |= {"metrics": metrics, "seconds": round(time.monotonic() - start)}
            result = json.loads(RESULT.read_text()) if RESULT.exists() else {"sets": {}}
            result |= {"model": options.model, "versions": versions()}
            result["sets"][name] = entry
            RESULT.write_text(json.dumps(result, indent=2) + "\n")


def measured(name: str, data: Path, model: str, runs: Path) -> dict[str, Any]:
    """The metrics of one set, from metrics.json of a run of its own."""
    suite, file, rows, settings = SETS[name]
    settings = dict(settings)
    source = {"path": str(data / file), "limit": rows, "columns": settings.pop("columns", {})}
    asked = {"models": ["base"], "suites": [suite], "data": {suite.removesuffix("_generation"): source}}
    config = {
        "name": "".join(c if c.isalnum() else "-" for c in name),
        "output": str(runs),
        "model": {"name": model},
        "eval": asked | {"generation_batch": 64} | settings,
        "tracking": {"mode": "disabled"},
    }
    file_ = runs / f"{config['name']}.yaml"
    file_.parent.mkdir(parents=True, exist_ok=True)
    file_.write_text(json.dumps(config))  # JSON is YAML
    try:
        cli.main(["eval", str(file_), "--resume"])
    except SystemExit as end:
        if end.code:
            raise
    metrics = runs / config["name"] / "eval" / "base" / suite / "metrics.json"
    return dict(json.loads(metrics.read_text())["metrics"])


if __name__ == "__main__":
    main()
