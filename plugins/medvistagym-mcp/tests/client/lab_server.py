"""A lab's MCP server for the tests, run as a program; what it does wrong is chosen by its argument.

It speaks the wire protocol by hand, so that it can break it.
"""

import base64
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import PIL.Image

FAULT = sys.argv[1] if len(sys.argv) > 1 else ""
MEMORY = Path(sys.argv[2]) if len(sys.argv) > 2 else None  # a file that survives this process

STRING = {"type": "string", "description": "A picture."}
TOOLS: list[dict[str, Any]] = [
    {
        "name": "InvertPicture",
        "description": "Invert a picture.",
        "inputSchema": {"type": "object", "properties": {"picture": STRING, "gain": {"type": "number", "minimum": 0}},
                        "required": ["picture"]},
    },
    {
        "name": "add-numbers",
        "description": "Add.",
        "inputSchema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}, "how": {"enum": ["plain", "carry"]}},
            "required": ["a", "b"],
            "$defs": {"n": {"type": "integer", "maximum": 100}},
        },
    },
    {
        "name": "work",
        "description": "Do as told.",
        "inputSchema": {"type": "object", "properties": {"what": {"type": "string"}}},
    },
    {
        "name": "copy",
        "description": "Say what was sent.",
        "inputSchema": {"type": "object", "properties": {"from": {"type": "string"}, "study-id": {"type": "integer"},
                        "the.image": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}}},
    },
]  # fmt: skip


def tools() -> list[dict[str, Any]]:
    if FAULT == "no-schema":
        return [*TOOLS, {"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"type": "intejer"}}}}]
    if FAULT == "dangling":
        return [{"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}}]
    if FAULT == "outside":
        return [
            {"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}}
        ]
    if FAULT == "twice":
        return [*TOOLS, TOOLS[1]]
    if FAULT == "clash":
        return [*TOOLS, {**TOOLS[1], "name": "add_numbers"}]
    if FAULT == "nameless":
        return [*TOOLS, {**TOOLS[1], "name": "2D?"}]
    if FAULT == "huge":
        return [{**TOOLS[1], "description": "x" * 100_000}]
    if FAULT == "changing" and MEMORY and MEMORY.exists():
        return [{**TOOLS[2], "inputSchema": {"type": "object", "properties": {"what": {"type": "integer"}}}}]
    return TOOLS


def png(pixels: PIL.Image.Image) -> dict[str, str]:
    data = io.BytesIO()
    pixels.save(data, "PNG")
    return {"type": "image", "mimeType": "image/png", "data": base64.b64encode(data.getvalue()).decode()}


def text(said: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}]}


def work(what: str) -> dict[str, Any]:
    once = MEMORY is not None and not MEMORY.exists()
    if what == "die" or (what == "die-once" and once):
        if MEMORY:
            MEMORY.touch()
        os._exit(3)
    if what == "sleep":
        time.sleep(60)
    while what == "endless-line":
        print("x" * 65536, end="", flush=True)
    if what == "shape":
        return {"content": "not a list"}
    if what == "flood":
        return text("x" * 5_000_000)
    if what == "data":
        return {**text("see data"), "structuredContent": {"mean": 3.5}}
    if what == "huge-data":
        return {**text("see data"), "structuredContent": {"x": "y" * 500_000}}
    if what == "not-image":
        return {"content": [{"type": "image", "mimeType": "image/png", "data": "AAAA"}]}
    if what == "not-base64":
        return {"content": [{"type": "image", "mimeType": "image/png", "data": "!!"}]}
    if what == "bomb":
        return {"content": [png(PIL.Image.new("L", (10_000, 9_000)))]}
    if what == "error":
        return {**text("the lung was not found"), "isError": True}
    if what == "our-error":
        error = {"code": "bad_value", "message": "work: there is no lung."}
        return {**text("bad_value"), "isError": True, "structuredContent": {"error": error}}
    if what == "pid":
        return text(str(os.getpid()))
    if what == "child":
        return text(str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid))
    if what == "resources":
        resource = {"uri": "file:///x", "mimeType": "text/plain", "text": "the body"}
        link = {"type": "resource_link", "uri": "file:///y", "name": "a link"}
        sound = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}
        return {"content": [{"type": "resource", "resource": resource}, link, sound]}
    if what == "nothing at all":
        return {"content": []}
    if what == "data alone":
        return {"content": [], "structuredContent": {"mean": 3.5}}
    return text(f"did {what}")


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if name == "InvertPicture":
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(arguments["picture"])))
        return {
            "content": [png(PIL.Image.eval(picture, lambda value: 255 - value)), {"type": "text", "text": "inverted"}]
        }
    if name == "add-numbers":
        return {**text(str(arguments["a"] + arguments["b"])), "structuredContent": arguments}
    if name == "copy":
        return {**text("sent"), "structuredContent": arguments}
    return work(arguments.get("what", "nothing"))


def respond(request: dict[str, Any]) -> dict[str, Any] | None:
    method = request["method"]
    if method == "initialize":
        return {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "lab", "version": "1"},
        }
    if method == "tools/list":
        if FAULT == "endless":
            return {"tools": [], "nextCursor": "again"}
        return {"tools": tools()}
    if method == "tools/call":
        return call(request["params"]["name"], request["params"].get("arguments") or {})
    return None


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), end="\r\n" if FAULT == "crlf" else "\n", flush=True)


def chatter() -> None:
    """What a server may send at any time."""
    send({"method": "notifications/message", "params": {"level": "info", "data": "working"}})
    send({"method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}})
    send({"method": "notifications/tools/list_changed"})
    send({"method": "notifications/lab", "params": {"own": True}})
    send({"id": 900, "method": "roots/list"})
    send({"id": 901, "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
    send({"id": "abc", "method": "ping"})


def main() -> None:
    if FAULT == "bom":
        sys.stdout.buffer.write(b"\xef\xbb\xbf")
        sys.stdout.flush()
    if FAULT == "silent":
        time.sleep(60)
    if FAULT == "chatty":
        print("Welcome to the lab server!", flush=True)
    if FAULT == "dead":
        sys.exit("no \x1b[31mlicence")
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request or "method" not in request:
            continue
        if FAULT == "talkative":
            chatter()
        if FAULT == "junk":
            print("DEBUG a request came", flush=True)
        result = respond(request)
        answer = {"error": {"code": -32601, "message": "unknown"}} if result is None else {"result": result}
        send({"id": request["id"], **answer})


main()
