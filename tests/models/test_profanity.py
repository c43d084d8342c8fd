import pickle
import shutil
import sys
from pathlib import Path

import profanity_check as real
import pytest
from forgetfilter.eval.scorers import find_scorer

from forgetfilter.errors import UserError
from forgetfilter.models.profanity import PACKAGE, SUMS, check_pickles, profanity


class Planted:
    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> object:
        return open, (str(self.file), "w")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which is not imported yet; its data's folder."""
    copy = shutil.copytree(Path(str(real.__file__)).parent, tmp_path / PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    check_pickles.cache_clear()
    return copy / "data"


def test_the_known_pickles_are_loaded(package: Path) -> None:
    # These are the installed ones: the sums are those of the pinned version.
    insult, greeting = profanity(["you stupid bastard", "have a lovely day"])
    assert insult > 0.9 > 0.1 > greeting
    assert str(package.parent) == str(Path(str(sys.modules[PACKAGE].__file__)).parent)


@pytest.mark.parametrize("name", SUMS)
def test_another_pickle_is_refused_and_not_run(package: Path, tmp_path: Path, name: str) -> None:
    # It is refused before anything is trained, and again where it would be used; its code never runs.
    (package / name).write_bytes(pickle.dumps(Planted(tmp_path / "it ran")))
    for use in (lambda: find_scorer("profanity-check"), lambda: profanity(["a"])):
        with pytest.raises(UserError, match=rf"{name} is not that of alt-profanity-check .* pip install"):
            use()
    assert not (tmp_path / "it ran").exists() and PACKAGE not in sys.modules
