from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from explore.outputs import TABLES, OutputError
from explore.query import MAX_ROWS_SHOWN, print_query
from tests.support.runs import make_run, small_tables


@pytest.fixture
def output(tmp_path):
    return make_run(tmp_path, images=False)


def on_terminal(output: str, sql: str) -> str:
    file = io.StringIO()
    print_query(output, sql, Console(file=file, force_terminal=True, width=200))
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def in_pipe(output: str, sql: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    print_query(output, sql, Console(file=io.StringIO(), force_terminal=False))
    return [line.split("\t") for line in capsys.readouterr().out.split("\n")[:-1]]


def test_all_tables_can_be_asked(output, capsys):
    counts = {name: int(in_pipe(output, f"SELECT count(*) FROM {name}", capsys)[1][0]) for name in TABLES}
    assert counts == {"clips": 5, "videos": 3, "shots": 6, "failures": 2}


def test_a_pipe_gets_all_rows_as_lines(output, capsys):
    sql = "SELECT clip_id, aesthetic_score, motion_score FROM clips WHERE status = 'kept' ORDER BY 1"
    assert in_pipe(output, sql, capsys) == [
        ["clip_id", "aesthetic_score", "motion_score"],
        ["aaaa_00000", "", "4.0"],
        ["aaaa_00001", "", "4.5"],
    ]
    many = in_pipe(output, f"SELECT range AS n FROM range({3 * MAX_ROWS_SHOWN + 7})", capsys)
    assert len(many) == 3 * MAX_ROWS_SHOWN + 8


def test_a_terminal_gets_a_table_and_a_note_on_truncation(output):
    shown = on_terminal(output, "SELECT clip_id, status FROM clips ORDER BY 1")
    assert "aaaa_00000" in shown and "clip_id" in shown and "only the first" not in shown
    assert "only the first 1000 rows" in on_terminal(output, f"SELECT * FROM range({MAX_ROWS_SHOWN + 1})")
    assert "only the first" not in on_terminal(output, f"SELECT * FROM range({MAX_ROWS_SHOWN})")


@pytest.mark.parametrize("name", ["film [x264].mp4", "[/red]", "[bold]loud[/bold].mkv"])
def test_brackets_in_names_are_no_styles(tmp_path, name):
    tables = small_tables()
    tables["videos"][0]["source_uri"] = name
    output = make_run(tmp_path, tables, images=False)
    assert name in on_terminal(output, "SELECT source_uri FROM videos")
    assert name in on_terminal(output, f'SELECT 1 AS "{name}"')


def test_control_characters_break_no_line_and_steer_no_terminal(output, capsys):
    sql = "SELECT 'a' || chr(9) || 'b' || chr(10) || chr(27) || '[2J' AS x, 2 AS y"
    assert in_pipe(output, sql, capsys) == [["x", "y"], ["a\\u0009b\\u000a\\u001b[2J", "2"]]
    assert "\\u001b[2J" in on_terminal(output, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELEC 1",
        "SELECT nothing FROM clips",
        "SELECT * FROM nowhere",
        "SELECT source_uri::INT FROM videos",
        "SELECT CASE WHEN range = 9999 THEN error('late') ELSE 'x' END FROM range(10000)",
    ],
)
def test_wrong_queries_are_errors_with_the_engine_s_words(output, sql, capsys):
    with pytest.raises(OutputError, match="the query failed: "):
        in_pipe(output, sql, capsys)


def test_an_empty_query_and_an_empty_folder_are_refused(output, tmp_path):
    with pytest.raises(OutputError, match="empty"):
        on_terminal(output, "  ")
    with pytest.raises(OutputError, match=r"manifest\.json"):
        on_terminal(str(tmp_path / "nothing"), "SELECT 1")
