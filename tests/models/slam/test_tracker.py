"""The tracker on rooms of known flow: what the cameras did, and the focal length."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from benchmarks.gpu.exact_flow import ExactFlow, errors, make_clip
from models.slam import tracker
from models.slam.features import FlowPredictor
from models.slam.network import build_tracking_network
from models.slam.reference import tracker_for
from models.slam.settings import TrackerParity, TrackerSettings
from models.slam.tracker import track_clips
from native import se3
from tests.support.camera_paths import fly

pytestmark = pytest.mark.models
SIZE = (96, 64)
# Features are 12 x 8 here: lengths in px are shorter, and fewer pixels tell of the focal length, than at full size.
SETTINGS = TrackerSettings(min_motion_px=0.3, min_keyframe_distance_px=0.3, min_focal_curvature=1.0)


def room(frames, speed, turn, **how):
    times_s = np.arange(frames) / 5
    poses = fly(
        times_s,
        lambda t: (speed * np.cos(0.9 * t), 0.3 * speed * np.sin(1.3 * t), 0.6 * speed * np.sin(0.5 * t)),
        lambda t: (0.4 * turn * np.sin(t), turn * np.cos(0.7 * t), 0.0),
        start=(0.3, -0.1, -3.4),
    )
    return make_clip(poses, SIZE, **how)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_tracking_network(None)


@pytest.fixture(scope="module")
def rooms():
    return [
        room(14, 0.6, 8, seed=0, focal_error=1.03, depth_noise=0.02),
        room(10, 1.2, 5, seed=1, focal_error=0.98, depth_noise=0.02),
    ]


def track(network, rooms, settings=SETTINGS, run_network=False):
    predictor = partial(ExactFlow, rooms=rooms, run_network=run_network)
    clips = [r.clip for r in rooms]
    return track_clips(network, clips, settings, predictor, tracker_for(settings))


def test_paths_and_focal_lengths_are_found(network, rooms):
    for room, found in zip(rooms, track(network, rooms), strict=True):
        path_error, focal_error = errors(room, found)
        assert path_error < 2e-4
        assert abs(focal_error) < 2e-3
        assert found.focal_observed
        assert found.cam_from_world[0] == pytest.approx([0, 0, 0, 0, 0, 0, 1], abs=1e-9)
        relative = found.inverse_depth * room.feature_depth
        assert np.median(np.abs(relative / np.median(relative) - 1)) < 1e-3
        assert np.median(relative) == pytest.approx(1, abs=0.05)
    assert len(track(network, rooms)[0].keyframes) < 14


def test_a_batch_of_clips_gives_what_each_gives_alone(network, rooms):
    together = track(network, rooms)
    for clip, found in zip(rooms, together, strict=True):
        alone = track(network, [clip])[0]
        assert alone.keyframes == found.keyframes
        assert alone.cam_from_world == pytest.approx(found.cam_from_world, abs=1e-5)
        assert alone.intrinsics_px == pytest.approx(found.intrinsics_px, rel=1e-4)


def test_a_camera_that_only_turns_leaves_the_depth_to_the_prior(network):
    still = room(9, 0.0, 10, focal_error=1.0, depth_noise=0.0)
    found = track(network, [still])[0]
    assert np.abs(found.cam_from_world[:, :3]).max() < 0.02
    assert np.median(found.inverse_depth * still.feature_depth) == pytest.approx(1, abs=0.02)


def test_few_frames_go_through_the_network_itself(network):
    short = room(3, 1.0, 5)
    settings = replace_settings(probe_steps=1, keyframe_steps=1, final_steps=1)
    found = track_clips(network, [short.clip], settings)[0]
    assert found.cam_from_world.shape == (3, 7)
    assert np.isfinite(found.cam_from_world).all()
    assert found.keyframes[0] == 0 and found.keyframes[-1] == 2
    assert found.static.shape == found.inverse_depth.shape == (3, 8, 12)


def replace_settings(**changes):
    return SETTINGS.model_copy(update=changes)


def test_parity_gives_frames_the_context_of_other_ones(network):
    seen = []

    class Spy(FlowPredictor):
        def predict(self, source, target, net, coords_px, target_px, groups):
            seen.append(self.features.context.clone())
            return super().predict(source, target, net, coords_px, target_px, groups)

    short = room(5, 1.0, 5)
    settings = replace_settings(
        min_motion_px=1e9, probe_steps=1, keyframe_steps=1, final_steps=1, parity=TrackerParity(stale_context=True)
    )
    found = track_clips(network, [short.clip], settings, Spy, tracker_for(settings))[0]
    assert found.keyframes == (0, 4)
    usual, shifted = seen[0], seen[-1]
    assert torch.equal(shifted[1], usual[4]) and torch.equal(shifted[0], usual[0]) and not shifted[2:].any()


def test_parity_leaves_the_time_of_a_dropped_keyframe(network, rooms, monkeypatch):
    shares = []

    def interpolate(a, b, share):
        shares.append(share)
        return usual_interpolate(a, b, share)

    usual_interpolate = se3.interpolate
    monkeypatch.setattr(tracker.se3, "interpolate", interpolate)
    settings = replace_settings(min_motion_px=0.1, min_keyframe_distance_px=0.5)
    usual = track(network, rooms[:1], settings)[0]
    found = track(network, rooms[:1], settings.model_copy(update={"parity": TrackerParity(stale_times=True)}))[0]
    assert found.keyframes == usual.keyframes and len(found.keyframes) < 14
    keyframes = np.array(usual.keyframes)
    between = np.setdiff1d(np.arange(14), keyframes)
    after = np.searchsorted(keyframes, between)
    right = (between - keyframes[after - 1]) / (keyframes[after] - keyframes[after - 1])
    assert shares[0] == pytest.approx(right)
    assert np.abs(shares[1] - right).max() > 0.1


def test_unfit_clips_are_refused(network):
    clip = room(3, 1.0, 5).clip
    with pytest.raises(ValueError, match="sides multiples of 8"):
        track_clips(network, [replace(clip, images=clip.images[..., :90], depth=clip.depth[..., :90])])
    with pytest.raises(ValueError, match="one size"):
        track_clips(network, [clip, replace(clip, images=clip.images[..., :88], depth=clip.depth[..., :88])])
