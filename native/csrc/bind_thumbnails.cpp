#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <stdexcept>

#include "bindings.hpp"
#include "thumbnails.hpp"

namespace py = pybind11;

namespace spatialbeam {
namespace {

using Bytes = py::array_t<std::uint8_t, py::array::c_style>;

const std::uint8_t* thumbnail_of(const Bytes& array) {
  if (array.ndim() != 3 || array.shape(0) != kThumbnailHeight || array.shape(1) != kThumbnailWidth ||
      array.shape(2) != 3) {
    throw std::invalid_argument("a thumbnail has the shape (36, 64, 3)");
  }
  return array.data();
}

}  // namespace

void bind_thumbnails(py::module_& module) {
  module.def("mean_change",
             [](const Bytes& a, const Bytes& b) { return mean_change(thumbnail_of(a), thumbnail_of(b)); });
  module.def("mean_luma_change",
             [](const Bytes& a, const Bytes& b) { return mean_luma_change(thumbnail_of(a), thumbnail_of(b)); });
  py::class_<BlendSearch>(module, "BlendSearch")
      .def(py::init([](std::vector<int> lengths, std::vector<double> probes, double min_distance,
                       double max_nonlinearity, double max_residual, double min_quality) {
        if (lengths.empty() || lengths.front() < 1 || !std::is_sorted(lengths.begin(), lengths.end()) ||
            !(min_distance > 0) || !(max_nonlinearity >= 0 && max_nonlinearity <= 1)) {
          throw std::invalid_argument(
              "lengths must ascend from 1 on, min_distance be above 0, max_nonlinearity 0 to 1");
        }
        return BlendSearch(std::move(lengths), std::move(probes),
                           {min_distance, max_nonlinearity, max_residual, min_quality});
      }))
      .def("push",
           [](BlendSearch& search, const Bytes& thumbnail) {
             py::list found;
             for (const auto& blend : search.push(thumbnail_of(thumbnail))) {
               found.append(py::make_tuple(blend.quality, blend.length, blend.distance));
             }
             return found;
           })
      .def("factors", &BlendSearch::factors);
}

}  // namespace spatialbeam
