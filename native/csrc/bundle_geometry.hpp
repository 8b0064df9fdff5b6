// Edges by source frame, relative poses, and the kernels' view of edges and observations.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "bundle_adjustment.hpp"
#include "se3.hpp"

namespace spatialbeam::bundle {

// Edges with the same source and target.
struct Group {
  int target;
  std::vector<int> edges;
};

// Edges of each source frame, grouped by target.
inline std::vector<std::vector<Group>> group_edges(const Problem& problem) {
  std::vector<std::map<int, std::vector<int>>> found(problem.frames);
  for (int e = 0; e < problem.edges; ++e) found[problem.source[e]][problem.target[e]].push_back(e);
  std::vector<std::vector<Group>> groups(problem.frames);
  for (int i = 0; i < problem.frames; ++i) {
    for (auto& [target, edges] : found[i]) groups[i].push_back({target, std::move(edges)});
  }
  return groups;
}

inline void relative_pose(const double* cam_from_world, int source, int target, double* out) {
  double inverse[se3::kPose];
  se3::invert(cam_from_world + se3::kPose * source, inverse);
  se3::compose(cam_from_world + se3::kPose * target, inverse, out);
}

template <typename T>
EdgeModel<T> edge_model(const double* target_from_source, const double* intrinsics, const Options& options) {
  double rotation[9];
  se3::rotation_matrix(target_from_source + 3, rotation);
  EdgeModel<T> model;
  std::transform(rotation, rotation + 9, model.rotation, [](double x) { return T(x); });
  std::transform(target_from_source, target_from_source + 3, model.translation, [](double x) { return T(x); });
  const double fx = intrinsics[0], fy = intrinsics[1];
  model.fx = T(fx), model.fy = T(fy);
  model.scale_u = T(1 / fx), model.scale_v = T(1 / fy);
  model.shift_u = T(intrinsics[2] / fx), model.shift_v = T(intrinsics[3] / fy);
  model.square_u = T(fx * fx), model.square_v = T(fy * fy);
  model.min_depth_ratio = T(options.min_depth_ratio);
  model.kernel = options.kernel;
  model.kernel_px2 = T(options.kernel_px * options.kernel_px);
  model.inverse_kernel_px2 = 1 / model.kernel_px2;
  model.with_points = options.points;
  model.with_focal = options.focal;
  model.with_residuals = model.with_costs = false;
  return model;
}

// `next_edge` and `next_first` are prefetched; -1 for none.
inline Observations observations_of(const Problem& problem, int edge, int first, int count, int next_edge,
                                    int next_first, bool summed) {
  const auto target = [&](int e, int f) { return problem.target_px + 2 * (std::size_t(e) * problem.points + f); };
  const auto weight = [&](int e, int f) {
    return problem.weight + problem.weight_channels * (std::size_t(e) * problem.points + f);
  };
  const bool has_next = next_edge >= 0;
  return {target(edge, first),
          weight(edge, first),
          problem.weight_channels,
          count,
          has_next ? target(next_edge, next_first) : nullptr,
          has_next ? weight(next_edge, next_first) : nullptr,
          summed};
}

}  // namespace spatialbeam::bundle
