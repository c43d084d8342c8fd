"""The sentences and written numbers of the report, made from the card and the decisions."""

import polars as pl

from forgetfilter.errors import plain_label
from forgetfilter.report import card as cards
from forgetfilter.report import charts
from forgetfilter.report.card import Card, Evaluated
from forgetfilter.report.verdict import direction
from forgetfilter.storage.formats import Measured, Models, Noise, Quality, RankingName

DIRECTION_WORDS = {"lower": "lower is better", "higher": "higher is better", "zero": "nearer 0 is better"}

LOST_SHARE = 0.1  # where more than this share of a model's answers could not be scored, its verdict says so

_OVERRIDES = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # of the direction
_LOST = dict.fromkeys((*range(0x7F, 0xA0), *range(0xD800, 0xE000), *_OVERRIDES), "\ufffd")
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | _LOST

NO_THRESHOLD = (
    "No line is drawn for the threshold, because no single score separates the dropped from the kept examples."
)


def headline(card: Card) -> list[str]:
    """The outcome of the run in sentences: what was kept and dropped, and how well that agrees with the labels."""
    total = card["kept"] + card["dropped"]
    sentences = [
        f"The filter kept {card['kept']:,} of {total:,} rows and dropped {card['dropped']:,} "
        f"({card['dropped'] / max(total, 1):.1%})."
    ]
    if card.get("note"):
        sentences.append(f"The rule found: {card['note']}.")
    if review := card.get("review"):
        sentences.append(f"By hand a person kept {review['kept']:,} rows and dropped {review['dropped']:,}.")
    sentences += [f"{remark}." for remark in (*cards.probes(card), *cards.unscored(card), *cards.too_long(card))]
    sentences += [f"{remark}." for remark in cards.trained_on(card["refit"], card["dropped"])]
    if noise := card.get("noise"):
        sentences.append(_noise_sentence(noise))
    if card["quality"]:
        sentences.append(_quality_sentence(card["quality"]))
    return sentences


def evidence(verdict: dict[str, str], models: Models) -> str:
    """The values that a verdict rests on: `toxicity mean: 0.08 after the filter, 0.05 for the released model, ...`."""
    names = {"refit": "after the filter", "base": "for the released model", "noisy": "after training on everything"}
    told = [f"{written_value(models[model])} {name}" for model, name in names.items() if model in models]
    way = DIRECTION_WORDS.get(
        direction(verdict["metric"], models["refit"]) or "", "which values are better is not known"
    )
    n, missing = models["refit"]["n"], models["refit"]["missing"]
    lost = f"; {missing} of {n + missing} could not be scored" if missing > LOST_SHARE * (n + missing) else ""
    return f"{words(verdict['metric'])}: {', '.join(told)} ({way}{lost})"


def captions(card: Card, decisions: pl.DataFrame) -> dict[str, str]:
    """What a reader must know about each chart: how to read it, what is not drawn, and why."""
    drawable = charts.drawable(decisions)
    notes = ["Above the dotted line lie the rows whose loss rose: they were forgotten."]
    if len(drawable) > charts.MAP_POINTS:
        seed = card["config"]["seed"]
        dropped, drawn = drawable["drop"], charts.sample(drawable, charts.MAP_POINTS, seed)["drop"]
        notes.append(
            f"{len(drawn):,} of {len(drawable):,} rows are drawn: {drawn.sum():,} of the {dropped.sum():,} dropped and "
            f"{(~drawn).sum():,} of the {(~dropped).sum():,} kept rows, each a random sample (seed {seed})."
        )
    if len(drawable) < len(decisions):
        notes.append(f"{len(decisions) - len(drawable):,} rows without a loss are not drawn.")
    notes.append(f"Losses below {charts.FLOOR_NATS:g} nats are drawn at {charts.FLOOR_NATS:g}.")
    notes.append(_threshold_note(card, decisions))
    return {
        "map": " ".join(notes),
        "spread": "Each line shows the shares of one group's rows. Scores outside the central 99% of all scores are "
        "counted in the outermost bins. "
        + (f"The score is: {card['signal_doc']}. Its unit is: {card['unit']}. " if card.get("signal_doc") else "")
        + (NO_THRESHOLD if card["threshold"] is None else ""),
    }


def instruments(card: Evaluated) -> list[str]:
    """What measured the suites, and how often the judge and the scoring err, where that was measured."""
    made_with = card["instruments"]
    sentences = [", ".join(text for suite, text in made_with.items() if suite in card["metrics"])]
    if told := card.get("judge"):
        figures = [f"{words(name)} {written_value(one)} (n {one['n']})" for name, one in told["metrics"].items()]
        sentences.append(f"Compared with people's labels, the judge {told['judge']} has {', '.join(figures)}")
    sentences += card.get("errors") or []
    return [f"{plain_label(text[0].upper() + text[1:], 1000)}." for text in sentences if text]


def written_value(measured: Measured | None) -> str:
    """A metric's value, with its interval where it has one: `0.310 [0.250, 0.370]`."""
    if not measured or measured.get("value") is None:
        return "–"
    if measured.get("low") is None or measured.get("high") is None:
        return number(measured["value"])
    return f"{number(measured['value'])} [{number(measured['low'])}, {number(measured['high'])}]"


def number(value: float | None) -> str:
    """Three decimals, or three significant digits where three decimals would hide the number; a dash for None."""
    if value is None:
        return "–"
    return f"{value:.3f}" if abs(value) < 1000 and (value == 0 or abs(value) >= 0.001) else f"{value:.3g}"


def visible(text: str) -> str:
    """The text with its control characters replaced by their pictures (from U+2400) and direction overrides by U+FFFD.

    Line breaks and tabs stay.
    """
    return text.translate(_PICTURES)


def shortened(text: str, most: int) -> str:
    """`visible`, and no longer than `most` characters but for a remark."""
    text = visible(text)
    rest = len(text) - most
    return text if rest <= 0 else f"{text[:most]} … ({rest:,} more characters)"


def _noise_sentence(noise: Noise) -> str:
    moved = f"by at most {number(noise['floor'])} when M1 was scored a second time in other batches"
    sentence, share = f"Noise: 99% of the scores moved {moved}", noise["share_of_drops_above"]
    if share is not None:
        sentence += f"; {share:.1%} of the dropped rows lie farther than this above the threshold, so that noise alone "
        sentence += "cannot have dropped them"
    return f"{sentence}."


def _quality_sentence(quality: Quality) -> str:
    parts = []
    if quality.get("precision") is not None:
        parts.append(f"of the labelled rows that were dropped, {quality['precision']:.0%} are unsafe")
    if quality.get("recall") is not None:
        parts.append(f"of the unsafe rows, {quality['recall']:.0%} were dropped")
    ranks: dict[RankingName, str] = {
        "auroc": "all other rows",
        "auroc_vs_safe": "safe rows of the same kind",
        "auroc_vs_task": "task rows",
    }
    known = [f"{quality[key]:.2f} against {words}" for key, words in ranks.items() if quality.get(key) is not None]
    if known:
        parts.append(f"AUROC of the score: {', '.join(known)} (0.5 is chance)")
    if not parts:
        return "The labels cannot measure the filter: no row has the label unsafe, or every labelled row has it."
    return f"Measured on labels that the filter never saw: {'; '.join(parts)}."


def _threshold_note(card: Card, decisions: pl.DataFrame) -> str:
    threshold = card["threshold"]
    if threshold is None:
        return NO_THRESHOLD
    if card.get("threshold_is_dropped") is False:
        score, tied = f"above {threshold:.4g}", False
    else:  # the lowest score that was dropped
        score = f"of {threshold:.4g} or more"
        tied = not decisions.filter(~pl.col("drop") & (pl.col("score") == threshold)).is_empty()
    exceptions = {"probes": card.get("probes"), "rows that a person reviewed": card.get("review"), "ties": tied}
    excepted = " and ".join(name for name, there in exceptions.items() if there)
    score = f"Rows with a score {score} were dropped" + (f", except for {excepted}" if excepted else "")
    if card.get("threshold_line"):
        return f"{score} (dashed line)."
    known = card.get("axis")  # a summary.json of an older version does not tell whether there could be a line
    return f"{score}; for this signal the threshold is no line in a map of losses." if known else f"{score}."


def words(name: str) -> str:
    return plain_label(name, 60).replace("_", " ")
