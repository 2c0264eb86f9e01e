"""Servers reached over HTTP that answer too much, too little, or not as they should."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from medvistagym_core import ImageStore, LocalExecutor, Toolbox, ToolCall
from medvistagym_mcp.client import McpServerConfig, McpServerError, close_all, mcp_tools

TOOL = {"name": "work", "description": "Work.", "inputSchema": {"type": "object"}}


class Lab(http.server.BaseHTTPRequestHandler):
    """Speaks MCP as JSON until it is told to misbehave."""

    status: ClassVar[int] = 200
    text: ClassVar[str] = "done"
    compress: ClassVar[bool] = False

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "lab", "version": "1"},
            },
            "tools/list": {"tools": [TOOL]},
            "tools/call": {"content": [{"type": "text", "text": self.text}]},
        }  # fmt: skip
        if "id" not in request:
            self.respond(202, b"")
        elif self.status != 200 and request["method"] in ("initialize", "server/discover"):
            self.respond(self.status, b"<html>go away</html>", "text/html")
        elif request["method"] in results:
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": results[request["method"]]}
            self.respond(200, json.dumps(answer).encode())
        else:
            error = {"code": -32601, "message": "Method not found"}
            self.respond(200, json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}).encode())

    def do_GET(self) -> None:
        self.respond(405, b"")

    def do_DELETE(self) -> None:
        self.respond(405, b"")

    def respond(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if self.compress and b"tools" not in body and body:
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[McpServerConfig]:
    monkeypatch.setattr("medvistagym_mcp.client._http.MAX_ANSWER", 100_000)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lab) as lab:
        threading.Thread(target=lab.serve_forever, daemon=True).start()
        yield McpServerConfig(name="lab", url=f"http://127.0.0.1:{lab.server_address[1]}/mcp", timeout_s=20)
        close_all()
        lab.shutdown()


def work(server: McpServerConfig) -> str:
    tools = Toolbox({tool.name: tool for tool in mcp_tools([server])})
    with LocalExecutor(tools, cache_bytes=0) as executor:
        ((result,),) = executor.run([(ImageStore(), [ToolCall(name="work")])])
    return result.text if result.error is None else str(result.error)


def test_it_works_while_the_server_behaves(server: McpServerConfig) -> None:
    assert work(server) == "done"


def test_an_answer_that_is_too_large_is_not_kept(server: McpServerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "text", "x" * 200_000)
    assert "tool_failed: The MCP server lab failed: it" in work(server)
    monkeypatch.setattr(Lab, "text", "x" * 1000)
    assert work(server) == "x" * 1000


def test_an_answer_that_is_compressed_though_nobody_asked_is_refused(
    server: McpServerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "compress", True)
    assert "it is compressed (gzip), which was not asked for" in work(server)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (403, r"refused the connection \(HTTP 403\): name the variable that holds its token in token_env"),
        (500, "answered HTTP 500"),
        (503, "answered HTTP 503"),
    ],
)
def test_a_refusal_says_what_to_do(
    server: McpServerConfig, monkeypatch: pytest.MonkeyPatch, status: int, sentence: str
) -> None:
    monkeypatch.setattr(Lab, "status", status)
    with pytest.raises(McpServerError, match=sentence):
        work(server)
