"""How slow the machine is that a check runs on."""

import pytest

from medvistagym_core.testing import _processor_speed
from medvistagym_core.testing._processor_speed import measure_slowness


def test_a_machine_that_takes_longer_is_slower_and_none_is_faster_than_ordinary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 0.9, 1.0, 1.03, 2.0, 2.5])
    monkeypatch.setattr(_processor_speed.time, "process_time", lambda: next(clock))
    assert measure_slowness() == pytest.approx(3.0)  # by the quickest of three tries
    ticks = iter([0.0, 0.001] * 3)
    monkeypatch.setattr(_processor_speed.time, "process_time", lambda: next(ticks))
    assert measure_slowness() == 1.0
