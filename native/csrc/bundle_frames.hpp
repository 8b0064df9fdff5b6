// The problem ordered by source frames, the variables of the reduced system, and per-thread workspaces.
#pragma once

#include <algorithm>
#include <vector>

#include "bundle_geometry.hpp"
#include "bundle_tiles.hpp"

namespace spatialbeam::bundle {

struct State {
  std::vector<double> cam_from_world, inverse_depth;
  double intrinsics[4];
};

// A linearized edge: the kernels' model and the adjoint of target_from_source. Perturbations x of the target's pose and
// y of the source's act on points in the target like x - Ad y.
template <typename T>
struct Edge {
  EdgeModel<T> model;
  double adjoint[36];
};

struct Costs {
  double before = 0, now = 0, predicted = 0;
};

// Buffers of one thread.
template <typename T>
struct Workspace {
  TilePoints<T> points;
  std::vector<TilePoints<T>> all_points;  // of a frame; only if points are fixed
  Projected<T> projected;
  alignas(64) T point_hessian[kTile], point_gradient[kTile], focal[kTile], root[kTile];
  std::vector<T> rows;       // J_pose^T W J_d: six of kTile for each group
  std::vector<double> gram;  // products of these rows, the focal length's row and the gradient
  std::vector<PoseSums> sums;
  std::vector<Edge<T>> edges;           // one for each group
  std::vector<Edge<T>> moved_edges;     // after the step
  std::vector<double> local;            // the frame's contribution to the reduced system: source, targets, focal length
  std::vector<double> adjoints, cross;  // stacked adjoints of all edges; blocks of the source with the targets
  std::vector<double> right, gradient, diagonal;
  std::vector<const T*> gram_rows;
  std::vector<int> gram_index;
  std::vector<T> stored_costs;
};

// A problem by source frames, and the variables of its reduced system.
template <typename T>
class Frames {
 public:
  Frames(const Problem& given_problem, const Options& given_options, const Kernels<T>& given_kernels)
      : problem(given_problem),
        options(given_options),
        kernels(given_kernels),
        groups(group_edges(given_problem)),
        variable(given_problem.frames, -1),
        tiles_(given_problem),
        next_edge_(given_problem.edges, -1) {
    for (int i = 0; options.poses && i < problem.frames; ++i) {
      if (!problem.fixed[i]) variable[i] = variable_count, variable_count += 6;
    }
    if (options.focal) focal_variable = variable_count++;
    if (options.points) {
      point_hessian.resize(std::size_t(problem.frames) * problem.points);
      point_gradient.resize(point_hessian.size());
    }
    for (const auto& of_frame : groups) {
      int* next = nullptr;
      for (const auto& group : of_frame) {
        for (const int e : group.edges) {
          if (next) *next = e;
          next = &next_edge_[e];
        }
      }
    }
  }

  std::vector<Workspace<T>> make_workspaces() const {
    std::size_t most_groups = 0, most_edges = 0;
    for (const auto& of_frame : groups) {
      std::size_t edges = 0;
      for (const auto& group : of_frame) edges += group.edges.size();
      most_groups = std::max(most_groups, of_frame.size());
      most_edges = std::max(most_edges, edges);
    }
    std::vector<Workspace<T>> workspaces(std::max(1, std::min(options.threads, problem.frames)));
    for (auto& w : workspaces) {
      reserve(w, most_groups, most_edges);
      if (!options.points) w.all_points.resize((problem.points + tiles_.size() - 1) / tiles_.size());
    }
    return workspaces;
  }

  double clamp_inverse_depth(double d) const {
    return std::min(std::max(d, options.min_inverse_depth), options.max_inverse_depth);
  }

  bool has_points_prior() const { return options.points && problem.prior_weight != nullptr; }

  // Observations of a tile; the same tile of the next edge is prefetched.
  Observations observations(int edge, int first, int count, bool summed = false) const {
    return observations_of(problem, edge, first, count, next_edge_[edge], first, summed);
  }

  // Observations of a tile; the next tile of the same edge is prefetched.
  Observations observations_along(int edge, int first, int count, bool summed) const {
    const bool at_end = first + count == problem.points;
    return observations_of(problem, edge, first, count, at_end ? next_edge_[edge] : edge, at_end ? 0 : first + count,
                           summed);
  }

  // Rays and inverse depths of a tile.
  void load_points(const State& state, int frame, int first, int count, TilePoints<T>& out) const {
    const std::size_t point = std::size_t(frame) * problem.points + first;
    const float* pixels = problem.pixels + 2 * (problem.shared_pixels ? std::size_t(first) : point);
    kernels.load_points(pixels, state.inverse_depth.data() + point, state.intrinsics, count, out);
  }

  // Whether either pose of an edge is free.
  bool has_free_pose(int source, int target) const { return variable[source] >= 0 || variable[target] >= 0; }

  int tile_size() const { return tiles_.size(); }

  // Whether an edge has an observation in the tile that starts at the point `first`.
  bool has_observation(int edge, int first) const { return tiles_.has_observation(edge, first); }

  // Calls work(first, count) for all tiles of a frame with an observation or a prior.
  template <typename Work>
  void for_each_tile(int frame, Work work) const {
    for (int first = 0; first < problem.points; first += tiles_.size()) {
      const auto is_observed = [&](const Group& group) {
        return std::any_of(group.edges.begin(), group.edges.end(), [&](int e) { return has_observation(e, first); });
      };
      if (has_points_prior() || std::any_of(groups[frame].begin(), groups[frame].end(), is_observed)) {
        work(first, std::min(tiles_.size(), problem.points - first));
      }
    }
  }

  // Whether a frame has edges, or its points have priors.
  bool is_active(int frame) const { return !groups[frame].empty() || has_points_prior(); }

  void prepare_edges(const State& state, int frame, std::vector<Edge<T>>& edges) const {
    for (std::size_t g = 0; g < groups[frame].size(); ++g) {
      double target_from_source[se3::kPose];
      relative_pose(state.cam_from_world.data(), frame, groups[frame][g].target, target_from_source);
      edges[g].model = edge_model<T>(target_from_source, state.intrinsics, options);
      se3::adjoint(target_from_source, edges[g].adjoint);
    }
  }

  double focal_prior_cost(const State& state) const {
    const double error = options.focal_prior - state.intrinsics[0];
    return options.focal && options.focal_prior_weight > 0 ? options.focal_prior_weight * error * error : 0;
  }

  double point_prior_cost(const State& state, int frame, int first, int count) const {
    double cost = 0;
    if (!has_points_prior()) return cost;
    for (std::size_t k = std::size_t(frame) * problem.points + first, end = k + count; k < end; ++k) {
      if (!(problem.prior_weight[k] > 0)) continue;
      const double error = problem.prior_inverse_depth[k] - state.inverse_depth[k];
      cost += problem.prior_weight[k] * error * error;
    }
    return cost;
  }

  double absolute_point_damping(std::size_t point) const {
    return options.point_damping_floor + (problem.point_damping ? problem.point_damping[point] : 0);
  }

  const Problem& problem;
  const Options& options;
  const Kernels<T> kernels;
  const std::vector<std::vector<Group>> groups;
  std::vector<int> variable;  // first variable of a frame's pose, -1 if fixed
  int focal_variable = -1;
  int variable_count = 0;
  std::vector<T> point_hessian, point_gradient;  // of the points, damped

 private:
  static void reserve(Workspace<T>& w, std::size_t groups, std::size_t edges) {
    const std::size_t gram = 6 * groups + 2, local = 6 * (groups + 1) + 1;
    w.rows.resize(6 * kTile * groups);
    w.gram.resize(gram * gram);
    w.sums.resize(groups);
    w.edges.resize(groups);
    w.moved_edges.resize(groups);
    w.local.resize(local * local + kMaxLanes);
    w.adjoints.resize(36 * groups);
    w.cross.resize(6 * (local + kMaxLanes));
    for (auto* values : {&w.right, &w.gradient, &w.diagonal}) values->resize(local);
    w.gram_rows.reserve(gram);
    w.gram_index.reserve(gram);
    w.stored_costs.resize(edges * kTile);
  }

  Tiles tiles_;
  std::vector<int> next_edge_;  // in the order in which a frame's edges are processed, -1 after the last
};

}  // namespace spatialbeam::bundle
