"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import click
import pytest

from app import config
from app.cli.commands import wechat_commands
from app.table.dispatch import Table
from tests.browser.screenshots import LOOKS
from tests.servers import ROOT

# Who may import whom: a lower number is imported by a higher one; `callback` is its own steps.
ORDER = {
    "errors": 0,
    "blank": 0,
    "checks": 0,
    "metrics": 0,
    "near": 0,
    "place": 0,
    "room": 0,
    "sockets": 1,
    "pages": 1,
    "config": 1,
    "backends": 1,
    "cache": 2,
    "cookies": 2,
    "store": 2,
    "once": 3,
    "table": 4,
    "callback": 5,
    "api": 5,
    "handlers": 6,
    "sandbox": 6,
    "doctor": 6,
}
DOORS = {"cli", "oauth", "jssdk", "health", "console"}
SOURCES = sorted((ROOT / "app").rglob("*.py"))
DOCUMENTS = ["README.md", "README.zh-CN.md", ".env.example"]
PAGES = [
    "README",
    *sorted(str(path.relative_to(ROOT))[:-3] for path in (ROOT / "docs").glob("*.md") if "zh-CN" not in path.name),
]
SETTINGS = [config.env_name(row) for row in fields(config.Settings)]


def room(path: Path) -> str:
    part = path.relative_to(ROOT / "app").parts[0]
    return "create_app" if part == "__init__.py" else part.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    rooms = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("app.")}
    return rooms


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    here = room(path)
    for other in imported_rooms(path) - {here}:
        if here == "create_app":
            assert other in ORDER or other in DOORS
        elif here == "testing":  # the only one that imports create_app
            assert other in ORDER or other == "create_app"
        elif here in DOORS:
            assert other in ORDER
        else:
            assert ORDER[other] < ORDER[here], f"{here} imports {other}"


def test_the_callback_imports_neither_handlers_nor_api() -> None:
    rooms = set().union(*(imported_rooms(path) for path in (ROOT / "app" / "callback").glob("*.py")))
    assert rooms <= {"errors", "blank", "config", "metrics", "cache", "once", "table", "callback"}


def test_one_answer_per_message_knows_neither_xml_nor_flask() -> None:
    paths = list((ROOT / "app" / "once").glob("*.py"))
    assert set().union(*map(imported_rooms, paths)) <= {"errors", "config", "metrics", "cache", "once"}
    imported = re.compile(r"^(?:from|import) (?:flask|werkzeug|wechatpy|xml)\b", re.MULTILINE)
    assert [path.name for path in paths if imported.search(path.read_text(encoding="utf-8"))] == []


def test_the_road_is_read_in_an_evening() -> None:
    lines = [path.read_text(encoding="utf-8").count("\n") for path in (ROOT / "app" / "callback").glob("*.py")]
    assert sum(lines) < 1200


def test_errors_import_nothing() -> None:
    tree = ast.parse((ROOT / "app" / "errors.py").read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_no_import_hides_in_a_function() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        inner = [node for function in functions for node in ast.walk(function)]
        assert not [node for node in inner if isinstance(node, ast.Import | ast.ImportFrom)], path


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_documented(document: str, name: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\b", text) or f"_{name.removeprefix('WECHAT_')}`" in text


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_setting_is_documented_that_is_not_there(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"\bWECHAT_[A-Z_]+[A-Z]\b", text)) - {"WECHAT_"}
    assert named <= set(SETTINGS)


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same_sections_commands_and_figures(page: str) -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in (f"{page}.md", f"{page}.zh-CN.md")]
    for pattern in (r"^(#+) ", r"flask (?:wechat|db) \w+", r"(?<![\d,])\d{5}(?!\d|,\d)"):
        found = [re.findall(pattern, text, re.MULTILINE) for text in texts]
        assert (found[0] == found[1]) if "#" in pattern else (set(found[0]) == set(found[1]))


@pytest.mark.parametrize("page", PAGES)
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    for name in (f"{page}.md", f"{page}.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)", text):
            file = (ROOT / name).parent / target if target else ROOT / name
            assert file.exists(), target
            headings = [slug(line) for line in re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)]
            assert not anchor or anchor in headings, f"{name}: {target}#{anchor}"


@pytest.mark.parametrize(("language", "ending"), [("en", ".md"), ("zh", ".zh-CN.md")])
def test_every_picture_is_there_and_is_shown_in_its_language(language: str, ending: str) -> None:
    pictures = {path.name for path in (ROOT / "docs" / "screenshots" / language).iterdir()}
    assert pictures == {f"{name}-{look}.png" for look, names in LOOKS.items() for name in names}
    text = "".join((ROOT / f"{page}{ending}").read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r'"(?:docs/)?screenshots/([\w/-]+\.png)"', text)) == {
        f"{language}/{name}" for name in pictures
    }


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_command_is_in_the_documentation() -> None:
    text = "".join((ROOT / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)
    named = [f"{group} {name}" if group else name for group, name in commands()]
    assert [name for name in named if not re.search(rf"\b{name}\b", text)] == []


def commands() -> list[tuple[str, str]]:
    settings = config.Settings(token="token", sandbox=True)
    group = wechat_commands(settings, Table({"*": print}))
    return [
        (name if isinstance(command, click.Group) else "", below)
        for name, command in group.commands.items()
        for below in (command.commands if isinstance(command, click.Group) else [name])
    ]


def test_public_functions_and_classes_have_a_docstring() -> None:
    bare = []
    for path in SOURCES:
        if path.name == "samples.py" or "versions" in path.parts:  # read in a minute: their names say it
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                methods = [child for child in node.body if isinstance(child, ast.FunctionDef)]
                public: list[ast.ClassDef | ast.FunctionDef] = [node, *methods]
                bare += [item.name for item in public if not ast.get_docstring(item)]
            elif isinstance(node, ast.FunctionDef) and node.col_offset == 0 and not ast.get_docstring(node):
                bare.append(node.name)
    assert [name for name in bare if not name.startswith("_")] == []


def test_every_pinned_requirement_is_pinned() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text().splitlines()
        wanted = [line for line in lines if line and not line.startswith(("#", "-r "))]
        assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line) for line in wanted)


def test_the_repository_holds_no_secret_and_no_leftover() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert ".env" not in files
    assert not [name for name in files if name.endswith((".pyc", ".log", ".db"))]


def test_every_command_prints_by_the_one_function_that_a_fan_cannot_trick() -> None:
    found = [path.name for path in (ROOT / "app" / "cli").glob("*.py") if "click.echo(" in path.read_text()]
    assert found == ["__init__.py"]
