"""`realsmoke_masks`: lung tumours and head MR from two pinned packages; skipped where those cannot be had."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from medvistagym_core.cli import main
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import ExpertPolicy, image_control, rollout
from medvistagym_core.tools import Toolbox
from medvistagym_realsmoke import REALSMOKE_MASKS
from medvistagym_realsmoke._masks import DOWNLOAD, read_head, read_scan
from realsmoke.blind import Blind

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


def test_a_scripted_expert_solves_every_kind_and_who_does_not_look_is_at_chance(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(packages))
    toolbox = Registry.discover().toolbox(",".join(REALSMOKE_MASKS.tools))
    indices = range(REALSMOKE_MASKS.size("test"))
    verdicts = defaultdict(list)
    for episode in rollout(ExpertPolicy(REALSMOKE_MASKS), REALSMOKE_MASKS, toolbox, "test", indices):
        verdicts[episode.family].append(bool(episode.outcome.correct))
    assert set(verdicts) == set(REALSMOKE_MASKS.families)
    assert all(sum(right) >= 0.95 * len(right) for right in verdicts.values()), verdicts
    control = image_control("none", REALSMOKE_MASKS)
    blind = list(rollout(Blind(), REALSMOKE_MASKS, Toolbox({}), "test", indices, change_case=control))
    chance = sum(REALSMOKE_MASKS.family(name).chance for name in REALSMOKE_MASKS.families) / len(verdicts)
    assert sum(bool(episode.outcome.correct) for episode in blind) / len(blind) < chance + 0.1


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
    for scans in (read_head, read_scan):  # which another test may have read
        scans.cache_clear()
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nilearn" else find_spec(name))
    assert main(["tasks", "show", "realsmoke_masks", "--split", "test"]) != 0
    err = capsys.readouterr().err
    assert DOWNLOAD in err
    assert str(tmp_path) in err
