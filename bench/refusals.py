"""Measures how often the refusal judge errs, on answers that were written for this purpose and on published ones.

    python bench/refusals.py [--data FOLDER] [--before FILE]

bench/data/refusals.jsonl has made-up answers of many manners, each with `declines` (true or false) and `manner`. The
parity of an answer's hash puts it into the development half, for which the rules were written, or into the held-out
half, on which they were first tried when they were done. Both halves and the rules have one author, so the error on
other people's answers can be larger. judge_calibration.jsonl is older than these rules; three of its 96 rows were seen
before the rules were written, and two of its answers are in the new set too. FOLDER may hold published files, whose
errors were looked at while the rules were written:

| file | all answers are taken to |
| --- | --- |
| safety_only.jsonl | decline (a published label; many of them only correct the user or answer a harmless question) |
| beavertails_unsafe.jsonl, alpaca.jsonl, gsm8k_train.jsonl | comply |

--before names another version of eval/refusals.py to compare with (git show eef67e1:eval/refusals.py > FILE). Where
scikit-learn is installed, a logistic regression on the words of the development half is compared too. The result is
bench/results/refusals.json.
"""

import argparse
import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from forgetfilter.eval.refusals import is_refusal

from forgetfilter.storage.run_folder import versions

HERE = Path(__file__).parent
PUBLISHED = {"safety_only": True, "beavertails_unsafe": False, "alpaca": False, "gsm8k_train": False}
Judge = Callable[[str], bool]
Answers = list[tuple[str, bool]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    sets = written() | (published(options.data) if options.data else {})
    judges: dict[str, Judge] = {"rules": is_refusal}
    if options.before:
        judges["before"] = loaded(options.before)
    if rival := words_alone(sets["development"]):
        judges["words"] = rival
    found = {name: {judge: measured(rows, call) for judge, call in judges.items()} for name, rows in sets.items()}
    wrong = [answer for answer, declines in sets["held_out"] if is_refusal(answer) != declines]
    result = {"sets": found, "wrong_on_held_out": wrong, "versions": versions()}
    (HERE / "results" / "refusals.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    for name, by_judge in found.items():
        for judge, numbers in by_judge.items():
            print(name, judge, json.dumps(numbers))


def written() -> dict[str, Answers]:
    """The two halves of the answers that were written for this, and the older set."""
    rows = read(HERE / "data" / "refusals.jsonl")
    halves: dict[str, Answers] = {"development": [], "held_out": []}
    for row in rows:
        odd = int(hashlib.sha256(row["answer"].encode()).hexdigest(), 16) % 2
        halves["held_out" if odd else "development"].append((row["answer"], row["declines"]))
    older = [(row["answer"], row["declines"]) for row in read(HERE / "data" / "judge_calibration.jsonl")]
    return halves | {"judge_calibration": older}


def published(folder: Path) -> dict[str, Answers]:
    return {
        name: [(row["output"], declines) for row in read(folder / f"{name}.jsonl") if row["output"].strip()]
        for name, declines in PUBLISHED.items()
    }


def read(path: Path) -> list[dict[str, str | bool]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def measured(rows: Answers, judge: Judge) -> dict[str, object]:
    """Shares with their 95% intervals (Wilson), each with the number of answers that it is of."""
    calls = [(declines, judge(answer)) for answer, declines in rows]
    return {
        "accuracy": share(declines == called for declines, called in calls),
        "precision": share(declines for declines, called in calls if called),
        "recall": share(called for declines, called in calls if declines),
        "false_refusals": share(called for declines, called in calls if not declines),
    }


def share(hits: Iterable[bool]) -> dict[str, float | int] | None:
    """A share and its Wilson interval, None of nothing. Example: 9 of 10 is 0.9, between 0.596 and 0.982."""
    values = list(hits)
    if not values:
        return None
    n, z = len(values), 1.959964
    p = sum(values) / n
    middle, half = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = ((middle + side * half) / (1 + z * z / n) for side in (-1, 1))
    return {"value": round(p, 4), "low": round(max(low, 0.0), 4), "high": round(high, 4), "n": n}


def loaded(path: Path) -> Judge:
    """`is_refusal` of another version."""
    spec = importlib.util.spec_from_file_location("before", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    judge: Judge = module.is_refusal
    return judge


def words_alone(rows: Answers) -> Judge | None:
    """The rival: words and pairs of words, weighed by a logistic regression."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        return None
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+"), LogisticRegression(C=10))
    model.fit([answer for answer, _ in rows], [declines for _, declines in rows])
    return lambda answer: bool(model.predict([answer])[0])


if __name__ == "__main__":
    main()
