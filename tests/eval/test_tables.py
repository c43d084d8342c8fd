import io

import pytest
from forgetfilter.eval.tables import Sheet, latex, markdown, metrics_sheet, terminal, write
from rich.console import Console

# escape sequences, a direction override, a lone surrogate, line ends, markup of every kind
NASTY = 'a|b \x1b[31mred\x1b[0m \u202etxt \udc80 [bold]x[/bold] <b> & $5 50% #1 x_y {z} ~ ^ \\n"q" `c` *i*\r\nend 中'
ENTRY = {"value": 0.25, "low": 0.125, "high": 0.5, "n": 8, "missing": 1}
NOTHING = {"value": None, "low": None, "high": None, "n": 0, "missing": 9}


@pytest.fixture
def nasty():
    return metrics_sheet(NASTY, {("toxicity", NASTY): {NASTY: ENTRY}, ("bias", "base"): {"s_amb": NOTHING}})


def test_a_line_a_metric_with_everything_it_needs(nasty):
    # No mean stands alone: a row has value, interval, n and missing, with dashes where nothing was scored.
    assert nasty.rows[0][3:] == ("0.250", "0.125 to 0.500", "8", "1")
    assert nasty.rows[1][3:] == ("-", "-", "0", "9")


def test_latex_escapes_every_special_character():
    # It escapes LaTeX's ten characters and what T1 fonts change, and leaves no character that an engine might not know.
    row = latex(Sheet("t", ("a",), [(r"\ & % $ # _ { } ~ ^ < > 中",)], 1)).splitlines()[8]
    assert row == (
        r"\textbackslash{} \& \% \$ \# \_ \{ \} \textasciitilde{} \textasciicircum{} "
        r"\textless{} \textgreater{} ? \\"
    )


def test_nothing_breaks_a_table(nasty, tmp_path):
    # A hostile name gives the same number of lines and cells as a harmless one, no control character, and text that
    # UTF-8 can hold.
    tame = metrics_sheet("t", {("toxicity", "m"): {"n": ENTRY}, ("bias", "base"): {"s_amb": NOTHING}})
    write(nasty, tmp_path, "nasty")
    for made in (markdown, latex):
        lines = made(nasty).splitlines()
        assert len(lines) == len(made(tame).splitlines())
        assert all(character.isprintable() for line in lines for character in line)
    cells = [line.replace("\\|", "").count("|") for line in markdown(nasty).splitlines() if line.startswith("|")]
    assert set(cells) == {8}
    assert "<b>" not in markdown(nasty)
    body = latex(nasty).splitlines()[8]
    assert body.replace("\\&", "").count("&") == 6 and body.isascii()


def test_the_terminal_shows_names_as_they_are(nasty):
    # No escape sequence reaches the terminal, and rich's markup stays text.
    shown = io.StringIO()
    Console(file=shown, width=400, force_terminal=True, color_system=None).print(terminal(nasty))
    assert "[bold]" in shown.getvalue() and "\u202e" not in shown.getvalue() and "\x1b[31m" not in shown.getvalue()
