#include <pybind11/numpy.h>

#include <cmath>

#include "bindings.hpp"

namespace py = pybind11;

namespace spatialbeam {

void bind_elementary(py::module_& module) {
  module.def("exp", py::vectorize([](double x) { return std::exp(x); }));
  module.def("log", py::vectorize([](double x) { return std::log(x); }));
  module.def("arcsin", py::vectorize([](double x) { return std::asin(x); }));
  module.def("arccos", py::vectorize([](double x) { return std::acos(x); }));
}

}  // namespace spatialbeam
