#include <pybind11/numpy.h>

#include <stdexcept>
#include <vector>

#include "bindings.hpp"
#include "patch_alignment.hpp"

namespace py = pybind11;

namespace spatialbeam {
namespace {

using Bytes = py::array_t<std::uint8_t, py::array::c_style>;
using Singles = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Integers = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>;

bool has_shape(const py::array& array, std::initializer_list<py::ssize_t> shape) {
  if (array.ndim() != static_cast<py::ssize_t>(shape.size())) return false;
  py::ssize_t axis = 0;
  for (const auto length : shape) {
    if (array.shape(axis++) != length) return false;
  }
  return true;
}

py::tuple align(const Bytes& images, const Integers& source, const Integers& target, const Singles& position,
                const Singles& initial, const Singles& warp, int radius, int iterations, int threads) {
  if (images.ndim() != 3) throw std::invalid_argument("images must be (n, h, w)");
  const py::ssize_t size = source.size();
  if (!has_shape(source, {size}) || !has_shape(target, {size}) || !has_shape(position, {size, 2}) ||
      !has_shape(initial, {size, 2}) || !has_shape(warp, {size, 2, 2})) {
    throw std::invalid_argument("source and target must be (k,), position and initial (k, 2), warp (k, 2, 2)");
  }
  if (radius < 1 || radius > kMaxPatchRadius) throw std::invalid_argument("radius must be 1 to 12");
  if (iterations < 1 || threads < 1) throw std::invalid_argument("iterations and threads must be position least 1");
  const PatchStack stack{images.data(), static_cast<int>(images.shape(0)), static_cast<int>(images.shape(1)),
                         static_cast<int>(images.shape(2))};
  std::vector<PatchQuery> queries(size);
  for (py::ssize_t index = 0; index < size; ++index) {
    PatchQuery& query = queries[index];
    query.source = source.data()[index];
    query.target = target.data()[index];
    if (query.source < 0 || query.source >= stack.count || query.target < 0 || query.target >= stack.count) {
      throw std::invalid_argument("source and target must be image indices");
    }
    for (int k = 0; k < 2; ++k) {
      query.position[k] = position.data()[2 * index + k];
      query.initial[k] = initial.data()[2 * index + k];
    }
    for (int k = 0; k < 4; ++k) query.warp[k] = warp.data()[4 * index + k];
  }
  std::vector<PatchResult> results(size);
  {
    py::gil_scoped_release release;
    align_patches(stack, queries.data(), results.data(), results.size(), radius, iterations, threads);
  }
  py::array_t<float> found({size, py::ssize_t{2}}), correlation(size), sigma(size);
  for (py::ssize_t index = 0; index < size; ++index) {
    found.mutable_data()[2 * index] = results[index].position[0];
    found.mutable_data()[2 * index + 1] = results[index].position[1];
    correlation.mutable_data()[index] = results[index].correlation;
    sigma.mutable_data()[index] = results[index].sigma;
  }
  return py::make_tuple(found, correlation, sigma);
}

}  // namespace

void bind_patch_alignment(py::module_& module) { module.def("align_patches", &align); }

}  // namespace spatialbeam
