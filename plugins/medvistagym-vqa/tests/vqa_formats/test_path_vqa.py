from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.environment import QuestionTask, make_task
from medvistagym_core.plugins import Registry

from .pictures import embedded, save, write_parquet


def task(path: Path, **arguments: Any) -> QuestionTask:
    found = make_task(Registry.discover("vqa"), "path_vqa", {"path": str(path), **arguments})
    assert isinstance(found, QuestionTask)
    return found


def test_the_original_pickles(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        rows = [
            {"image": f"{split}_0001", "question": "is there necrosis?", "answer": "yes"},
            {"image": f"{split}_0001", "question": "what is present?", "answer": "oral"},  # one picture, many questions
        ]
        (tmp_path / "pvqa" / "qas" / split).mkdir(parents=True)
        (tmp_path / "pvqa" / "qas" / split / f"{split}_qa.pkl").write_bytes(pickle.dumps(rows))
        save(tmp_path / "pvqa" / "images" / split / f"{split}_0001.jpg", 0, "RGB")
    path_vqa = task(tmp_path)
    assert {split: path_vqa.size(split) for split in path_vqa.splits} == {"train": 2, "validation": 2, "test": 2}
    first, second = path_vqa.case("test", 0), path_vqa.case("test", 1)
    assert (first.family, first.answer.kind, second.family, second.answer.kind) == ("closed", "yes_no", "open", "text")
    assert first.images[0] is second.images[0]  # decoded once
    assert path_vqa.provenance("test").notes == ("PathVQA test has 6,719 questions: 3,362 yes/no; found 2: 1 yes/no",)
    assert path_vqa.provenance("validation").notes == ("PathVQA validation has 6,259 questions; found 2",)


def test_the_re_export_with_labels(tmp_path: Path) -> None:
    rows = [
        {"img_id": "test_0001", "sent": "is it benign?", "label": {"no": 1}, "answer_type": "yes/no", "question_id": 7},
        {
            "img_id": "test_0001",
            "sent": "how many nuclei?",
            "label": {"2": 1},
            "answer_type": "number",
            "question_id": 8,
        },
        {"img_id": "test_0001", "sent": "what is it?", "label": {}, "answer_type": "other", "question_id": 9},
    ]
    (tmp_path / "testset.pkl").write_bytes(b"no pickle of this benchmark")
    (tmp_path / "testset.pkl").unlink()
    (tmp_path / "test_vqa.pkl").write_bytes(pickle.dumps(rows))
    save(tmp_path / "images" / "test_0001.jpg", 0)
    path_vqa = task(tmp_path)
    assert [path_vqa.case("test", k).answer.value for k in (0, 1)] == ["no", "2"]
    assert [str(problem) for problem in path_vqa.table.problems] == ["test, row 3: the answer is empty"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo pwned",)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    (tmp_path / "test_qa.pkl").write_bytes(pickle.dumps([{"image": "a", "question": Evil(), "answer": "yes"}]))
    with pytest.raises(ValueError, match=r"test_qa.pkl is no pickle of questions: it holds a (posix|nt).system"):
        task(tmp_path).size("test")


def test_the_hubs_copy_with_cmyk_pictures(tmp_path: Path) -> None:
    rows = [
        {"image": embedded(0, "CMYK", "jpeg"), "question": "what is present?", "answer": "oral"},
        {"image": embedded(1, "RGB", "jpeg"), "question": "is this nervous tissue?", "answer": "no"},
    ]
    write_parquet(tmp_path / "data" / "test-00000-of-00003.parquet", rows)
    write_parquet(tmp_path / "data" / "validation-00000-of-00003.parquet", rows[1:])
    path_vqa = task(tmp_path)
    image = path_vqa.case("test", 0).images[0]
    assert image.photometric == "RGB"
    with PIL.Image.open(__import__("io").BytesIO(rows[0]["image"]["bytes"])) as expected:  # type: ignore[index]
        np.testing.assert_array_equal(image.pixels, np.asarray(expected.convert("RGB")))
    assert path_vqa.size("validation") == 1
