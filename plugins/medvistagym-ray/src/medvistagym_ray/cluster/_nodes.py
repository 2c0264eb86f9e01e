"""The nodes of a cluster, and whether they can hold what a placement asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from medvistagym_ray.cluster._errors import PlacementError


@dataclasses.dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's id of it.
        name: Its address.
        resources: What it has in all, by Ray's name of the resource.
        labels: Its labels.
        alive: Whether it is there.
    """

    id: str
    name: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]
    alive: bool


@dataclasses.dataclass(frozen=True)
class Demand:
    """What workers reserve.

    Attributes:
        name: Whose workers they are.
        count: How many.
        resources: What each reserves.
        labels: What the node of each must have.
    """

    name: str
    count: int
    resources: Mapping[str, float]
    labels: Mapping[str, str]


def cluster_nodes() -> list[Node]:
    """The nodes of the cluster that this process is connected to."""
    import ray

    return [
        Node(
            node["NodeID"],
            str(node.get("NodeManagerAddress", "")),
            dict(node.get("Resources", {})),
            dict(node.get("Labels", {}) or {}),
            bool(node.get("Alive")),
        )
        for node in ray.nodes()
    ]


def by_choice_of_nodes(demand: Demand) -> tuple[int, float, str]:
    """A key that sorts first what fewest nodes can hold: Ray moves no worker to make room for another."""
    return -len(demand.labels), -sum(demand.resources.values()), demand.name


def check_fit(demands: Sequence[Demand], nodes: Sequence[Node]) -> None:
    """Refuse what the nodes could not hold if nobody else used them.

    Args:
        demands: What workers reserve.
        nodes: The nodes of the cluster; only those alive count.

    Raises:
        PlacementError: A worker fits on no node, or not all workers do.
    """
    free = {node.id: dict(node.resources) for node in nodes if node.alive}
    there = [node for node in nodes if node.alive]
    for demand in sorted(demands, key=by_choice_of_nodes):
        fitting = [node for node in there if _has_labels(node, demand.labels)]
        if not fitting:
            wanted = ", ".join(f"{key}={value}" for key, value in demand.labels.items())
            raise PlacementError(
                f"{demand.name} asks for a node labelled {wanted}, and there is none; {_summary(there)}"
            )
        for placed in range(demand.count):
            node = next((node for node in fitting if _fits(demand.resources, free[node.id])), None)
            if node is None:
                wanted = " and ".join(f"{amount:g} {name}" for name, amount in demand.resources.items())
                many = f"{demand.count} workers of {demand.name} ask" if demand.count > 1 else f"{demand.name} asks"
                room = f" and {placed} fit" if placed else " and no node has room for one"
                each = " each" if demand.count > 1 else ""
                raise PlacementError(
                    f"{many} for {wanted}{each},{room}; {_summary(there)}: ask for less in the placement file, or add a node"
                )
            for name, amount in demand.resources.items():
                free[node.id][name] -= amount


def _fits(wanted: Mapping[str, float], free: Mapping[str, float]) -> bool:
    return all(free.get(name, 0.0) + 1e-6 >= amount for name, amount in wanted.items())


def _has_labels(node: Node, labels: Mapping[str, str]) -> bool:
    """Whether a node has labels; operators of Ray's selectors, such as `in(a, b)`, are left to Ray."""
    return all(node.labels.get(key) == value for key, value in labels.items() if value.isidentifier() or "-" in value)


def _summary(nodes: Sequence[Node]) -> str:
    """What there is, in a few words."""
    hidden = ("memory", "object_store_memory", "node:", "accelerator_type:")
    parts = []
    for node in nodes:
        has = [f"{amount:g} {name}" for name, amount in sorted(node.resources.items()) if not name.startswith(hidden)]
        parts.append(f"{node.name}: {' and '.join(has) or 'nothing to reserve'}")
    return f"the cluster has {len(nodes)} node{'' if len(nodes) == 1 else 's'} ({'; '.join(parts[:8])})"
