"""The README and the pages: what they link to, the recipes and settings they name, their length."""

import dataclasses
import importlib.util
import re
import subprocess
import sys
import textwrap
import tomllib
from functools import cache
from pathlib import Path

import pytest

from ser_kd.config import Config, recipe_names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)

spec = importlib.util.spec_from_file_location("check_links", ROOT / "docs/_tools/check_links.py")
check_links = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_links)


def text_of(page: Path) -> str:
    """A page without its list of removed settings."""
    return re.sub(r"^## Removed.*?(?=^## )", "", page.read_text("utf-8"), flags=re.M | re.S)


def test_links_and_paths_are_there():
    assert check_links.problems() == []


def test_a_missing_page_anchor_and_file_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(check_links, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# One `two`\n[a](page.md#one-two) [b](none.md) [c](#none) `docs/none.md`\n")
    assert [problem.partition(": ")[2] for problem in check_links.problems_of(page)] == [
        "link to none.md, which is not there",
        "link to #none, which has no such heading",
        "names docs/none.md, which is not there",
    ]


def test_the_readme_is_read_in_minutes():
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 900


@each_page
def test_recipes_exist(page):
    named = re.findall(r"--recipe ([\w.]+)|`((?:crema_d|demo)_\w+)`", text_of(page))
    known = {*recipe_names(), "mine.toml", "crema_d", "demo"}
    assert {name for pair in named for name in pair if name} <= known


@each_page
def test_settings_exist(page):
    """``section.key`` in code, and the tables of TOML examples; teachers' own are not checked."""
    text, defaults = text_of(page), Config()
    named = set(re.findall(r"(?<![\w./])([a-z]+)\.([a-z][a-z_]+)(?=[\s`=,.)])", text))
    for block in re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S):
        for section, table in tomllib.loads(block).items():
            if isinstance(table, dict):
                named |= {(section, key) for key in table}
    for section, key in named:
        settings = getattr(defaults, section, None)
        if dataclasses.is_dataclass(settings) and key not in ("json", "keras"):  # file names
            assert hasattr(settings, key), f"{section}.{key}"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced examples in a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text("utf-8"), re.M | re.S)
    return [textwrap.dedent(code) for _, code in found]


@cache
def help_of(command: str) -> str:
    run = [sys.executable, "-m", "ser_kd", command, "--help"]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@each_page
def test_python_examples_are_python(page):
    for code in blocks(page, "python"):
        compile(code, page.name, "exec")


@each_page
def test_commands_have_the_options_that_are_shown(page):
    for code in blocks(page, "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            shown = re.match(
                r".*?(?:ser-kd|python train\.py)(?= |$)(.*?)(?: -- .*)?(?:#.*)?$", line
            )
            if shown is None:
                continue
            words = shown.group(1).split()
            command = "train" if "train.py" in line else words[0]
            for option in (word.partition("=")[0] for word in words if word.startswith("--")):
                assert option in help_of(command), line
