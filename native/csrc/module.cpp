#include "bindings.hpp"

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native kernels; use them through the typed modules of this package.";
  spatialbeam::bind_bundle_adjustment(module);
  spatialbeam::bind_elementary(module);
  spatialbeam::bind_frame_stats(module);
  spatialbeam::bind_patch_alignment(module);
  spatialbeam::bind_se3(module);
  spatialbeam::bind_thumbnails(module);
}
