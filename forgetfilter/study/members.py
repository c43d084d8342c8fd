"""The members of a study, which runs one pipeline many times. Each is an ordinary run folder."""

import csv
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
from rich.table import Table
from rich.text import Text

from forgetfilter import pipeline
from forgetfilter.config.schema import Config
from forgetfilter.errors import Stopped, UserError
from forgetfilter.files import write_text
from forgetfilter.models.settings import ModelSettings
from forgetfilter.process import interrupts
from forgetfilter.process.progress import console
from forgetfilter.storage.results import read_decisions
from forgetfilter.storage.run_folder import Run, folder_of
from forgetfilter.storage.run_lock import held
from forgetfilter.storage.run_paths import RunPaths
from forgetfilter.storage.stage import Stage
from forgetfilter.study import shared

DONE, PENDING, OTHER = "done", "pending", "made with other settings"
OUTCOME = "outcome"  # the folder of the model from which the next round starts


@dataclass(frozen=True, kw_only=True)
class Member:
    """One run of a study. `number` is its place among the members, which is also its index in a job array."""

    number: int
    config: Config
    """The config of its run."""
    stages: tuple[Stage, ...] = pipeline.STAGES
    """The stages of the pipeline that it does."""
    drops: Callable[[pl.DataFrame, int], pl.Series] | None = None
    """Takes the place of the filter's rule: see Defence.drops."""
    check: Callable[[RunPaths], None] | None = None
    """Checks its data before anything is trained; UserError where the member cannot work with them."""
    start: tuple["Member", str] | None = None
    """The member, and which of its models, from which this one starts: `model.name` is the OUTCOME of that member."""

    @property
    def folder(self) -> Path:
        return folder_of(self.config)

    def status(self) -> str:
        """`done`, `pending`, how far it came (such as `failed at score`), or that it was made with other settings."""
        if not (self.folder / "config.yaml").exists() or not (self.folder / "state.json").exists():
            return PENDING
        run = Run.open(self.folder)
        if run.changed_settings(self.config):
            return OTHER
        state = run.state()
        for stage in self.stages:
            if stage.wanted(run.config) and (status := state.get(stage.name, {}).get("status", PENDING)) != DONE:
                return f"{status} at {stage.name}"
        return DONE

    def prepare(self, peers: Sequence["Member"] = (), resume: bool = False) -> Run:
        """Makes its run folder and its data and refuses what cannot work, before anything is trained."""
        with held(self.folder):
            return self._prepare(peers, resume)

    def _prepare(self, peers: Sequence["Member"], resume: bool) -> Run:
        run = Run.create(self.config, resume)
        pipeline.preflight(run.config)
        self._do(self.stages[0], peers)
        if self.check:
            self.check(RunPaths(run.folder))
        return run

    def work(self, peers: Sequence["Member"] = (), resume: bool = False, prepared: bool = False) -> None:
        """Does the stages that are not done yet, or takes them over from a peer."""
        if self.start:
            self.start[0]._write_outcome(self.start[1])
        with held(self.folder):
            run = Run.create(self.config, resume) if prepared else self._prepare(peers, resume)
            for stage in (one for one in self.stages if one.wanted(run.config)):
                self._do(stage, peers)

    def _do(self, stage: Stage, peers: Sequence["Member"]) -> None:
        self._take_over(stage, [peer.folder for peer in peers if peer.number != self.number])
        if stage.name == "filter" and self.drops:
            self._review(stage, self.drops)
        pipeline.run_stage(Run(self.folder, self.config), stage)

    def _write_outcome(self, name: str) -> None:
        """Writes one of its models to a folder from which another member can start."""
        from forgetfilter.models.merged import write_merged

        if (status := self.status()) != DONE:
            raise UserError(f"{self.config.name} is {status}: the next round begins at its model, so it comes first")
        write_merged(ModelSettings.of(self.config), RunPaths(self.folder).model(name), self.folder / OUTCOME)

    def _take_over(self, stage: Stage, peers: Sequence[Path]) -> None:
        """Takes over the stage if a peer has done it with the same inputs and this member has not."""
        run = Run(self.folder, self.config)
        task = stage.task(run)
        input_hash, foreign = task.input_hash(), task.foreign()
        if run.is_done(stage.name, input_hash, foreign):
            return
        if found := shared.find(stage, input_hash, foreign, peers):
            peer, entry = found
            shared.link(peer / stage.folder, run.folder / stage.folder, run.folder / shared.SCRATCH)
            pipeline.note_sums(run.folder, stage)
            run.take_over(stage.name, entry | {"shared_with": peer.name})
            console.print(f"{stage.name}: taken over from {peer.name}")

    def _review(self, stage: Stage, drops: Callable[[pl.DataFrame, int], pl.Series]) -> None:
        """Writes a review.csv that overrules the rule's decision with what `drops` makes of it."""
        run, file = Run(self.folder, self.config), self.folder / "review.csv"
        if file.exists() and run.is_done(stage.name, stage.task(run).input_hash()):
            return
        file.unlink(missing_ok=True)  # it may have been made from other scores
        pipeline.run_stage(run, stage)
        decisions = read_decisions(run.folder)
        dropped = drops(decisions, run.config.seed)
        out = StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("keep", "id"))
        writer.writerows(zip(("no" if drop else "yes" for drop in dropped), decisions["id"]))
        write_text(file, out.getvalue())


def member_of(study: Sequence[Member], number: int) -> Member:
    """The member with that number; UserError with the known numbers where there is none."""
    if not 0 <= number < len(study):
        raise UserError(f"--member {number} is not there: the study has members 0 to {len(study) - 1}")
    return study[number]


def check_gathered(study: Sequence[Member], gathered: Path) -> None:
    """UserError where results would be gathered into a file that is there already, and a member was made with other
    settings than these: what the file says of it would be lost."""
    if not gathered.exists() or not (other := next((one for one in study if one.status() == OTHER), None)):
        return
    changes = Run.open(other.folder).changed_settings(other.config)
    raise UserError(
        f"{gathered.parent} stays as it is, for {other.config.name} was {OTHER} ({'; '.join(changes)}): "
        "give those that it was made with, or name=NEW for a new study, or --resume to redo what changed"
    )


def run_pending(study: Sequence[Member], resume: bool = False) -> None:
    """Runs every member that is not done, one after the other. A failure is printed and does not stop the others.

    All members are prepared before the first training, so that mistakes are known early.
    """
    pending = [member for member in study if member.status() != DONE]
    ready = [member for member in pending if member.start or _tried(member, member.prepare, study, resume)]
    for member in ready:
        console.rule(member.config.name)
        _tried(member, partial(member.work, prepared=member.start is None), study, resume)
        interrupts.stop_if_requested("between two members: the study")


def _tried(member: Member, work: Callable[..., object], study: Sequence[Member], resume: bool) -> bool:
    """Whether the work succeeded. If it did not, the reason is printed."""
    try:
        work(study, resume)
    except Stopped:
        raise
    except UserError as error:
        print(f"forgetfilter: {member.config.name}: {error}", file=sys.stderr)
        return False
    except Exception:  # a bug or a full GPU; the other members still run
        traceback.print_exc()
        return False
    return True


def study_folder(config: Config, kind: str) -> Path:
    """Where the gathered results of a study lie; `kind` is scale or compare."""
    return Path(config.output).expanduser() / f"{config.name}-{kind}"


def progress_of(config: Config, status: Mapping[str, str]) -> dict[str, Any]:
    """How far a study is, for its JSON, by the status of each of its runs."""
    missing = [{"run": run, "status": said} for run, said in status.items() if said != DONE]
    return {"name": config.name, "members": len(status), "done": len(status) - len(missing), "missing": missing}


def status_table(study: Sequence[Member], title: str) -> Table:
    """A table that shows how far each member is."""
    table = Table("member", "run", "status", title=Text(title), title_justify="left")
    for one in study:
        table.add_row(str(one.number), Text(one.config.name), one.status())
    return table
