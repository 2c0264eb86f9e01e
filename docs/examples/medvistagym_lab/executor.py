"""An executor: where and how tools run. `schedule_calls` does everything that does not depend on that.

medvistagym eval --task lab_quadrants --policy expert --executor lab_serial
"""

from medvistagym_core import hookimpl


class SerialExecutor:
    """Runs every call in the calling thread, one after another: for debugging, without time limits."""

    def __init__(self, toolbox):
        from medvistagym_core.execution import ResultCache

        self.toolbox = toolbox
        self._cache = ResultCache(2**20)

    def run(self, requests):
        from medvistagym_core.execution import schedule_calls

        return schedule_calls(requests, self.toolbox, _Runner(), self._cache)

    def close(self):
        self._cache.clear()


class _Runner:
    def __init__(self):
        self._done = []

    def submit(self, items):
        for item in items:
            item.run(interruptible=True)
        self._done += items

    def wait(self):
        done, self._done = self._done, []
        return done

    def abandon(self):
        pass


@hookimpl
def medvistagym_executors():
    return {"lab_serial": SerialExecutor}
