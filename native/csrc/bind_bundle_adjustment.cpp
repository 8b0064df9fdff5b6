#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "bundle_adjustment.hpp"

namespace py = pybind11;

namespace spatialbeam {
namespace {

constexpr int kPlain = py::array::c_style | py::array::forcecast;
using Doubles = py::array_t<double, kPlain>;
using Floats = py::array_t<float, kPlain>;
using Integers = py::array_t<std::int32_t, kPlain>;
using Bytes = py::array_t<std::uint8_t, kPlain>;
using OptionalDoubles = std::optional<Doubles>;

void check_shape(const char* name, const py::array& array, const std::vector<py::ssize_t>& shape) {
  const std::vector<py::ssize_t> found(array.shape(), array.shape() + array.ndim());
  if (found == shape) return;
  const auto text = [](const std::vector<py::ssize_t>& sizes) {
    std::string out = "(";
    for (const auto size : sizes) out += (out.size() > 1 ? ", " : "") + std::to_string(size);
    return out + ")";
  };
  throw std::invalid_argument(std::string(name) + " must have the shape " + text(shape) + ", got " + text(found));
}

int as_int(py::ssize_t size) {
  if (size > std::numeric_limits<std::int32_t>::max() / 8) throw std::invalid_argument("an array has too many rows");
  return int(size);
}

// Arguments of all functions: (frames, 7), (frames, points), pixels, (4,), (edges,), (edges,).
struct Scene {
  Doubles cam_from_world, inverse_depth;
  Floats pixels;
  Doubles intrinsics;
  Integers source, target;

  bundle::Problem problem() const {
    if (inverse_depth.ndim() != 2) throw std::invalid_argument("inverse_depth must have the shape (frames, points)");
    if (source.ndim() != 1) throw std::invalid_argument("source must have the shape (edges,)");
    const py::ssize_t frames = inverse_depth.shape(0), points = inverse_depth.shape(1);
    check_shape("cam_from_world", cam_from_world, {frames, 7});
    check_shape("intrinsics", intrinsics, {4});
    check_shape("target", target, {source.shape(0)});
    if (pixels.ndim() == 2) {
      check_shape("pixels", pixels, {points, 2});
    } else {
      check_shape("pixels", pixels, {frames, points, 2});
    }
    bundle::Problem problem{};
    problem.frames = as_int(frames);
    problem.points = as_int(points);
    problem.edges = as_int(source.shape(0));
    problem.cam_from_world = cam_from_world.data();
    problem.inverse_depth = inverse_depth.data();
    problem.pixels = pixels.data();
    problem.shared_pixels = pixels.ndim() == 2;
    std::copy_n(intrinsics.data(), 4, problem.intrinsics);
    problem.source = source.data();
    problem.target = target.data();
    for (int e = 0; e < problem.edges; ++e) check_edge(problem, e);
    return problem;
  }

 private:
  static void check_edge(const bundle::Problem& problem, int e) {
    const int i = problem.source[e], j = problem.target[e];
    if (i < 0 || j < 0 || i >= problem.frames || j >= problem.frames || i == j) {
      throw std::invalid_argument("edge " + std::to_string(e) + " joins frames " + std::to_string(i) + " and " +
                                  std::to_string(j) + ": they must differ and be from 0 to " +
                                  std::to_string(problem.frames - 1));
    }
  }
};

// Moves a vector into an array without a copy.
template <typename T>
py::array_t<T> as_array(std::vector<T>&& values, const std::vector<py::ssize_t>& shape) {
  auto* held = new std::vector<T>(std::move(values));
  const py::capsule owner(held, [](void* vector) { delete static_cast<std::vector<T>*>(vector); });
  return py::array_t<T>(shape, held->data(), owner);
}

bundle::RobustKernel robust_kernel(const std::string& name) {
  if (name == "none") return bundle::RobustKernel::kNone;
  if (name == "huber") return bundle::RobustKernel::kHuber;
  if (name == "cauchy") return bundle::RobustKernel::kCauchy;
  throw std::invalid_argument("the robust kernel must be none, huber or cauchy, got " + name);
}

// Options from a dict of names to numbers.
bundle::Options options_of(const py::dict& values, const std::string& kernel, const std::string& simd) {
  const auto number = [&](const char* name) { return values[name].cast<double>(); };
  const auto flag = [&](const char* name) { return values[name].cast<bool>(); };
  bundle::Options options{};
  options.iterations = values["iterations"].cast<int>();
  options.poses = flag("optimize_poses"), options.points = flag("optimize_points");
  options.focal = flag("optimize_focal");
  options.focal_prior = number("focal_prior"), options.focal_prior_weight = number("focal_prior_weight");
  options.adaptive = flag("adaptive");
  options.damping = number("damping");
  options.damping_up = number("damping_up"), options.damping_down = number("damping_down");
  options.damping_min = number("damping_min"), options.damping_max = number("damping_max");
  options.pose_damping_floor = number("pose_damping_floor");
  options.point_damping_floor = number("point_damping_floor");
  options.tolerance = number("tolerance");
  options.min_depth_ratio = number("min_depth_ratio");
  options.min_inverse_depth = number("min_inverse_depth"), options.max_inverse_depth = number("max_inverse_depth");
  options.kernel = robust_kernel(kernel);
  options.kernel_px = number("robust_scale_px");
  options.single_precision = flag("single_precision");
  options.residuals = flag("residuals"), options.variances = flag("variances");
  options.threads = values["num_threads"].cast<int>();
  options.simd = simd;
  return options;
}

// (cam_from_world, inverse_depth, intrinsics, cost_history, residuals, pose_variance, focal_variance, damping,
// iterations, converged)
py::tuple adjust(const Scene& scene, const Floats& target_px, const Floats& weight, const OptionalDoubles& prior,
                 const OptionalDoubles& prior_weight, const OptionalDoubles& point_damping, const Bytes& fixed,
                 const bundle::Options& options) {
  bundle::Problem problem = scene.problem();
  const py::ssize_t n = problem.frames, p = problem.points, e = problem.edges;
  check_shape("target_px", target_px, {e, p, 2});
  if (weight.ndim() == 2) {
    check_shape("weight", weight, {e, p});
  } else {
    check_shape("weight", weight, {e, p, 2});
  }
  problem.target_px = target_px.data();
  problem.weight = weight.data();
  problem.weight_channels = weight.ndim() == 2 ? 1 : 2;
  const auto optional_data = [&](const char* name, const OptionalDoubles& array) -> const double* {
    if (!array) return nullptr;
    check_shape(name, *array, {n, p});
    return array->data();
  };
  problem.prior_inverse_depth = optional_data("prior_inverse_depth", prior);
  problem.prior_weight = optional_data("prior_weight", prior_weight);
  problem.point_damping = optional_data("point_damping", point_damping);
  check_shape("fixed", fixed, {n});
  problem.fixed = fixed.data();
  bundle::Result result;
  {
    const py::gil_scoped_release unlocked;
    result = bundle::adjust(problem, options);
  }
  const auto or_none = [](auto&& values, const std::vector<py::ssize_t>& shape) -> py::object {
    if (values.empty()) return py::none();
    return as_array(std::move(values), shape);
  };
  const py::ssize_t steps = py::ssize_t(result.cost_history.size());
  return py::make_tuple(as_array(std::move(result.cam_from_world), {n, 7}),
                        as_array(std::move(result.inverse_depth), {n, p}),
                        as_array(std::vector<double>(result.intrinsics, result.intrinsics + 4), {4}),
                        as_array(std::move(result.cost_history), {steps}), or_none(std::move(result.residuals), {e, p}),
                        or_none(std::move(result.pose_variance), {n, 6}), result.focal_variance, result.damping,
                        result.iterations, result.converged);
}

}  // namespace

void bind_bundle_adjustment(py::module_& module) {
  module.def(
      "bundle_adjust",
      [](const Doubles& cam_from_world, const Doubles& inverse_depth, const Floats& pixels, const Doubles& intrinsics,
         const Integers& source, const Integers& target, const Floats& target_px, const Floats& weight,
         const OptionalDoubles& prior, const OptionalDoubles& prior_weight, const OptionalDoubles& point_damping,
         const Bytes& fixed, const py::dict& options, const std::string& kernel, const std::string& simd) {
        return adjust({cam_from_world, inverse_depth, pixels, intrinsics, source, target}, target_px, weight, prior,
                      prior_weight, point_damping, fixed, options_of(options, kernel, simd));
      });
  module.def("reproject", [](const Doubles& cam_from_world, const Doubles& inverse_depth, const Floats& pixels,
                             const Doubles& intrinsics, const Integers& source, const Integers& target,
                             double min_depth_ratio, int threads) {
    const Scene scene{cam_from_world, inverse_depth, pixels, intrinsics, source, target};
    const bundle::Problem problem = scene.problem();
    bundle::Reprojection result;
    {
      const py::gil_scoped_release unlocked;
      result = bundle::reproject(problem, min_depth_ratio, threads);
    }
    const py::ssize_t e = problem.edges, p = problem.points;
    return py::make_tuple(as_array(std::move(result.pixels), {e, p, 2}), as_array(std::move(result.depth), {e, p}),
                          as_array(std::move(result.valid), {e, p}));
  });
  module.def("frame_distance", [](const Doubles& cam_from_world, const Doubles& inverse_depth, const Floats& pixels,
                                  const Doubles& intrinsics, const Integers& source, const Integers& target,
                                  double beta, double min_depth_ratio, double min_share, int threads) {
    const Scene scene{cam_from_world, inverse_depth, pixels, intrinsics, source, target};
    const bundle::Problem problem = scene.problem();
    std::vector<double> result;
    {
      const py::gil_scoped_release unlocked;
      result = bundle::frame_distance(problem, beta, min_depth_ratio, min_share, threads);
    }
    return as_array(std::move(result), {problem.edges});
  });
}

}  // namespace spatialbeam
