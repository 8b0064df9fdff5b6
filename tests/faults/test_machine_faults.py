"""Faults of the machine end the job with an exit code of their own."""

from __future__ import annotations

import errno
import os

import pytest

from beam_pipeline.cli.main import EXIT_MACHINE, main
from storage.store import Store
from tests.support.clips import CARPHONE

ARGUMENTS = ["--input", str(CARPHONE), "--config", "demo", "--direct_num_workers=1", "--no-progress"]


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk quota is exceeded")]
)
@pytest.mark.parametrize("stage", ["AnalyzeVideo", "shots.parquet"])
def test_a_full_disk_is_no_failure_of_an_item(tmp_path, monkeypatch, capsys, number, said, stage):
    def refuse(write):
        def wrapper(self, *arguments, **options):
            if any(isinstance(a, str) and a.startswith(stage) for a in arguments):
                raise OSError(number, os.strerror(number))
            return write(self, *arguments, **options)

        return wrapper

    monkeypatch.setattr(Store, "write_bytes", refuse(Store.write_bytes))
    monkeypatch.setattr(Store, "put_file", refuse(Store.put_file))
    assert main([*ARGUMENTS, "--output", str(tmp_path / "out")]) == EXIT_MACHINE
    assert f"error: {said}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()
    monkeypatch.undo()
    assert main([*ARGUMENTS, "--output", str(tmp_path / "out")]) == 0
