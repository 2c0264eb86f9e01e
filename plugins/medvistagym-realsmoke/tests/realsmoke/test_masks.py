"""`realsmoke_masks`: lung tumours and head MR from two pinned packages; skipped where those cannot be had."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medvistagym_core.cli import main
from medvistagym_realsmoke import REALSMOKE_MASKS
from medvistagym_realsmoke._masks import DOWNLOAD

PACKAGES = ("pyradiomics==3.0.1", "nilearn==0.14.1")


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder with both packages, fetched once by pip."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "medvistagym-tests", "realsmoke")
    folder.mkdir(parents=True, exist_ok=True)
    for requirement in PACKAGES:
        name = requirement.partition("==")[0]
        if not list(folder.glob(f"{name}-*")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", requirement, "-d", str(folder)]
            command += ["--no-binary", "pyradiomics", "--no-build-isolation"]
            if subprocess.run(command, capture_output=True, timeout=300).returncode:
                pytest.skip(f"{requirement} cannot be fetched")
    return folder


@pytest.mark.slow
def test_the_audit_passes(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(packages))
    checks = REALSMOKE_MASKS.audit(120)
    assert [check for check in checks if not check.passed] == []
    experts = [check for check in checks if check.name.endswith("scripted expert")]
    assert len(experts) == 5
    assert REALSMOKE_MASKS.provenance("test").questions == 60


def test_without_the_packages_it_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nilearn" else find_spec(name))
    assert main(["tasks", "show", "realsmoke_masks", "--split", "test"]) != 0
    err = capsys.readouterr().err
    assert DOWNLOAD in err
    assert str(tmp_path) in err
