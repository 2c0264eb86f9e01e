"""A teacher behind an endpoint, and the three benchmarks of the paper in a handful of questions each."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

BENCHMARKS: Final = {"vqa_rad": "VQA_RAD", "slake": "SLAKE", "path_vqa": "PathVQA"}
"""Folders in which the tasks find their data."""
_QUESTIONS: Final = ("is there an effusion?", "are the lungs clear?", "is it benign?", "which side is it on?")
_ANSWERS: Final = ("yes", "no", "yes", "left")


def write_benchmarks(folder: Path) -> Path:
    """Write each benchmark as its copy on the Hub has it: parquet files with pictures, questions and answers."""
    for number, name in enumerate(BENCHMARKS.values()):
        for split in ("train", "validation", "test"):
            rows = [
                {
                    "image": {"bytes": _picture(10 * number + k), "path": f"{k}.png"},
                    "question": question,
                    "answer": answer,
                }
                for k, (question, answer) in enumerate(zip(_QUESTIONS * 2, _ANSWERS * 2, strict=True))
            ]
            path = folder / name / "data" / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = {key: [row[key] for row in rows] for key in ("image", "question", "answer")}
            pq.write_table(pa.table(columns), path)
    return folder


@contextmanager
def serve_teacher(call: dict[str, Any]) -> Iterator[str]:
    """Serve an OpenAI endpoint whose model makes a call in its first turn, and then says yes; its address."""

    class Teacher(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({"object": "list", "data": [{"id": "teacher", "object": "model"}]})

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(
                {
                    "id": "1",
                    "object": "chat.completion",
                    "model": "teacher",
                    "choices": [{"index": 0, "finish_reason": "stop", "message": _turn(request["messages"], call)}],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                }
            )

        def _reply(self, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Teacher)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _turn(messages: Sequence[dict[str, Any]], call: dict[str, Any]) -> dict[str, Any]:
    if any(message["role"] == "assistant" for message in messages):
        return {"role": "assistant", "content": "<think>I have seen it.</think><answer>yes</answer>"}
    return {"role": "assistant", "content": f"<think>I look.</think><tool_call>{json.dumps(call)}</tool_call>"}


def _picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64), np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "png")
    return file.getvalue()
