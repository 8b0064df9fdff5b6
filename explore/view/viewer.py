"""Viewer window: list of clips with filters, image with overlays, 3D cameras and points."""

from __future__ import annotations

import time
from threading import RLock
from typing import Any

import numpy as np

from core.failures import ItemError
from explore.clips import ClipRow, ShardReader, find_clips
from explore.extras import import_extra
from explore.markup import escape, escape_controls, format_number
from explore.outputs import OutputError
from explore.view.shown_clip import ShownClip

MAX_LISTED = 500
ANY = "any"
_FILTERS = {"camera motion": "camera_motion_kind", "scene type": "scene_type", "turns": "traj_turns"}
_POINTS = ("this frame", "until now", "whole clip")
_COLUMNS_SHOWN = (
    "source_uri",
    "duration_s",
    "motion_score",
    "luminance_score",
    "move_dist",
    "dist_level",
    "rot_angle",
    "traj_turns",
    "dynamic_ratio",
    "pose_reprojection_px",
    "pose_scale",
)
_FRUSTUM_SHARE, _CURRENT_SHARE, _POINT_SHARE = 0.05, 0.14, 0.006
_PATH_COLOR, _CURRENT_COLOR = (15, 139, 120), (217, 144, 47)
_LINE_PX = 1.2
_MAX_FRUSTA = 60
_STEP_S = 0.2


class Viewer:
    """A running viewer. All open browser tabs show the same clip.

    Args:
      output_uri: folder of a finished run.
      host: address to listen on.
      port: port to listen on; a free one nearby if it is taken.
      where: initial SQL condition on the listed clips.

    Raises:
      OutputError: if the folder is no finished run, the condition is wrong, or viser is not installed.
    """

    def __init__(self, output_uri: str, *, host: str = "127.0.0.1", port: int = 8080, where: str | None = None) -> None:
        viser = import_extra("viser", "view")
        self._output_uri = output_uri
        self._reader = ShardReader(output_uri)
        self._lock = RLock()
        self._rows: dict[str, ClipRow] = {}
        self._shown: ShownClip | None = None
        self._in_space: list[Any] = []
        rows = find_clips(output_uri, where)
        if not rows:
            raise OutputError("there is no kept clip to look at" + (f" that meets {where!r}" if where else ""))
        self._server: Any = viser.ViserServer(host=host, port=port, verbose=False)
        self._server.scene.set_up_direction("-y")
        self._server.gui.main_panel.dock_right()
        self._server.gui.configure_theme(control_width="large", show_share_button=False)
        self._build(rows, where or "")
        self._list(rows)

    @property
    def port(self) -> int:
        """The port that the viewer listens on."""
        return int(self._server.get_port())

    @property
    def shown(self) -> ShownClip | None:
        """The displayed clip."""
        return self._shown

    def stop(self) -> None:
        """Stops the server."""
        self._server.stop()

    def play(self) -> None:
        """Advances one frame if playing is on."""
        if self._playing.value and self._shown is not None:
            self._frame.value = (self._frame.value + 1) % len(self._shown)

    def _build(self, rows: list[ClipRow], where: str) -> None:
        gui = self._server.gui
        self._filters = {}
        with gui.add_folder("Clips"):
            for label, column in _FILTERS.items():
                values = sorted({str(row[column]) for row in rows if row[column] is not None})
                self._filters[column] = gui.add_dropdown(label, (ANY, *values))
            self._where = gui.add_text("SQL condition", where, hint="e.g. move_dist > 1 AND duration_s > 5")
            search = gui.add_button("Apply filters")
            self._count = gui.add_markdown("")
            self._list_of_clips = gui.add_dropdown("clip", ("",))
            turn = gui.add_button_group("turn to", ("previous", "next"))
        self._image = gui.add_image(np.zeros((90, 160, 3), np.uint8), format="jpeg")
        self._timeline = gui.add_html("")
        self._frame = gui.add_slider("frame", 0, 1, 1, 0)
        self._playing = gui.add_checkbox("play", False)
        with gui.add_folder("Overlays"):
            self._moving = gui.add_checkbox("dynamic masks", True)
            self._depth = gui.add_checkbox("depth", False)
            self._points = gui.add_dropdown("points of", _POINTS, initial_value=_POINTS[1])
        self._description = gui.add_markdown("")
        search.on_click(lambda _: self._filter())
        turn.on_click(lambda event: self._step(-1 if event.target.value == "previous" else 1))
        self._list_of_clips.on_update(lambda _: self._show(self._list_of_clips.value))
        for handle in (self._frame, self._moving, self._depth, self._points):
            handle.on_update(lambda _: self._draw())

    def _filter(self) -> None:
        conditions = [f"({self._where.value})"] if self._where.value.strip() else []
        for column, dropdown in self._filters.items():
            if dropdown.value != ANY:
                value = dropdown.value.replace("'", "''")
                conditions.append(f"{column}::VARCHAR = '{value}'")
        try:
            self._list(find_clips(self._output_uri, " AND ".join(conditions)))
        except OutputError as error:
            self._count.content = f"**{escape_controls(error)}**"

    def _list(self, rows: list[ClipRow]) -> None:
        with self._lock:
            listed = rows[:MAX_LISTED]
            more = f", the first {MAX_LISTED} are listed" if len(rows) > MAX_LISTED else ""
            self._count.content = f"{len(rows)} clips{more}"
            if not listed:
                return
            self._rows = {row["clip_id"]: row for row in listed}
            self._list_of_clips.options = tuple(self._rows)
            self._show(next(iter(self._rows)))

    def _step(self, step: int) -> None:
        ids = list(self._rows)
        self._list_of_clips.value = ids[(ids.index(self._list_of_clips.value) + step) % len(ids)]

    def _show(self, clip_id: str) -> None:
        """Loads a clip and draws it."""
        with self._lock:
            if clip_id not in self._rows or (self._shown is not None and self._shown.clip.clip_id == clip_id):
                return
            try:
                self._shown = ShownClip(self._reader.read(self._rows[clip_id]))
            except (OutputError, ItemError) as error:
                self._description.content = f"**{escape_controls(error)}**"
                return
            self._frame.max = max(1, len(self._shown) - 1)
            self._frame.value = 0
            self._description.content = _describe(self._rows[clip_id])
            if self._shown.left_out:
                first, end = self._shown.first, self._shown.first + len(self._shown)
                count = len(self._shown) + self._shown.left_out
                self._description.content += (
                    f"\n\nOf {count} annotated frames those from {first} to {end - 1} are shown."
                )
            self._draw_path()
            self._draw()

    def _draw_path(self) -> None:
        """Draws camera path and frusta; sets the view behind the first camera."""
        shown, scene = self._shown, self._server.scene
        if shown is None:
            return
        for handle in self._in_space:
            handle.remove()
        self._in_space = []
        path, size = shown.camera_path(), shown.scene_size()
        if len(path) > 1:
            segments = np.stack([path[:-1], path[1:]], axis=1)
            line = scene.add_line_segments(
                "path", segments, _PATH_COLOR, thickness=2 * _LINE_PX, thickness_units="screen"
            )
            self._in_space.append(line)
        every = max(1, -(-len(shown) // _MAX_FRUSTA))
        for i in range(0, len(shown), every):
            if (camera := shown.camera(i)) is not None:
                self._in_space.append(
                    scene.add_camera_frustum(
                        f"frusta/{i}",
                        camera.fov_rad,
                        camera.aspect,
                        scale=_FRUSTUM_SHARE * size,
                        thickness=_LINE_PX,
                        thickness_units="screen",
                        color=_PATH_COLOR,
                        wxyz=camera.wxyz,
                        position=camera.center,
                    )
                )
        if len(path):
            self._look_from_behind(path[0], size)

    def _look_from_behind(self, center: np.ndarray[Any, Any], size: float) -> None:
        view = self._server.initial_camera
        view.position = tuple(center + np.array([0.35, -0.45, -0.8]) * size)
        view.look_at = tuple(center + np.array([0.0, 0.0, 0.8]) * size)
        for client in self._server.get_clients().values():
            client.camera.position, client.camera.look_at = view.position, view.look_at

    def _draw(self) -> None:
        """Draws image, timeline, frustum and points of the current frame."""
        with self._lock:
            shown, scene = self._shown, self._server.scene
            if shown is None:
                return
            i = min(int(self._frame.value), len(shown) - 1)
            image = shown.image(i, moving=self._moving.value, depth=self._depth.value)
            self._image.image = image
            self._timeline.content = shown.timeline_html(i)
            camera, size = shown.camera(i), shown.scene_size()
            scene.remove_by_name("now")
            if camera is not None:
                scene.add_camera_frustum(
                    "now/camera",
                    camera.fov_rad,
                    camera.aspect,
                    scale=_CURRENT_SHARE * size,
                    thickness=2 * _LINE_PX,
                    thickness_units="screen",
                    color=_CURRENT_COLOR,
                    image=image[::2, ::2],
                    wxyz=camera.wxyz,
                    position=camera.center,
                )
            frames = {_POINTS[0]: [i], _POINTS[1]: range(i + 1), _POINTS[2]: range(len(shown))}[self._points.value]
            cloud = shown.cloud(list(frames))
            if cloud is not None:
                points = cloud.points_world.astype(np.float32)
                scene.add_point_cloud("now/points", points, cloud.rgb, point_size=_POINT_SHARE * size)


def _describe(row: ClipRow) -> str:
    """Caption, motion and values of a clip as Markdown."""
    lines = [f"### {row['clip_id']}"]
    lines += [
        _escape_markdown(row[name]) for name in ("scene_summary", "scene_description", "motion_sentence") if row[name]
    ]
    if row["pose_reason"]:
        lines.append(f"{'Poses in part' if row['pose_ok'] else 'No poses'}: {_escape_markdown(row['pose_reason'])}")
    values = [(name, row[name]) for name in _COLUMNS_SHOWN if row[name] is not None]
    cells = [f"| {name} | {format_number(v) if isinstance(v, float) else _escape_markdown(v)} |" for name, v in values]
    return "\n\n".join(lines) + "\n\n| | |\n|---|---|\n" + "\n".join(cells)


def _escape_markdown(value: object) -> str:
    """Text with HTML and Markdown escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-!|" else c for c in escape(value))


def serve(output_uri: str, *, host: str, port: int, where: str | None = None) -> None:
    """Runs a viewer until it is interrupted.

    Raises:
      OutputError: as `Viewer`.
    """
    viewer = Viewer(output_uri, host=host, port=port, where=where)
    print(f"http://{host}:{viewer.port} shows {output_uri}; Ctrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(_STEP_S)
            viewer.play()
    except KeyboardInterrupt:
        viewer.stop()
