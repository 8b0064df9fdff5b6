"""Camera poses of a clip, as exporters need them."""

from __future__ import annotations

from explore.clips import Clip
from explore.export.frames import ExportFrames


def reason_without_poses(clip: Clip) -> str | None:
    """Reason why a clip has no usable poses; None if it has."""
    if clip.row["pose_ok"] is False:
        return str(clip.row["pose_reason"] or "no poses")
    if clip.trajectory is None:
        return "not annotated"
    return None if clip.trajectory.has_pose.any() else "no poses"


def export_frames(clip: Clip) -> ExportFrames:
    """The frames of a clip that have a pose.

    Raises:
      ValueError: if the clip was not annotated; check `reason_without_poses` first.
    """
    if clip.trajectory is None:
        raise ValueError(f"clip {clip.clip_id} was not annotated")
    return ExportFrames(clip, clip.trajectory)


def image_name(frame: int) -> str:
    """File name of a frame by its index."""
    return f"frame_{frame:05d}.jpg"
