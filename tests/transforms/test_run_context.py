from __future__ import annotations

import pytest

from transforms.run_context import RunContext, UnreachableStoreError


def test_workers_open_the_store_that_the_run_made(tmp_path):
    context = RunContext(str(tmp_path / "store"))
    context.make_store()
    ref = context.open_store().write_bytes("a.txt", b"text", "text/plain")
    assert context.open_store().read_bytes(ref.path) == b"text"


def test_a_worker_without_the_folder_says_so(tmp_path):
    with pytest.raises(UnreachableStoreError, match="all workers share"):
        RunContext(str(tmp_path / "elsewhere")).open_store()
