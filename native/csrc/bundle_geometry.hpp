// What all work on a problem's edges shares: which edges leave a frame, how a frame's points and an edge look to the
// kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "bundle_adjustment.hpp"
#include "se3.hpp"

namespace spatialbeam::bundle {

// Edges that join the same two frames.
struct Group {
  int target;
  std::vector<int> edges;
};

// The groups of each source frame, by target.
inline std::vector<std::vector<Group>> group_edges(const Problem& problem) {
  std::vector<std::map<int, std::vector<int>>> found(problem.frames);
  for (int e = 0; e < problem.edges; ++e) found[problem.source[e]][problem.target[e]].push_back(e);
  std::vector<std::vector<Group>> groups(problem.frames);
  for (int i = 0; i < problem.frames; ++i) {
    for (auto& [target, edges] : found[i]) groups[i].push_back({target, std::move(edges)});
  }
  return groups;
}

// Rounds up to what kernels may read of a row.
inline int padded(int count) { return (count + kMaxLanes - 1) / kMaxLanes * kMaxLanes; }

template <typename T>
void load_tile(const Problem& problem, const double* intrinsics, const double* inverse_depth, int frame, int first,
               int count, TilePoints<T>& out) {
  const std::size_t offset = problem.shared_pixels ? first : std::size_t(frame) * problem.points + first;
  const float* pixels = problem.pixels + 2 * offset;
  const double* d = inverse_depth + std::size_t(frame) * problem.points + first;
  const double scale_x = 1 / intrinsics[0], scale_y = 1 / intrinsics[1];
  for (int k = 0; k < count; ++k) {
    out.x[k] = T((pixels[2 * k] - intrinsics[2]) * scale_x);
    out.y[k] = T((pixels[2 * k + 1] - intrinsics[3]) * scale_y);
    out.d[k] = T(d[k]);
  }
  for (int k = count; k < padded(count); ++k) out.x[k] = out.y[k] = out.d[k] = 0;
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
  model.fx = T(intrinsics[0]), model.fy = T(intrinsics[1]), model.cx = T(intrinsics[2]), model.cy = T(intrinsics[3]);
  model.min_depth_ratio = T(options.min_depth_ratio);
  model.kernel = options.kernel;
  model.kernel_px2 = T(options.kernel_px * options.kernel_px);
  model.with_focal = options.focal;
  return model;
}

// `next_edge` is the one that is looked at next, for the same points, -1 for none.
inline Observations observations_of(const Problem& problem, int edge, int first, int count, int next_edge) {
  const auto target = [&](int e) { return problem.target_px + 2 * (std::size_t(e) * problem.points + first); };
  const auto weight = [&](int e) {
    return problem.weight + problem.weight_channels * (std::size_t(e) * problem.points + first);
  };
  const bool has_next = next_edge >= 0;
  return {target(edge), weight(edge), problem.weight_channels, count, has_next ? target(next_edge) : nullptr,
          has_next ? weight(next_edge) : nullptr};
}

}  // namespace spatialbeam::bundle
