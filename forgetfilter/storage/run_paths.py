"""Where the files of a run lie below its folder, and how far its stages are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forgetfilter.errors import UserError
from forgetfilter.storage.results import read_state


@dataclass(frozen=True, eq=False)
class RunPaths:
    """The paths of a run folder, and the record of its stages."""

    folder: Path

    @property
    def noisy_data(self) -> Path:
        return self.folder / "data" / "noisy.jsonl"

    @property
    def originals(self) -> Path:
        """Where the noisy rows are in their original shape; see forgetfilter/data/original_rows.py."""
        return self.folder / "data" / "originals"

    @property
    def safe_data(self) -> Path:
        return self.folder / "data" / "safe.jsonl"

    @property
    def probes(self) -> Path:
        """The probes among the noisy data; the file is missing where there are none."""
        return self.folder / "data" / "probes.jsonl"

    @property
    def control_data(self) -> Path:
        """The control set; the file is missing where there is none."""
        return self.folder / "data" / "control.jsonl"

    @property
    def unread(self) -> Path:
        """The column `id`: noisy rows whose answers go on behind the cut of the scoring. Missing without any."""
        return self.signals("unread.parquet")

    @property
    def kept_data(self) -> Path:
        return self.folder / "filter" / "kept.jsonl"

    @property
    def refit_data(self) -> Path:
        """The rows that the refit learns; its stage writes them (train/refit_rows.py)."""
        return self.model("refit") / "data.jsonl"

    @property
    def refit_counts(self) -> Path:
        """How many of these rows come from where; runs older than 2026-11-28 lack the file."""
        return self.model("refit") / "data.json"

    def eval_prompts(self, suite: str) -> Path:
        """Held-out prompts of a suite, written by the mix stage."""
        return self.folder / "data" / "eval" / f"{suite}.jsonl"

    @property
    def batch_tokens(self) -> Path:
        """What data.batch_tokens=auto stands for in this run, where a GPU's memory was measured."""
        return self.folder / "batch_tokens.json"

    def model(self, name: str) -> Path:
        """The model or adapter that a training stage (noisy, safe, control, refit) made."""
        return self.folder / "train" / name

    def signals(self, state: str) -> Path:
        """The shards of a scoring: `before` (M1), `after` (M2), or another one of the score stage."""
        return self.folder / "signals" / state

    def state(self) -> dict[str, Any]:
        return read_state(self.folder)

    def require(self, *stages: str) -> None:
        """Raises UserError where an earlier stage has not been done."""
        state = self.state()
        for name in stages:
            if state.get(name, {}).get("status") != "done":
                command = name.replace("train-", "train ")
                raise UserError(
                    f"{self.folder}: stage {name} is not done; run forgetfilter {command} first, or run for all"
                )
