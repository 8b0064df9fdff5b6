// Each function adds the classes and functions of one family of kernels to the extension module.
#pragma once

#include <pybind11/pybind11.h>

namespace spatialbeam {

void bind_bundle_adjustment(pybind11::module_& module);
void bind_elementary(pybind11::module_& module);
void bind_frame_stats(pybind11::module_& module);
void bind_patch_alignment(pybind11::module_& module);
void bind_se3(pybind11::module_& module);
void bind_thumbnails(pybind11::module_& module);

}  // namespace spatialbeam
