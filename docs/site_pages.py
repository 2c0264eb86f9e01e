"""What the site has beside the pages of docs/: tools, examples, schemas, public names and notebooks, written when it is built.

A hook of MkDocs. The pages of docs/ are read on their own too, so they link to files of the repository; where the site has no
page for such a file, its path is shown in place of the link. Pages that the navigation does not name are put under How-to.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
_SHIM: Final = "https://unpkg.com/iframe-worker/shim"
_LINK: Final = re.compile(r"(?P<mark>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)")
_FENCE: Final = re.compile(r"(^ {0,3}```.*?^ {0,3}```$)", re.MULTILINE | re.DOTALL)
_DIAGRAM: Final = re.compile(r"^```mermaid\n(?P<graph>.*?)^```$", re.MULTILINE | re.DOTALL)

# Pages of the site by the file of the repository that they show; and the folder in which the links of a page are to be read.
_pages: dict[str, str] = {}
_homes: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the written pages and the pictures that they show, and name all of them in the navigation."""
    _pages.clear()
    _homes.clear()
    tools = list(_readmes())
    names = list(_doors())
    written = [*tools, *names, *_schemas(), *_examples(), *_notebooks(), ("SECURITY.md", ROOT / "SECURITY.md", None)]
    for page, source, text in written:
        _pages[source.relative_to(ROOT).as_posix()] = page
        _homes[page] = source.parent.relative_to(ROOT).as_posix()
        files.append(File.generated(config, page, content=source.read_text("utf-8") if text is None else text))
    for page, source, _ in tools:
        for picture in sorted([*source.parent.glob("pictures/*.png"), *source.parent.glob("docs/*.png")]):
            name = posixpath.join(posixpath.splitext(page)[0], picture.parent.name, picture.name)
            _pages[picture.relative_to(ROOT).as_posix()] = name
            files.append(File.generated(config, name, abs_src_path=str(picture)))
    for file in files:
        if file.inclusion.is_included() and file.src_uri not in _homes and (ROOT / "docs" / file.src_uri).is_file():
            _pages[f"docs/{file.src_uri}"] = file.src_uri
            if file.is_documentation_page():
                _homes[file.src_uri] = posixpath.dirname(f"docs/{file.src_uri}")
    _complete_navigation(config, [page for page, *_ in tools], [page for page, *_ in names])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to pages of the site, and draw what stands as a graph."""
    here = page.file.src_uri
    drawn = _DIAGRAM.sub(lambda match: _draw(match["graph"]), markdown)
    parts = _FENCE.split(drawn)
    return "".join(
        one if fence % 2 else _LINK.sub(lambda match: _link(match, here), one) for fence, one in enumerate(parts)
    )


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take off the backslash before a bar in the code of a cell, as GitHub does."""
    return re.sub(r"<td[^>]*>.*?</td>", lambda cell: cell[0].replace("\\|", "|"), content, flags=re.DOTALL)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take the script that makes the search work in files from the site itself."""
    return output.replace(_SHIM, posixpath.relpath("site_search.js", posixpath.dirname(page.url) or "."))


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The same for the page of what is not there."""
    return output_content.replace(_SHIM, "/site_search.js")


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a built page links to what is not there, or would fetch something from a network to be shown."""
    site = Path(config.site_dir)
    pages = {file: _Parts(file.read_text("utf-8")) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}
    faults = []
    for file, parts in pages.items():
        for target, fetched in parts.targets:
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z][a-z0-9+.-]*:|//", path):
                if fetched and not path.startswith("data:"):
                    faults.append(f"{file.relative_to(site)} fetches {target}")
                continue
            there = (file.parent / unquote(path.partition("?")[0])).resolve() if path else file
            if not there.is_file() or (anchor and there in pages and unquote(anchor) not in pages[there].anchors):
                faults.append(f"{file.relative_to(site)} links to {target}")
    if faults:
        raise PluginError("dead links:\n" + "\n".join(faults))


class _Parts(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[tuple[str, bool]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's links, and its name."""
        named = {name: value for name, value in attrs if value}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        for key in ("href", "src"):
            if key in named:
                self.targets.append((named[key], tag != "a"))


def _link(match: re.Match[str], here: str) -> str:
    target, _, anchor = match["target"].partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return match[0]
    path = posixpath.normpath(posixpath.join(_homes.get(here, "docs"), target))
    found = _pages.get(path) or _pages.get(f"{path}/README.md")
    if found is not None:
        there = posixpath.relpath(found, posixpath.dirname(here) or ".") + (f"#{anchor}" if anchor else "")
        return f"{match['mark']}[{match['text']}]({there})"
    if path in ("README.md", "."):
        return f"[{match['text']}]({posixpath.relpath('index.md', posixpath.dirname(here) or '.')})"
    if not (ROOT / path).exists():
        return match[0]  # a dead link, which fails the build
    shown = match["text"].strip("`")
    return f"`{path}`" if shown in path else f"{match['text']} (`{path}`)"


def _complete_navigation(config: MkDocsConfig, tools: list[str], names: list[str]) -> None:
    sections = {title: entries for section in config.nav for title, entries in section.items()}
    sections["Packages"].extend(tools)
    next(entry for entry in sections["Reference"] if "Public names" in entry)["Public names"].extend(names)
    named = json.dumps(config.nav)
    for page in sorted(set(_pages.values())):
        if page.endswith(".md") and f'"{page}"' not in named:
            sections["Tutorials" if page.startswith("notebooks/") else "How-to"].append(page)


def _readmes() -> Iterator[tuple[str, Path, str | None]]:
    """The README of each distribution."""
    for part in ("plugins", "native", "trainers"):
        for source in sorted(ROOT.glob(f"{part}/*/README.md")):
            yield f"tools/{source.parent.name.removeprefix('medvistagym-')}.md", source, None


def _doors() -> Iterator[tuple[str, Path, str | None]]:
    """A page for each room of the core, and for each room within one, with every name of its door."""
    core = ROOT / "src" / "medvistagym_core"
    for door in [core / "__init__.py", *sorted(core.glob("*/__init__.py")), *sorted(core.glob("*/*/__init__.py"))]:
        room = ".".join(door.parent.relative_to(core.parent).parts)
        names = _public_names(door)
        if names:
            yield f"api/{room}.md", door, _door_page(room, door, names)


def _public_names(door: Path) -> dict[str, str]:
    """Where each public name of a door is defined: module path by name."""
    stub = door.with_suffix(".pyi")
    text = (stub if stub.exists() else door).read_text("utf-8")
    base = ".".join(door.parent.relative_to(ROOT / "src").parts)
    found = {
        name: f"{base}.{module}"
        for module, name in re.findall(r"^from \.([\w.]+) import (\w+) as \2$", text, re.MULTILINE)
    }
    for module, names in re.findall(r"^from (medvistagym_core\.[\w.]+) import \(?([\w,\s]+?)\)?$", text, re.MULTILINE):
        if not stub.exists():
            found |= {name.strip(): module for name in names.split(",") if name.strip()}
    return {
        name: found[name]
        for name in sorted(found, key=lambda name: (name.isupper(), not name[0].isupper(), name.lower()))
    }


def _door_page(room: str, door: Path, names: dict[str, str]) -> str:
    docstring = re.search(r'^"""(.*?)"""', door.read_text("utf-8"), re.DOTALL)
    said = "" if docstring is None else docstring[1].strip()
    lines = [f"# {room}", said, f"`from {room} import ...`"]
    if room == "medvistagym_core":  # the public face names what its rooms define; it is told there
        rows = [f"| `{name}` | [{module}]({module}.md) |" for name, module in names.items()]
        return "\n\n".join([*lines, "\n".join(["| name | told in |", "| --- | --- |", *rows])]) + "\n"
    return "\n\n".join([*lines, *(f"::: {module}.{name}" for name, module in names.items())]) + "\n"


def _schemas() -> Iterator[tuple[str, Path, str | None]]:
    """One page with a table for each published schema."""
    folder = ROOT / "schemas" / "v1"
    lines = [
        "# Schemas",
        "Every document that is written or exchanged, field by field; [documents](documents.md) says where each is met.",
    ]
    for file in sorted(folder.glob("*.schema.json")):
        schema = json.loads(file.read_text("utf-8"))
        lines += [
            f"## {file.name.removesuffix('.schema.json')}",
            _cell(schema.get("description", "")),
            f"`schemas/v1/{file.name}`",
        ]
        lines.append(_fields(schema))
        for name, part in sorted(schema.get("$defs", {}).items()):
            lines += [f"### {name}", _cell(part.get("description", "")), _fields(part)]
        _pages[file.relative_to(ROOT).as_posix()] = f"schemas.md#{file.name.removesuffix('.schema.json')}"
    yield "schemas.md", folder / "README.md", "\n\n".join(filter(None, lines)) + "\n"


def _fields(schema: dict[str, Any]) -> str:
    properties = schema.get("properties")
    if not properties:
        return f"{_kind(schema)}"
    required = set(schema.get("required", []))
    rows = [
        f"| `{name}` | {_kind(field)} | {'yes' if name in required else ''} | {_cell(field.get('description', ''))} |"
        for name, field in properties.items()
    ]
    return "\n".join(["| field | type | required | what it is |", "| --- | --- | --- | --- |", *rows])


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(one)}`" for one in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(_kind(one) for one in field[key])
    if field.get("type") == "array":
        items = field.get("items", {})
        return f"array of {_kind(items)}" if items else "array"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"object of {_kind(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _examples() -> Iterator[tuple[str, Path, str | None]]:
    """One page with each file of the package that shows every hook."""
    folder = ROOT / "docs" / "examples" / "medvistagym_lab"
    lines = ["# Examples of every hook", "One package, a file for each hook; a test installs it and puts each to work."]
    for file in sorted(folder.glob("*.py")):
        lines += [f"## {file.name}", f"```python\n{file.read_text('utf-8').rstrip()}\n```"]
        _pages[file.relative_to(ROOT).as_posix()] = f"examples.md#{file.name.replace('.', '')}"
    lines += ["## pyproject.toml", f"```toml\n{(folder.parent / 'pyproject.toml').read_text('utf-8').rstrip()}\n```"]
    yield "examples.md", folder / "README.md", "\n\n".join(lines) + "\n"


def _notebooks() -> Iterator[tuple[str, Path, str | None]]:
    """Each notebook as a page: its words, its code and the text that the code printed."""
    for source in sorted((ROOT / "docs").glob("notebooks/*.ipynb")):
        parts = []
        for cell in json.loads(source.read_text("utf-8"))["cells"]:
            text = "".join(cell["source"])
            parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "image/png" in data:
                    picture = "".join(data["image/png"]).replace("\n", "")
                    parts.append(f'<img alt="output" src="data:image/png;base64,{picture}">')
                elif said := "".join(output.get("text", data.get("text/plain", []))).rstrip():
                    parts.append(f"```text\n{said}\n```")
        yield f"notebooks/{source.stem}.md", source, "\n\n".join(parts) + "\n"


def _draw(graph: str) -> str:
    """A graph of layers as SVG: each box below the lowest of those that lead to it."""
    labels = dict(re.findall(r'^\s+(\w+)\["(.*)"\]$', graph, re.MULTILINE))
    arrows = re.findall(r"^\s+(\w+) --> (\w+)$", graph, re.MULTILINE)
    level = dict.fromkeys(labels, 0)
    for _ in labels:
        for above, below in arrows:
            level[below] = max(level[below], level[above] + 1)
    rows = [[name for name in labels if level[name] == row] for row in range(max(level.values()) + 1)]
    width, step, height = 900, 76, 48
    boxes = {
        name: (width * (index + 0.5) / len(row), number * step + 4, min(width / len(row) - 16, 620))
        for number, row in enumerate(rows)
        for index, name in enumerate(row)
    }
    tip = '<path d="M0 0L8 4L0 8z" fill="currentColor"/>'
    marker = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"'
    parts = [f'<defs><marker id="tip" {marker}>{tip}</marker></defs>']
    for above, below in arrows:
        (x0, y0, _), (x1, y1, _) = boxes[above], boxes[below]
        parts.append(
            f'<line x1="{x0:.0f}" y1="{y0 + height:.0f}" x2="{x1:.0f}" y2="{y1 - 1:.0f}" '
            'stroke="currentColor" stroke-opacity=".6" marker-end="url(#tip)"/>'
        )
    for name, (x, y, wide) in boxes.items():
        title, _, rest = labels[name].partition(": ")
        parts.append(
            f'<rect x="{x - wide / 2:.0f}" y="{y}" width="{wide:.0f}" height="{height}" rx="6" '
            'fill="currentColor" fill-opacity=".07" stroke="currentColor" stroke-opacity=".5"/>'
        )
        parts.append(
            f'<text x="{x:.0f}" y="{y + 20}" text-anchor="middle" font-weight="600">{html.escape(title)}</text>'
        )
        parts.append(f'<text x="{x:.0f}" y="{y + 37}" text-anchor="middle" font-size="11.5">{html.escape(rest)}</text>')
    tall = len(rows) * step - (step - height) + 8
    said = 'role="img" aria-label="The rooms of the core in layers"'
    look = 'fill="currentColor" font-size="14" style="width:100%;height:auto"'
    return f'<svg viewBox="0 0 {width} {tall}" {said} {look}>{"".join(parts)}</svg>'
