"""Takes families of models through every stage of the pipeline, on tiny random models.

    python bench/families.py [--families "Gemma 2" ...] [--methods full lora qlora]

The result is bench/results/families.json, and docs/families.md as a table. A cell is `ok`, or the first check that
failed with its reason. The families are the lines of bench/family_models.py; all numbers are in float32.
"""

import argparse
import json
import tempfile
from datetime import date
from pathlib import Path

from family_checks import check_run
from family_models import FAMILIES, Family
from family_run import finished

from forgetfilter.errors import UserError
from forgetfilter.storage.run_folder import versions

METHODS = ("full", "lora", "qlora")
ROOT = Path(__file__).parent.parent
Cells = dict[str, dict[str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    for name in options.families:
        for method in options.methods:
            cell = try_family(FAMILIES[name], method)
            print(f"{name}, {method}: {cell}", flush=True)
            write({name: {method: cell}})


def try_family(family: Family, method: str) -> str:
    """`ok`, or the check that failed first with its reason."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            check_run(family, method, finished(family, method, Path(folder)))
        except Exception as error:  # of whatever stage or check: the cell says it, and the others are tried
            kind = "" if isinstance(error, UserError | AssertionError) else f"{type(error).__name__}: "
            return kind + " ".join(str(error).replace(folder, "FOLDER").split())
    return "ok" if family.packing else "ok, without packing"


def write(found: Cells) -> None:
    """The families' cells, with those that were tried before by the same versions."""
    path = ROOT / "bench" / "results" / "families.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    if {**earlier.get("versions", {}), "commit": None} == {**versions(), "commit": None}:
        before: Cells = earlier["families"]
        found = {name: before.get(name, {}) | found.get(name, {}) for name in {**before, **found}}
    found = {name: found[name] for name in FAMILIES if name in found}
    path.write_text(json.dumps({"versions": versions(), "families": found}, indent=1) + "\n")
    (ROOT / "docs" / "families.md").write_text(table(found))


def table(found: Cells) -> str:
    """The page; what was not tried by these versions says so."""
    cells = {
        name: [found.get(name, {}).get(method, "not tried yet").replace("|", "\\|") for method in METHODS]
        for name in FAMILIES
    }
    head = ["| family | full | LoRA | QLoRA |", "| --- | --- | --- | --- |"]
    lines = "\n".join([*head, *(f"| {name} | {' | '.join(row)} |" for name, row in cells.items())])
    made_with = {key: versions()[key] for key in ("torch", "transformers", "peft")}
    return PAGE.format(table=lines, day=date.today().isoformat(), **made_with)


PAGE = """# Families of models

For each family, a tiny random model with a tokenizer of its kind goes through the whole pipeline in float32 on the CPU:
mix, train noisy and safe, score, filter, refit, eval and report. `python bench/families.py` makes this page; a new
family is one line in bench/family_models.py.

`ok` means that what the run wrote agrees with what transformers and peft alone make of the saved files:

- An example's tokens are those of the whole text, with BOS once where the tokenizer puts it, and the template's end of
  turn (or EOS) last. Generation starts from the tokens that training has before an answer.
- The first losses that training logs for packed examples are those of M0 on each example alone. The scores before and
  after are the losses of the saved M1 and M2, and the likelihoods of answers that share a prompt are those of each
  answer alone. All agree to one part in 10,000.
- Packed and padded examples have the losses that they have alone, on the trained weights too, and no token's loss
  depends on later tokens. Where packing cannot be exact it is refused, and the family runs with `data.packing=false`.
- transformers' own `generate()` writes what the evaluation wrote. After full finetuning it needs only the saved folder
  for this, and the answers end by themselves. (For QLoRA the comparison is made without bitsandbytes' packing of 4-bit
  weights for inference on the CPU, which rounds and which the pipeline turns off.)

This page was made on {day} with torch {torch}, transformers {transformers}, peft {peft}. Four of its cells are tried
again by `make test` (tests/test_families.py).

{table}
"""


if __name__ == "__main__":
    main()
