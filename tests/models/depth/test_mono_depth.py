"""Depth models behind one interface: sizes, batches, out of memory, wrong weights."""

import numpy as np
import pytest

from models.depth.mono_depth import check_depth_models
from models.depth.settings import DepthSettings
from models.registry import WeightsError
from tests.support.formula_weights import fill_by_formula, wavy_images


def test_missing_weights_are_named_before_anything_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("SPATIALBEAM_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert check_depth_models(DepthSettings()) == {}
    with pytest.raises(WeightsError, match="models fetch depth-anything-v2-large"):
        check_depth_models(DepthSettings(relative="depth-anything-v2-large"))
    with pytest.raises(WeightsError, match=r"models fetch moge-2-vitl.*annotate\.depth\.metric_uri"):
        check_depth_models(DepthSettings(metric="moge-2-vitl"))


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("SPATIALBEAM_MODELS", str(tmp_path))
    (tmp_path / "MoGe" / "moge-2-vitl").mkdir(parents=True)
    (tmp_path / "MoGe" / "moge-2-vitl" / "model.pt").write_bytes(b"weights")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"needs the package torch: .*spatialbeam\[models\]"):
        check_depth_models(DepthSettings(metric="moge-2-vitl"))


@pytest.mark.models
class TestDepthModels:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch", reason="needs the models extra")

    def test_depth_anything_resizes_as_opencv_does(self, torch):
        from models.depth.depth_anything import DepthAnything, network_size

        assert network_size(720, 1280) == (518, 924)
        assert network_size(1280, 720) == (924, 518)
        assert network_size(480, 640) == (518, 686)
        assert network_size(37, 37) == (518, 518)

        class Inputs(torch.nn.Module):
            """Replaces the network; returns the red channel of its input."""

            class pretrained:
                cls_token = torch.zeros(1)

            def forward(self, images):
                return images[:, 0]

        image = torch.from_numpy(wavy_images(1, 90, 160))
        given = DepthAnything(Inputs(), DepthSettings(device="cpu", precision="fp32")).infer(image)[0].numpy()
        assert given.shape == (518, 924)
        # From the authors' own transform of the same image.
        np.testing.assert_allclose(given[0, 0], 0.035694, atol=1e-5)
        import cv2

        wanted = cv2.resize(image[0].numpy() / 255.0, (924, 518), interpolation=cv2.INTER_CUBIC)[..., 0]
        np.testing.assert_allclose(given, (wanted - 0.485) / 0.229, atol=2e-5)

    def test_frames_of_many_clips_share_batches_and_batches_do_not_matter(self, torch):
        from models.depth.depth_anything import load_depth_anything
        from models.networks.depth_anything import DepthAnythingV2

        network = DepthAnythingV2("vits")
        fill_by_formula(network)
        network.depth_head.scratch.output_conv2[2].bias.data.fill_(2.0)
        import models.depth.depth_anything as module

        frames = list(wavy_images(3, 60, 80))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "SHORT_SIDE_PX", 56)
            patch.setattr(module, "read_tensors", lambda path: network.state_dict())
            model = load_depth_anything(
                {"vits.pth": "weights"}, DepthSettings(device="cpu", precision="fp32", batch_frames=2), "vits"
            )
            together = model.predict(frames, (40, 30))
            alone = model.predict(frames[2:], (40, 30))
        assert together.maps.shape == (3, 30, 40) and together.maps.dtype == np.float32
        assert together.is_valid.all() and np.isnan(together.focal_px).all()
        np.testing.assert_allclose(alone.maps[0], together.maps[2], rtol=1e-4, atol=1e-3)
        assert np.abs(together.maps[0] - together.maps[1]).max() > 0.1

    def test_moge_answers_in_meters_with_a_focal_length(self, torch, tmp_path):
        from models.depth.moge import load_moge
        from models.networks.moge import MoGe2
        from tests.models.networks.test_depth_networks import small_moge_config

        network = MoGe2(small_moge_config())
        fill_by_formula(network, 0.6)
        network.mask_head.output_blocks[-1].bias.data.fill_(3.0)
        path = tmp_path / "model.pt"
        state = network.state_dict() | {"normal_head.x": torch.zeros(1)}
        torch.save({"model": state, "model_config": small_moge_config()}, path)
        settings = DepthSettings(device="cpu", precision="fp32", moge_tokens=120)
        model = load_moge({"model.pt": str(path)}, settings)
        seen = model.predict(list(wavy_images(2, 36, 64)), (32, 18))
        assert seen.maps.shape == seen.is_valid.shape == (2, 18, 32)
        assert (seen.maps[seen.is_valid] > 0).all() and (seen.maps[~seen.is_valid] == 0).all()
        assert seen.focal_px.shape == (2,) and np.isfinite(seen.focal_px).all()
        torch.save({"model": {}, "model_config": small_moge_config()}, path)
        with pytest.raises(WeightsError, match="does not fit MoGe2"):
            load_moge({"model.pt": str(path)}, settings)
        torch.save({"model": {}}, path)
        with pytest.raises(WeightsError, match="not a MoGe checkpoint"):
            load_moge({"model.pt": str(path)}, settings)

    def test_focal_length_and_shift_are_found_for_several_images_at_once(self, torch):
        from models.depth.moge import fit_camera
        from models.networks.moge import view_plane

        height, width = 90, 160
        uv = view_plane(width, height, width / height, torch.zeros(1)).numpy()
        rows, columns = np.mgrid[:height, :width]
        z = 3 + np.sin(rows / 9) + 0.5 * np.cos(columns / 11)
        points = [
            np.concatenate([uv * z[..., None] / focal, (z - shift)[..., None]], axis=-1)
            for focal, shift in ((1.4, 0.8), (0.7, -1.5), (3.0, 0.0))
        ]
        valid = np.ones((3, height, width), bool)
        valid[:, :20] = False
        valid[2] = False
        focal, shift = fit_camera(torch.from_numpy(np.stack(points)).float(), torch.from_numpy(valid))
        np.testing.assert_allclose(focal, [1.4, 0.7, 1.0], rtol=1e-4)
        np.testing.assert_allclose(shift, [0.8, -1.5, 0.0], atol=1e-3)


@pytest.mark.models
class TestBatchRunner:
    @pytest.fixture(autouse=True)
    def torch(self):
        return pytest.importorskip("torch", reason="needs the models extra")

    def run(self, torch, limit, **changes):
        """A runner with memory for so many images, and the batches that it tried."""
        from models.networks.batches import BatchRunner

        tried = []

        def compute(images, first):
            tried.append(len(images))
            if len(images) > limit:
                raise torch.OutOfMemoryError("no memory left")
            return images.float().mean(dim=(1, 2, 3)), images[:, 0, 0, 0]

        arguments = {"max_images": 16, "max_bytes": 1 << 20} | changes
        return BatchRunner(compute, torch.device("cpu"), **arguments), tried

    def test_out_of_memory_halves_the_batch_and_goes_on(self, torch):
        runner, tried = self.run(torch, limit=3)
        images = [np.full((2, 2, 3), i, np.uint8) for i in range(20)]
        means, first = runner.run(images)
        np.testing.assert_array_equal(means, np.arange(20))
        np.testing.assert_array_equal(first, np.arange(20))
        assert tried[:3] == [16, 8, 4] and max(tried[3:]) == 2
        assert runner.halvings == 3
        runner.run(images)
        assert runner.halvings == 3

    def test_one_image_that_does_not_fit_is_an_error(self, torch):
        runner, tried = self.run(torch, limit=0)
        with pytest.raises(torch.OutOfMemoryError):
            runner.run([np.zeros((2, 2, 3), np.uint8)] * 4)
        assert tried == [4, 2, 1]

    def test_batches_are_capped_in_bytes(self, torch):
        runner, tried = self.run(torch, limit=99, max_bytes=12 * 3)
        runner.run([np.zeros((2, 2, 3), np.uint8)] * 7)
        assert tried == [3, 3, 1]

    def test_images_of_several_sizes_are_refused(self, torch):
        runner, _ = self.run(torch, limit=9)
        for images in ([], [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)]):
            with pytest.raises(ValueError, match="one size"):
                runner.run(images)
