"""The public index of known plugins: one TOML file each in `registry/`, compiled to a file beside this module.

The index answers "what could I install?" without a network; what *is* installed is discovery's business.
`python -m medvistagym_core.plugins._catalog registry` compiles it; a test fails when the shipped file has drifted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["Catalog", "CatalogEntry", "CatalogTool", "build_catalog", "load_catalog"]

_SHIPPED: Final = Path(__file__).with_name("catalog.json")

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Distribution = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100)]
Line = Annotated[str, Field(min_length=2, max_length=160, pattern=r"^\S[^\n]*$")]


class CatalogTool(BaseModel):
    """A tool that a listed plugin brings."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: Name = Field(description="The tool's bare name, as a policy calls it.")
    summary: Line = Field(description="One line: what the tool does.")


class CatalogEntry(BaseModel):
    """One known plugin, as its TOML file in `registry/` describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    distribution: Distribution = Field(description="The name to give to `pip install`, normalised (PEP 503).")
    plugin: Name = Field(description="The plugin's name: its entry point in the group `medvistagym`.")
    summary: Line = Field(description="One line: what the plugin is for.")
    tools: tuple[CatalogTool, ...] = Field(default=(), description="The tools it brings.")
    tasks: tuple[Name, ...] = Field(default=(), description="The tasks it brings.")
    trainers: tuple[Name, ...] = Field(default=(), description="The trainers it brings.")
    reads: tuple[Line, ...] = Field(default=(), description='File formats it reads, such as "DICOM".')
    modalities: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2,16}$")], ...] = Field(
        default=(), description="DICOM modality codes it is made for (PS3.3 C.7.3.1.1.1); empty: any."
    )
    license: str = Field(description="An SPDX licence expression.")
    api: str = Field(description="The plugin API versions it works with, as a version specifier (PEP 440).")
    maintainers: tuple[Line, ...] = Field(min_length=1, description="Who answers for it: names or handles.")
    homepage: Annotated[str, Field(pattern=r"^https://\S+$")] | None = Field(
        default=None, description="Where to read about it."
    )
    gpu: Literal["unused", "optional", "required"] = Field(default="unused", description="Whether it uses a GPU.")
    weights: Literal["none", "bundled", "downloaded"] = Field(
        default="none", description="Whether it needs model weights, and where they come from."
    )

    @field_validator("license")
    @classmethod
    def _known_license(cls, value: str) -> str:
        from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

        try:
            return str(canonicalize_license_expression(value))
        except InvalidLicenseExpression as error:
            raise ValueError(f"{value!r} is not an SPDX licence expression such as 'Apache-2.0'") from error

    @field_validator("api")
    @classmethod
    def _version_range(cls, value: str) -> str:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            SpecifierSet(value)
        except InvalidSpecifier as error:
            raise ValueError(f"{value!r} is not a version specifier such as '>=1,<2'") from error
        return value

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install {self.distribution}"

    def matches(self, words: Sequence[str], modality: str | None = None) -> bool:
        """Return whether every word occurs in the entry and it is made for the modality.

        Args:
            words: Searched for in names and summaries, in any case; no words match everything.
            modality: A DICOM modality code, in any case; an entry that names no modality is made for all.
        """
        if modality is not None and self.modalities and modality.upper() not in self.modalities:
            return False
        tools = [text for tool in self.tools for text in (tool.name, tool.summary)]
        names = [self.distribution, self.plugin, *self.tasks, *self.trainers, *self.reads]
        text = " ".join([*names, self.summary, *tools]).casefold()
        return all(word.casefold() in text for word in words)


class Catalog(BaseModel):
    """All known plugins, in the order of their distributions' names."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    version: Literal[1] = Field(default=1, description="The version of this file's form.")
    entries: tuple[CatalogEntry, ...] = Field(description="The known plugins, sorted by distribution.")

    @model_validator(mode="after")
    def _unambiguous(self) -> Catalog:
        owners: dict[str, list[str]] = defaultdict(list)
        for entry in self.entries:
            owners[f"distribution {entry.distribution!r}"].append(entry.distribution)
            owners[f"plugin {entry.plugin!r}"].append(entry.distribution)
            for tool in entry.tools:
                owners[f"tool {tool.name!r}"].append(entry.distribution)
            for task in entry.tasks:
                owners[f"task {task!r}"].append(entry.distribution)
        taken = {what: who for what, who in owners.items() if len(who) > 1}
        if taken:
            what, who = next(iter(taken.items()))
            raise ValueError(f"{what} is claimed more than once: {', '.join(who)}")
        return self

    def search(self, words: Sequence[str] = (), modality: str | None = None) -> tuple[CatalogEntry, ...]:
        """Return the matching entries; those with a tool or task named like one of the words first."""
        wanted = {word.casefold() for word in words}

        def rank(entry: CatalogEntry) -> tuple[bool, str]:
            return not wanted & {*(tool.name for tool in entry.tools), *entry.tasks}, entry.distribution

        return tuple(sorted((entry for entry in self.entries if entry.matches(words, modality)), key=rank))

    def entry_for_tool(self, tool: str) -> CatalogEntry | None:
        """Return the entry that brings a tool of this bare name, or None."""
        return next((entry for entry in self.entries if any(tool == listed.name for listed in entry.tools)), None)

    def entry_for_format(self, form: str) -> CatalogEntry | None:
        """Return the first entry that reads files of this format, or None."""
        return next((entry for entry in self.entries if form in entry.reads), None)


@cache
def load_catalog() -> Catalog:
    """Return the index that this version of the core was shipped with."""
    return Catalog.model_validate_json(_SHIPPED.read_bytes())


def build_catalog(files: Iterable[Path]) -> Catalog:
    """Compile TOML files, one per plugin, to an index.

    Args:
        files: Paths named `<distribution>.toml`.

    Raises:
        ValueError: When a file is not a valid entry, is not named like its distribution, or claims a name that
            another has; the message names the file.
    """
    import tomllib

    entries = []
    for file in files:
        try:
            entry = CatalogEntry.model_validate(tomllib.loads(file.read_text("utf-8")))
        except ValueError as error:
            raise ValueError(f"{file.name}: {error}") from error
        if file.stem != entry.distribution:
            raise ValueError(f"{file.name}: must be named {entry.distribution}.toml, after its distribution")
        entries.append(entry)
    return Catalog(entries=tuple(sorted(entries, key=lambda entry: entry.distribution)))


def _dump(index: Catalog) -> str:
    return index.model_dump_json(indent=1, exclude_defaults=True) + "\n"


if __name__ == "__main__":
    import sys

    found = sorted(Path(sys.argv[1]).glob("*.toml"))
    if not found:
        sys.exit(f"there is no .toml file in {sys.argv[1]}; name the folder of the registry")
    _SHIPPED.write_text(_dump(build_catalog(found)), "utf-8")
