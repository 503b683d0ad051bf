"""Checks, offline, that what the documentation points to is there.

    python docs/_tools/check_links.py

Of every page: relative links and images, their anchors, and paths of this repository in code. Of
the package's source and recipes: the pages and benchmarks that they name. Prints what is missing;
the exit code is 1 then.
"""

import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**/*.md",
    "ser_kd/pretrained/**/*.md",
)
SOURCES = ("ser_kd/**/*.py", "ser_kd/**/*.toml", "ser_kd/**/*.md", "benchmarks/*.py", "train.py")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)
# Runs, exports and the user's own files are not of the repository; wildcards are not checked.
REPOSITORY_PATH = re.compile(
    r"(?<![\w./-])((?:docs|benchmarks|tests|constraints|ser_kd)/[\w./-]*\w/?)(?![\w*<{])"
)
NAMED_PAGE = re.compile(r"(?<![\w./-])((?:docs|benchmarks)/[\w./-]+\.(?:md|py|json|svg))")


def files(patterns: tuple[str, ...]) -> Iterator[Path]:
    """All files of the repository that match."""
    for pattern in patterns:
        yield from sorted(ROOT.glob(pattern))


def anchor(heading: str) -> str:
    """A heading's anchor, as Python-Markdown makes it."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {anchor(found) for found in re.findall(r"^#+ +(.*)$", text, re.MULTILINE)}


def problems_of(page: Path) -> Iterator[str]:
    """What a page points to that is not there."""
    name, text = page.relative_to(ROOT), page.read_text(encoding="utf-8")
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists():
            yield f"{name}: link to {target}, which is not there"
        elif fragment and fragment not in anchors(linked):
            yield f"{name}: link to {target}, which has no such heading"
    for path in sorted(set(REPOSITORY_PATH.findall(text))):
        if not (ROOT / path).exists():
            yield f"{name}: names {path}, which is not there"


def problems() -> list[str]:
    """All that is missing, a line each."""
    found = [problem for page in files(PAGES) for problem in problems_of(page)]
    for source in files(SOURCES):
        for path in sorted(set(NAMED_PAGE.findall(source.read_text(encoding="utf-8")))):
            if not (ROOT / path).exists():
                found.append(f"{source.relative_to(ROOT)}: names {path}, which is not there")
    return found


if __name__ == "__main__":
    missing = problems()
    print("\n".join(missing) or "all links and paths are there")
    sys.exit(1 if missing else 0)
