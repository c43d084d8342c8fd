from pathlib import Path

from forgetfilter.filter.listing import rule_table, signal_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "signals.md"


def test_the_page_has_the_tables_of_the_files() -> None:
    # docs/signals.md has the tables that `python -m forgetfilter.filter.listing` prints; if this fails, put them in.
    page = PAGE.read_text(encoding="utf-8")
    assert signal_table() in page and rule_table() in page


def test_what_a_signal_needs_is_said_as_it_is_asked_for() -> None:
    # The table says whether a signal needs a switch, a name, or probes and clusters.
    table = signal_table()
    assert "| largest_token_rise | largest rise of a token's loss | nats | `score.tokens=true` |" in table
    assert "| `score.encoder=NAME` |" in table and "| probes, clusters |" in table
