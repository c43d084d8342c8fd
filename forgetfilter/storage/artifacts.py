"""A run's files as artifacts of the tracking, which shows what was made of what."""

from pathlib import Path

from forgetfilter.process.tracked_run import Artifact
from forgetfilter.storage.run_paths import RunPaths


def data(paths: RunPaths, name: str) -> Artifact:
    """The set that the training `name` (noisy, safe, control, refit) learns."""
    if name == "refit":
        return decision(paths)
    sets = {"noisy": paths.noisy_data, "safe": paths.safe_data, "control": paths.control_data}
    return _artifact(paths, f"{name}-data", "dataset", sets[name])


def decision(paths: RunPaths) -> Artifact:
    """The kept and the dropped rows."""
    folder = paths.folder / "filter"
    return _artifact(paths, "kept-data", "dataset", paths.kept_data, folder / "dropped.jsonl", folder / "summary.json")


def model(paths: RunPaths, name: str) -> Artifact:
    """The adapter or model that the training `name` made."""
    folder = paths.model(name)
    files = [*folder.glob("*.safetensors"), *folder.glob("*config.json")]
    return _artifact(paths, f"{name}-model", "model", *files)


def signals(paths: RunPaths) -> Artifact:
    """The scorings, each by its manifest."""
    return _artifact(paths, "signals", "signals", *paths.signals("").rglob("manifest.json"))


def evaluation(paths: RunPaths) -> Artifact:
    """The metrics of every model and suite; no answers."""
    folder = paths.folder / "eval"
    return _artifact(paths, "evaluation", "evaluation", *folder.glob("*/*/metrics.json"), folder / "metrics.md")


def report(paths: RunPaths) -> Artifact:
    return _artifact(paths, "report", "report", paths.folder / "report.html", paths.folder / "card.json")


def _artifact(paths: RunPaths, name: str, kind: str, *files: Path) -> Artifact:
    there = sorted(file for file in files if file.is_file())
    return Artifact(name, kind, {str(file.relative_to(paths.folder)): file for file in there})
