"""Where a worker keeps what it runs: a folder of one user's."""

from pathlib import Path

import pytest

from medvistagym_ray.workers._call_journal import CallJournal


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(PermissionError, match=r"shared is not a folder of this user alone \(mode 700\); remove it"):
        CallJournal("worker", shared)
    assert list(shared.iterdir()) == []


def test_a_link_is_refused_whatever_it_leads_to(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(own)
    with pytest.raises(PermissionError, match="link is not a folder of this user alone"):
        CallJournal("worker", link)
    assert list(own.iterdir()) == []
