"""Files of rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_lite.batches.rows import RowFile


def write(folder: Path, name: str, text: str) -> RowFile:
    (folder / name).write_text(text, "utf-8")
    return RowFile(folder / name)


def test_csv_and_json_lines(tmp_path: Path) -> None:
    table = write(tmp_path, "a.csv", '\ufeffname,3.seed,text\none,1,\n\n,2,"a, b"\n')
    assert [dict(row.values) for row in table] == [{"name": "one", "3.seed": "1"}, {"3.seed": "2", "text": "a, b"}]
    assert [row.name for row in table] == ["one", "000001"]
    assert (table.count, table.columns) == (2, ("name", "3.seed", "text"))
    lines = write(tmp_path, "a.jsonl", '{"a": 1}\n\n{"b": true, "c": null}\n')
    assert [dict(row.values) for row in lines] == [{"a": 1}, {"b": True}]
    assert lines.columns == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "holds no row"),
        ("a.csv", "a,a\n1,2\n", "column 'a' twice"),
        ("a.csv", "a,b\n1,2,3\n", "line 2: has 3 cells"),
        ("a.csv", "a\n", "holds no row"),
        ("a.csv", "name\nx\ny\nx\n", "line 4: is named 'x' like line 2"),
        ("a.jsonl", "{\n", "line 1: is not JSON"),
        ("a.jsonl", "[1]\n", "line 1: is not an object"),
        ("a.jsonl", '{"a": [1]}\n', "line 1: is not an object"),
        ("a.txt", "a", "neither .csv nor .jsonl"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _ = write(tmp_path, name, text).count
