"""Single clips of a published data set, over a loopback server."""

from __future__ import annotations

import io
import tarfile

import pytest

import explore.published.streams as streams
from beam_pipeline.cli.main import main
from explore.outputs import OutputError
from explore.published.groups import ANNOTATION_FILES, download, select_clips
from tests.support.page_server import page_server

IDS = [f"0000-{n}" for n in range(6)]
TABLE = "data/train/SpatialVID_metadata.csv"


def archive(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def noise(seed, size=20_000):
    return bytes((seed * 7919 + i * i * 31 + (i >> 3) * 17) % 251 for i in range(size))


def publish():
    """Two groups of three clips, with the oddities of the published archives."""
    rows = ["id,group id,motion score,video path"]
    rows += [f"{clip_id},{1 + n // 3},{n},group/x.mp4" for n, clip_id in enumerate(IDS)]
    files = {TABLE: "\n".join(rows).encode()}
    for number in (1, 2):
        ids = IDS[3 * number - 3 : 3 * number]
        videos = [(f"SpatialVid/HQ/videos/group_{number:04d}/{i}.mp4", noise(IDS.index(i))) for i in reversed(ids)]
        videos.insert(1, (f"SpatialVid/HQ/videos/group_{number:04d}/._{ids[0]}.mp4", b"junk"))
        videos.insert(1, (f"../../{ids[0]}.mp4/../evil", b"junk"))
        notes = [
            (f"SpatialVID/annotations/{i}/{name}", name.encode()) for i in ids for name in sorted(ANNOTATION_FILES)
        ]
        notes += [(f"SpatialVID/annotations/{ids[0]}/._poses.npy", b"junk")]
        files[f"videos/group_{number:04d}.tar.gz"] = archive(videos)
        files[f"annotations/group_{number:04d}.tar.gz"] = archive(notes)
    return files


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(streams, "FIRST_BACKOFF_S", 0.01)
    with page_server() as running:
        running.files = {f"/set/{path}": ("application/octet-stream", data) for path, data in publish().items()}
        running.base = f"{running.url}/set"
        yield running


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_what_is_wanted_is_written(server, tmp_path):
    done = download(server.base, TABLE, str(tmp_path), ids=[IDS[1], IDS[4]])
    assert done.missing == {}
    expected = [f"annotations/group_{g:04d}/{i}/{n}" for g, i in ((1, IDS[1]), (2, IDS[4])) for n in ANNOTATION_FILES]
    expected += [f"videos/group_0001/{IDS[1]}.mp4", f"videos/group_0002/{IDS[4]}.mp4"]
    assert written(tmp_path) == sorted(expected)
    assert (tmp_path / "videos" / "group_0002" / f"{IDS[4]}.mp4").read_bytes() == noise(4)

    asked = len(server.offsets)
    again = download(server.base, TABLE, str(tmp_path), ids=[IDS[1], IDS[4]])
    assert (again.files, again.present) == (0, 4)
    assert len(server.offsets) == asked + 1  # the table


def test_a_broken_connection_goes_on_where_it_was(server, tmp_path):
    path = "/set/videos/group_0001.tar.gz"
    server.breaks[path] = 3
    done = download(server.base, TABLE, str(tmp_path), ids=[IDS[0]], kinds=["videos"])
    assert done.missing == {}
    assert (tmp_path / "videos" / "group_0001" / f"{IDS[0]}.mp4").read_bytes() == noise(0)
    offsets = [offset for seen, offset in server.offsets if seen == path]
    assert offsets == sorted(set(offsets))
    assert len(offsets) == 4


def test_a_damaged_archive_costs_its_own_clips_only(server, tmp_path):
    kind, data = server.files["/set/videos/group_0001.tar.gz"]
    server.files["/set/videos/group_0001.tar.gz"] = (kind, data[: len(data) // 2])
    del server.files["/set/annotations/group_0002.tar.gz"]
    done = download(server.base, TABLE, str(tmp_path))
    # Members are in reverse order, so the last clip of the group lies before the damage.
    assert (tmp_path / "videos" / "group_0001" / f"{IDS[2]}.mp4").read_bytes() == noise(2)
    assert set(done.missing) == {f"videos of {IDS[0]}", *(f"annotations of {i}" for i in IDS[3:])} | (
        {f"videos of {IDS[1]}"} & set(done.missing)
    )
    assert "404" in done.missing[f"annotations of {IDS[3]}"]
    assert not list(tmp_path.rglob("*.part"))


def test_tokens_come_from_the_environment(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MY_TOKEN", "hf_secret")
    arguments = ["download", server.base, "--metadata", TABLE, "--to", str(tmp_path), "--kinds", "videos"]
    assert main([*arguments, "--where", '"motion score" >= 4', "--limit", "1", "--token-env", "MY_TOKEN"]) == 0
    assert written(tmp_path) == [f"videos/group_0002/{IDS[4]}.mp4"]
    assert {headers["authorization"] for headers in server.headers} == {"Bearer hf_secret"}
    assert main([*arguments, "--token-env", "NOT_SET"]) == 2
    shown = capsys.readouterr()
    assert "NOT_SET" in shown.err
    assert "hf_secret" not in shown.out + shown.err


def test_a_folder_is_as_good_as_an_address(tmp_path):
    for path, data in publish().items():
        (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / path).write_bytes(data)
    (tmp_path / "ids.txt").write_text(f"{IDS[0]}\n\n{IDS[5]}\n")
    done = download(
        str(tmp_path / "set"), TABLE, str(tmp_path / "to"), ids=[str(tmp_path / "ids.txt")], kinds=["videos"]
    )
    assert (done.files, done.missing) == (2, {})


def test_a_wrong_selection_is_an_error(server):
    for change, words in (({"ids": ["x"]}, "first 'x'"), ({"where": "nothing > 1"}, "nothing"), ({"ids": []}, None)):
        choice = {"ids": [], "where": None} | change
        if words is None:
            assert select_clips(f"{server.base}/{TABLE}", limit=2, **choice) == {1: IDS[:2]}
            continue
        with pytest.raises(OutputError, match=words):
            select_clips(f"{server.base}/{TABLE}", limit=None, **choice)
    with pytest.raises(OutputError, match="404"):
        select_clips(f"{server.base}/none.csv", [], None, None)
