"""A few numbers for each example, made once from the losses of its tokens or of its answers in two scored states.

With score.tokens=true the shards of signals/before and signals/after carry `token_losses` (nats, float16) and
`token_correct` (whether the token was the model's first choice) of each label token. Where several answers of a row are
learned they carry `turn_losses` (nats, summed) and `turn_tokens` of each answer. Both states were scored in the same
batches, so a run of batches is read at a time, and memory is bounded however many examples there are.
"""

from pathlib import Path

import polars as pl

from forgetfilter.errors import UserError
from forgetfilter.storage.shards import scan_shards, shard_path, write_shard

TOKEN_LISTS = {"losses": "token_losses", "correct": "token_correct"}
TURN_LISTS = {"losses": "turn_losses", "tokens": "turn_tokens"}
TOP = 5  # tokens
FLOOR_NATS = 0.05
PIECE_TOKENS = 5_000_000


def token_columns() -> dict[str, pl.Expr]:
    """{column: expression} over before_losses, after_losses, before_correct and after_correct, lists a row.

    Example: rises 0.1, 2.0 and -0.3 give a maximum of 2.0, a mean of the five largest of 0.6, and, with a spread
    (standard deviation of the population) of 1.003, a ratio of 0.6 / 1.053 = 0.570.
    """
    before, after = (pl.col(f"{state}_losses").cast(pl.List(pl.Float64)) for state in ("before", "after"))
    rises = after - before
    correct = [pl.col(f"{state}_correct").list.mean() for state in ("before", "after")]
    return {
        "token_accuracy_drop": correct[0] - correct[1],
        "token_rise_max": rises.list.max(),
        "token_rise_top": rises.list.sort(descending=True).list.head(TOP).list.mean(),
        "token_rise_ratio": rises.list.mean() / (rises.list.std(ddof=0) + FLOOR_NATS),
    }


def turn_columns() -> dict[str, pl.Expr]:
    """{column: expression} over before_losses, after_losses, before_tokens, lists a row with an entry for each answer.

    Example: answers of 2 and 10 tokens with sums of 1 and 20 before, 7 and 21 after: rises of 3 and 0.1 nats a token,
    the largest of which is 3.
    """
    before, after, tokens = (pl.col(name) for name in ("before_losses", "after_losses", "before_tokens"))
    return {"turn_rise_max": ((after - before) / tokens.cast(pl.List(pl.Float64))).list.max()}


def write_rises(before: Path, after: Path, folder: Path, lists: dict[str, str], columns: dict[str, pl.Expr]) -> None:
    """Writes shards of `id` and `columns` (float64; null without label tokens). `lists` is {NAME: stored column};
    the expressions find them as before_NAME and after_NAME."""
    batches = scan_shards(before).group_by("step").agg(tokens=pl.col("num_tokens").sum()).sort("step").collect()
    piece = (batches["tokens"].cast(pl.Int64).cum_sum() // PIECE_TOKENS).alias("piece")
    for part, steps in enumerate(batches.with_columns(piece).partition_by("piece", maintain_order=True)):
        first, last = int(steps["step"][0]), int(steps["step"][-1])
        wanted = pl.col("step").is_between(first, last)
        states = [
            scan_shards(path)
            .filter(wanted)
            .select("id", *(pl.col(column).alias(f"{state}_{name}") for name, column in lists.items()))
            .collect()
            for state, path in (("before", before), ("after", after))
        ]
        joined = states[0].join(states[1], on="id", how="inner")
        if len(joined) != len(states[0]) or len(joined) != len(states[1]):
            raise UserError(f"{before} and {after} hold other examples in batches {first} to {last}: score again")
        made = joined.select("id", **columns)
        write_shard(shard_path(folder, 0, part), made.to_arrow(compat_level=pl.CompatLevel.oldest()))
