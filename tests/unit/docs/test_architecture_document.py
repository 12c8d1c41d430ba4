"""docs/architecture.md names every module, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.unit.docs.pages import ROOT

TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
WALK = re.findall(r"^\| \d+ \| (.*?) \|", TEXT, re.MULTILINE)
FILES = [file for folder in ("failoverd", "tests", "docs", "packaging", "hooks") for file in (ROOT / folder).rglob("*")]


def declared(path: str) -> set[str]:
    """The names of a module, and of its classes with their methods."""
    names: set[str] = set()
    for node in ast.parse((ROOT / "failoverd" / path).read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name, body=body):
                names |= {
                    name,
                    *(f"{name}.{it.name}" for it in body if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)),
                }
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


@pytest.mark.parametrize("where", WALK)
def test_the_event_goes_where_the_document_says(where: str) -> None:
    path, *names = re.findall(r"`([^`]+)`", where)
    if path != "hooks/notify":
        assert {re.split(r"[ (]", name)[0] for name in names} <= declared(path)


def test_every_module_is_in_the_drawing() -> None:
    drawing = TEXT.partition("## The rooms")[2].partition("## ")[0]
    verbs = ROOT / "failoverd/ctl/verbs"  # whose names failoverctl(8) has
    modules = [file for file in (ROOT / "failoverd").rglob("*.py") if file.parent != verbs]
    names = Counter(file.name for file in modules if file.name != "__init__.py")  # two rooms may have the same name
    assert names - Counter(re.findall(r"\w+\.py", drawing)) == Counter()
    rooms = {file.name for file in (ROOT / "failoverd").rglob("*") if file.is_dir() and any(file.glob("*.py"))}
    assert rooms - set(re.findall(r"(\w+)/", drawing)) == set()


def test_every_file_that_is_named_is_there() -> None:
    known = {file.name for file in FILES}
    assert {name for name in re.findall(r"[\w*]+\.py\b", TEXT) if "*" not in name} - known == set()
    named = re.findall(r"`((?:\w+/)+\w*(?:\.py)?)`", TEXT)
    everywhere = [str(file.relative_to(ROOT)) + ("/" if file.is_dir() else "") for file in FILES]
    assert [path for path in named if not any(f"/{it}".endswith(f"/{path}") for it in everywhere)] == []


def test_every_module_that_a_module_names_is_there() -> None:
    known = {file.name for file in FILES}
    for file in (ROOT / "failoverd").rglob("*.py"):
        documented = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        assert set(re.findall(r"\b\w+\.py\b", documented)) - known == set(), file
