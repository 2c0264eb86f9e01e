"""What is wrong with a table is said in one sentence, and costs no more than its own rows."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medvistagym_core.environment import QuestionTask
from medvistagym_core.environment.questions import open_source
from medvistagym_core.environment.questions._parquet_pages import PageError, measure_pages

from .tables import ROWS, write_jsonl, write_pictures, write_table


def task(path: Path, **arguments: Any) -> QuestionTask:
    made = QuestionTask("mine", "My questions.", path)
    return made.with_arguments(arguments) if arguments else made


def test_a_table_without_an_answer_column_names_its_columns(tmp_path: Path) -> None:
    table = write_table(tmp_path / "q.csv", [{"image": "a.png", "question": "q", "reply": "yes"}])
    with pytest.raises(
        ValueError, match=r"q.csv has no column for the answer; its columns are image, question, reply\. "
    ) as said:
        task(table).size("test")
    assert "--column answer=NAME" in str(said.value)
    write_pictures(tmp_path, ["a.png"])
    assert task(table, columns={"answer": "reply"}).size("test") == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"answr": "reply"}, "there is no part of a question 'answr'; did you mean 'answer'?"),
        ({"answer": "replay"}, "q.csv: there is no column 'replay'; did you mean 'reply'?"),
    ],
)
def test_a_misspelt_column_is_answered_with_the_nearest(columns: dict[str, str], said: str, tmp_path: Path) -> None:
    table = write_table(tmp_path / "q.csv", [{"question": "q", "reply": "yes"}])
    with pytest.raises(ValueError, match="there is no") as raised:
        task(table, columns=columns).size("test")
    assert said in str(raised.value)


def test_rows_that_cannot_be_used_are_named_and_left_out_or_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    rows = [*ROWS, {"image": "gone.png", "question": "q", "answer": "yes"}, {**ROWS[0], "kind": "number"}]
    table = write_jsonl(tmp_path / "q.jsonl", rows)
    table.write_text(table.read_text() + "not json\n[1]\n")
    made = task(table)
    assert made.size("train") + made.size("test") == len(ROWS)
    assert [str(problem).partition(" (")[0] for problem in made.table.problems] == [
        "line 5: the picture 'gone.png' does not exist",
        "line 6: the answer 'no' of a question for a number is not one",
        "line 7: it is no JSON object",
        "line 8: it is a JSON list, not an object",
    ]
    (note,) = made.provenance("test").notes
    assert note.startswith("4 rows of q.jsonl cannot be used and are left out: line 5: ")
    with pytest.raises(
        ValueError, match=r"q.jsonl: 4 of 8 rows cannot be used: line 5: the picture 'gone.png' does not exist"
    ):
        task(table, strict=True).size("test")


def test_pictures_outside_of_the_folder_are_not_shown(tmp_path: Path) -> None:
    write_pictures(tmp_path / "secret", ["private.png"])
    for path in ("../secret/private.png", str(tmp_path / "secret" / "private.png"), "..\\secret\\private.png"):
        table = write_jsonl(tmp_path / "table.jsonl", [{"image": path, "question": "q", "answer": "yes"}])
        with pytest.raises(ValueError, match="lies outside of the picture folder"):
            task(table).size("test")
    folder = tmp_path / "secret"
    table = write_jsonl(tmp_path / "table.jsonl", [{"image": "private.png", "question": "q", "answer": "yes"}])
    assert task(table, pictures=folder).case("test", 0).images


def test_a_picture_of_two_gigabytes_is_named_with_its_size(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2 * 2**30)
    table = write_jsonl(tmp_path / "q.jsonl", [{"image": "huge.png", "question": "q", "answer": "yes"}])
    with pytest.raises(ValueError, match=r"line 1: the picture 'huge.png' is 2.0 GiB; 1 GiB is the most"):
        task(table).size("test")


def test_a_picture_that_is_none_is_named_when_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    table = write_jsonl(tmp_path / "q.jsonl", [{"image": "a.png", "question": "q", "answer": "yes"}])
    made = task(table)
    with pytest.raises(ValueError, match=r"^q.jsonl, line 1: a.png: it is not an image that can be read"):
        made.case("test", 0)
    failed = {check.name: check for check in made.audit(5) if not check.passed}
    assert set(failed) == {"pictures that cannot be read"}


def test_ten_million_rows_are_refused_before_they_are_read(tmp_path: Path) -> None:
    line = b'{"question": "q", "answer": "yes"}\n'
    with (tmp_path / "q.jsonl").open("wb") as file:
        for _ in range(100):
            file.write(line * 100_000)
    with pytest.raises(ValueError, match=r"q.jsonl holds more than 1,000,000 rows; .* split it into several files"):
        task(tmp_path / "q.jsonl").size("test")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("q.jsonl", b"", "q.jsonl is empty"),
        ("q.csv", b"\n\n", "q.csv is empty"),
        (
            "q.csv",
            "question,answer\nhéllo,yes\n".encode("latin-1"),
            "q.csv is not in UTF-8 (line 2, byte 1); save it as UTF-8",
        ),
        ("q.csv", b"question,answer,answer\nq,yes,no\n", "q.csv has two columns named 'answer'; rename one of them"),
        ("q.csv", b"question,answer\n", "q.csv holds no question"),
        ("q.json", b"{", "q.json is no JSON file"),
        ("q.json", b'{"a": 1}', "q.json holds no list of objects, one a question"),
        ("q.parquet", b"PAR1 or not", "q.parquet is no parquet file"),
        ("q.xlsx", b"PK", "q.xlsx: a table of questions ends in one of .jsonl, .ndjson, .json, .csv"),
    ],
)
def test_a_broken_file_is_one_sentence(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name) as raised:
        task(tmp_path / name).size("test")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_table_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing.jsonl: there is no such file or folder"):
        open_source(tmp_path / "nothing.jsonl")
    with pytest.raises(ValueError, match="the folder holds no table"):
        open_source(tmp_path)
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / name, ROWS)
    with pytest.raises(ValueError, match=r"holds several tables; name one of a\.csv, b\.csv"):
        open_source(tmp_path)


def test_a_hub_name_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=r"there is no file 'owner/questions', and the Hub data set 'owner/questions' cannot be had: "
    ):
        open_source("owner/questions")


def test_a_table_whose_reader_crashes_is_called_damaged_and_can_be_read_again(tmp_path: Path) -> None:
    table = tmp_path / "q.parquet"
    rows = {"question": [f"q{k}" for k in range(3000)], "answer": ["yes"] * 3000, "image": [b"x"] * 3000}
    pq.write_table(pa.table(rows), table)
    before = set(_children())
    source, _ = open_source(table)
    (reader,) = set(_children()) - before
    read = source.rows()
    assert next(read).values["question"] == "q0"
    os.kill(reader, signal.SIGABRT)  # as pyarrow does on some damaged files
    with pytest.raises(ValueError, match=r"q\.parquet is damaged: its reader crashed \(SIGABRT\) while it was read"):
        list(read)
    assert source.cell(7, "image") == b"x"
    assert [row.values["question"] for row in source.rows()] == rows["question"]


def test_reading_does_not_go_on_elsewhere_after_the_reader_crashed(tmp_path: Path) -> None:
    before = set(_children())
    source, _ = open_source(_write_parquet(tmp_path / "q.parquet", 3000))
    (reader,) = set(_children()) - before
    first = source.rows()
    assert next(first).values["question"] == "q0"
    os.kill(reader, signal.SIGABRT)
    with pytest.raises(ValueError, match="its reader crashed"):
        source.cell(0, "answer")
    second = source.rows()  # of another reader, which counts its iterators anew
    assert next(second).values["question"] == "q0"
    with pytest.raises(ValueError, match=r"the reader of q\.parquet ended; read its rows again from the first"):
        list(first)
    assert len(list(second)) == 2999


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_table_can_be_read_after_a_fork_while_a_thread_reads_it(tmp_path: Path) -> None:
    source, _ = open_source(_write_parquet(tmp_path / "q.parquet", 50_000))
    begun, ended = threading.Event(), threading.Event()

    def read() -> None:
        while not ended.is_set():
            source.cell(0, "answer")
            begun.set()

    thread = threading.Thread(target=read)
    thread.start()
    begun.wait()
    try:
        if (child := os.fork()) == 0:
            status = 1
            try:
                signal.alarm(20)  # ends it where it waits for a lock that nobody holds
                status = int(source.cell(7, "question") != "q7")
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        ended.set()
        thread.join()
    assert source.cell(7, "question") == "q7"


def test_pages_are_counted_before_they_are_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = _write_parquet(tmp_path / "q.parquet", 700)
    metadata = pq.ParquetFile(table).metadata
    column = metadata.row_group(0).column(0)
    data = bytearray(table.read_bytes())
    begin = column.data_page_offset if column.dictionary_page_offset is None else column.dictionary_page_offset
    header = bytes([0x15, 0, 0x15, 0, 0x15, 0, 0])  # a page of no bytes
    data[begin : begin + 6 * len(header)] = header * 5 + bytes([0xFF]) * len(header)  # and then what is none
    table.write_bytes(bytes(data))
    with pytest.raises(PageError, match="damaged"):
        measure_pages(table, metadata)
    monkeypatch.setattr("medvistagym_core.environment.questions._parquet_pages._MAX_PAGES", 5)
    with pytest.raises(PageError, match="has more than 5 pages"):
        measure_pages(table, metadata)


def _write_parquet(path: Path, rows: int) -> Path:
    columns = {"question": [f"q{k}" for k in range(rows)], "answer": ["yes"] * rows}
    pq.write_table(pa.table(columns), path, compression="none")
    return path


def _children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


@pytest.mark.parametrize("damage", ["rows", "page", "outside"])
def test_a_parquet_file_that_lies_about_its_parts_is_refused(damage: str, tmp_path: Path) -> None:
    table = tmp_path / "q.parquet"
    pq.write_table(pa.table({"question": ["q"] * 700, "answer": ["yes"] * 700}), table, compression="none")
    data = bytearray(table.read_bytes())
    column = pq.ParquetFile(table).metadata.row_group(0).column(0)
    begin = min(column.data_page_offset, column.dictionary_page_offset)
    if damage == "page":
        data[begin + 3] = 0x0B  # the uncompressed size of the first page: -6
    elif damage == "outside":
        data[begin : begin + 1] = b"\x00"  # a header that ends at once
    else:
        count = bytes([0xF8, 0x0A])  # 700 as it stands in the footer, first that of the file
        at = data.rindex(b"PAR1") - 4 - int.from_bytes(data[-8:-4], "little")
        at = data.index(count, at)
        data[at : at + 2] = bytes([0xF6, 0x0A])
    table.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"q\.parquet (has a page|says that it has 699 rows)"):
        open_source(table)


def test_a_page_with_another_checksum_than_is_stored_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "q.parquet"
    columns = {"question": [f"is there a nodule in picture {k}?" for k in range(50)], "answer": ["yes"] * 50}
    pq.write_table(pa.table(columns), table, compression="none", write_page_checksum=True)
    assert open_source(table)[0].cell(7, "question") == "is there a nodule in picture 7?"
    data = bytearray(table.read_bytes())
    data[data.index(b"picture 7?") + 8] = ord("8")  # another picture
    table.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"it cannot be read: .*CRC checksum verification failed"):
        open_source(table)[0].cell(7, "question")
