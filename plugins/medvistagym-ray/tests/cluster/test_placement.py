"""The placement file: which workers a tool has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.tools import tool
from medvistagym_ray.cluster import Demand, Node, Placement, PlacementError, check_fit

EXAMPLE = """\
segment: {replicas: 2, num_gpus: 0.5, max_batch: 32, labels: {gpu: a100}}
"seg*": {pool: heavy}
"*": {pool: cpu}
pools:
  heavy: {num_cpus: 4, resources: {licence: 1}}
"""


@tool
class Segment:
    """Find a structure."""

    def run(self) -> str:
        """Find a structure."""
        return "found"


@tool
def measure() -> str:
    """Measure."""
    return "1 mm"


def read(text: str, folder: Path) -> Placement:
    file = folder / "placement.yaml"
    file.write_text(text, "utf-8")
    return Placement.read(file)


def test_a_name_holds_before_patterns_and_the_first_pattern_before_others(tmp_path: Path) -> None:
    placement = read(EXAMPLE, tmp_path)
    segment = placement.for_tool(Segment)
    assert (segment.replicas, segment.max_batch, segment.demand()) == (2, 32, {"GPU": 0.5})
    assert placement.for_tool(Segment.with_metadata(name="segment_crop")).pool == "heavy"
    assert placement.for_tool(measure).pool == "cpu"
    assert placement.for_pool("heavy").demand() == {"CPU": 4, "licence": 1}
    assert placement.for_pool("cpu").demand() == {}


def test_without_a_file_a_class_has_a_worker_of_its_own_and_a_function_runs_where_it_is_faster() -> None:
    assert Placement().for_tool(Segment).pool is None
    assert Placement().for_tool(Segment).demand() == {}
    assert Placement().for_tool(Segment.on_device("cuda")).demand() == {"GPU": 1}
    assert Placement().for_tool(measure).pool == "auto"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("segment: {replica: 2}", "segment: there is no setting replica; did you mean replicas?"),
        ("segment: {replicas: 0}", "segment.replicas: it must be greater than or equal to 1, not 0"),
        ("segment: {num_gpus: 1.5}", "segment.num_gpus: above 1 it is a whole number, not 1.5"),
        ("segment: {pool: cpus}", "segment: there is no pool cpus; did you mean cpu?"),
        ("segment: {pool: cpu, replicas: 2}", "segment: replicas is a setting of workers; write it under pools: cpu"),
        ("segment: {pool: local, num_gpus: 1}", "segment: num_gpus is a setting of workers; a tool in this process"),
        ("pools: {auto: {}}", "pools: auto has a meaning of its own; choose another name"),
        ("pools: {cpu: {replicsa: 1}}", "pools.cpu: there is no setting replicsa; did you mean replicas?"),
        ("limits: {object_store: 1}", "limits: there is no setting object_store; did you mean object_store_mib?"),
        ("- a", "it is a mapping of tools to settings, such as segment: {replicas: 2, num_gpus: 0.5}"),
        ("segment: 3", "segment: it must be a valid dictionary or instance of ToolSettings, not 3"),
    ],
)
def test_what_says_nothing_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(PlacementError) as refused:
        read(text, tmp_path)
    file = tmp_path / "placement.yaml"
    assert str(refused.value).startswith(f"{file}: {sentence}")


def test_a_file_that_is_not_yaml_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PlacementError, match=r'placement\.yaml, line 1: it is not YAML; a pattern such as "\*" stands in'
    ):
        read("*: {pool: cpu}", tmp_path)
    with pytest.raises(PlacementError, match=r"none\.yaml: No such file or directory"):
        Placement.read(tmp_path / "none.yaml")


def test_a_misspelt_tool_is_refused_and_one_of_another_job_is_not() -> None:
    with pytest.raises(PlacementError, match="no tool matches 'segmnet'; did you mean segment"):
        Placement.from_mapping({"segmnet": {}}).check_names([Segment, measure])
    Placement.from_mapping({"read_text": {}, "dicom:*": {"pool": "cpu"}}).check_names([Segment, measure])


def node(name: str, labels: dict[str, str] | None = None, **resources: float) -> Node:
    return Node(name, name, resources, labels or {}, alive=True)


def demand(name: str, count: int = 1, labels: dict[str, str] | None = None, **resources: float) -> Demand:
    return Demand(name, count, resources, labels or {})


@pytest.mark.parametrize(
    "demands",
    [
        [demand("a", 4, GPU=0.5)],
        [demand("a", 2, GPU=0.5), demand("b", 1, {"site": "y"}, GPU=1)],  # b first, which only one node can hold
        [demand("a", 2, CPU=1.5), demand("b", 2, GPU=1, CPU=0.5)],
    ],
)
def test_what_fits_is_taken(demands: list[Demand]) -> None:
    check_fit(demands, [node("x", GPU=1, CPU=2), node("y", {"site": "y"}, GPU=1, CPU=2)])


@pytest.mark.parametrize(
    ("demands", "sentence"),
    [
        (
            [demand("a", 1, GPU=2)],
            "a asks for 2 GPU, and no node has room for one; the cluster has 2 nodes (x: 2 CPU and 1",
        ),
        ([demand("a", 5, GPU=0.5)], "5 workers of a ask for 0.5 GPU each, and 4 fit; the cluster has 2 nodes"),
        (
            [demand("a", 1, {"site": "z"}, GPU=1)],
            "a asks for a node labelled site=z, and there is none; the cluster has 2",
        ),
        (
            [demand("a", 2, {"site": "y"}, GPU=1)],
            "2 workers of a ask for 1 GPU each, and 1 fit; the cluster has 2 nodes",
        ),
    ],
)
def test_what_does_not_fit_is_refused(demands: list[Any], sentence: str) -> None:
    with pytest.raises(PlacementError) as refused:
        check_fit(demands, [node("x", GPU=1, CPU=2), node("y", {"site": "y"}, GPU=1, CPU=2)])
    assert str(refused.value).startswith(sentence)
    assert str(refused.value).endswith("ask for less in the placement file, or add a node") or "labelled" in sentence
