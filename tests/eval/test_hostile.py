"""Whatever a name or a text holds, no table, terminal, message or report breaks: properties over hostile texts."""

import html.parser
import io
import re

import pytest
from forgetfilter.eval.tables import latex, markdown, metrics_sheet, terminal
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from forgetfilter.errors import UserError
from forgetfilter.process.exit_codes import exit_code_of
from forgetfilter.process.progress import PlainConsole
from forgetfilter.report.layout import environment, script_json

PIECES = (
    *("\x00", "\x07", "\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\r", "\n", "\t", "\u2028", "\x0b"),
    *("\u202e", "\u2066", "\ud800", "\udc80", "\u200b", "中", "🙂", "שלום", "e\u0301"),
    *(
        "|",
        "\\|",
        "\\",
        "`",
        "*",
        "_",
        "[b]",
        "[/b]",
        "[/]",
        "$",
        "$$",
        "%",
        "#",
        "&",
        "~",
        "^",
        "{",
        "}",
        "\\\\",
        "\\end{table}",
    ),
    *("<", ">", "<b>", "</td>", "</script>", "<!--", "-->", "&lt;", '"', "'", "{{ 7*7 }}", "{% x %}", ":smile:"),
)
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)
ENTRY = {"value": 0.25, "low": 0.125, "high": 0.5, "n": 8, "missing": 1}


def sheet(name):
    return metrics_sheet(name, {(name, name): {name: ENTRY}, ("bias", "base"): {"s_amb": ENTRY}})


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_markdown_keeps_its_rows_and_cells(name):
    # There are as many lines as with a harmless name and 8 bars in each row that are not text; every character is
    # printable and no tag begins.
    made, tame = markdown(sheet(name)), markdown(sheet("tame"))
    lines = made.split("\n")
    assert len(made.splitlines()) == len(tame.splitlines()) and made.encode()
    assert all(c.isprintable() for line in lines for c in line) and "<" not in made
    bars = [len(re.sub(r"\\.", "", line).split("|")) - 1 for line in lines if line.startswith("|")]
    assert set(bars) == {8}


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_latex_keeps_its_rows_cells_and_commands(name):
    # In each line the commands are those of a harmless name and of single characters, the braces balance, and there are
    # 6 cells.
    lines, tame = latex(sheet(name)).splitlines(), latex(sheet("tame")).splitlines()
    assert len(lines) == len(tame)
    for line, expected in zip(lines[1:], tame[1:]):
        bare = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]", "", line)
        assert re.findall(r"\\[a-zA-Z]+|\\\\", bare) == re.findall(r"\\[a-zA-Z]+|\\\\", expected)
        assert bare.count("{") == bare.count("}") and bare.count("&") == expected.count("&")
        assert all(0x20 <= ord(c) < 0x7F or 0xA0 <= ord(c) < 0x100 for c in line) and not set("%$#~^") & set(bare)


@settings(max_examples=150, deadline=None)
@given(HOSTILE, st.sampled_from([40, 80, 400]))
def test_a_terminal_is_not_steered(name, width):
    # In tables and messages no escape, bell or direction character is printed, brackets are no markup, and nothing
    # raises.
    shown = io.StringIO()
    Console(file=shown, width=width, force_terminal=True, color_system=None).print(terminal(sheet(name)))
    PlainConsole(file=shown, width=width, force_terminal=True, markup=False, emoji=False, color_system=None).print(
        f"bias: 3 rows left out ({name}: not exactly one answer)"
    )
    assert all(c.isprintable() for line in shown.getvalue().split("\n") for c in line)
    assert shown.getvalue().encode()


@settings(max_examples=100, deadline=None)
@given(HOSTILE)
def test_an_error_is_one_printable_line(name):
    # This holds for a hostile field name or category in a row, for example.
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", said)
        assert exit_code_of(lambda: (_ for _ in ()).throw(UserError(f"a.jsonl row 1: fields found: {name}"))) == 2
    (line,) = said.getvalue().splitlines()
    assert line.isprintable() and line.startswith("forgetfilter: a.jsonl row 1")


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text += data


@settings(max_examples=200, deadline=None)
@given(HOSTILE)
def test_a_page_holds_no_element_of_the_data(name):
    # In a text, an attribute and a script of the report's own environment, the tags are those of the template.
    template = environment().from_string(
        "<p title='{{ x|label }}'>{{ x|words }}</p><pre>{{ x|json }}</pre><script>{{ s|safe }}</script><i></i>"
    )
    page = Tags()
    page.feed(template.render(x=name, s=script_json({name: [name]})))
    page.close()
    assert page.seen == [("p", ("title",)), ("pre", ()), ("script", ()), ("i", ())]
    assert not set(page.text) & set("\x00\x07\x1b\u202e\u2066\x9b")
