from __future__ import annotations

import os
import pickle
from pathlib import Path

import fsspec
import pytest

from core.failures import ItemError
from media.decode import VideoReader
from media.source import choose_video_stream, fingerprint, open_container
from tests.support.hostile import WEIRD_NAMES, HostileCase


def fail(uri: str) -> ItemError:
    with pytest.raises(ItemError) as caught, VideoReader(uri) as reader:
        list(reader.frames())
    return caught.value


def test_every_bad_file_fails_with_its_class_and_name(hostile: dict[str, HostileCase]) -> None:
    bad = {name: case for name, case in hostile.items() if case.expected != "ok"}
    assert len(bad) >= 17
    for name, case in bad.items():
        error = fail(case.path)
        assert error.error_class == case.expected, f"{name}: {error}"
        assert repr(case.path) in error.cause and error.remedy, name
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("not_a_video", "a text file"),
        ("lfs_pointer", "Git LFS pointer"),
        ("playlist", "playlist"),
        ("image", "PNG"),
        ("zeros", "zero bytes"),
        ("moov_missing", "ftyp, free, mdat"),
        ("audio_only", "audio (aac)"),
        ("cover_art_only", "video (png)"),
        ("garbage_packets", "none of the 50 packets"),
        ("header_only", "Matroska"),
    ],
)
def test_messages_name_the_content(hostile: dict[str, HostileCase], case: str, words: str) -> None:
    assert words in str(fail(hostile[case].path))


@pytest.mark.parametrize("name", WEIRD_NAMES)
@pytest.mark.parametrize("is_uri", [False, True])
def test_names_are_taken_literally(hostile: dict[str, HostileCase], name: str, is_uri: bool) -> None:
    path = hostile[f"name {name}"].path
    with open_container(Path(path).as_uri() if is_uri else path) as container:
        assert container.streams.video[0].frames == 50


def test_relative_names_with_colons_and_dashes(
    hostile: dict[str, HostileCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(hostile["name -i leading dash.mp4"].path).parent)
    for name in ("-i leading dash.mp4", "concat:a:b.mp4", "%03d.mp4"):
        with open_container(name) as container:
            assert container.streams.video[0].frames == 50


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{0}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{0}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    ],
)
@pytest.mark.parametrize("extension", [".mp4", ".m3u8", ".ffconcat", ".sdp", ".mpd"])
def test_playlists_cannot_open_other_files(
    hostile: dict[str, HostileCase], tmp_path: Path, text: str, extension: str
) -> None:
    path = tmp_path / f"list{extension}"
    path.write_text(text.format(hostile["plain"].path))
    assert fail(str(path)).error_class == "NotAVideo"


def test_numbered_images_are_not_read_as_a_video(tmp_path: Path, hostile: dict[str, HostileCase]) -> None:
    image = Path(hostile["image"].path).read_bytes()
    for k in range(3):
        (tmp_path / f"shot{k:03d}.png").write_bytes(image)
    assert fail(str(tmp_path / "shot%03d.png")).error_class == "FileNotFound"
    assert fail(str(tmp_path / "shot000.png")).error_class == "NotAVideo"


def test_pipes_are_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert fail(str(tmp_path / "pipe.mp4")).error_class == "NotAVideo"


def test_remote_files_read_like_local_ones(hostile: dict[str, HostileCase]) -> None:
    fs = fsspec.filesystem("memory")
    for name in ("plain", "faststart", "vp9", "mpeg2", "moov_missing", "empty", "audio_only", "no_packets"):
        case = hostile[name]
        uri = f"memory://hostile/{name} [1]%20.bin"
        fs.pipe_file(uri, Path(case.path).read_bytes())
        if case.expected == "ok":
            with VideoReader(uri) as reader:
                assert sum(1 for _ in reader.frames()) == case.num_frames
        else:
            assert fail(uri).error_class == case.expected
    assert fail("memory://hostile/none.mp4").error_class == "FileNotFound"


def test_unknown_protocols_are_named() -> None:
    error = fail("nosuchthing://bucket/clip.mp4")
    assert error.error_class == "UnsupportedProtocol" and "nosuchthing" in str(error)


def test_an_io_error_is_transient(hostile: dict[str, HostileCase], monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFile

    fsspec.filesystem("memory").pipe_file("memory://flaky.mp4", Path(hostile["faststart"].path).read_bytes())
    good_read, calls = MemoryFile.read, [0]

    def read(self: MemoryFile, size: int = -1) -> bytes:
        calls[0] += 1
        if calls[0] > 3:
            raise ConnectionResetError("connection lost")
        return bytes(good_read(self, min(size, 12000)))

    monkeypatch.setattr(MemoryFile, "read", read)
    assert fail("memory://flaky.mp4").error_class == "ReadFailed"


def test_fingerprints_follow_the_content(tmp_path: Path, hostile: dict[str, HostileCase]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    first = fingerprint(str(path))
    assert first == fingerprint(f"file://{path}")
    os.utime(path, ns=(1, 1))
    second = fingerprint(str(path))
    path.write_bytes(b"other")
    assert len({first, second, fingerprint(str(path))}) == 3
    fsspec.filesystem("memory").pipe_file("memory://print.mp4", b"one")
    assert fingerprint("memory://print.mp4") == fingerprint("memory://print.mp4")
    with pytest.raises(ItemError) as caught:
        fingerprint(str(tmp_path / "none.mp4"))
    assert caught.value.error_class == "FileNotFound"


def test_the_first_video_stream_is_chosen(data: Path) -> None:
    path = str(data / "nasa_13013.mp4")  # has a second, larger video stream
    with open_container(path) as container:
        assert choose_video_stream(container, path).index == 0


def test_messages_show_no_content_of_other_files(tmp_path):
    secret = tmp_path / "credentials"
    secret.write_text("aws_secret_access_key = hunter2\n")
    binary = tmp_path / "key.der"
    binary.write_bytes(b"hunter2\x00\xff" * 10)
    for path in (secret, binary):
        message = str(fail(str(path)))
        assert "hunter2" not in message and "aws" not in message and b"hunter2".hex(" ") not in message
