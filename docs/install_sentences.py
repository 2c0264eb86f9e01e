"""Write what depends on where the project is published: install commands and addresses: `python docs/install_sentences.py`.

`PUBLISHED` is the one switch. While the distributions are on no index, a command names folders, with those that it needs of
this repository, so that it works from the root of a clone. The address of the repository is that of `[project.urls]` in
the root's pyproject.toml; those of the other distributions and the name in the MCP Registry follow from it. `--check` writes
nothing, and fails if something is in another form.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

PUBLISHED: Final = False

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = "medvistagym-core"
# A command up to the end of its code span, a comment, or the line; options before the requirements are left as they are.
_COMMAND: Final = re.compile(r"(?P<pip>\bpip install )(?P<what>(?!-)[^`\n#&]+?)(?=\s*$|\s*[`#&]|\s{2,})", re.MULTILINE)
_REQUIREMENT: Final = re.compile(r"(?P<name>[^\[\]]+)(?P<extras>\[[^\]]*\])?")


@cache
def projects() -> dict[str, tuple[str, dict[str, Any]]]:
    """Folder (`.`, `./plugins/...`) and project table of every distribution, by name; the core first."""
    files = [
        ROOT / "pyproject.toml",
        *(file for part in ("native", "plugins", "trainers") for file in sorted(ROOT.glob(f"{part}/*/pyproject.toml"))),
    ]
    tables = [(file.parent, tomllib.loads(file.read_text("utf-8"))["project"]) for file in files]
    return {table["name"]: ("." if home == ROOT else f"./{home.relative_to(ROOT)}", table) for home, table in tables}


def needed(name: str, extras: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
    """Distributions of this repository that one needs, with the extras asked of each; the needed before what needs them."""
    table = projects()[name][1]
    found: dict[str, frozenset[str]] = {}
    for requirement in [
        *table.get("dependencies", []),
        *(one for extra in sorted(extras) for one in table["optional-dependencies"][extra]),
    ]:
        other, wanted = _parse(re.split(r"[<>=!~; ]", requirement, maxsplit=1)[0])
        if other in projects() and other != name:
            for key, more in {**needed(other, wanted), other: wanted}.items():
                found[key] = found.get(key, frozenset()) | more
    return found


def rewrite(text: str, published: bool) -> str:
    """The text with each `pip install` of this repository's distributions in the one form or the other."""
    return _COMMAND.sub(lambda match: match["pip"] + _command(match["what"], published), text)


def addressed() -> dict[Path, str]:
    """The text of every file that holds the project's address, with the one of the root's pyproject.toml in it."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    table = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    owner = urls["Repository"].removeprefix("https://github.com/").split("/")[0].lower()
    found = {}
    for home, _ in projects().values():
        file = ROOT / home / "pyproject.toml"
        found[file] = re.sub(
            r"(?<=^\[project\.urls\]\n)(?:\w+ = .*\n)+", table, file.read_text("utf-8"), flags=re.MULTILINE
        )
    server = ROOT / "plugins" / "medvistagym-mcp"
    for name in ("server.json", "README.md"):
        file = server / name
        found[file] = re.sub(
            r"\bio\.github\.[\w-]+/(?=medvistagym-mcp\b)", f"io.github.{owner}/", file.read_text("utf-8")
        )
    return found


def _parse(requirement: str) -> tuple[str, frozenset[str]]:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        return requirement, frozenset()
    return match["name"], frozenset(filter(None, (match["extras"] or "")[1:-1].replace(" ", "").split(",")))


def _command(what: str, published: bool) -> str:
    homes = {home: name for name, (home, _) in projects().items()}
    try:
        words = [_parse(word) for word in shlex.split(what)]
    except ValueError:  # a sentence with an apostrophe, and no command
        return what
    wanted = {homes.get(name, name): extras for name, extras in words}
    if len(words) != len(wanted) or not wanted.keys() <= projects().keys() or (published and what == "."):
        return what
    if published:
        covered = (
            {
                other
                for name, extras in wanted.items()
                for other in needed(name, extras)
                if other != name and not wanted[other]
            }
            if wanted.keys() - {CORE}
            else set()
        )
        return " ".join(_word(name, extras) for name, extras in wanted.items() if name not in covered)
    everything: dict[str, frozenset[str]] = {CORE: frozenset()}
    for name, extras in wanted.items():
        for key, more in {**needed(name, extras), name: extras}.items():
            everything[key] = everything.get(key, frozenset()) | more
    return " ".join(_word(projects()[name][0], extras) for name, extras in everything.items())


def _word(name: str, extras: frozenset[str]) -> str:
    return f"'{name}[{','.join(sorted(extras))}]'" if extras else name


def main() -> int:
    """Rewrite the pages, or with `--check` name those that would change."""
    check = sys.argv[1:] == ["--check"]
    changed = 0
    for page, after in {**addressed(), **{page: _rewritten(page) for page in pages()}}.items():
        before = page.read_text("utf-8")
        if after != before:
            changed += 1
            sys.stdout.write(f"{page.relative_to(ROOT)}\n")
            if not check:
                page.write_text(after, "utf-8")
    return 1 if check and changed else 0


def _rewritten(page: Path) -> str:
    text = addressed().get(page, page.read_text("utf-8"))
    return rewrite(text, PUBLISHED)


def pages() -> list[Path]:
    """Every page of documentation: README files and docs/."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    return sorted(
        [*found, *(file for part in ("native", "plugins", "trainers") for file in ROOT.glob(f"{part}/*/README.md"))]
    )


if __name__ == "__main__":
    sys.exit(main())
