// Normal equations of a frame's edges, with its points eliminated by the Schur complement (Triggs et al. 2000).
#pragma once

#include <algorithm>
#include <cmath>

#include "bundle_local_system.hpp"

namespace spatialbeam::bundle {

template <typename T>
class Linearization {
 public:
  explicit Linearization(Frames<T>& frames) : frames_(frames) {}

  // Computes the frame's contribution to the reduced system in the workspace, and the Hessian and gradient of its
  // points in `frames`; returns the cost.
  double run(const State& state, int frame, double damping, Workspace<T>& w) {
    frames_.prepare_edges(state, frame, w.edges);
    const int group_count = int(frames_.groups[frame].size());
    std::fill(w.sums.begin(), w.sums.begin() + group_count, PoseSums{});
    const bool points = frames_.options.points;
    const double cost = points ? linearize_points(state, frame, damping, w) : linearize_poses(state, frame, w);
    build_local_system(frames_.kernels, group_count, points, w);
    return cost;
  }

 private:
  // Tile by tile, so that points can be eliminated after all edges of a tile.
  double linearize_points(const State& state, int frame, double damping, Workspace<T>& w) {
    const std::size_t gram_size = 6 * frames_.groups[frame].size() + 2;
    std::fill_n(w.gram.begin(), gram_size * gram_size, 0.0);
    double cost = 0;
    frames_.for_each_tile(frame, [&](int first, int count) {
      frames_.load_points(state, frame, first, count, w.points);
      cost += frames_.point_prior_cost(state, frame, first, count);
      cost += linearize_tile(frame, first, count, w);
      eliminate_points(state, frame, first, count, damping, w);
    });
    return cost;
  }

  // Edge by edge: reads observations in memory order.
  double linearize_poses(const State& state, int frame, Workspace<T>& w) {
    const int size = frames_.tile_size(), points = frames_.problem.points;
    for (int first = 0; first < points; first += size) {
      frames_.load_points(state, frame, first, std::min(size, points - first), w.all_points[first / size]);
    }
    double cost = 0;
    const auto& groups = frames_.groups[frame];
    for (int g = 0; g < int(groups.size()); ++g) {
      const bool has_free_pose = frames_.has_free_pose(frame, groups[g].target);
      for (const int e : groups[g].edges) {
        for (int first = 0; first < points; first += size) {
          if (!frames_.has_observation(e, first)) continue;
          const int count = std::min(size, points - first);
          const Observations observations = frames_.observations_along(e, first, count, has_free_pose);
          cost += frames_.kernels.project(w.all_points[first / size], w.edges[g].model, observations, w.projected);
          if (has_free_pose) frames_.kernels.add_pose_sums(w.projected, observations, w.sums[g]);
          if (frames_.options.focal) frames_.kernels.add_focal_sums(w.projected, count, has_free_pose, w.sums[g]);
        }
      }
    }
    return cost;
  }

  // Accumulates sums and rows over all edges of a tile; returns the cost.
  double linearize_tile(int frame, int first, int count, Workspace<T>& w) {
    const int padded_count = padded(count);
    std::fill_n(w.point_hessian, padded_count, T(0));
    std::fill_n(w.point_gradient, padded_count, T(0));
    std::fill_n(w.focal, padded_count, T(0));
    w.gram_rows.clear();
    w.gram_index.clear();
    double cost = 0;
    const auto& groups = frames_.groups[frame];
    for (int g = 0; g < int(groups.size()); ++g) {
      const bool has_free_pose = frames_.has_free_pose(frame, groups[g].target);
      T* rows = w.rows.data() + std::size_t(6) * kTile * g;
      bool has_rows = false;
      for (const int e : groups[g].edges) {
        if (!frames_.has_observation(e, first)) continue;
        const Observations observations = frames_.observations(e, first, count, has_free_pose);
        cost += frames_.kernels.project(w.points, w.edges[g].model, observations, w.projected);
        if (has_free_pose) frames_.kernels.add_pose_sums(w.projected, observations, w.sums[g]);
        if (frames_.options.focal) frames_.kernels.add_focal_sums(w.projected, count, has_free_pose, w.sums[g]);
        frames_.kernels.add_point_sums(w.projected, count, w.point_hessian, w.point_gradient);
        if (frames_.options.focal) frames_.kernels.add_focal_row(w.projected, count, w.focal);
        if (has_free_pose) frames_.kernels.store_pose_rows(w.projected, count, has_rows, rows), has_rows = true;
      }
      for (int i = 0; has_rows && i < 6; ++i) {
        w.gram_rows.push_back(rows + i * kTile);
        w.gram_index.push_back(6 * g + i);
      }
    }
    return cost;
  }

  // Adds priors and damping to the points' Hessian and gradient, and accumulates the Schur complement.
  void eliminate_points(const State& state, int frame, int first, int count, double damping, Workspace<T>& w) {
    const std::size_t offset = std::size_t(frame) * frames_.problem.points + first;
    for (int k = 0; k < count; ++k) {
      const std::size_t point = offset + k;
      double point_hessian = w.point_hessian[k], point_gradient = w.point_gradient[k];
      if (frames_.problem.prior_weight && frames_.problem.prior_weight[point] > 0) {
        const double weight = frames_.problem.prior_weight[point];
        point_hessian += weight;
        point_gradient += weight * (frames_.problem.prior_inverse_depth[point] - state.inverse_depth[point]);
      }
      const T damped = T(point_hessian * (1 + damping) + frames_.absolute_point_damping(point));
      frames_.point_hessian[point] = damped;
      frames_.point_gradient[point] = w.point_gradient[k] = T(point_gradient);
      w.root[k] = damped > 0 ? 1 / std::sqrt(damped) : T(0);
    }
    for (int k = count; k < padded(count); ++k) w.root[k] = 0;
    if (frames_.variable_count == 0 || (w.gram_rows.empty() && !frames_.options.focal)) return;
    const int group_count = int(frames_.groups[frame].size());
    for (T* row : {w.focal, w.point_gradient}) {
      w.gram_index.push_back(6 * group_count + (row == w.point_gradient));
      w.gram_rows.push_back(row);
    }
    for (const T* row : w.gram_rows) frames_.kernels.scale_row(w.root, count, const_cast<T*>(row));
    frames_.kernels.add_gram(w.gram_rows.data(), w.gram_index.data(), int(w.gram_rows.size()), count,
                             6 * group_count + 2, w.gram.data());
  }

  Frames<T>& frames_;
};

}  // namespace spatialbeam::bundle
