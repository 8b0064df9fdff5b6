"""What exporters of camera paths have in common."""

from __future__ import annotations

from explore.clips import Clip
from explore.export.frames import PosedFrames


def why_no_poses(clip: Clip) -> str | None:
    """Why a clip has no poses that are fit for use; None if it has."""
    if clip.row["pose_ok"] is False:
        return str(clip.row["pose_reason"] or "no poses")
    if clip.track is None:
        return "not annotated"
    return None if clip.track.has_pose.any() else "no poses"


def posed_frames(clip: Clip) -> PosedFrames:
    """The frames of a clip that have a pose.

    Raises:
      ValueError: if it was not annotated: ask `why_no_poses` first.
    """
    if clip.track is None:
        raise ValueError(f"clip {clip.clip_id} was not annotated")
    return PosedFrames(clip, clip.track)


def picture_name(frame: int) -> str:
    """File name of a frame's picture."""
    return f"frame_{frame:05d}.jpg"
