"""The placement file: how many workers a tool has, what each of them takes, and which tools share a pool.

A YAML mapping of tool names, ids or patterns of either to settings; a name or id holds before any pattern, else the first
pattern that fits. The keys `pools` and `limits` are no tools:

    segment: {replicas: 2, num_gpus: 0.5, max_batch: 32}
    "*": {pool: cpu}
    pools:
      cpu: {replicas: 8, num_cpus: 1}
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medvistagym_core.tools import Tool, closest_match
from medvistagym_ray.cluster._errors import PlacementError

AUTO: Final = "auto"
LOCAL: Final = "local"
CPU_POOL: Final = "cpu"

PoolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class WorkerSettings(BaseModel):
    """What the workers of a tool, or of a pool, are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replicas: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="Workers; 1 for a tool, one a CPU of the cluster (64 at most) for a pool.",
    )
    num_cpus: float = Field(default=0.0, ge=0, description="CPUs that each worker reserves.")
    num_gpus: float = Field(
        default=0.0, ge=0, description="GPUs that each worker reserves: a fraction, or a whole number."
    )
    resources: dict[str, float] = Field(default={}, description="Custom resources of Ray that each worker reserves.")
    labels: dict[str, str] = Field(default={}, description="Labels that the node of each worker has.")
    max_batch: int = Field(default=64, ge=1, description="Most calls that a worker is handed at a time.")
    concurrency: int = Field(default=1, ge=1, le=256, description="Calls that a worker runs at a time.")
    retries: int = Field(default=1, ge=0, description="How often a call is made again whose worker died at it.")
    device: str | None = Field(
        default=None, description="Where a worker sets up what tools keep; cuda if it has a GPU, else as --device says."
    )

    @field_validator("num_gpus")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("above 1 it is a whole number")
        return value

    def demand(self) -> dict[str, float]:
        """What each worker reserves, by Ray's name of the resource."""
        named = {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}
        return {name: amount for name, amount in named.items() if amount}


class ToolSettings(WorkerSettings):
    """Where a tool runs."""

    pool: PoolName | None = Field(
        default=None,
        description=f"Pool that it shares with others; {LOCAL}: in this process; {AUTO}: in this process or in the pool "
        f"{CPU_POOL}, whichever is faster; left out: workers of its own.",
    )


class ClusterLimits(BaseModel):
    """Limits that all workers of a placement share: memory of results and images, and how long they may wait."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    object_store_mib: int | None = Field(
        default=None, ge=80, description="Memory of the object store, where Ray is started by this program."
    )
    cache_mib: int = Field(default=256, ge=0, description="Memory for results that the users of a named pool share.")
    start_timeout_s: float = Field(default=120.0, gt=0, description="How long workers may wait for what they reserve.")


class Placement(BaseModel):
    """A placement file.

    Attributes:
        tools: Settings by a tool's name, id or a pattern of either; a name or id holds before any
            pattern, else the first that fits.
        pools: What the workers of each named pool take.
        limits: Limits of the cluster as a whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tools: dict[str, ToolSettings] = {}
    pools: dict[PoolName, WorkerSettings] = {}
    limits: ClusterLimits = ClusterLimits()

    @classmethod
    def read(cls, file: Path) -> Placement:
        """The placement that a file says.

        Raises:
            PlacementError: The file cannot be read, or says none.
        """
        import yaml

        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise PlacementError(f"{file}: {reason}") from None
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark is not None else ""
            hint = '; a pattern such as "*" stands in quotes' if "*" in text else ""
            raise PlacementError(f"{file}{line}: it is not YAML{hint}") from None
        try:
            return cls.from_mapping({} if value is None else value)
        except PlacementError as error:
            raise PlacementError(f"{file}: {error}") from None

    @classmethod
    def from_mapping(cls, value: Any) -> Placement:
        """The placement that the mapping in a file says.

        Raises:
            PlacementError: It says none.
        """
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise PlacementError("it is a mapping of tools to settings, such as segment: {replicas: 2, num_gpus: 0.5}")
        rest = dict(value)
        document = {name: rest.pop(name) for name in ("pools", "limits") if name in rest}
        try:
            placement = cls.model_validate({**document, "tools": rest})
        except ValidationError as error:
            raise PlacementError(_sentence(error)) from None
        return placement.check_pools()

    def check_pools(self) -> Placement:
        """The placement, if its tools name pools that there are.

        Raises:
            PlacementError: One does not.
        """
        for name in (AUTO, LOCAL):
            if name in self.pools:
                raise PlacementError(f"pools: {name} has a meaning of its own; choose another name")
        for pattern, settings in self.tools.items():
            given = settings.model_fields_set - {"pool"}
            if settings.pool is not None and given:
                location = (
                    "a tool in this process has none"
                    if settings.pool in (AUTO, LOCAL)
                    else f"write it under pools: {settings.pool}"
                )
                raise PlacementError(f"{pattern}: {min(given)} is a setting of workers; {location}")
            if settings.pool is not None and settings.pool not in (AUTO, LOCAL, CPU_POOL, *self.pools):
                names = sorted({AUTO, LOCAL, CPU_POOL, *self.pools})
                near = closest_match(settings.pool, names)
                guess = f"; did you mean {near}?" if near else f"; there are {', '.join(names)}."
                raise PlacementError(f"{pattern}: there is no pool {settings.pool}{guess}")
        return self

    def for_tool(self, tool: Tool) -> ToolSettings:
        """The settings of a tool.

        Where the file says nothing, a class has a worker of its own, with a GPU if it is set up on one; a function runs where
        it is faster.
        """
        for exact in (tool.name, tool.id):
            if exact in self.tools:
                return self.tools[exact]
        for pattern, settings in self.tools.items():
            if fnmatch.fnmatchcase(tool.name, pattern) or fnmatch.fnmatchcase(tool.id, pattern):
                return settings
        if not inspect.isclass(tool.function):
            return ToolSettings(pool=AUTO)
        return ToolSettings(num_gpus=0.0 if tool.device == "cpu" else 1.0)

    def for_pool(self, name: str) -> WorkerSettings:
        """The settings of a pool."""
        return self.pools.get(name, WorkerSettings())

    def check_names(self, tools: Iterable[Tool]) -> None:
        """Refuse a name that is no tool's and nearly one: its tool would be placed otherwise than was meant.

        Raises:
            PlacementError: There is one.
        """
        names = sorted({name for tool in tools for name in (tool.name, tool.id)})
        for pattern in self.tools:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
                near = closest_match(pattern, names)
                if near:
                    raise PlacementError(f"no tool matches {pattern!r}; did you mean {near}?")


def _sentence(error: ValidationError) -> str:
    """The first fault, with the nearest valid name."""
    first = error.errors(include_url=False)[0]
    *path, last = [str(part) for part in first["loc"]]
    location = ".".join(part for part in path if part != "tools")
    if first["type"] == "extra_forbidden":
        model: type[BaseModel] = (
            ClusterLimits if location == "limits" else WorkerSettings if location.startswith("pools") else ToolSettings
        )
        names = sorted(model.model_fields)
        near = closest_match(last, names)
        guess = f"; did you mean {near}?" if near else f"; there are {', '.join(names)}."
        return f"{location}: there is no setting {last}{guess}"
    location = f"{location}.{last}" if location else last
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return f"{location}: {message[0].lower()}{message[1:]}, not {first.get('input')!r:.60}"
