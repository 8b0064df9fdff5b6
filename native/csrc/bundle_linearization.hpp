// The normal equations of a frame's edges, with its points eliminated.
#pragma once

#include <algorithm>
#include <cmath>

#include "bundle_local_system.hpp"

namespace spatialbeam::bundle {

template <typename T>
class Linearization {
 public:
  explicit Linearization(Frames<T>& frames) : frames_(frames) {}

  // Leaves the frame's part of the reduced system in the workspace, and its points' own equations in `frames`; returns
  // the cost.
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
  // Tile by tile, so that a tile's points can be eliminated when all edges have been seen.
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

  // Edge by edge: reads the observations in the order in which memory holds them.
  double linearize_poses(const State& state, int frame, Workspace<T>& w) {
    const int size = frames_.tile_size(), points = frames_.problem.points;
    for (int first = 0; first < points; first += size) {
      frames_.load_points(state, frame, first, std::min(size, points - first), w.all_points[first / size]);
    }
    double cost = 0;
    const auto& groups = frames_.groups[frame];
    for (int g = 0; g < int(groups.size()); ++g) {
      const bool moves = frames_.moves(frame, groups[g].target);
      for (const int e : groups[g].edges) {
        for (int first = 0; first < points; first += size) {
          if (!frames_.observes(e, first)) continue;
          const int count = std::min(size, points - first);
          const Observations observations = frames_.observations_along(e, first, count, moves);
          cost += frames_.kernels.project(w.all_points[first / size], w.edges[g].model, observations, w.projected);
          if (moves) frames_.kernels.add_pose_sums(w.projected, observations, w.sums[g]);
          if (frames_.options.focal) frames_.kernels.add_focal_sums(w.projected, count, moves, w.sums[g]);
        }
      }
    }
    return cost;
  }

  // Sums and rows of all edges of a tile; returns the cost.
  double linearize_tile(int frame, int first, int count, Workspace<T>& w) {
    const int padded_count = padded(count);
    std::fill_n(w.curvature, padded_count, T(0));
    std::fill_n(w.slope, padded_count, T(0));
    std::fill_n(w.focal, padded_count, T(0));
    w.gram_rows.clear();
    w.gram_index.clear();
    double cost = 0;
    const auto& groups = frames_.groups[frame];
    for (int g = 0; g < int(groups.size()); ++g) {
      const bool moves = frames_.moves(frame, groups[g].target);
      T* rows = w.rows.data() + std::size_t(6) * kTile * g;
      bool has_rows = false;
      for (const int e : groups[g].edges) {
        if (!frames_.observes(e, first)) continue;
        const Observations observations = frames_.observations(e, first, count, moves);
        cost += frames_.kernels.project(w.points, w.edges[g].model, observations, w.projected);
        if (moves) frames_.kernels.add_pose_sums(w.projected, observations, w.sums[g]);
        if (frames_.options.focal) frames_.kernels.add_focal_sums(w.projected, count, moves, w.sums[g]);
        frames_.kernels.add_point_sums(w.projected, count, w.curvature, w.slope);
        if (frames_.options.focal) frames_.kernels.add_focal_row(w.projected, count, w.focal);
        if (moves) frames_.kernels.put_pose_rows(w.projected, count, has_rows, rows), has_rows = true;
      }
      for (int i = 0; has_rows && i < 6; ++i) {
        w.gram_rows.push_back(rows + i * kTile);
        w.gram_index.push_back(6 * g + i);
      }
    }
    return cost;
  }

  // Adds priors and damping to the points' own equations, keeps these, and adds the products of the rows.
  void eliminate_points(const State& state, int frame, int first, int count, double damping, Workspace<T>& w) {
    const std::size_t offset = std::size_t(frame) * frames_.problem.points + first;
    for (int k = 0; k < count; ++k) {
      const std::size_t point = offset + k;
      double curvature = w.curvature[k], slope = w.slope[k];
      if (frames_.problem.prior_weight && frames_.problem.prior_weight[point] > 0) {
        const double weight = frames_.problem.prior_weight[point];
        curvature += weight;
        slope += weight * (frames_.problem.prior_inverse_depth[point] - state.inverse_depth[point]);
      }
      const T damped = T(curvature * (1 + damping) + frames_.absolute_point_damping(point));
      frames_.curvature[point] = damped;
      frames_.slope[point] = w.slope[k] = T(slope);
      w.root[k] = damped > 0 ? 1 / std::sqrt(damped) : T(0);
    }
    for (int k = count; k < padded(count); ++k) w.root[k] = 0;
    if (frames_.variable_count == 0 || (w.gram_rows.empty() && !frames_.options.focal)) return;
    const int group_count = int(frames_.groups[frame].size());
    for (T* row : {w.focal, w.slope}) {
      w.gram_index.push_back(6 * group_count + (row == w.slope));
      w.gram_rows.push_back(row);
    }
    for (const T* row : w.gram_rows) frames_.kernels.scale_row(w.root, count, const_cast<T*>(row));
    frames_.kernels.add_gram(w.gram_rows.data(), w.gram_index.data(), int(w.gram_rows.size()), count,
                             6 * group_count + 2, w.gram.data());
  }

  Frames<T>& frames_;
};

}  // namespace spatialbeam::bundle
