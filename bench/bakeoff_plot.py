"""docs/bakeoff.svg and bakeoff_large.svg from bench/results/bakeoff.json: each signal's AUROC on each kind of data.

    python bench/bakeoff_plot.py

Each dot is a cell with an unsafe share of 0.3 and the whole safe set, one for each seed; the second plot has the cells
at the paper's size. A filled dot is the AUROC against safe rows of the same kind, a hollow dot that against task rows.
The signals are sorted, best first, by the mean over the kinds of the worse of the two.
"""

from pathlib import Path
from statistics import mean
from typing import Any

from bakeoff import GRID, KINDS, Cell, results

DOCS = Path(__file__).parents[1] / "docs"
PLOTS = {  # of the cells of a variant
    "": ("bakeoff.svg", "a third of the paper's rows"),
    "large": ("bakeoff_large.svg", "the paper's size"),
}
LEFT, WIDTH, GAP, ROW, TOP = 190, 240, 24, 18, 64
SIDES = {"auroc_vs_safe": "#0072B2", "auroc_vs_task": "#D55E00"}  # Okabe and Ito's blue and vermilion
CONTROLS = ("oracle", "pooled_chance")


def main() -> None:
    cells = results()["cells"]
    for variant, (file, size) in PLOTS.items():
        chosen = [cell for cell in GRID if cell.share == 0.3 and cell.variant == variant and cell.name in cells]
        rows = {cell: {row["signal"]: row for row in cells[cell.name]["signals"]} for cell in chosen}
        names = [name for name in rows[chosen[0]] if name not in CONTROLS and all(name in row for row in rows.values())]
        names.sort(key=lambda name: -worst(rows, name))
        (DOCS / file).write_text(drawn(rows, names, size))
        print(f"\n{file}\n" + "\n".join(f"{name:24} {worst(rows, name):.3f}" for name in names))


def worst(rows: dict[Cell, dict[str, Any]], name: str) -> float:
    """The mean over kinds of the mean over seeds of the lower of the two AUROCs."""
    lower = {
        kind: [min(r[name][side] for side in SIDES) for cell, r in rows.items() if cell.kind == kind] for kind in KINDS
    }
    return mean(mean(values) for values in lower.values() if values)


def drawn(rows: dict[Cell, dict[str, Any]], names: list[str], size: str) -> str:
    """The SVG."""
    height = TOP + ROW * len(names) + 34
    width = LEFT + len(KINDS) * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="8" y="20" font-size="14">AUROC, unsafe share 0.3, {size}</text>',
        f'<circle cx="{LEFT + 250}" cy="16" r="4" fill="{SIDES["auroc_vs_safe"]}"/>',
        f'<text x="{LEFT + 260}" y="20">against safe rows of the same kind</text>',
        f'<circle cx="{LEFT + 470}" cy="16" r="4" fill="white" stroke="{SIDES["auroc_vs_task"]}" stroke-width="1.6"/>',
        f'<text x="{LEFT + 480}" y="20">against task rows</text>',
    ]
    for number, name in enumerate(names):
        y = TOP + ROW * number + ROW // 2
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{name}</text>')
    for column, kind in enumerate(KINDS):
        left = LEFT + column * (WIDTH + GAP)
        parts += axis(left, kind, height)
        for cell, by_name in rows.items():
            if cell.kind == kind:
                parts += [dot(left, n, by_name[name][side], side) for n, name in enumerate(names) for side in SIDES]
    return "\n".join([*parts, "</svg>\n"])


def axis(left: int, kind: str, height: int) -> list[str]:
    ticks = [
        f'<line x1="{left + x * WIDTH:.0f}" x2="{left + x * WIDTH:.0f}" y1="{TOP}" y2="{height - 30}" '
        f'stroke="{"#8A8F98" if x == 0.5 else "#E4E7EB"}"/>'
        f'<text x="{left + x * WIDTH:.0f}" y="{height - 14}" text-anchor="middle" fill="#5B6470">{x:g}</text>'
        for x in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return [f'<text x="{left + WIDTH / 2}" y="{TOP - 12}" text-anchor="middle" font-size="13">{kind}</text>', *ticks]


def dot(left: int, number: int, value: float, side: str) -> str:
    fill = SIDES[side] if side == "auroc_vs_safe" else "white"
    x, y = left + value * WIDTH, TOP + ROW * number + ROW // 2
    return f'<circle cx="{x:.1f}" cy="{y}" r="3.6" fill="{fill}" stroke="{SIDES[side]}" stroke-width="1.6"/>'


if __name__ == "__main__":
    main()
