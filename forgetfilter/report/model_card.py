"""The README.md of an exported model, in the form of the hub: what card.json says, without paths and settings."""

import json

from forgetfilter.report import card as cards
from forgetfilter.report.card import Card
from forgetfilter.report.sentences import words, written_value
from forgetfilter.storage.results import MODELS

LIMITS = (
    "The filter measures forgetting. It finds no harm that the trusted examples do not make the model forget, and the "
    "evaluation shows what its prompts ask for and no more. Measure this model on your own use before you rely on it."
)


def model_card(card: Card, base: str, licence: str, adapter: bool) -> str:
    """`base`: the id of the released model; `licence`: as the hub calls it, empty where it is not known."""
    head = {
        "base_model": base,
        "base_model_relation": "adapter" if adapter else "finetune",
        "library_name": "peft" if adapter else "transformers",
        "license": licence or None,
        "pipeline_tag": "text-generation",
        "tags": ["forgetfilter"],
    }
    kind = "An adapter of" if adapter else "A finetuned"
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items() if value), "---", ""]
    lines += [
        f"# {card['name']}",
        "",
        f"{kind} {base}: learned from noisy data, of which forgetfilter dropped a part.",
        "",
    ]
    return "\n".join([*lines, *_data(card), *_measured(card), "## Limits", LIMITS, "", *_made(card)]) + "\n"


def _data(card: Card) -> list[str]:
    """What was dropped, by which rule, and what was learned."""
    rows = card["kept"] + card["dropped"]
    rule = ", ".join(
        [card["rule"]["name"], *(f"{key}={value}" for key, value in card["rule"].items() if key != "name")]
    )
    told = [
        f"Of {rows:,} noisy rows {card['kept']:,} were kept and {card['dropped']:,} dropped: {card['signal']}, {rule}."
    ]
    told += [f"{sentence}." for sentence in cards.trained_on(card["refit"], card["dropped"])]
    sources = [_row(name, f"{one['kept']:,}", f"{one['dropped']:,}") for name, one in card["by_source"].items()]
    return ["## Data", " ".join(told), "", _row("source", "kept", "dropped"), _row(*["---"] * 3), *sources, ""]


def _measured(card: Card) -> list[str]:
    """The verdicts and each metric with its interval, for the models that were measured."""
    if not card["metrics"]:
        return ["## Evaluation", "Not evaluated.", ""]
    verdicts = [f"- **{one['suite']}**: {one['words']}" for one in card["verdict"]]
    lines = [_row("suite", "metric", "released", "trained on everything", "this model"), _row(*["---"] * 5)]
    for suite, metrics in card["metrics"].items():
        for name, models in metrics.items():
            cells = [written_value(models[model]) if model in models else "–" for model in MODELS if model != "safe"]
            lines.append(_row(suite, words(name), *cells))
    return ["## Evaluation", *verdicts, "", *lines, ""]


def _made(card: Card) -> list[str]:
    made = {name: version for name, version in card["versions"].items() if name != "commit"}
    return ["## Made with", ", ".join(f"{name} {version}" for name, version in made.items()), ""]


def _row(*cells: str) -> str:
    """A line of a table, in which a name of the data begins no cell and no markup of its own."""
    plain = (cell.translate({ord("<"): "&lt;", ord("|"): "/", ord("`"): "'", ord("\n"): " "}) for cell in cells)
    return f"| {' | '.join(plain)} |"
