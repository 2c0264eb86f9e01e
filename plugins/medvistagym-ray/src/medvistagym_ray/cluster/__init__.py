"""Ray itself: how it is reached or started, what its nodes have, how tools are placed on them, and what is wrong in a sentence.

Uses `medvistagym_core.tools`; imports Ray when it connects.
"""

from __future__ import annotations

from medvistagym_ray.cluster._connection import NAMESPACE, Connection, load_ray
from medvistagym_ray.cluster._errors import (
    ObjectStoreFullError,
    PlacementError,
    RayUnavailableError,
    WorkersStoppedError,
)
from medvistagym_ray.cluster._nodes import Demand, Node, by_choice_of_nodes, check_fit, cluster_nodes
from medvistagym_ray.cluster._placement import (
    AUTO,
    CPU_POOL,
    LOCAL,
    ClusterLimits,
    Placement,
    ToolSettings,
    WorkerSettings,
)
from medvistagym_ray.cluster._target import PRIVATE_PREFIX, RayTarget

__all__ = [
    "AUTO",
    "CPU_POOL",
    "LOCAL",
    "NAMESPACE",
    "PRIVATE_PREFIX",
    "ClusterLimits",
    "Connection",
    "Demand",
    "Node",
    "ObjectStoreFullError",
    "Placement",
    "PlacementError",
    "RayTarget",
    "RayUnavailableError",
    "ToolSettings",
    "WorkerSettings",
    "WorkersStoppedError",
    "by_choice_of_nodes",
    "check_fit",
    "cluster_nodes",
    "load_ray",
]
