"""Why one example was dropped or kept: its score among all scores, its losses over time, and similar examples."""

import glob
import math
from typing import Any

import polars as pl
from rich.console import Group
from rich.table import Table as Shown
from rich.text import Text

from forgetfilter.data.records import Learn, Message, learned_places
from forgetfilter.errors import UserError, plain_label
from forgetfilter.storage.results import read_summary
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.shards import STATES, scan_shards, shard_paths

from ..decisions import records_of, stored
from . import texts

NEIGHBOURS = 5
SHOWN_CHARACTERS = 160


def why(paths: RunPaths, given: str) -> dict[str, Any]:
    """All that is known of the example whose id begins with `given`. Raises UserError where there is none, or several.

    The decision's columns, `signal`, `rule`, `percentile` (share of the scored examples that were forgotten less, in
    percent), `losses` [{"state", "loss"}] in nats a label token in the order of time, `prompt`, `text` (the last
    answer), `turns` (see there), and `neighbours` among all examples [{"id", "similarity", "drop", "score", "text"}] by
    the Jaccard index of the words of all their messages.
    """
    summary, decisions = read_summary(paths.folder), stored(paths)
    found = decisions.filter(pl.col("id").str.starts_with(given)).head(3).collect()
    if len(found) > 1 and given not in found["id"]:
        raise UserError(f"--why {given}: several ids begin so ({', '.join(found['id'].str.head(16))}): give more of it")
    if not len(found) or not given:
        raise UserError(f"--why {given}: {paths.folder} has no such example")
    row = found.filter(pl.col("id") == given) if given in found["id"] else found
    known = row.row(0, named=True)
    scored = decisions.select(pl.col("rank").max()).collect().item()
    percentile = 100 * (scored - known["rank"]) / max(1, scored - 1) if known["rank"] else None
    record = records_of(paths, row)[known["id"]]
    messages = record["messages"]
    return known | {
        "signal": summary["signal"],
        "rule": summary["rule"],
        "percentile": percentile,
        "losses": losses(paths, known),
        "prompt": texts.prompt_of(messages),
        "text": str(messages[-1]["content"]),
        "turns": turns(paths, known["id"], messages, record.get("learn", "last")),
        "neighbours": neighbours(paths, known["id"], " ".join(str(message["content"]) for message in messages)),
    }


def losses(paths: RunPaths, known: dict[str, Any]) -> list[dict[str, Any]]:
    """Mean losses of the example over time: while M1 was trained, epoch by epoch, then under M1 and M2."""
    over_time = []
    folder = paths.model("noisy") / "losses"
    if shard_paths(folder):
        rows = scan_shards(folder).filter((pl.col("id") == known["id"]) & (pl.col("num_tokens") > 0))
        mean = pl.col("loss_sum") / pl.col("num_tokens")
        for epoch, loss in rows.select("epoch", mean).sort("epoch").collect().iter_rows():
            over_time.append({"state": f"training M1, epoch {epoch + 1}", "loss": loss})
    names = {"before_loss": "M1, after noisy", "after_loss": "M2, after safe"}
    return [*over_time, *({"state": name, "loss": known[column]} for column, name in names.items())]


def turns(paths: RunPaths, name: str, messages: list[Message], learn: Learn) -> list[dict[str, Any]]:
    """The answers of a row of which several are learned, the most forgotten first: [{"message" (its number in the row),
    "before", "after" (mean losses), "text"}]. Empty for other rows."""
    means = []
    for state in STATES:
        shards = scan_shards(paths.signals(state))
        if "turn_losses" not in shards.collect_schema():
            return []
        found = shards.filter(pl.col("id") == name).select("turn_losses", "turn_tokens").collect().row(0)
        means.append([loss / tokens for loss, tokens in zip(*found)])
    rows = [
        {"message": place + 1, "before": before, "after": after, "text": messages[place]["content"]}
        for place, before, after in zip(learned_places(messages, learn), *means)
    ]
    return sorted(rows, key=lambda row: row["before"] - row["after"]) if len(rows) > 1 else []


def neighbours(paths: RunPaths, name: str, text: str) -> list[dict[str, Any]]:
    """The examples whose words are most like those of a text, at most NEIGHBOURS."""
    own = sorted(set(pl.Series([text.lower()]).str.extract_all(r"\w+")[0].to_list()))
    if not own:
        return []
    content = pl.col("messages").list.eval(pl.element().struct.field("content"))
    words = content.list.join(" ").str.to_lowercase().str.extract_all(r"\w+").list.unique()
    common = words.list.set_intersection(pl.lit(pl.Series([own])).first()).list.len()
    schema: dict[str, Any] = {"id": pl.String, "messages": pl.List(pl.Struct({"content": pl.String}))}
    similarity = common / (words.list.len() + len(own) - common)
    rows = pl.scan_ndjson(glob.escape(str(paths.noisy_data)), schema=schema).filter(pl.col("id") != name)
    near = rows.select("id", similarity=similarity, text=content.list.last()).filter(pl.col("similarity") > 0)
    order: dict[str, Any] = {"by": ["similarity", "id"], "reverse": [False, True]}
    found = near.top_k(NEIGHBOURS, **order).collect(engine="streaming")
    decided = stored(paths).filter(pl.col("id").is_in(found["id"].implode())).select("id", "drop", "score").collect()
    return found.join(decided, on="id", how="left").sort("similarity", "id", descending=[True, False]).to_dicts()


def masked(found: dict[str, Any], reveal: bool) -> dict[str, Any]:
    """The answer as a JSON value; each text in it unless `reveal` masked."""
    if reveal:
        return found

    def hidden(row: dict[str, Any]) -> dict[str, Any]:
        return row | {name: texts.shown(row[name], 0, reveal) for name in ("prompt", "text") if name in row}

    return hidden(found) | {name: [hidden(row) for row in found[name]] for name in ("turns", "neighbours")}


def shown(found: dict[str, Any], reveal: bool) -> Group:
    """The answer for the terminal; the texts unless `reveal` masked."""
    decision = "dropped" if found["drop"] else "kept"
    facts = {
        "decision": found["reason"] if found["reason"].startswith(decision) else f"{decision}: {found['reason']}",
        "source": found["source"],
        "signal": f"{found['signal']} {_number(found['score'])}",
        "forgotten more than": _of_the_others(found["percentile"]),
        "p-value": _number(found.get("p_value")),
        "prompt": texts.shown(found["prompt"], SHOWN_CHARACTERS, reveal),
        "answer": texts.shown(found["text"], SHOWN_CHARACTERS, reveal),
    }
    table = Shown(show_header=False)
    for name, value in facts.items():
        table.add_row(name, _plain(str(value)))
    times = Shown(title="Loss over time (nats a label token)", title_justify="left")
    for column in found["losses"]:
        times.add_column(column["state"], justify="right")
    times.add_row(*(_number(column["loss"]) for column in found["losses"]))
    near = Shown(title="Nearest examples, by common words", title_justify="left")
    for name in ("similarity", "id", "decision", "answer", "score"):
        near.add_column(name)
    for row in found["neighbours"]:
        text = texts.shown(row["text"], SHOWN_CHARACTERS, reveal)
        decision = "dropped" if row["drop"] else "kept"
        near.add_row(f"{row['similarity']:.2f}", row["id"][:12], decision, _plain(text), _number(row["score"]))
    more = [near] * bool(found["neighbours"]) + [Text(texts.HINT)] * (not reveal)
    return Group(Text(found["id"], no_wrap=True), table, times, *_turns_shown(found["turns"], reveal), *more)


def _turns_shown(found: list[dict[str, Any]], reveal: bool) -> list[Shown]:
    """The table of a row's answers; none where only one is learned."""
    table = Shown(title="Its answers, the most forgotten first (nats a label token)", title_justify="left")
    for name in ("message", "M1", "M2", "answer"):
        table.add_column(name)
    for row in found:
        text = _plain(texts.shown(row["text"], SHOWN_CHARACTERS, reveal))
        table.add_row(str(row["message"]), _number(row["before"]), _number(row["after"]), text)
    return [table] * bool(found)


def _plain(text: str) -> Text:
    return Text(plain_label(text, SHOWN_CHARACTERS))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _of_the_others(percentile: float | None) -> str:
    """Rounded down, so that all is said of the first row alone."""
    return "-" if percentile is None else f"{math.floor(percentile * 10) / 10:g}% of the other examples"
