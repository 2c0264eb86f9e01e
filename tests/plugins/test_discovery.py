"""Discovery: every plugin is reported, and none harms another."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from medvistagym_core import Registry
from medvistagym_core.plugins import ALLOW_VARIABLE

GOOD = """
from medvistagym_core import Image, hookimpl, tool

@tool
def {name}(image: Image) -> Image:
    '''Do it.

    Args:
        image: Any.
    '''
    return image

@hookimpl
def medvistagym_tools():
    return [{name}]
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution that has one plugin, as pip would lay it out."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def install(name, source, *, point=None, requires="medvistagym-core"):
        module = f"plugin_{name}"
        modules.append(module)
        if source is not None:
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: {requires}\n"
        )
        (info / "entry_points.txt").write_text(f"[medvistagym]\n{point or name} = {module}\n")
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def report(name, registry):
    return next(r for r in registry.reports if r.name == name)


def test_a_good_plugin_is_loaded_with_its_version(install):
    install("alpha", GOOD.format(name="shine"))
    registry = Registry.discover("alpha")
    assert report("alpha", registry).state == "loaded"
    assert report("alpha", registry).tools == ("shine",)
    assert registry.tools["alpha:shine"].spec.version == "1.0"


BAD = {
    "raises": ("x = 1\nraise RuntimeError('no licence')", "RuntimeError: no licence", "plugin_raises.py:2"),
    "leaves": ("import sys\nsys.exit(7)", "sys.exit(7)", "plugin_leaves.py:2"),
    "misses": ("import no_such_module_here", "No module named 'no_such_module_here'", "plugin_misses.py:1"),
    "nowhere": (None, "No module named 'plugin_nowhere'", ""),
    "syntax": ("def f(:", "SyntaxError", ""),
    "untool": (
        "from medvistagym_core import hookimpl\n@hookimpl\ndef medvistagym_tools(): return [print]",
        "@tool",
        "",
    ),
    "unlist": (
        "from medvistagym_core import hookimpl\n@hookimpl\ndef medvistagym_tools(): return 3",
        "returns a list",
        "",
    ),
    "twice": (GOOD.format(name="f") + "    # \nmedvistagym_tools = hookimpl(lambda: [f, f])", "two tools named f", ""),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_plugin_is_reported_and_harms_no_other(install, kind, capfd):
    source, reason, location = BAD[kind]
    install(kind, source)
    install("alpha", GOOD.format(name="shine"))
    registry = Registry.discover(["alpha", kind])
    found = report(kind, registry)
    assert found.state == "failed"
    assert reason in found.reason
    assert found.fix
    assert found.location.endswith(location)
    assert not found.location.startswith("/")
    assert list(registry.tools) == ["alpha:shine"]
    assert capfd.readouterr().out == ""


def test_missing_modules_are_told_apart(install):
    install("misses", "import no_such_module_here")
    install("nowhere", None)
    registry = Registry.discover("misses,nowhere")
    assert report("misses", registry).fix == "pip install what provides no_such_module_here"
    assert "reinstall the plugin" in report("nowhere", registry).fix


def test_what_a_plugin_prints_does_not_reach_stdout(install, capfd):
    install("chatty", "print('hello')\n" + GOOD.format(name="talk"))
    assert report("chatty", Registry.discover("chatty")).state == "loaded"
    assert capfd.readouterr().out == ""


def test_a_plugin_for_another_core_is_not_imported(install):
    module = install("future", "raise RuntimeError", requires="medvistagym-core >=99")
    found = report("future", Registry.discover("future"))
    assert (found.state, module in sys.modules) == ("incompatible", False)
    assert "medvistagym-core>=99" in found.reason


@pytest.mark.parametrize("by_variable", [True, False])
def test_plugins_off_the_allow_list_are_not_imported(install, monkeypatch, by_variable):
    install("alpha", GOOD.format(name="shine"))
    module = install("beta", "raise RuntimeError")
    if by_variable:
        monkeypatch.setenv(ALLOW_VARIABLE, "alpha")
    registry = Registry.discover(None if by_variable else "alpha")
    assert report("beta", registry).state == "disabled"
    assert module not in sys.modules
    assert list(registry.tools) == ["alpha:shine"]


def test_two_distributions_with_one_plugin_name(install):
    install("alpha", GOOD.format(name="shine"))
    install("beta", GOOD.format(name="glow"), point="alpha")
    registry = Registry.discover("alpha")
    states = [(r.distribution, r.state) for r in registry.reports if r.name == "alpha"]
    assert states == [("alpha", "loaded"), ("beta", "failed")]


def test_a_selection_that_fails_names_the_plugin_that_did_not_load(install):
    install("raises", BAD["raises"][0])
    with pytest.raises(ValueError, match="no licence"):
        Registry.discover("raises").toolbox("shine")


def test_listing_imports_nothing_heavy_and_is_the_same_every_time():
    program = (
        "import dataclasses, json, sys; from medvistagym_core import Registry; r = Registry.discover(); "
        "heavy = {'torch', 'transformers', 'SimpleITK', 'kornia', 'monai', 'numpy', 'gymnasium', 'trl'} & set(sys.modules); "
        "print(json.dumps([sorted(heavy), [t.spec.model_dump() for t in r.tools.values()], "
        "[dataclasses.asdict(p) for p in r.reports]]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    heavy, tools, reports = json.loads(outputs.pop())
    assert heavy == []
    assert tools
    assert all(r["state"] == "loaded" for r in reports)
