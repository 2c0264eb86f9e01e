"""A scaffolded package works as it is written."""

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from medvistagym_core.cli import main
from medvistagym_core.plugins import ScaffoldError, write_package
from medvistagym_core.testing import check_plugin


def test_a_new_package_conforms(tmp_path: Path) -> None:
    folder = write_package("my-tool", tmp_path)
    report = check_plugin(folder, examples=3)
    assert report.exit_code == 0, str(report)
    assert all(outcome.status != "FAIL" for outcome in report.outcomes)
    assert report.tools == ("my_tool",)


@pytest.mark.parametrize(
    ("name", "distribution", "module", "tool"),
    [
        ("My_Tool", "my-tool", "my_tool", "my_tool"),
        ("medvistagym-invert", "medvistagym-invert", "medvistagym_invert", "invert"),
    ],
)
def test_names_follow_from_the_distribution(
    tmp_path: Path, name: str, distribution: str, module: str, tool: str
) -> None:
    folder = write_package(name, tmp_path)
    assert folder == tmp_path / distribution
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == distribution
    assert project["entry-points"]["medvistagym"] == {tool: module}
    assert (folder / "src" / module / "__init__.py").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [distribution]


@pytest.mark.parametrize(
    ("name", "said"),
    [("json", "a module json already"), ("numpy", "a module numpy"), ("2d", "letters, digits"), ("class", "is not a name"),
     ("a/b", "is not a name"), ("../up", "is not a name"), ("", "is not a name")],
)  # fmt: skip
def test_names_that_would_not_work_are_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ScaffoldError, match=said):
        write_package(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_exists_is_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my-tool").mkdir()
    (tmp_path / "my-tool" / "thesis.tex").write_text("years of work")
    assert main(["plugins", "new", "my-tool", "--dir", str(tmp_path)]) == 2
    assert "exists already; nothing was written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["my-tool", "thesis.tex"]


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_package("my-tool", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
@pytest.mark.slow
def test_a_new_package_installs_tests_itself_and_shows_in_the_prompt(tmp_path: Path) -> None:
    """In an environment of its own, which borrows the libraries of this one and nothing else."""
    assert main(["plugins", "new", "my-tool", "--dir", str(tmp_path)]) == 0
    venv.create(tmp_path / "venv", with_pip=False, system_site_packages=False)
    bin_ = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    site = next((tmp_path / "venv").rglob("site-packages"))
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    (site / "core.pth").write_text(f"{Path(__file__).parents[2] / 'src'}\n")

    def ran(*argv: str) -> str:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MEDVISTAGYM_PLUGINS")}
        done = subprocess.run(
            [bin_ / "python", "-I", *argv],
            cwd=tmp_path / "my-tool",
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    ran("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", ".")
    passed, skipped = 17, 12  # skipped: checks of what it does not bring
    assert f"{passed} passed, {skipped} skipped" in ran("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "my_tool:my_tool" in ran("-m", "medvistagym_core.cli", "tools", "list")
    assert '"name": "my_tool"' in ran("-m", "medvistagym_core.cli", "prompt", "--tools", "my_tool")
    ran("-m", "medvistagym_core.cli", "plugins", "check", "my-tool", "--examples", "2")
