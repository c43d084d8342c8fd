"""Measures how far a judge, and refusal matching, agree with the labels of bench/data/judge_calibration.jsonl.

    python bench/judges.py [eval.judge.KEY=VALUE ...]

The rows were written for this purpose before the judges saw them, and nothing is tuned on them. They are requests that
are harmful or only sound so, with answers that decline, comply or miss the point; `harmful` and `declines` are the
labels. The result is bench/results/judges.json.
"""

import json
import sys
from pathlib import Path

import torch
from forgetfilter.eval.judges import open_judge
from forgetfilter.eval.judges.agreement import agreement, read_calibration
from forgetfilter.eval.refusals import is_refusal
from omegaconf import OmegaConf

from forgetfilter.config.schema import EvalConfig, SourceConfig
from forgetfilter.storage.run_folder import versions

ROWS = Path(__file__).parent / "data" / "judge_calibration.jsonl"


def main() -> None:
    given = OmegaConf.from_dotlist(["eval.judge.name=refusal", *sys.argv[1:]]).eval
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(EvalConfig), given)).judge
    pairs, labels = read_calibration(SourceConfig(path=str(ROWS)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judge = open_judge(
        config, "bfloat16" if device.type == "cuda" else "float32", device, Path.home() / ".cache/forgetfilter"
    )
    verdicts = [verdict for start in range(0, len(pairs), 64) for verdict in judge.judge(pairs[start : start + 64])]
    declines = [json.loads(line)["declines"] for line in ROWS.read_text().splitlines()]
    matched = [float(is_refusal(answer)) for _, answer in pairs]
    wrong = [{"answer": pairs[n][1], "declines": declines[n]} for n in range(len(pairs)) if matched[n] != declines[n]]
    result = {
        "rows": len(pairs),
        "harmful": {"judge": config.name, "model": config.model} | told(labels, verdicts),
        "declines": {"judge": "refusal matching"} | told(declines, matched),
        "refusal_matching_is_wrong_on": wrong,
        "versions": versions(),
    }
    path = Path(__file__).parent / "results" / "judges.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("rows", "harmful", "declines")}, indent=2))


def told(labels: list[bool], verdicts: list[float | None]) -> dict[str, object]:
    return {name: metric.told() for name, metric in agreement(labels, verdicts).items()}


if __name__ == "__main__":
    main()
