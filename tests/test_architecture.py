import ast
import graphlib
import sys
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from forgetfilter.config.load import load_config

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("train", "filter", "eval")
FOLDERS = ("forgetfilter", *STAGES)
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(level, module) of each import statement, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            yield node.level, module
            yield from ((node.level, f"{module}.{alias.name}".strip(".")) for alias in node.names)


def names_stage(module: str) -> bool:
    parts = module.split(".")
    return parts[0] in STAGES or (parts[0] == "forgetfilter" and len(parts) > 1 and parts[1] in STAGES)


def leaves_its_stage(path: Path, level: int) -> bool:
    """Whether a relative import climbs above the stage's own folder."""
    return level > len(path.relative_to(ROOT).parts) - 1


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_import_rule(path: Path) -> None:
    # No statement names a stage: a stage reaches its own files by relative imports and others through files, and the
    # core reaches a stage by its name in a string. The core itself is imported absolutely.
    in_core = name(path).startswith("forgetfilter/")
    for level, module in imported(path):
        if level == 0:
            assert not names_stage(module), f"{name(path)} imports {module}"
        else:
            assert not in_core, f"{name(path)}: the core is imported absolutely"
            assert not leaves_its_stage(path, level), f"{name(path)} climbs out of its stage"


def test_the_rule_sees_what_it_forbids() -> None:
    # The checks above are not vacuous: each forbidden form is recognised.
    assert names_stage("forgetfilter.train") and names_stage("filter.rules") and not names_stage("forgetfilter.files")
    assert leaves_its_stage(ROOT / "train" / "stage.py", 2)
    assert not leaves_its_stage(ROOT / "filter" / "rules" / "phi.py", 2)
    assert len(SOURCES) > 40 and len(CONFIGS) >= 4


FLOORS = (  # the rooms of the core from below; rooms of one floor never import one another
    {"errors", "__init__"},
    {"files"},
    {"config"},
    {"process"},
    {"data", "storage"},
    {"models"},
    {"mix", "score", "report"},
    {"pipeline"},
    {"study", "api"},
    {"cli"},
    {"__main__"},
)


def room(module: str) -> str:
    """Of a module of the core: the name below forgetfilter."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def breaks_the_floors(importer: str, imported_room: str) -> bool:
    """Whether a room of the core imports one that does not lie below it."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    return importer != imported_room and floor[imported_room] >= floor[importer]


def rooms_imported(source: str) -> set[str]:
    """The rooms of the core that the import statements of a file name, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {room(alias.name) for alias in node.names if alias.name.startswith("forgetfilter.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "forgetfilter":
            names = {alias.name for alias in node.names}
            found |= names if names <= set().union(*FLOORS) else set()
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("forgetfilter."):
            found.add(room(str(node.module)))
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "forgetfilter").rglob("*.py")), ids=name)
def test_a_room_imports_from_below_only(path: Path) -> None:
    # No import goes upward, and none between rooms of one floor, so there is no circle among the rooms.
    own = path.relative_to(ROOT / "forgetfilter").parts[0].removesuffix(".py")
    wrong = [other for other in rooms_imported(path.read_text()) if breaks_the_floors(own, other)]
    assert not wrong, f"{name(path)} imports {wrong}"


LOADERS = ("load", "import_module")  # the functions that import what a string names


def dotted(path: Path) -> str:
    """The name by which a source file is imported; a package's own file has the package's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "forgetfilter" else ("forgetfilter", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def named_modules(module: str, is_package: bool, source: str, known: Collection[str]) -> Iterator[str]:
    """What the imports of a file name, wherever they stand: of functions and those for types alone too, and the
    strings by which the core reaches a stage."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            within = ".".join([*above, *filter(None, [node.module])])
            names = [f"{within}.{alias.name}" for alias in node.names]
            yield from (name if name in known else within for name in names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in LOADERS:
            yield from (str(one.value).partition(":")[0] for one in node.args if isinstance(one, ast.Constant))


def circle(sources: dict[str, tuple[bool, str]]) -> list[str]:
    """Modules of which each imports the next, and the last the first; empty where there are none. `sources`: of each
    module whether it is a package, and its text."""
    graph = {
        module: {other for other in named_modules(module, package, text, sources) if other in sources} - {module}
        for module, (package, text) in sources.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_modules_import_one_another_in_a_circle() -> None:
    # What two modules share lies below both. Two ways upward are no imports and are not counted: a stage starts its
    # own __main__ in new processes, which begin with nothing imported, and a registry reads the folder of its members,
    # to which anybody may add, so that it cannot know their names.
    assert not circle({dotted(path): (path.name == "__init__.py", path.read_text()) for path in SOURCES})


def test_circles_of_every_kind_are_seen() -> None:
    # Each way to import counts: in a function, for types alone, relatively, and by the loader's string.
    back = "from forgetfilter.a import f"
    for way in ("import forgetfilter.b", "def f():\n    from . import b", 'x = load("forgetfilter.b:STAGE", Stage)'):
        assert circle({"forgetfilter.a": (False, way), "forgetfilter.b": (False, back)})
    typed = "if TYPE_CHECKING:\n    from ..b import c"
    assert circle({"forgetfilter.a.d": (False, typed), "forgetfilter.b.c": (False, "import forgetfilter.a.d")})
    assert circle({"forgetfilter.a": (True, "from .b import c"), "forgetfilter.a.b": (False, "from . import c")})
    assert not circle({"forgetfilter.a": (True, "from .b import c"), "forgetfilter.a.b": (False, "import numpy")})


def too_long(source: str) -> list[str]:
    """Functions of more than 50 lines."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    return [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > 50]


def sees_a_run(source: str) -> list[str]:
    """Functions with a parameter, and fields of classes, whose type names Run."""
    given: list[tuple[str, ast.expr]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            given += [(node.name, one.annotation) for one in arguments if one.annotation]
        elif isinstance(node, ast.AnnAssign):
            given.append((ast.unparse(node.target), node.annotation))
    return [name for name, type_ in given if "Run" in {getattr(part, "id", "") for part in ast.walk(type_)}]


def test_files_and_functions_stay_small() -> None:
    # A file can be read in one sitting and a function on one screen; the schema is a list and may be longer.
    texts = {path: path.read_text() for path in SOURCES if name(path) != "forgetfilter/config/schema.py"}
    assert not [name(path) for path, text in texts.items() if text.count("\n") > 300]
    assert not [(name(path), found) for path, text in texts.items() if (found := too_long(text))]
    entries = {entry.name for entry in (ROOT / "forgetfilter").iterdir()}
    assert len(entries - {"__pycache__", "py.typed"}) <= 16  # py.typed is empty: it tells type checkers of the types


def test_the_run_stops_at_the_door() -> None:
    # Only a stage's own file sees the run, of which it makes a task of plain values; the bound may only fall.
    found = [(name(path), where) for path in SOURCES for where in sees_a_run(path.read_text())]
    doors = {"forgetfilter/pipeline.py", "forgetfilter/cli/stages.py"}
    assert not [one for one in found if one[0] not in doors and Path(one[0]).name != "stage.py"]
    assert len(found) <= 13, found


def test_the_bounds_see_what_they_forbid() -> None:
    # Each of these checks can fail.
    assert breaks_the_floors("report", "pipeline") and breaks_the_floors("mix", "score")
    assert not breaks_the_floors("models", "storage") and not breaks_the_floors("data", "data")
    assert rooms_imported("def f():\n    from forgetfilter.pipeline import x") == {"pipeline"}
    assert rooms_imported("from forgetfilter import pipeline") == {"pipeline"}
    assert too_long("def f():\n" + "    x\n" * 50) == ["f"] and not too_long("def f():\n" + "    x\n" * 49)
    assert sees_a_run("def f(a: int, b: 'int', *, run: list[Run]): ...") == ["f"]
    assert sees_a_run("class C:\n    door: Callable[[Run], int]") == ["door"] and not sees_a_run("def f(a: int): ...")


def all_tests(source: str) -> Iterator[ast.FunctionDef]:
    return (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def claim(function: ast.FunctionDef, lines: list[str]) -> str:
    """The docstring, or what the comment before the first statement says."""
    before = (line.strip() for line in lines[function.lineno : function.body[0].lineno - 1])
    return ast.get_docstring(function) or " ".join(line[1:].strip() for line in before if line.startswith("#"))


def states_no_claim(source: str) -> list[str]:
    """Test functions that do not begin with a sentence."""
    lines = source.splitlines()
    claims = {function.name: claim(function, lines) for function in all_tests(source)}
    wrong = [name for name, said in claims.items() if said[-1:] not in (".", ")") or len(said.split()) < 4]
    return wrong + [name for name, said in claims.items() if said.split(" ")[0] in ("And", "Or", "Which")]


def cannot_fail(source: str) -> list[str]:
    """Test functions that neither assert nor expect an error."""
    return [
        function.name
        for function in all_tests(source)
        if not any(
            isinstance(node, ast.Assert) or (isinstance(node, ast.Attribute) and node.attr == "raises")
            for node in ast.walk(function)
        )
    ]


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_every_test_states_its_claim_and_can_fail(path: Path) -> None:
    # A reader of a test knows what it shows before reading how, and a test that asserts nothing shows nothing.
    source = path.read_text(encoding="utf-8")
    assert not states_no_claim(source) and not cannot_fail(source)


def test_claims_are_looked_for_where_they_stand() -> None:
    # Each of these checks can fail.
    assert states_no_claim("def test_a():\n    assert 1\n") == ["test_a"] == cannot_fail("def test_a():\n    f()\n")
    assert states_no_claim("def test_a():\n    # and no more\n    assert 1\n") == ["test_a"]
    assert not states_no_claim("def test_a(\n    b,\n):\n    # This is so, and\n    # this too.\n    assert 1\n")
    assert not states_no_claim('def test_a():\n    """This is a claim."""\n') and len(TESTS) > 100


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_name_of_the_standard_library(path: Path) -> None:
    # A module with the name of one of the standard library would hide it wherever its folder is on the path.
    assert path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_remote_code_and_no_bare_except(path: Path) -> None:
    # A model's repository never runs code here, and no error is swallowed.
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{name(path)} line {node.lineno}: bare except"


def packages_on_disk() -> set[str]:
    folders = [path.parent.relative_to(ROOT) for path in SOURCES if path.name == "__init__.py"]
    dotted = {".".join(folder.parts) for folder in folders}
    return {package if package.startswith("forgetfilter") else f"forgetfilter.{package}" for package in dotted}


def test_every_package_is_in_pyproject() -> None:
    # Packages are listed by hand there, so a forgotten one would be missing only from the wheel.
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(settings["tool"]["setuptools"]["packages"])
    assert listed == packages_on_disk() | {"forgetfilter.configs", "forgetfilter.slurm"}  # which hold no code


def test_every_folder_with_code_is_a_package() -> None:
    # Without __init__.py a folder works from the checkout and is not packaged.
    assert {path.parent for path in SOURCES} == {path.parent for path in SOURCES if path.name == "__init__.py"}


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_every_config_loads(path: Path) -> None:
    # Every config that ships passes every check that a user's file must pass, and its run is named like the file.
    assert load_config(path).name.endswith(path.stem)


def opening(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8").splitlines()[:6])


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_every_config_opens_with_its_purpose_and_command(path: Path) -> None:
    # The first lines of a config tell a reader what it is for and how to run it.
    assert opening(path).startswith("# What for: ")
    command = next(line for line in opening(path).splitlines() if line.startswith("# Command: "))
    verb = "eval" if load_config(path).only_evaluates else "run"
    assert f"forgetfilter {verb} {name(path)}" in command
