"""An object store that is really full, and a disk that takes nothing over from it: in a Ray of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys

import numpy as np

from medvistagym_core.execution import ImageStore
from medvistagym_core.imaging import Image
from medvistagym_core.tools import Toolbox, ToolCall, tool
from medvistagym_ray import make_executor
from medvistagym_ray.cluster import ObjectStoreFullError

import swelling

side, many = 1024, np.random.default_rng(0)


def turn(name, images, **more):
    new = [Image(pixels=many.integers(0, 999, (side, side), np.int16)) for _ in range(images)]
    return [(ImageStore([one]), [ToolCall(name=name, arguments={"image": 0, **more})]) for one in new]


with make_executor(Toolbox({"swell": swelling.swell}), f"?placement={sys.argv[1]}") as workers:
    import ray

    def run(what, request):
        try:
            results = workers.run(request)
            print(what, [one.error for row in results for one in row])
        except ObjectStoreFullError as error:
            print(what, error)

    run("images:", turn("swell", 60, times=1))
    run("small:", turn("swell", 1, times=1))
    run("results:", turn("swell", 2, times=60))
    held = []
    try:
        while True:
            held.append(ray.put(np.ones(4 << 20, np.uint8)))
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError):
        pass
    run("others:", turn("swell", 4, times=1))
    held.clear()
    for _ in range(100):  # until what others held is gone
        try:
            workers.run(turn("swell", 4, times=1))
        except ObjectStoreFullError:
            continue
        break
    run("again:", turn("swell", 4, times=1))
"""
TOOL = '''
import numpy as np

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool


@tool(deterministic=False)
def swell(image: Image, times: int) -> list[Image]:
    """Copies of an image.

    Args:
        image: The image.
        times: How many.
    """
    return [image.with_pixels(image.pixels + k) for k in range(times)]
'''


@pytest.mark.slow
def test_a_store_that_is_full_says_what_to_do_and_goes_on_once_there_is_room(tmp_path: Path) -> None:
    """A disk counts as full from the first byte on, so that nothing is written there in the store's place."""
    (tmp_path / "swelling.py").write_text(TOOL, "utf-8")
    (tmp_path / "fill.py").write_text(SCRIPT, "utf-8")
    (tmp_path / "placement.yaml").write_text(
        "swell: {num_cpus: 1, max_batch: 64}\nlimits: {object_store_mib: 80}\n", "utf-8"
    )
    environment = {**os.environ, "RAY_local_fs_capacity_threshold": "0.000001", "PYTHONPATH": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "fill.py", "placement.yaml"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    images, small, results, others, again = done.stdout.splitlines()
    advice = (
        "give it more (limits: {object_store_mib: ...} in the placement file, or `ray start --object-store-memory`), make room "
        "on its disk, or lower max_batch"
    )
    assert small == "small: [None]"
    assert images == f"images: Ray's object store of 80 MiB has no room for the images of a batch (120 MiB): {advice}"
    assert results == f"results: Ray's object store of 80 MiB has no room for the results of swell: {advice}"
    # How many images a batch has depends on how long calls took.
    assert re.sub(r"\d MiB\)", "N MiB)", others) == (
        f"others: Ray's object store of 80 MiB has no room for the images of a batch (N MiB): {advice}"
    )
    assert again == "again: [None, None, None, None]"
