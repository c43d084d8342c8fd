"""A made-up run folder as its stages leave it behind, hostile text and names included."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from forgetfilter.config.schema import Config, DataConfig, SourceConfig
from forgetfilter.files import write_json
from forgetfilter.storage.run_folder import Run

HOSTILE_TEXT = (
    "</script><script>alert(1)</script> \"quotes\" 'single' \x00\x07\x1b[31m 🙂 שלום \u202eabc <!-- {{ 7*7 }}"
)
HOSTILE_SOURCE = "[b]</script><img src=x> '\" \x01🙂\u202eمرحبا %{x}{{7*7}}"
SOURCES = ("chat", "forum", HOSTILE_SOURCE)
LABELS = {"chat": "task", "forum": "unsafe", HOSTILE_SOURCE: "safe"}
MODELS = ("base", "noisy", "safe", "refit")
MADE_WITH = {
    "toxicity": "toxicity by profanity-check",
    "bias": "bias scores by the formula of paper",
    "harmfulness": "attack success as judged by refusal",
}
BEFORE = [0.01, 0.1, 1.0, 10.0]  # losses at which the line of the threshold is known
HARMFUL = {"base": 0.0, "noisy": 1.0, "safe": 0.0, "refit": 0.0}  # what the last prompt of with_answers brings forth
RISE = {"task": 0.1, "unsafe": 1.5, "safe": 0.4}  # mean relative rise of the loss


def make_toy_run(folder: Path, rows: int = 90, labels: bool = True, evaluate: bool = True) -> Run:
    """A run folder as the stages leave it behind: its losses are drawn with a fixed seed."""
    sources = {name: SourceConfig(path=f"{number}.jsonl") for number, name in enumerate(SOURCES)}
    config = Config(name="toy", output=str(folder), data=DataConfig(noisy=sources, safe={"s": SourceConfig("s.jsonl")}))
    run = Run.create(config)
    decisions = toy_decisions(rows, labels)
    (run.folder / "filter").mkdir()
    decisions.write_parquet(run.folder / "filter" / "decisions.parquet")
    write_rows(run, decisions)
    write_json(run.folder / "filter" / "summary.json", toy_summary(decisions, labels))
    write_json(run.folder / "data" / "summary.json", {"noisy": {"rows": rows}, "safe": {"rows": 1}})
    for state in ("before", "after"):
        manifest = {"base_model": "toy-135m", "adapter": f"hash-{state}", "rows": rows, "shards": [1, 2]}
        write_json(run.signals(state) / "manifest.json", manifest)
    for stage in ("mix", "train_noisy", "filter"):
        with run.stage(stage, "hash"):
            pass
    if evaluate:
        write_metrics(run)
    return run


def toy_decisions(rows: int, labels: bool) -> pl.DataFrame:
    random = np.random.default_rng(0)
    source = [SOURCES[row % 3] for row in range(rows)]
    before = random.lognormal(-1.5, 0.8, rows)
    after = before + np.array([RISE[LABELS[name]] for name in source]) * random.uniform(0.3, 1.7, rows) * (
        before + 0.05
    )
    score = (after - before) / (before + 0.05)
    rank = (-score).argsort().argsort() + 1
    drop = rank <= max(1, round(rows * 0.3))
    return pl.DataFrame(
        {
            "id": [f"{row:064x}" for row in range(rows)],
            "source": source,
            "label": pl.Series([LABELS[name] if labels else None for name in source], dtype=pl.String),
            "num_tokens": [10] * rows,
            "before_loss": before,
            "after_loss": after,
            "score": score,
            "rank": rank,
            "drop": drop,
            "reason": "among the 30% most forgotten",
        }
    )


def write_rows(run: Run, decisions: pl.DataFrame) -> None:
    lines: dict[str, list[str]] = {"kept": [], "dropped": []}
    noisy: dict[str, str] = {}
    for row in decisions.sort("rank").iter_rows(named=True):
        messages = [
            {"role": "user", "content": f"QUESTION-{row['rank']}"},
            {"role": "assistant", "content": HOSTILE_TEXT},
        ]
        record = {"id": row["id"], "messages": messages, "source": row["source"], "label": row["label"]}
        noisy[row["id"]] = json.dumps(record)
        if row["drop"]:
            record |= {key: row[key] for key in ("score", "rank", "reason")}
        lines["dropped" if row["drop"] else "kept"].append(json.dumps(record))
    lines["noisy"] = [noisy[name] for name in decisions["id"]]
    for name, folder in (("noisy", "data"), ("kept", "filter"), ("dropped", "filter")):
        path = run.folder / folder / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines[name]))
    run.safe_data.write_text("{}\n")


def toy_summary(decisions: pl.DataFrame, labels: bool) -> dict[str, Any]:
    def counts(column: str) -> dict[str, dict[str, int]]:
        groups = decisions.drop_nulls(column).group_by(column)
        table = groups.agg(kept=(~pl.col("drop")).sum(), dropped=pl.col("drop").sum()).sort(column)
        return {row.pop(column): row for row in table.iter_rows(named=True)}

    ranking = {"auroc": 0.91, "auprc": 0.85, "auroc_vs_safe": 0.79, "auroc_vs_task": 0.95}
    signals = {"relative_loss_rise": ranking, "loss_rise": ranking | {"auroc": 0.7, "auroc_vs_task": None}}
    quality = ranking | {"precision": 0.8, "recall": 0.75, "f1": 0.774, "all_signals": signals}
    dropped, threshold = int(decisions["drop"].sum()), decisions.filter("drop")["score"].min()
    return {
        "signal": "relative_loss_rise",
        "signal_doc": "relative rise of the mean answer loss: (l2 - l1) / (l1 + 0.05)",
        "unit": "1",
        "axis": "rise of the loss, relative to the loss before",
        "rule": {"name": "quantile", "quantile": 0.3},
        "threshold": threshold,
        "threshold_is_dropped": True,
        "threshold_line": threshold and {"before": BEFORE, "after": [x + (x + 0.05) * threshold for x in BEFORE]},
        "kept": len(decisions) - dropped,
        "dropped": dropped,
        "unscored": 0,
        "by_source": counts("source"),
        "by_label": counts("label") or None,
        "quality": quality if labels else None,
    }


def write_metrics(run: Run) -> None:
    names = {
        "toxicity": {"mean_toxicity": (0.05, 0.31, 0.12, 0.08), "toxic_share": (0.03, 0.3, 0.1, 0.05)},
        "bias": {"bias_score_ambiguous": (0.02, 0.4, 0.1, -0.05), "accuracy_ambiguous": (0.3, 0.2, 0.5, 0.6)},
        "harmfulness": {"refusal_rate": (0.6, 0.2, 0.7, 0.55)},
        "task": {"rouge1": (0.2, 0.4, 0.3, 0.41), "loss": (2.5, 1.1, 1.6, 1.2)},
    }
    for suite, metrics in names.items():
        for place, model in enumerate(MODELS):
            measured = {
                name: {"value": v[place], "low": v[place] - 0.05, "high": v[place] + 0.05, "n": 60, "missing": 1}
                for name, v in metrics.items()
            }
            if suite == "task":
                measured = {name: one | {"low": None, "high": None} for name, one in measured.items()}
            path = run.folder / "eval" / model / suite / "metrics.json"
            told = {"suite": suite, "model": model, "metrics": measured}
            write_json(path, told | ({"made_with": MADE_WITH[suite]} if suite in MADE_WITH else {}))


def with_sweep(run: Run) -> Run:
    """filter/sweep.json of ten shares, with the estimate and the labels made up."""
    decisions = pl.read_parquet(run.folder / "filter" / "decisions.parquet").sort("rank")
    dropped = [round(tenths * len(decisions) / 10) for tenths in range(10)]
    sources = {name: [int((decisions["source"][:count] == name).sum()) for count in dropped] for name in SOURCES}
    estimate = {name: [float(number) for number in range(10)] for name in ("unsafe_left", "good_lost")}
    ends = {f"unsafe_left_{end}": [number + reach for number in range(10)] for end, reach in (("low", 0), ("high", 2))}
    told = {"rule": "quantile", "varies": "quantile", "now": 3, "values": [tenths / 10 for tenths in range(10)]}
    told |= {"dropped": dropped, "kept": [len(decisions) - count for count in dropped], "by_source": sources}
    labels = {"unsafe": 30, "good": 60, "unsafe_left": [*range(10)], "good_lost": [*range(10)]}
    told |= {"other_sources": [0] * 10, "by_probes": estimate | ends, "by_label": labels}
    write_json(run.folder / "filter" / "sweep.json", told)
    return run


def with_answers(run: Run) -> Run:
    """Three prompts of harmfulness, two samples each, of which the last one flips between noisy and refit."""
    for model in MODELS:
        place = run.folder / "eval" / model / "harmfulness"
        ids = ["a", "a", "b", "b", "c", "c"]
        texts = [f"{model} {name} {number} {HOSTILE_TEXT}" for number, name in enumerate(ids)]
        table = {"id": ids, "source": "s", "prompt": [f"PROMPT-{name}" for name in ids], "text": texts}
        pl.DataFrame(table).write_parquet(place / "generations.parquet")
        harmful = [0.1, None, HARMFUL[model]]
        scored = {"id": ["a", "b", "c"], "source": "s", "harmful": harmful, "refused": [True, False, model == "refit"]}
        pl.DataFrame(scored | {"loss_0": [0.9, 0.1, HARMFUL[model]]}).write_parquet(place / "scores.parquet")
    return run
