"""Discovery and start-up beside llm, stevedore and plain pluggy, 20 plugins each, all installed in one environment.

`python benchmarks/startup.py` makes that environment once in build/startup, runs every contestant in turn, round after round,
and writes medians in milliseconds and the median of the paired ratios (theirs / ours: above 1, ours is faster) into
benchmarks/results.json, beside what other benchmarks wrote there.

- `startup.list`: a fresh process lists 20 tools (ours `medvistagym tools list`, theirs `llm tools list` or lines of Python).
- `startup.discover`: the first discovery of the 20 plugins in a process that has imported the library, but none of them.
- `startup.torch`: listing beside `import torch`, where the environment that runs this script has torch.

stevedore and pluggy load modules and check nothing; ours and llm's plugins describe tools with schemas besides. All of them
see the same distributions on their path. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
    OURS: ("import medvistagym_core.registry as r", "found = list(r.Registry.discover().tools)"),
    "llm": ("import llm, llm.plugins", "llm.plugins.load_plugins(); found = list(llm.get_tools())"),
    "stevedore": (STEVEDORE, "found = ExtensionManager('startup_stevedore').names()"),
    "pluggy": (PLUGGY, "manager.load_setuptools_entrypoints('startup_pluggy')\n" + PLUGGY_FIND),
}


def make_environment(folder: Path) -> Path:
    """A virtual environment with the peers and this core; the path of its interpreter."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *PEERS, ROOT], check=True)
    return python


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
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results.json")
    options = parser.parse_args()
    python = make_environment(options.environment)
    with tempfile.TemporaryDirectory() as place:
        write_plugins(Path(place))
        environment = {
            **{
                key: value
                for key, value in os.environ.items()
                if key not in ("MEDVISTAGYM_PLUGINS", "PYTHONDONTWRITEBYTECODE")
            },
            "PYTHONPATH": place,
            "LLM_USER_PATH": place,
            "OMP_NUM_THREADS": "1",
        }
        rows = []
        listing = {name: whole(python, name) for name in DISCOVER}
        rows += compare(
            "startup.list", {name: timed(argv, environment) for name, argv in listing.items()}, options.rounds
        )
        finding = {name: within(python, name, environment) for name in DISCOVER}
        rows += compare("startup.discover", finding, options.rounds)
        if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
            pair = {
                OURS: timed(listing[OURS], environment),
                "import torch": timed([sys.executable, "-c", "import torch"], environment),
            }
            rows += compare("startup.torch", pair, max(3, options.rounds // 3))
    merge(rows, options.out)
    for row in rows:
        print(
            "{bench:17} {peer:13} ours {ours:8.1f} ms  theirs {theirs:8.1f} ms  theirs / ours {ratio:6.2f}".format(
                **row
            )
        )


def whole(python: Path, name: str) -> list[str]:
    """The command line that lists the tools in a process of its own."""
    commands = {
        OURS: [str(python), "-c", "from medvistagym_core.cli import main; main()", "tools", "list"],
        "llm": [str(python), "-c", "from llm.cli import cli; cli()", "tools", "list"],
    }
    imports, find = DISCOVER[name]
    return commands.get(name, [str(python), "-c", f"{imports}\n{find}\nprint(sorted(found))"])


def timed(argv, environment):
    """A function that runs the command and returns milliseconds."""

    def run() -> float:
        began = time.perf_counter()
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=True)
        taken = (time.perf_counter() - began) * 1000
        assert "import torch" in argv or done.stdout.count("tool_") >= PLUGINS, done.stdout
        return taken

    return run


def within(python, name, environment):
    """A function that starts a process and returns the milliseconds that discovery took in it."""
    imports, find = DISCOVER[name]
    clock = "time.perf_counter()"
    program = f"{imports}\nimport time\nbegan = {clock}\n{find}\nprint(({clock} - began) * 1000, len(found))"

    def run() -> float:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, env=environment, check=True)
        taken, found = done.stdout.split()[-2:]
        assert int(found) >= PLUGINS, done.stdout
        return float(taken)

    return run


def compare(bench, contestants, rounds):
    """Rows of ours against each other contestant, from runs that take turns; the first round only warms up."""
    taken = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            value = run()
            if turn:
                taken[name].append(value)
    ours = taken.pop(OURS)
    return [
        {
            "bench": bench,
            "peer": name,
            "batch": PLUGINS,
            "ours": round(statistics.median(ours), 2),
            "theirs": round(statistics.median(theirs), 2),
            "ratio": round(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)), 3),
        }
        for name, theirs in taken.items()
    ]


def merge(rows, file: Path) -> None:
    """Put the rows in place of those of the same benches; others stay."""
    mine = {row["bench"] for row in rows}
    kept = [row for row in json.loads(file.read_text("utf-8")) if row["bench"] not in mine] if file.exists() else []
    aside = file.with_suffix(".part")
    aside.write_text(
        json.dumps(sorted([*kept, *rows], key=lambda row: (row["bench"], row["peer"])), indent=1) + "\n", "utf-8"
    )
    aside.replace(file)


if __name__ == "__main__":
    main()
