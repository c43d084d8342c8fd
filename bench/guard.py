"""Trains a small guard for the bake-off, a sentence encoder with labels, because no published guard was available.

    python bench/guard.py RUN... --out FOLDER

It takes labelled rows of the RUNs' own mixture files, but none from a group (a question or prompt) with a row in a RUN.
It trains all-minilm-l6-v2 with a head of two classes to tell unsafe rows from others, on texts as
`score.guard.name=classifier` writes them. Unlike a published guard it has seen labels of the very kinds that it is
asked about, so it shows what labels are worth and not what a guard brings. FOLDER is then `score.guard.model`.
"""

import argparse
import random
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from forgetfilter.data.records import content_id, read_records
from forgetfilter.mix.benchmarks.candidates import Candidate
from forgetfilter.mix.benchmarks.mixture import LEFT_OUT, candidates
from forgetfilter.models import guards
from forgetfilter.models.guard_models import fill
from forgetfilter.models.sentence_encoder import CONTEXT, PACKAGED, find_encoder
from forgetfilter.storage.run_folder import Run

MOST = 200  # rows of a pool with the same label
EPOCHS, BATCH, LR, SEED = 3, 16, 5e-5, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    runs = [Run.open(folder) for folder in options.runs]
    rows = labelled(runs)
    print(f"{len(rows)} rows, {sum(unsafe for _, unsafe in rows)} of them unsafe", flush=True)
    teach(rows, options.out)


def labelled(runs: list[Run]) -> list[tuple[str, bool]]:
    """Texts as a guard is given them, and whether they are unsafe; at most MOST of a pool and label, drawn by SEED."""
    used = {content_id(record.messages) for run in runs for path in files(run) for record in read_records(path)}
    chosen: dict[str, Candidate] = {}
    for run in runs:
        mixture = run.config.mixture
        assert mixture is not None, f"{run.folder} has no mixture"
        pools = {name: pool for name, pool in (mixture.pools | mixture.tasks).items() if pool.builder != LEFT_OUT}
        there = {name: candidates({name: pool}, {}) for name, pool in pools.items()}
        taken = {c.group for members in there.values() for c in members if content_id(c.messages) in used}
        for name, members in there.items():
            free = [candidate for candidate in members if candidate.group not in taken]
            chosen |= {content_id(candidate.messages): candidate for candidate in drawn(name, free)}
    template = guards.get("classifier", "score.guard.name").template
    return [
        (fill(template, *(message["content"] for message in candidate.messages[-2:])), candidate.label == "unsafe")
        for candidate in chosen.values()
    ]


def files(run: Run) -> list[Path]:
    """The noisy rows, probes among them, and the trusted ones."""
    return [path for path in (run.noisy_data, run.safe_data, run.control_data) if path.exists()]


def drawn(name: str, free: list[Candidate]) -> list[Candidate]:
    rng = random.Random(f"{SEED}/{name}")
    by_label = {label: [c for c in free if c.label == label] for label in ("unsafe", "safe", "task")}
    return [c for members in by_label.values() for c in rng.sample(members, min(MOST, len(members)))]


def teach(rows: list[tuple[str, bool]], out: Path) -> None:
    torch.manual_seed(SEED)
    folder = find_encoder(PACKAGED)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=2, id2label={0: "safe", 1: "unsafe"}, label2id={"safe": 0, "unsafe": 1}
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    rng, steps = random.Random(SEED), EPOCHS * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for epoch in range(EPOCHS):
        rng.shuffle(rows)
        total = 0.0
        for start in range(0, len(rows), BATCH):
            texts, unsafe = zip(*rows[start : start + BATCH])
            batch = tokenizer(list(texts), padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt")
            loss = cross_entropy(model(**batch).logits, torch.tensor(unsafe, dtype=torch.long))
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item() * len(texts)
        print(f"epoch {epoch + 1}: loss {total / len(rows):.4f}", flush=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
