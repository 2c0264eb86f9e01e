"""The command line without `medvistagym-mcp`: one sentence, wherever it is needed."""

import sys
from pathlib import Path

import pytest

from medvistagym_core.cli import main


@pytest.mark.parametrize(
    "arguments", [["serve"], ["serve", "--http"], ["tools", "list", "--tools-from-mcp", "servers.toml"]]
)
def test_without_the_package_it_says_how_to_install_it(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("medvistagym_mcp", "medvistagym_mcp.server", "medvistagym_mcp.client"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([*arguments, "--plugins", "none"]) == 2
    assert capsys.readouterr().err == (
        "medvistagym: this needs medvistagym-mcp, which is not installed: pip install 'medvistagym-core[mcp]', "
        "or from a clone: pip install ./plugins/medvistagym-mcp\n"
    )


def test_its_options_are_shown_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "medvistagym_mcp", None)
    assert main(["serve", "--help"]) == 0
    assert "--picture-format" in capsys.readouterr().out
