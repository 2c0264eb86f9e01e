"""Discovery and start-up beside llm, stevedore and plain pluggy, 20 plugins each, all installed in one environment.

`python benchmarks/startup.py` makes that environment once in build/startup, runs every contestant in turn, round after round,
and writes medians in milliseconds and the median of the paired ratios (theirs / ours: above 1, ours is faster) into
benchmarks/results.json, beside what other benchmarks wrote there.

- `startup.list`: a fresh process lists 20 tools (ours `medvistagym tools list`, theirs `llm tools list` or lines of Python).
- `startup.discover`: the first discovery of the 20 plugins in a process that has imported the library, but none of them.
- `startup.torch`: listing beside `import torch`, where the environment that runs this script has torch.
- `startup.installed`: `medvistagym tools list` with whatever plugins that environment has, beside the same, as it
  is from the second time on: the names are kept while nothing changes.
- `startup.loaded`: the same with nothing kept, as in the rows above, so that every plugin is loaded.

stevedore and pluggy load modules and check nothing; ours and llm's plugins describe tools with schemas besides. All of them
see the same distributions on their path. One thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

from rows import RESULTS, ROOT, compare, environment, merge

PEERS = ("llm==0.36", "stevedore==5.10.0", "pluggy==1.7.0")
PLUGINS = 20
OURS = "medvistagym"

SOURCES = {
    "medvistagym": '''
from medvistagym_core import Image, hookimpl, tool

@tool
def tool_{n}(image: Image) -> Image:
    """Show the image as it is.

    Args:
        image: The image to show.
    """
    return image

@hookimpl
def medvistagym_tools():
    return [tool_{n}]
''',
    "llm": '''
import llm

def tool_{n}(image: int) -> str:
    """Show the image as it is."""
    return "shown"

@llm.hookimpl
def register_tools(register):
    register(tool_{n})
''',
    "startup_stevedore": '''
def tool_{n}(image):
    """Show the image as it is."""
    return image
''',
    "startup_pluggy": '''
import pluggy

def tool_{n}(image):
    """Show the image as it is."""
    return image

@pluggy.HookimplMarker("startup_pluggy")
def tools():
    return [tool_{n}]
''',
}
STEVEDORE = "from stevedore import ExtensionManager"
PLUGGY = """
import pluggy
class Hooks:
    @pluggy.HookspecMarker("startup_pluggy")
    def tools(self): ...
manager = pluggy.PluginManager("startup_pluggy")
manager.add_hookspecs(Hooks)
"""
PLUGGY_FIND = "found = [tool.__name__ for tools in manager.hook.tools() for tool in tools]"
DISCOVER = {
    OURS: ("import medvistagym_core.plugins as r", "found = list(r.Registry.discover().tools)"),
    "llm": ("import llm, llm.plugins", "llm.plugins.load_plugins(); found = list(llm.get_tools())"),
    "stevedore": (STEVEDORE, "found = ExtensionManager('startup_stevedore').names()"),
    "pluggy": (PLUGGY, "manager.load_setuptools_entrypoints('startup_pluggy')\n" + PLUGGY_FIND),
}


def write_plugins(folder: Path) -> None:
    """Lay out `PLUGINS` distributions for each contestant, as pip would."""
    for group, source in SOURCES.items():
        for n in range(PLUGINS):
            module = f"{group}_plugin_{n}"
            (folder / f"{module}.py").write_text(source.replace("{n}", str(n)), "utf-8")
            info = folder / f"{module}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n", "utf-8"
            )
            value = f"{module}:tool_{n}" if group == "startup_stevedore" else module
            (info / "entry_points.txt").write_text(f"[{group}]\ntool_{n} = {value}\n", "utf-8")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--environment", type=Path, default=ROOT / "build" / "startup")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    python = environment(options.environment, [*PEERS, ROOT])
    with tempfile.TemporaryDirectory() as place:
        write_plugins(Path(place))
        variables = {
            **{
                key: value
                for key, value in os.environ.items()
                if key not in ("MEDVISTAGYM_PLUGINS", "PYTHONDONTWRITEBYTECODE")
            },
            "PYTHONPATH": place,
            "LLM_USER_PATH": place,
            "OMP_NUM_THREADS": "1",
            "MEDVISTAGYM_CACHE": "0",
            "XDG_CACHE_HOME": place,
        }
        listing = {name: timed(whole(python, name), variables) for name in DISCOVER}
        finding = {name: within(python, name, variables) for name in DISCOVER}
        rows = beside("startup.list", listing, options.rounds)
        rows += beside("startup.discover", finding, options.rounds)
        if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
            heavy = timed([sys.executable, "-c", "import torch"], variables)
            rounds = max(3, options.rounds // 3)
            rows += beside("startup.torch", {OURS: listing[OURS], "import torch": heavy}, rounds)
            installed = len(entry_points(group="medvistagym"))
            for bench, cache in (("startup.installed", ""), ("startup.loaded", "0")):
                own = {**variables, "PYTHONPATH": "", "MEDVISTAGYM_CACHE": cache}
                run = timed(whole(Path(sys.executable), OURS), own, expected="window")
                rows += compare(bench, installed, "ms", run, {"import torch": heavy}, rounds)
    merge(rows, options.out)


def beside(bench, contestants, rounds):
    """Rows of ours against each other contestant."""
    peers = {name: run for name, run in contestants.items() if name != OURS}
    return compare(bench, PLUGINS, "ms", contestants[OURS], peers, rounds)


def whole(python: Path, name: str) -> list[str]:
    """The command line that lists the tools in a process of its own."""
    commands = {
        OURS: [str(python), "-c", "from medvistagym_core.cli import main; main()", "tools", "list"],
        "llm": [str(python), "-c", "from llm.cli import cli; cli()", "tools", "list"],
    }
    imports, find = DISCOVER[name]
    return commands.get(name, [str(python), "-c", f"{imports}\n{find}\nprint(sorted(found))"])


def timed(argv, variables, expected="tool_"):
    """A function that runs the command, which prints what is expected unless it imports torch, and returns milliseconds."""

    def run() -> float:
        began = time.perf_counter()
        done = subprocess.run(argv, capture_output=True, text=True, env=variables, check=True)
        taken = (time.perf_counter() - began) * 1000
        assert "import torch" in argv or done.stdout.count(expected) >= (PLUGINS if expected == "tool_" else 1), (
            done.stdout
        )
        return taken

    return run


def within(python, name, variables):
    """A function that starts a process and returns the milliseconds that discovery took in it."""
    imports, find = DISCOVER[name]
    clock = "time.perf_counter()"
    program = f"{imports}\nimport time\nbegan = {clock}\n{find}\nprint(({clock} - began) * 1000, len(found))"

    def run() -> float:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, env=variables, check=True)
        taken, found = done.stdout.split()[-2:]
        assert int(found) >= PLUGINS, done.stdout
        return float(taken)

    return run


if __name__ == "__main__":
    main()
