// Bundle adjustment of poses, inverse depths and a focal length; native/bundle_adjustment.py documents the arrays.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bundle_kernels.hpp"

namespace spatialbeam::bundle {

// Arrays are owned by the caller; optional ones may be null.
struct Problem {
  int frames, points, edges;
  const double* cam_from_world;  // (frames, 7)
  const double* inverse_depth;   // (frames, points)
  const float* pixels;           // (points, 2) or (frames, points, 2)
  bool shared_pixels;
  double intrinsics[4];
  const std::int32_t* source;  // (edges,), as is target; valid frame indices that differ
  const std::int32_t* target;
  const float* target_px;  // (edges, points, 2)
  const float* weight;     // (edges, points, weight_channels)
  int weight_channels;
  const double* prior_inverse_depth;  // (frames, points), optional, together with its weight
  const double* prior_weight;
  const double* point_damping;  // (frames, points), optional
  const std::uint8_t* fixed;    // (frames,)
};

struct Options {
  int iterations;
  bool poses, points, focal;
  double focal_prior, focal_prior_weight;  // pixels (fx), and 0 for none
  bool adaptive;
  double damping, damping_up, damping_down, damping_min, damping_max;
  double pose_damping_floor, point_damping_floor;
  double tolerance;
  double min_depth_ratio;
  double min_inverse_depth, max_inverse_depth;
  RobustKernel kernel;
  double kernel_px;
  bool single_precision;
  bool residuals, variances;
  int threads;
  std::string simd;
};

struct Result {
  std::vector<double> cam_from_world, inverse_depth;
  double intrinsics[4];
  std::vector<double> cost_history;
  std::vector<float> residuals;       // (edges, points); empty if not requested
  std::vector<double> pose_variance;  // (frames, 6); empty if not requested or undefined
  double focal_variance;              // of the logarithm; NaN if not requested or undefined
  double damping;
  int iterations;
  bool converged;
};

// Throws std::invalid_argument for an unknown `simd`.
Result adjust(const Problem& problem, const Options& options);

struct Reprojection {
  std::vector<float> pixels;        // (edges, points, 2)
  std::vector<float> depth;         // (edges, points)
  std::vector<std::uint8_t> valid;  // (edges, points)
};

// Observations, priors and fixed poses of the problem are not used.
Reprojection reproject(const Problem& problem, double min_depth_ratio, int threads);

// Mean magnitude of the induced flow of each edge in pixels; infinite if fewer than `min_share` of the points are
// valid.
std::vector<double> frame_distance(const Problem& problem, double beta, double min_depth_ratio, double min_share,
                                   int threads);

}  // namespace spatialbeam::bundle
