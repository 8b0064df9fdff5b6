#include "bindings.hpp"

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native kernels; use them through the typed modules of this package.";
  spatialbeam::bind_frame_stats(module);
  spatialbeam::bind_thumbnails(module);
}
