"""Running tools in processes of their own, which they may take down."""

import ctypes
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, ProcessExecutor, Registry, ToolCall, ToolResult, tool
from medvistagym_core.cli import main
from medvistagym_core.execution import NotImportableToolError
from medvistagym_core.plugins import LoadedPlugin, PluginReport


class Local:
    """Can be restored in the process that made it only."""

    def __reduce__(self):
        return restored_in, (os.getpid(),)


def restored_in(process):
    if os.getpid() != process:
        raise LookupError("not here")
    return Local()


LEAKED = []


@tool(deterministic=False, timeout_s=1.0)
def behave(image: Image, how: str = "well") -> list:
    """Behave.

    Args:
        image: Any.
        how: In what way.
    """
    if how == "exit":
        os._exit(3)
    if how == "crash":
        ctypes.string_at(0)
    if how == "loop":
        while True:
            pass
    if how == "raise":
        raise ValueError("it is not to be had")
    if how == "leave":
        sys.exit(4)
    if how == "local":
        return ToolResult(text=how, data={"value": Local()})
    if how == "leak":
        LEAKED.append(b"x" * 40_000_000)
        return [str(os.getpid())]
    if how == "daemon" and os.fork() == 0:
        time.sleep(30)
    if how == "daemon":
        os._exit(5)
    if how == "closure":
        return lambda: None
    return [how, image.with_pixels(image.pixels + 1)]


@tool(deterministic=False)
def process(image: Image) -> str:
    """Say which process this is.

    Args:
        image: Any.
    """
    return str(os.getpid())


@tool
def total(images: list[Image], weight: float = 1.0) -> float:
    """Add up.

    Args:
        images: Some.
        weight: A factor.
    """
    return weight * float(sum(i.pixels.sum() for i in images))


@tool(deterministic=False)
def together(image: Image, kill: bool = False) -> str:
    """Run together.

    Args:
        image: Any.
        kill: Whether to kill the process.
    """
    return _together([{"image": image, "kill": kill}])[0]


@together.batch
def _together(calls):
    if any(call["kill"] for call in calls):
        os.kill(os.getpid(), signal.SIGKILL)
    return [f"{len(calls)} together"] * len(calls)


def image(value=0, side=4):
    return Image(pixels=np.full((side, side), value, np.int16), unit="HU", spacing=(0.5, 0.5), modality="CT")


@pytest.fixture(scope="module")
def registry():
    registry = Registry()
    for one in (behave, process, total, together):
        registry.add_tool(one)
    return registry


@pytest.fixture(scope="module")
def isolated(registry):
    with ProcessExecutor(registry.toolbox(), processes=1) as executor:
        yield executor


def run(executor, name, *each, images=None):
    jobs = [(ImageStore(images or [image(k)]), [ToolCall(name=name, arguments=a)]) for k, a in enumerate(each)]
    return [row[0] for row in executor.run(jobs)]


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("exit", "tool_failed", "behave ended its process (exit code 3)."),
        ("crash", "tool_failed", "behave crashed its process (SIGSEGV)."),
        ("leave", "tool_failed", "behave ended its process (exit code 4)."),
        ("loop", "timeout", "behave took longer than 1 s and was given up."),
        ("raise", "bad_value", "behave: it is not to be had."),
        ("closure", "tool_failed", "behave returned function"),
        ("local", "tool_failed", "behave returned a dict with values that are not JSON: a value is Local."),
    ],
)
def test_a_fault_costs_the_call_that_made_it_and_no_other(isolated, how, code, said):
    results = run(isolated, "behave", *[{"image": 0, "how": h} for h in ("a", how, "b", "c")])
    assert [r.text for r in results if r.ok] == ["a", "b", "c"]
    assert results[1].error.code == code
    assert said in results[1].error.message


def test_calls_get_their_own_answers_after_a_process_said_what_it_should_not(isolated, monkeypatch):
    def garbled(connection):
        monkeypatch.undo()
        raise struct.error("garbage")

    import medvistagym_core.execution._child_process as module

    monkeypatch.setattr(module, "receive", garbled)
    broken = run(isolated, "behave", *[{"image": 0, "how": h} for h in "abc"])
    assert [result.error and result.error.code for result in broken] == ["tool_failed"] * 3, broken
    for how in "def":
        [result] = run(isolated, "behave", {"image": 0, "how": how})
        assert result.text == how


def test_a_process_that_ends_is_noticed_though_what_it_forked_lives_on(registry):
    with ProcessExecutor(registry.toolbox("behave"), processes=1) as executor:
        [result] = run(executor, "behave", {"image": 0, "how": "daemon"})
    assert result.error.message == "behave ended its process (exit code 5)."


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_child_has_processes_of_its_own(registry):
    with ProcessExecutor(registry.toolbox("process"), processes=1) as executor:
        [mine] = run(executor, "process", {"image": 0})
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            try:
                [other] = run(executor, "process", {"image": 0})
                os.write(writer, other.text.encode())
                executor.close()
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as said:
            other = said.read()
        os.waitpid(child, 0)
        assert other.isdigit()
        assert other != mine.text
        [again] = run(executor, "process", {"image": 0})
        assert again.text == mine.text


def test_tools_run_in_a_process_that_stays(isolated):
    there = {r.text for r in run(isolated, "process", {"image": 0}, {"image": 0})}
    there |= {r.text for r in run(isolated, "process", {"image": 0})}
    assert len(there) == 1
    assert there != {str(os.getpid())}


def test_a_process_whose_tool_leaks_is_replaced(registry, monkeypatch):
    monkeypatch.setattr("medvistagym_core.execution._worker_process.MAX_GROWTH_BYTES", 100_000_000)
    with ProcessExecutor(registry.toolbox("behave"), processes=1, cache_bytes=0) as executor:
        by_process = [run(executor, "behave", {"image": 0, "how": "leak"})[0].text for _ in range(8)]
    assert len(set(by_process)) == 2
    assert max(map(by_process.count, by_process)) == 4  # after 40 MB, 120 MB more


def test_a_crash_in_a_batched_kernel_is_found_by_making_the_calls_apart(isolated):
    fine = run(isolated, "together", *[{"image": 0}] * 3)
    assert [r.text for r in fine] == ["3 together"] * 3
    results = run(isolated, "together", {"image": 0}, {"image": 0, "kill": True}, {"image": 0})
    assert [r.text for r in results if r.ok] == ["1 together"] * 2
    assert "SIGKILL" in results[1].error.message


def test_results_are_those_of_the_local_executor(isolated, registry):
    asked = [
        ToolCall(name="behave", arguments={"image": 0}),
        ToolCall(name="behave", arguments={"image": 1, "how": "twice"}),
        ToolCall(name="total", arguments={"images": [0, 1, 2], "weight": 0.5}),
        ToolCall(name="total", arguments={"images": [9]}),
    ]
    seen = []
    with LocalExecutor(registry.toolbox()) as local:
        for executor in (local, isolated):
            store = ImageStore([image(7)])
            [results] = executor.run([(store, asked)])
            seen.append(
                [(r.text, r.data, r.handles, str(r.error)) for r in results]
                + [(made.image.digest, made.parent, made.call) for made in store]
            )
    assert seen[0] == seen[1]


def test_a_large_image_comes_back_as_it_went(isolated):
    large = Image(pixels=np.arange(2048 * 2048, dtype=np.int32).reshape(2048, 2048))
    [result] = run(isolated, "behave", {"image": 0}, images=[large])
    assert np.array_equal(result.images[0].pixels, large.pixels + 1)
    assert not result.images[0].pixels.flags.writeable


def test_processes_end_when_closed(registry):
    executor = ProcessExecutor(registry.toolbox("process"), processes=1)
    [result] = run(executor, "process", {"image": 0})
    executor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(result.text), 0)
    [late] = run(executor, "process", {"image": 0})
    assert late.error.message == "The tools were closed before this call ran."


SCRIPT = """
import os, sys, time
import numpy as np
from medvistagym_core import Image, ImageStore, Registry, ToolCall, tool
from medvistagym_core import ProcessExecutor

@tool(timeout_s=60, deterministic=False)
def hang(image: Image) -> str:
    '''Hang.

    Args:
        image: Any.
    '''
    open(sys.argv[0] + ".pid", "w").write(str(os.getpid()))
    while True:
        pass

if __name__ == "__main__":
    registry = Registry()
    registry.add_tool(hang)
    with ProcessExecutor(registry.toolbox(), processes=1) as executor:
        store = ImageStore([Image(pixels=np.zeros((4, 4)))])
        executor.run([(store, [ToolCall(name="hang", arguments={"image": 0})])])
"""


def gone(pid, within_s=10.0):
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("sys.argv[0]", repr(str(script))))
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE)
    said = tmp_path / "script.py.pid"
    end = time.monotonic() + 60
    while not (said.is_file() and said.read_text()) and time.monotonic() < end and parent.poll() is None:
        time.sleep(0.02)
    child = int(said.read_text())
    parent.send_signal(how)
    parent.communicate(timeout=30)
    assert gone(child)


def test_what_cannot_be_isolated_is_said_at_once():
    @tool
    def inner(image: Image) -> str:
        """Be inside.

        Args:
            image: Any.
        """
        return "x"

    registry = Registry()
    registry.add_tool(inner)
    with pytest.raises(
        NotImportableToolError, match="inner is defined inside a function; define it at the top of a module"
    ):
        ProcessExecutor(registry.toolbox())


def test_a_tool_whose_module_fails_there_says_so(tmp_path, monkeypatch):
    (tmp_path / "fickle.py").write_text(
        "import os\nfrom medvistagym_core import tool\n"
        "if os.environ.get('FICKLE'):\n    raise RuntimeError('not here')\n"
        "@tool\ndef fickle() -> str:\n    '''Work here only.'''\n    return 'x'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import fickle

    registry = Registry()
    registry.add_tool(fickle.fickle)
    monkeypatch.setenv("FICKLE", "1")
    with ProcessExecutor(registry.toolbox()) as executor:
        [result] = run(executor, "fickle", {})
    assert result.error.message == "fickle could not be loaded: RuntimeError: not here."


TOOLS = """
import os
from medvistagym_core import tool

@tool
def vanish() -> str:
    '''Vanish.'''
    os._exit(7)

@tool
class Where:
    '''Say where.'''

    def setup(self, device: str) -> None:
        self.device = device

    def run(self) -> str:
        '''Say where.'''
        print("not an answer")
        return f"{self.device} {os.getpid()}"
"""


@pytest.fixture
def called(tmp_path, capsys):
    """Runs `tools call` on the tools of a file: the exit code and what was printed."""
    (tmp_path / "some_tools.py").write_text(TOOLS)

    def command(*words):
        capsys.readouterr()
        code = main(["tools", "call", *words, "--tools-from", str(tmp_path / "some_tools.py"), "--plugins", "none"])
        out, err = capsys.readouterr()
        return code, out, err

    return command


def test_the_command_line_runs_tools_where_it_is_told(called):
    code, out, _ = called("where", "--executor", "process", "--device", "cpu")
    device, process = out.split()
    assert (code, device) == (0, "cpu")
    assert int(process) != os.getpid()
    assert called("vanish", "--executor", "process")[::2] == (
        1, "medvistagym: vanish ended its process (exit code 7).\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--executor", "proces"), "no executor is called 'proces'; did you mean process?"),
        (("--device", "gpu"), "'gpu' places nothing"),
        (("--device", "cpu:3"), "there is no device cpu:3"),
        (("--device", "wher=cpu"), "no tool matches 'wher'"),
    ],
)
def test_an_executor_or_a_device_that_cannot_be_had_is_a_wrong_use(called, words, said):
    code, out, err = called("where", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_an_executor_of_a_plugin_is_found_by_its_name():
    class Other:
        def __init__(self, toolbox):
            self.toolbox = toolbox

    report = PluginReport(name="far", distribution="medvistagym-far", version="1", state="loaded")
    registry = Registry([LoadedPlugin(report, {"executors": {"far": Other}})])
    assert isinstance(registry.executor("far")(registry.toolbox()), Other)
    assert registry.executor("local") is LocalExecutor
    assert registry.executor("process") is ProcessExecutor
