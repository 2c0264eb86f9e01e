"""Reads files, each in a fork of a process that has loaded what reads them, and tells what each cost.

Run as a script. A request is a line of JSON with the name of a reader and of a file; the answer is a line of JSON with what was
said, MiB of memory beyond what the process had before, and seconds of processor time. Processes that a reader starts count.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0  # of a busy machine
PROCESSOR_S = 10


def read_dicom(path: Path) -> object:
    from medvistagym_dicom import DicomError, read

    try:
        return read(path)
    except DicomError as error:
        raise ValueError(f"{error.reason}: {error}") from None


def read_picture(path: Path) -> object:
    from medvistagym_core.imaging import Image

    return Image.open(path)


def read_volume(path: Path) -> object:
    from medvistagym_files import read

    return read(path)


def read_trajectories(path: Path) -> object:
    from medvistagym_core.trajectories import TrajectoryReader

    return list(TrajectoryReader(path))


def read_results(path: Path) -> object:
    from medvistagym_core.trajectories import Results

    return Results.load(path)


def read_questions(path: Path) -> object:
    """A table of questions, and the pictures of its first row."""
    from medvistagym_core.environment.questions import open_source, read_table

    source, _ = open_source(path)
    table = read_table(source)
    first = next((question for split in table.splits.values() for question in split), None)
    cells = [source.cell(0, name) for name in source.columns] if first is not None else []
    return table.problems[:2], first, len(cells)


def read_pictures(path: Path) -> object:
    """A member of an archive of pictures."""
    from medvistagym_core.environment.questions import PictureFolder

    return PictureFolder([path], search=True).open("a.png", [])


def read_benchmark(path: Path) -> object:
    """A folder of a public benchmark, whose name begins with that of the task."""
    from medvistagym_core.environment.questions import make_task
    from medvistagym_core.plugins import Registry

    task = make_task(Registry.discover("vqa"), path.name.partition("-")[0], {"path": str(path)})
    return task.case(task.splits[0], 0)


def read_recipe(path: Path) -> object:
    from medvistagym_trl._recipe import load_recipe

    return load_recipe(path)


def read_models(path: Path) -> object:
    from medvistagym_models import read_models as read

    return list(read(path))


def read_servers(path: Path) -> object:
    from medvistagym_mcp.client import read_servers as read

    return read(path)


def read_bundle(path: Path) -> object:
    from medvistagym_segment.segmenters import MonaiBundleSegmenter

    return MonaiBundleSegmenter(path, "cpu")


def read_checkpoint(path: Path) -> object:
    """The configuration of a folder of transformers."""
    from medvistagym_models import ModelEntry
    from medvistagym_models._model_files import check_transformers_folder, transformers_labels

    entry = ModelEntry(name="a", task="image-classification", description="a", path=path)
    return transformers_labels(entry, check_transformers_folder(entry))


def read_template(path: Path) -> object:
    """A chat template."""
    from types import SimpleNamespace

    from medvistagym_core.protocol import inspect_chat_template

    return inspect_chat_template(SimpleNamespace(chat_template=path.read_text("utf-8")), [])


READERS: dict[str, Callable[[Path], object]] = {
    name.removeprefix("read_"): value for name, value in dict(globals()).items() if name.startswith("read_")
}


def memory_mib(process: int | str, line: str) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return 0.0
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024 if f"{line}:" in status else 0.0


def command(process: str) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def tell(reader: str, path: Path, out: int) -> None:
    """Read a file, write what it cost, and end this process."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins here
    idle = memory_mib("self", "VmRSS")
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_S, PROCESSOR_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    began = time.process_time()
    try:
        said = repr(READERS[reader](path))
    except (ValueError, OSError, RuntimeError) as error:
        said = f"{type(error).__name__}: {error}"
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.process_time() - began + spent.ru_utime + spent.ru_stime
    answer = {"said": said[:1000], "mib": max(0.0, memory_mib("self", "VmHWM") - idle), "seconds": seconds}
    os.write(out, json.dumps(answer).encode())


def measure(reader: str, path: Path) -> dict[str, Any]:
    """What reading a file costs a fork of this process."""
    out, into = os.pipe()
    process = os.fork()
    if not process:
        try:
            tell(reader, path, into)
        except BaseException as error:  # noqa: BLE001 it is told, and judged by the test
            os.write(into, json.dumps({"said": f"crash: {type(error).__name__}: {error}"[:1000]}).encode())
        os._exit(0)
    os.close(into)
    own = command("self")
    started, ended = 0.0, time.monotonic() + DEADLINE_S
    children = Path(f"/proc/{process}/task/{process}/children")
    while (done := os.waitpid(process, os.WNOHANG))[0] == 0:
        if time.monotonic() > ended:
            os.kill(process, 9)
        for child in children.read_text("ascii").split() if children.exists() else ():
            if command(child) != own:  # until it runs its own program, its memory is that of this process
                started = max(started, memory_mib(child, "VmHWM"))
        time.sleep(0.005)
    with os.fdopen(out, "rb") as pipe:
        told = pipe.read()
    answer: dict[str, Any] = json.loads(told) if told else {"said": f"crash: ended by signal {done[1] & 127}"}
    return {"mib": 0.0, "seconds": 0.0, **answer, "started_mib": started}


def main() -> None:
    warnings.simplefilter("ignore")
    loaded: set[str] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if (
            request["warm"] is not None and request["warm"] not in loaded
        ):  # what is imported on first use is imported here
            loaded.add(request["warm"])
            with contextlib.suppress(ValueError):
                READERS[request["reader"]](Path(request["warm"]))
        print(json.dumps(measure(request["reader"], Path(request["file"]))), flush=True)


if __name__ == "__main__":
    main()
