"""Prompts from dynamic masks, and use of SAM's answers; the network by a double."""

import numpy as np
import pytest

from models.registry import WeightsError
from models.segmentation.sam_refinement import check_mask_model
from models.segmentation.settings import MaskSettings


def test_missing_weights_are_named_before_anything_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("SPATIALBEAM_MODELS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"models fetch sam2\.1-hiera-large"):
        check_mask_model(MaskSettings(model="sam2.1-hiera-large"))


@pytest.mark.models
class TestSamMasks:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch", reason="needs the models extra")

    def double(self, torch, kind=None, **changes):
        """A network that masks a disc around each prompt and propagates masks unchanged."""
        from models.segmentation.sam import SamMasks

        class Discs(torch.nn.Module):
            prompts = 0

            def prepare(self, device, dtype):
                return self

            def embed(self, images):
                assert images.shape[1:] == (3, 1024, 1024)
                return [images[:, :1, ::64, ::64]]

            def decode(self, features, points, labels):
                assert features[0].shape[0] == len(points) and labels.tolist() == [[2, 3, 1]] * len(points)
                self.prompts += len(points)
                y, x = torch.meshgrid(torch.arange(256) * 4.0, torch.arange(256) * 4.0, indexing="ij")
                squares = (x - points[:, 2, 0, None, None]) ** 2 + (y - points[:, 2, 1, None, None]) ** 2
                return 100.0 - squares.sqrt(), torch.ones(len(points))

            def propagate(self, features, mask, seed):
                self.carried.append(seed)
                small = torch.nn.functional.interpolate(mask[None, None].float(), (256, 256))[0, 0]
                return (small - 0.5).expand(len(features[0]), -1, -1)

        network = Discs()
        network.carried = []
        return (kind or SamMasks)(
            network, MaskSettings(device="cpu", precision="fp32", batch_frames=2, **changes)
        ), network

    def frames(self, count):
        return [np.zeros((90, 160, 3), np.uint8) for _ in range(count)]

    def test_prompts_are_box_and_innermost_point_of_each_moving_region(self):
        from models.segmentation.sam import prompts_from_masks

        moving = np.zeros((3, 90, 160), bool)
        moving[0, 10:30, 40:80] = True
        moving[0, 50, 100] = True
        moving[2, 60:80, 0:20] = True
        moving[2, 0:30, 100:150] = True
        prompts = prompts_from_masks(moving, max_prompts=2)
        assert prompts.frame.tolist() == [0, 2, 2]
        scale = np.array([1024 / 160, 1024 / 90])
        np.testing.assert_allclose(prompts.points[0, :2], np.array([[40, 10], [80, 30]]) * scale, rtol=1e-6)
        x, y = prompts.points[0, 2] / scale
        assert 45 < x < 75 and 18 <= y <= 22
        # The larger one first.
        np.testing.assert_allclose(prompts.points[1, 0], np.array([100, 0]) * scale)
        assert prompts_from_masks(moving, max_prompts=1).frame.tolist() == [0, 2]
        assert len(prompts_from_masks(np.zeros((2, 9, 9), bool), 4).frame) == 0

    def test_regions_take_the_outline_of_their_thing_in_batches_over_frames(self, torch):
        model, network = self.double(torch)
        moving = np.zeros((5, 90, 160), bool)
        moving[1, 40:50, 70:90] = True
        moving[4, 20:30, 20:30] = True
        outlined = model.refine(self.frames(5), moving)
        assert network.prompts == 2
        assert not outlined[[0, 2, 3]].any()
        for frame, center in ((1, (80, 45)), (4, (25, 25))):
            rows, columns = np.nonzero(outlined[frame])
            assert abs(columns.mean() - center[0]) < 3 and abs(rows.mean() - center[1]) < 3
            assert abs(np.ptp(columns) - 200 * 160 / 1024) < 4

    @pytest.mark.parametrize("limits", [{"max_area_share": 0.01}, {"min_overlap": 0.9}])
    def test_a_region_stays_where_its_outline_is_not_accepted(self, torch, limits):
        model, _ = self.double(torch, **limits)
        moving = np.zeros((1, 90, 160), bool)
        moving[0, 10:80, 20:140] = True
        np.testing.assert_array_equal(model.refine(self.frames(1), moving), moving)

    def test_things_are_carried_through_the_clip_each_once(self, torch):
        model, network = self.double(torch)
        masks = np.zeros((4, 90, 160), bool)
        masks[1, 10:40, 10:50] = True
        masks[2, 12:40, 12:50] = True
        masks[3, 60:80, 100:140] = True
        carried = model.propagate(self.frames(4), masks)
        # The second is mostly under the first one's masks.
        assert network.carried == [1, 3]
        assert carried[:, 20:30, 20:40].all() and carried[:, 65:75, 110:130].all()
        assert (carried & masks == masks).all()
        assert not model.propagate(self.frames(2), np.zeros((2, 90, 160), bool)).any()
        assert self.double(torch, max_things=1)[0].propagate(self.frames(4), masks)[0, 65:75].sum() == 0

    def test_reference_swaps_red_and_blue(self, torch):
        from models.segmentation.reference import SwappedSamMasks

        seen = []
        for kind in (None, SwappedSamMasks):
            model, network = self.double(torch, kind)
            network.embed = seen.append
            images = torch.zeros(1, 4, 6, 3, dtype=torch.uint8)
            images[..., 0] = 255
            model.embed(images)
        red, blue = (x[0].amax((1, 2)) for x in seen)
        assert red.argmax() == 0 and blue.argmax() == 2
