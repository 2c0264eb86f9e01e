"""A Ray cluster in one machine, of one node or of three with invented GPUs, and tools to run on it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medvistagym_core.tools import Tool, Toolbox
from medvistagym_ray.cluster import load_ray

os.environ["RAY_AUTH_MODE"] = "disabled"  # Ray's own cluster of several nodes knows no tokens
load_ray()  # before a test imports Ray, which reads its settings then
HERE = Path(__file__).parent
STORE_BYTES = 96 << 20


def _sample_tools() -> ModuleType:
    name = "medvistagym_ray_sample_tools"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / "sample_tools.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def tools() -> Any:
    """The module of sample tools."""
    return _sample_tools()


@pytest.fixture(scope="session")
def toolbox(tools: Any) -> Toolbox:
    """All of them."""
    kept = [one for name, one in vars(tools).items() if isinstance(one, Tool) and not name.startswith("_")]
    return Toolbox({one.name: one for one in kept})


class Machines:
    """A cluster: its head without a GPU, and once `grow` was called two nodes with one each, labelled `site` a and b."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args=self._node(num_cpus=2))
        self.nodes: dict[str, Any] = {}

    def grow(self) -> None:
        """The two nodes join, if they have not."""
        for site in ("a", "b"):
            if site not in self.nodes:
                self.rejoin(site)

    @staticmethod
    def _node(**options: Any) -> dict[str, Any]:
        return {"object_store_memory": STORE_BYTES, "include_dashboard": False, **options}

    @property
    def address(self) -> str:
        """The head's."""
        return str(self.cluster.address)

    def add(self, site: str) -> Any:
        """A node joins."""
        return self.cluster.add_node(**self._node(num_cpus=1, num_gpus=1, labels={"site": site}))

    def lose(self, site: str) -> None:
        """A node is gone, without a word."""
        self.cluster.remove_node(self.nodes.pop(site), allow_graceful=False)

    def rejoin(self, site: str) -> None:
        """It is back."""
        self.nodes[site] = self.add(site)

    def close(self) -> None:
        self.cluster.shutdown()


@pytest.fixture(scope="session")
def head() -> Iterator[Machines]:
    """The cluster, to which this process is connected; its head alone, unless a test before asked for `machines`."""
    from medvistagym_ray.cluster import Connection

    cluster = Machines()
    connection = Connection(cluster.address)
    yield cluster
    connection.close()
    cluster.close()


@pytest.fixture(scope="session")
def machines(head: Machines) -> Machines:
    """The cluster with all of its nodes; the tests that ask for it are marked slow."""
    head.grow()
    return head


@pytest.fixture
def place(head: Machines, toolbox: Toolbox, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that makes an executor on the cluster, of a placement file's text and names of tools."""
    from medvistagym_ray.workers import RayExecutor

    made: list[Any] = []

    def make(placement: str, *names: str, pool: str = "", **options: Any) -> Any:
        file = tmp_path / f"placement-{len(made)}.yaml"
        file.write_text(placement, "utf-8")
        chosen = Toolbox({name: toolbox[name] for name in names}) if names else toolbox
        target = f"{head.address}?placement={file}" + (f"&pool={pool}" if pool else "")
        made.append(RayExecutor(chosen, target, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.close()


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """A thread, for what goes on while something is killed."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
