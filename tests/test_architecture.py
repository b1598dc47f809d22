"""The rooms of the package: who may import whom, and what stays in utils/lightning_compat.py."""

import ast
import importlib
import inspect
import pkgutil
import re
import statistics
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from helpers import REPOSITORY, run

import lit_vision

PACKAGE = REPOSITORY / "lit_vision"
MODULES = sorted(PACKAGE.rglob("*.py"))
COMPAT = "utils/lightning_compat.py"  # the one module that uses private members of other libraries
LIBRARIES = {"jsonargparse", "lightning", "torch", "torchvision"}

TOP = {"__init__.py", "__main__.py", "cli.py", "errors.py", "metrics.py", "py.typed", "runs.py"}
ROOMS = {
    "callbacks",
    "commands",
    "configs",
    "data",
    "insight",
    "models",
    "optim",
    "parsing",
    "plots",
    "trainer",
    "utils",
}

NAMEDTUPLE = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}  # public, in spite of their names
MACHINERY = {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}  # of ABC and typing, in the namespaces of classes

OWN_PRIVATE = {
    "metrics.py: wrong._select": "of another Predictions, inside the class",
    "utils/ending.py: os._exit": "public, in spite of its name",
}
"""Private members that are used from outside all the same: "module: expression" > why."""

DEFAULTS: dict[str, str] = {}
"""hasattr, and getattr with a default: "module: expression" > why it cannot be isinstance."""


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


# The scanners take the text of a module and give what they find in it


def private_imports(source: str) -> list[str]:
    """Underscore modules, and underscore names of modules, that are imported: ours as well as other libraries'."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [name for name in names if any(map(is_private, name.split(".")))]
    return found


def private_attributes(source: str) -> list[str]:
    """Underscore members of anything but self, cls and super(), by a dot or by a string."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in NAMEDTUPLE:
            if not is_own(node.value):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("attr"):
            names = [word.value for word in node.args[1:2] if isinstance(word, ast.Constant)]
            found += [ast.unparse(node) for name in names if isinstance(name, str) and is_private(name)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            module = re.fullmatch(r"(\w+)(\.\w+)*\._[a-z]\w*(\.\w+)*", node.value)  # such as "torch._dynamo"
            found += [ast.unparse(node)] if module and module[1] in LIBRARIES else []
    return found


def is_own(value: ast.expr) -> bool:
    """True for self, cls and super(), whose private members `shared_private_names` looks at."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def attribute_guesses(source: str) -> list[str]:
    """Calls of hasattr, and of getattr with a default."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) + len(node.keywords) > 2))
    ]


def own_private_names(source: str) -> set[str]:
    """Underscore names that a module's text uses on self, cls or super(), or defines in a class."""
    tree = ast.parse(source)
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_own(node.value)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found |= {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            targets = [target for part in node.body if isinstance(part, ast.Assign) for target in part.targets]
            targets += [part.target for part in node.body if isinstance(part, ast.AnnAssign)]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found if is_private(name)}


def source_names(kind: type) -> set[str]:
    return own_private_names(textwrap.dedent(inspect.getsource(kind)))


def shared_private_names(kind: type, package: str = "lit_vision") -> set[str]:
    """Underscore names that a class of ours has in common with its bases outside the package.

    Either overrides a private method, or reads or writes a private attribute of the base.
    """
    used = source_names(kind) | {name for name in vars(kind) if is_private(name)}
    theirs: set[str] = set()
    for base in kind.__mro__[1:]:
        if base.__module__.split(".")[0] not in (package, "builtins"):
            theirs |= source_names(base) | {name for name in vars(base) if is_private(name)}
    return (used & theirs) - MACHINERY


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def classes_of(package: ModuleType) -> list[type]:
    return [
        kind
        for module in modules_of(package)
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__ == module.__name__
    ]


def lint_imports(folder: Path) -> str:
    """What import-linter says of the package in a folder; empty if its imports run down the ladder."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    result = run(["env", f"--chdir={folder}", sys.executable, "-c", code], PYTHONPATH=str(folder))
    return result.out + result.err if result.code else ""


# The package


def test_imports_run_down_the_ladder():
    assert lint_imports(REPOSITORY) == ""


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) != COMPAT], ids=name_of)
def test_private_members_of_other_libraries_are_used_in_one_module_alone(path):
    source = path.read_text()
    assert private_imports(source) == []
    assert [use for use in private_attributes(source) if f"{name_of(path)}: {use}" not in OWN_PRIVATE] == []


@pytest.mark.slow
def test_no_class_overrides_or_uses_a_private_member_of_its_foreign_bases():
    compat = importlib.import_module(f"lit_vision.{COMPAT[:-3].replace('/', '.')}")
    shared = {kind: shared_private_names(kind) for kind in classes_of(lit_vision) if kind.__module__ != compat.__name__}
    assert {kind.__qualname__: names for kind, names in shared.items() if names} == {}
    assert len(shared) > 40


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) != COMPAT], ids=name_of)
def test_types_are_asked_for_with_isinstance(path):
    guesses = attribute_guesses(path.read_text())
    assert [guess for guess in guesses if f"{name_of(path)}: {guess}" not in DEFAULTS] == []


def test_exceptions_to_the_rules_are_still_needed():
    uses = {f"{name_of(path)}: {use}" for path in MODULES for use in private_attributes(path.read_text())}
    guesses = {f"{name_of(path)}: {use}" for path in MODULES for use in attribute_guesses(path.read_text())}
    assert OWN_PRIVATE.keys() <= uses
    assert DEFAULTS.keys() <= guesses


def test_modules_are_short():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 250} == {}
    assert statistics.median(lengths.values()) < 100


def test_only_rooms_and_doors_stand_at_the_top():
    found = {path for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert {path.name for path in found if path.is_file()} == TOP
    assert {path.name for path in found if path.is_dir()} == ROOMS


def mirrored(test: Path, tests: Path, package: Path) -> bool:
    """True if tests/unit/ROOM/test_NAME.py, or test_NAME_ASPECT.py, has a module ROOM/NAME.py."""
    room, words = package / test.parent.relative_to(tests), test.stem.removeprefix("test_").split("_")
    return any((room / f"{'_'.join(words[:end])}.py").is_file() for end in range(1, len(words) + 1))


def test_unit_tests_mirror_the_package():
    tests = REPOSITORY / "tests" / "unit"
    whole_rooms = {"callbacks/test_foreign.py", "callbacks/test_imports.py", "test_properties.py"}
    found = sorted(tests.rglob("test_*.py"))
    lone = {path.relative_to(tests).as_posix() for path in found if not mirrored(path, tests, PACKAGE)}
    assert lone == whole_rooms
    assert len(found) > 20


# What the scanners must find


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch._dynamo", ["torch._dynamo"]),
        ("from lightning.pytorch.loops import _FitLoop", ["lightning.pytorch.loops._FitLoop"]),
        ("from jsonargparse._core import ArgumentParser", ["jsonargparse._core.ArgumentParser"]),
        (
            "def f():\n    from torchvision._internally_replaced_utils import x",
            ["torchvision._internally_replaced_utils.x"],
        ),
        ("from __future__ import annotations\nimport torch\nfrom torch import nn", []),
    ],
)
def test_a_private_import_is_found(source, expected):
    assert private_imports(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("torch.cpu._is_avx512_bf16_supported()", ["torch.cpu._is_avx512_bf16_supported"]),
        ("trainer.fit_loop._iteration_based_training = f", ["trainer.fit_loop._iteration_based_training"]),
        ("self.parser._actions", ["self.parser._actions"]),
        ("[action for action in parser._actions]", ["parser._actions"]),
        ("getattr(torch.cpu, '_bf16', None)", ["getattr(torch.cpu, '_bf16', None)"]),
        ("setattr(model, '_current_fx_name', None)", ["setattr(model, '_current_fx_name', None)"]),
        ("name.startswith('torch._dynamo')", ["'torch._dynamo'"]),
        ("self._own + cls._own + super()._own() + batch._replace(label=1) + self.__class__.__name__", []),
    ],
)
def test_a_private_attribute_is_found(source, expected):
    assert private_attributes(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hasattr(loader, 'take')", ["hasattr(loader, 'take')"]),
        ("x = getattr(model, 'tta', False)", ["getattr(model, 'tta', False)"]),
        ("getattr(module, name)", []),
    ],
)
def test_a_guess_at_an_attribute_is_found(source, expected):
    assert attribute_guesses(source) == expected


def test_a_private_member_of_a_foreign_base_is_found(tmp_path, monkeypatch):
    (tmp_path / "foreign.py").write_text(
        "class Base:\n    def __init__(self):\n        self._state = 1\n    def _hook(self):\n        pass\n"
    )
    (tmp_path / "ours.py").write_text(
        "from foreign import Base\n"
        "class Overrides(Base):\n    def _hook(self):\n        self._own = 1\n"
        "class Reads(Base):\n    def public(self):\n        return self._state\n"
        "class Calls(Base):\n    def public(self):\n        return super()._hook()\n"
        "class Assigns(Base):\n    _hook = None\n"
        "class Innocent(Base):\n    def public(self):\n        self._own = 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = importlib.import_module("ours")
    found = {name: shared_private_names(getattr(ours, name), "ours") for name in vars(ours) if name[0].isupper()}
    found.pop("Base")
    assert found == {
        "Overrides": {"_hook"},
        "Reads": {"_state"},
        "Calls": {"_hook"},
        "Assigns": {"_hook"},
        "Innocent": set(),
    }
    for name in ("foreign", "ours"):
        sys.modules.pop(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "imports", "message"),
    [
        ("models", "lit_vision.callbacks", "lit_vision.models is not allowed to import lit_vision.callbacks"),
        ("errors", "lit_vision.utils", "lit_vision.errors is not allowed to import lit_vision.utils"),
        ("helpers", "lit_vision.errors", "not listed as layers"),  # a room without a place
        ("plots", "lit_vision.runs", None),
    ],
)
def test_an_import_up_the_ladder_is_found(tmp_path, module, imports, message):
    (tmp_path / "pyproject.toml").write_text((REPOSITORY / "pyproject.toml").read_text())
    package = tmp_path / "lit_vision"
    package.mkdir()
    for name in (*(ROOMS - {"configs"}), *(Path(name).stem for name in TOP if name.endswith(".py"))):
        (package / f"{name}.py").write_text("")
    (package / f"{module}.py").write_text(f"import {imports}\n")
    said = lint_imports(tmp_path)
    assert message in said if message else said == ""


def test_a_test_without_a_module_is_found(tmp_path):
    (tmp_path / "package" / "data").mkdir(parents=True)
    (tmp_path / "package" / "data" / "loader.py").touch()
    tests = tmp_path / "unit"
    for name, expected in (("loader", True), ("loader_order", True), ("loaders", False), ("rng", False)):
        assert mirrored(tests / "data" / f"test_{name}.py", tests, tmp_path / "package") == expected
    assert not mirrored(tests / "test_loader.py", tests, tmp_path / "package")
