"""The script that fetches the test data, against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pytest

from scripts.fetch_test_data import DATA, convert_realestate10k, digest, main, read_manifest

COLUMNS = "file\trepository\tpath\tcommit\tmade_from\tfirst_bytes\tsha256\tlicense\tnote"
VIDEO = b"a video" * 1000


class Handler(SimpleHTTPRequestHandler):
    requested: ClassVar[list[str]] = []

    def log_message(self, *_):
        self.requested.append(self.path)


@pytest.fixture
def host(tmp_path):
    """A server that holds owner/name at commit abc123 and counts what is asked of it."""
    folder = tmp_path / "host" / "owner" / "name" / "abc123" / "clips"
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(VIDEO)
    Handler.requested = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "host")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def run(tmp_path, host, *rows: str) -> int:
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("\n".join([COLUMNS, *rows]) + "\n")
    return main(["--manifest", str(manifest), "--host", host, "--to", str(tmp_path / "data")])


def row(file: str, path: str, digest: str, first_bytes: str = "") -> str:
    return f"{file}\towner/name\t{path}\tabc123\t\t{first_bytes}\t{digest}\tMIT\t"


def test_right_file_is_stored(tmp_path, host):
    assert run(tmp_path, host, row("videos/a.mp4", "clips/a.mp4", sha256(VIDEO))) == 0
    assert (tmp_path / "data" / "videos" / "a.mp4").read_bytes() == VIDEO


def test_truncated_file_is_the_start_of_its_source(tmp_path, host):
    assert run(tmp_path, host, row("cut.mp4", "clips/a.mp4", sha256(VIDEO[:50]), "50")) == 0
    assert (tmp_path / "data" / "cut.mp4").read_bytes() == VIDEO[:50]


def test_wrong_checksum_is_refused(tmp_path, host, capsys):
    assert run(tmp_path, host, row("a.mp4", "clips/a.mp4", "0" * 64)) == 1
    assert not list(tmp_path.glob("data/**/*"))
    assert f"has SHA-256 {sha256(VIDEO)}, expected {'0' * 64}" in capsys.readouterr().out


def test_present_file_is_not_fetched_again_but_a_damaged_one_is(tmp_path, host, capsys):
    rows = [row("a.mp4", "clips/a.mp4", sha256(VIDEO))]
    assert run(tmp_path, host, *rows) == 0
    assert run(tmp_path, host, *rows) == 0
    assert len(Handler.requested) == 1
    assert "present      a.mp4" in capsys.readouterr().out
    (tmp_path / "data" / "a.mp4").write_bytes(b"damaged")
    assert run(tmp_path, host, *rows) == 0
    assert (tmp_path / "data" / "a.mp4").read_bytes() == VIDEO


def test_failures_are_listed_at_the_end(tmp_path, host, capsys):
    rows = [row("missing.mp4", "clips/missing.mp4", "0" * 64), row("a.mp4", "clips/a.mp4", sha256(VIDEO))]
    assert run(tmp_path, host, *rows) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "fetched      a.mp4"
    assert printed[1].startswith("FAILED       missing.mp4: 404")
    assert "1 failed" in printed[2]


def test_host_that_does_not_answer_is_a_failure(tmp_path, capsys):
    assert run(tmp_path, "http://127.0.0.1:9", row("a.mp4", "clips/a.mp4", sha256(VIDEO))) == 1
    assert "FAILED       a.mp4" in capsys.readouterr().out


def test_what_has_no_address_is_reported_and_no_failure(tmp_path, host, capsys):
    excerpt = f"seq/poses.tum\t\t\t\t\t\t{'0' * 64}\tMIT\tconverted from elsewhere"
    assert run(tmp_path, host, excerpt) == 0
    assert "unpublished  seq/poses.tum: converted from elsewhere" in capsys.readouterr().out


def test_cameras_of_realestate10k_are_converted():
    numbers = "1 0.5 0.75 0.5 0.5 0 0 0 -1 0 2 1 0 0 3 0 0 1 4"
    poses = convert_realestate10k(f"address\n{numbers}\n", "poses.tum").splitlines()[1].split()
    # cam_from_world turns by 90 degrees about z: the center is -R^T t, the quaternion that of -90 degrees.
    np.testing.assert_allclose(np.float64(poses), [0, -3, 2, -4, 0, 0, -(0.5**0.5), 0.5**0.5], atol=1e-8)
    intrinsics = convert_realestate10k(f"address\n{numbers}\n", "intrinsics.txt").splitlines()[1]
    assert intrinsics == "192.0 192.0 192.0 128.0 384 256"


def test_what_is_converted_comes_after_its_source(tmp_path, host, capsys):
    cameras = f"address\n{' '.join(map(str, range(19)))}\n".encode()
    (tmp_path / "host/owner/name/abc123/cameras.txt").write_bytes(cameras)
    made = convert_realestate10k(cameras.decode(), "intrinsics.txt").encode()
    rows = [
        f"seq/intrinsics.txt\t\t\t\tseq/cameras.txt\t\t{sha256(made)}\tMIT\t",
        row("seq/cameras.txt", "cameras.txt", sha256(cameras)),
    ]
    assert run(tmp_path, host, *rows) == 0
    assert (tmp_path / "data/seq/intrinsics.txt").read_bytes() == made
    assert "converted    seq/intrinsics.txt" in capsys.readouterr().out


def test_committed_manifest_is_complete():
    entries = list(read_manifest())
    assert len({entry.file for entry in entries}) == len(entries) > 90
    for entry in entries:
        assert len(entry.sha256) == 64 and entry.license
        assert bool(entry.path) == bool(entry.repository) == bool(entry.commit)
        assert entry.path or entry.note, f"{entry.file} needs an address or how it was made"


def test_the_data_at_hand_is_what_the_manifest_says():
    present = [entry for entry in read_manifest() if (DATA / entry.file).exists()]
    if not present:
        pytest.skip(f"no test data at {DATA}")
    assert [entry.file for entry in present if digest(DATA / entry.file) != entry.sha256] == []
