#include <pybind11/numpy.h>

#include <stdexcept>
#include <string>

#include "bindings.hpp"
#include "se3.hpp"

namespace py = pybind11;

namespace spatialbeam {
namespace {

using Array = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Unary = void (*)(const double*, double*);
using Binary = void (*)(const double*, const double*, double*);

py::ssize_t rows_of(const Array& array, int width) {
  if (array.ndim() != 2 || array.shape(1) != width) {
    throw std::invalid_argument("expected an array of the shape (n, " + std::to_string(width) + ")");
  }
  return array.shape(0);
}

// Defines name((n, in)) -> (n, out).
template <Unary kFunction, int kIn, int kOut>
void define_unary(py::module_& module, const char* name) {
  module.def(name, [](const Array& a) {
    const py::ssize_t count = rows_of(a, kIn);
    py::array_t<double> result({count, py::ssize_t(kOut)});
    const double* from = a.data();
    double* to = result.mutable_data();
    const py::gil_scoped_release unlocked;
    for (py::ssize_t i = 0; i < count; ++i) kFunction(from + i * kIn, to + i * kOut);
    return result;
  });
}

// Defines name((n, a), (n, b)) -> (n, out); a single row is broadcast.
template <Binary kFunction, int kA, int kB, int kOut>
void define_binary(py::module_& module, const char* name) {
  module.def(name, [](const Array& a, const Array& b) {
    const py::ssize_t count_a = rows_of(a, kA);
    const py::ssize_t count_b = rows_of(b, kB);
    if (count_a != count_b && count_a != 1 && count_b != 1) throw std::invalid_argument("numbers of rows differ");
    const py::ssize_t count = count_a == 1 ? count_b : count_a;
    py::array_t<double> result({count, py::ssize_t(kOut)});
    const double* from_a = a.data();
    const double* from_b = b.data();
    const int step_a = count_a == 1 ? 0 : kA;
    const int step_b = count_b == 1 ? 0 : kB;
    double* to = result.mutable_data();
    const py::gil_scoped_release unlocked;
    for (py::ssize_t i = 0; i < count; ++i) kFunction(from_a + i * step_a, from_b + i * step_b, to + i * kOut);
    return result;
  });
}

void matrix_to_rotation(const double* m, double* out) { se3::rotation_from_matrix(m, 3, out); }

}  // namespace

void bind_se3(py::module_& module) {
  define_unary<se3::exp, 6, 7>(module, "se3_exp");
  define_unary<se3::log, 7, 6>(module, "se3_log");
  define_unary<se3::invert, 7, 7>(module, "se3_invert");
  define_unary<se3::normalize, 7, 7>(module, "se3_normalize");
  define_unary<se3::adjoint, 7, 36>(module, "se3_adjoint");
  define_unary<se3::matrix, 7, 16>(module, "se3_to_matrix");
  define_unary<se3::from_matrix, 16, 7>(module, "se3_from_matrix");
  define_binary<se3::compose, 7, 7, 7>(module, "se3_compose");
  define_binary<se3::act, 7, 4, 4>(module, "se3_act");
  define_unary<se3::exp_rotation, 3, 4>(module, "so3_exp");
  define_unary<se3::log_rotation, 4, 3>(module, "so3_log");
  define_unary<se3::invert_rotation, 4, 4>(module, "so3_invert");
  define_unary<se3::normalize_rotation, 4, 4>(module, "so3_normalize");
  define_unary<se3::rotation_matrix, 4, 9>(module, "so3_to_matrix");
  define_unary<matrix_to_rotation, 9, 4>(module, "so3_from_matrix");
  define_binary<se3::compose_rotations, 4, 4, 4>(module, "so3_compose");
  define_binary<se3::rotate, 4, 3, 3>(module, "so3_act");
}

}  // namespace spatialbeam
