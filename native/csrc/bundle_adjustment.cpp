#include "bundle_adjustment.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "bundle_geometry.hpp"
#include "bundle_system.hpp"
#include "parallel.hpp"

namespace spatialbeam::bundle {
namespace {

constexpr double kMaxLogFocalStep = 0.7;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct State {
  std::vector<double> cam_from_world, inverse_depth;
  double intrinsics[4];
};

// An edge as linearised: the kernels' model and Ad of target from source. A change x of the target's pose and y of the
// source's move the points in the target like x - Ad y.
template <typename T>
struct Edge {
  EdgeModel<T> model;
  double adjoint[36];
};

struct Costs {
  double before = 0, now = 0, predicted = 0;
};

// Memory of one thread.
template <typename T>
struct Workspace {
  TilePoints<T> points;
  Projected<T> projected;
  alignas(64) T curvature[kTile], slope[kTile], focal[kTile], root[kTile];
  std::vector<T> rows;       // six of kTile for each group
  std::vector<double> gram;  // products of the rows, those of the focal length's row and of the slopes
  std::vector<PoseSums> sums;
  std::vector<Edge<T>> edges;        // one for each group
  std::vector<Edge<T>> moved_edges;  // the same after a step
  std::vector<double> local;  // the frame's part of the reduced system: source, targets, focal length
  std::vector<double> right, gradient, diagonal;
  std::vector<const T*> gram_rows;
  std::vector<int> gram_index;
  std::vector<T> kept_costs;
};

// C = A^T B of 6 x 6 blocks, of which A and B have their own row lengths, times `sign`; added.
void add_transposed_product(const double* a, const double* b, int stride_b, bool transpose_b, double sign, double* c) {
  for (int i = 0; i < 6; ++i) {
    for (int k = 0; k < 6; ++k) {
      const double factor = sign * a[k * 6 + i];
      for (int j = 0; j < 6; ++j) c[i * 6 + j] += factor * (transpose_b ? b[j * stride_b + k] : b[k * stride_b + j]);
    }
  }
}

template <typename T>
class Solver {
 public:
  Solver(const Problem& problem, const Options& options, const Kernels<T>& kernels)
      : problem_(problem),
        options_(options),
        kernels_(kernels),
        groups_(group_edges(problem)),
        next_edge_(problem.edges, -1),
        variable_(problem.frames, -1),
        system_(count_variables(), kernels.dot),
        workspaces_(std::max(1, std::min(options.threads, problem.frames))) {
    const std::size_t frames = problem.frames;
    state_.cam_from_world.assign(problem.cam_from_world, problem.cam_from_world + frames * se3::kPose);
    state_.inverse_depth.assign(problem.inverse_depth, problem.inverse_depth + frames * problem.points);
    std::copy(problem.intrinsics, problem.intrinsics + 4, state_.intrinsics);
    if (options.points) {
      for (double& d : state_.inverse_depth) d = limited(d);
      curvature_.resize(state_.inverse_depth.size());
      slope_.resize(state_.inverse_depth.size());
    }
    std::size_t most_groups = 0, most_edges = 0;
    for (const auto& groups : groups_) {
      std::size_t edges = 0;
      int* next = nullptr;
      for (const auto& group : groups) {
        for (const int e : group.edges) {
          if (next) *next = e;
          next = &next_edge_[e];
        }
        edges += group.edges.size();
      }
      most_groups = std::max(most_groups, groups.size());
      most_edges = std::max(most_edges, edges);
    }
    for (auto& w : workspaces_) reserve(w, most_groups, most_edges);
  }

  Result run() {
    Result result{};
    double damping = options_.damping;
    for (; result.iterations < options_.iterations && !result.converged; ++result.iterations) {
      const double cost = linearise(damping);
      result.cost_history.push_back(cost);
      State trial;
      if (!solve(damping)) {
        if (!options_.adaptive || damping >= options_.damping_max) break;
        damping = std::min(damping * options_.damping_up, options_.damping_max);
        continue;
      }
      const Costs costs = make_step(damping, trial);
      // What the model promises is within the costs' rounding: there is nothing left to gain.
      const bool flat = costs.predicted <= options_.tolerance * cost;
      if (!options_.adaptive || costs.now < costs.before || (flat && costs.now == costs.before)) {
        std::swap(state_, trial);
        if (options_.adaptive) damping = std::max(damping * options_.damping_down, options_.damping_min);
        result.converged = flat;
      } else if (flat || damping >= options_.damping_max) {
        result.converged = flat;
        ++result.iterations;
        break;
      } else {
        damping = std::min(damping * options_.damping_up, options_.damping_max);
      }
    }
    finish(damping, result);
    return result;
  }

 private:
  int count_variables() {
    int count = 0;
    for (int i = 0; options_.poses && i < problem_.frames; ++i) {
      if (!problem_.fixed[i]) variable_[i] = count, count += 6;
    }
    if (options_.focal) focal_variable_ = count++;
    return count;
  }

  static void reserve(Workspace<T>& w, std::size_t groups, std::size_t edges) {
    const std::size_t gram = 6 * groups + 2, local = 6 * (groups + 1) + 1;
    w.rows.resize(6 * kTile * groups);
    w.gram.resize(gram * gram);
    w.sums.resize(groups);
    w.edges.resize(groups);
    w.moved_edges.resize(groups);
    w.local.resize(local * local);
    for (auto* values : {&w.right, &w.gradient, &w.diagonal}) values->resize(local);
    w.gram_rows.reserve(gram);
    w.gram_index.reserve(gram);
    w.kept_costs.resize(edges * kTile);
  }

  double limited(double d) const { return std::min(std::max(d, options_.min_inverse_depth), options_.max_inverse_depth); }

  bool has_points_prior() const { return options_.points && problem_.prior_weight != nullptr; }

  Observations observations(int edge, int first, int count) const {
    return observations_of(problem_, edge, first, count, next_edge_[edge]);
  }

  // Whether a frame's points and edges have any part in the problem.
  bool takes_part(int frame) const { return !groups_[frame].empty() || has_points_prior(); }

  void prepare_edges(const State& state, int frame, std::vector<Edge<T>>& edges) const {
    for (std::size_t g = 0; g < groups_[frame].size(); ++g) {
      double target_from_source[se3::kPose];
      relative_pose(state.cam_from_world.data(), frame, groups_[frame][g].target, target_from_source);
      edges[g].model = edge_model<T>(target_from_source, state.intrinsics, options_);
      se3::adjoint(target_from_source, edges[g].adjoint);
    }
  }

  double focal_prior_cost(const State& state) const {
    const double error = options_.focal_prior - state.intrinsics[0];
    return options_.focal && options_.focal_prior_weight > 0 ? options_.focal_prior_weight * error * error : 0;
  }

  double point_prior_cost(const State& state, int frame, int first, int count) const {
    double cost = 0;
    if (!has_points_prior()) return cost;
    for (std::size_t k = std::size_t(frame) * problem_.points + first, end = k + count; k < end; ++k) {
      if (!(problem_.prior_weight[k] > 0)) continue;
      const double error = problem_.prior_inverse_depth[k] - state.inverse_depth[k];
      cost += problem_.prior_weight[k] * error * error;
    }
    return cost;
  }

  // Fills the reduced system at the state; returns the cost.
  double linearise(double damping) {
    system_.clear();
    std::vector<double> costs(problem_.frames, 0.0);
    Turns turns;
    parallel_for(problem_.frames, options_.threads, [&](int frame, int worker) {
      auto& w = workspaces_[worker];
      const bool takes = takes_part(frame);
      if (takes) costs[frame] = linearise_frame(frame, damping, w);
      turns.take(frame, [&] {
        if (takes) add_local_system(frame, w);
      });
    });
    if (options_.focal && options_.focal_prior_weight > 0) {
      const double fx = state_.intrinsics[0];
      const double curvature = options_.focal_prior_weight * fx * fx;
      const double slope = options_.focal_prior_weight * fx * (options_.focal_prior - fx);
      system_.add_block(&curvature, 1, focal_variable_, focal_variable_, 1, 1);
      system_.curvature[focal_variable_] += curvature;
      system_.right[focal_variable_] += slope;
      system_.gradient[focal_variable_] += slope;
    }
    double cost = focal_prior_cost(state_);
    for (const double c : costs) cost += c;
    return cost;
  }

  double linearise_frame(int frame, double damping, Workspace<T>& w) {
    prepare_edges(state_, frame, w.edges);
    const int group_count = int(groups_[frame].size());
    std::fill(w.sums.begin(), w.sums.begin() + group_count, PoseSums{});
    const std::size_t gram_size = 6 * group_count + 2;
    std::fill_n(w.gram.begin(), gram_size * gram_size, 0.0);
    double cost = 0;
    for (int first = 0; first < problem_.points; first += kTile) {
      const int count = std::min(kTile, problem_.points - first);
      load_tile(problem_, state_.intrinsics, state_.inverse_depth.data(), frame, first, count, w.points);
      cost += point_prior_cost(state_, frame, first, count);
      cost += linearise_tile(frame, first, count, w);
      if (options_.points) eliminate_points(frame, first, count, damping, w);
    }
    build_local_system(frame, w);
    return cost;
  }

  // Sums and rows of all edges of a tile; returns the cost.
  double linearise_tile(int frame, int first, int count, Workspace<T>& w) {
    const int padded_count = padded(count);
    std::fill_n(w.curvature, padded_count, T(0));
    std::fill_n(w.slope, padded_count, T(0));
    std::fill_n(w.focal, padded_count, T(0));
    w.gram_rows.clear();
    w.gram_index.clear();
    double cost = 0;
    const auto& groups = groups_[frame];
    for (int g = 0; g < int(groups.size()); ++g) {
      const bool moves = variable_[frame] >= 0 || variable_[groups[g].target] >= 0;
      T* rows = w.rows.data() + std::size_t(6) * kTile * g;
      bool has_rows = false;
      for (const int e : groups[g].edges) {
        if (!kernels_.project(w.points, w.edges[g].model, observations(e, first, count), w.projected)) {
          continue;
        }
        cost += kernels_.sum(w.projected.cost, count);
        if (moves) kernels_.add_pose_sums(w.projected, count, w.sums[g]);
        if (options_.focal) kernels_.add_focal_sums(w.projected, count, moves, w.sums[g]);
        if (!options_.points) continue;
        kernels_.add_point_sums(w.projected, count, w.curvature, w.slope);
        if (options_.focal) kernels_.add_focal_row(w.projected, count, w.focal);
        if (moves) kernels_.put_pose_rows(w.projected, count, has_rows, rows), has_rows = true;
      }
      for (int i = 0; has_rows && i < 6; ++i) {
        w.gram_rows.push_back(rows + i * kTile);
        w.gram_index.push_back(6 * g + i);
      }
    }
    return cost;
  }

  double absolute_point_damping(std::size_t point) const {
    return options_.point_damping_floor + (problem_.point_damping ? problem_.point_damping[point] : 0);
  }

  // Adds priors and damping to the points' own equations, keeps these, and adds the products of the rows.
  void eliminate_points(int frame, int first, int count, double damping, Workspace<T>& w) {
    const std::size_t offset = std::size_t(frame) * problem_.points + first;
    for (int k = 0; k < count; ++k) {
      const std::size_t point = offset + k;
      double curvature = w.curvature[k], slope = w.slope[k];
      if (problem_.prior_weight && problem_.prior_weight[point] > 0) {
        const double weight = problem_.prior_weight[point];
        curvature += weight;
        slope += weight * (problem_.prior_inverse_depth[point] - state_.inverse_depth[point]);
      }
      const T damped = T(curvature * (1 + damping) + absolute_point_damping(point));
      curvature_[point] = damped;
      slope_[point] = w.slope[k] = T(slope);
      w.root[k] = damped > 0 ? 1 / std::sqrt(damped) : T(0);
    }
    for (int k = count; k < padded(count); ++k) w.root[k] = 0;
    if (system_.size() == 0 || (w.gram_rows.empty() && !options_.focal)) return;
    const int group_count = int(groups_[frame].size());
    for (T* row : {w.focal, w.slope}) {
      w.gram_index.push_back(6 * group_count + (row == w.slope));
      w.gram_rows.push_back(row);
    }
    for (const T* row : w.gram_rows) kernels_.scale_row(w.root, count, const_cast<T*>(row));
    kernels_.add_gram(w.gram_rows.data(), w.gram_index.data(), int(w.gram_rows.size()), count, 6 * group_count + 2,
                      w.gram.data());
  }

  // Turns sums over edges into the frame's part of the reduced system. With M the sums for the targets' poses and T the
  // matrix of all Ad, that is [[T^T M T, -T^T M], [-M T, M]] for the source and the targets.
  void build_local_system(int frame, Workspace<T>& w) const {
    const int group_count = int(groups_[frame].size());
    const int gram_size = 6 * group_count + 2, size = 6 * (group_count + 1) + 1;
    const int focal_row = 6 * group_count, slope_row = focal_row + 1, focal = size - 1;
    const auto gram = [&](int r, int c) { return r >= c ? w.gram[r * gram_size + c] : w.gram[c * gram_size + r]; };
    double* local = w.local.data();
    std::fill(w.local.begin(), w.local.begin() + std::size_t(size) * size, 0.0);
    for (auto* values : {&w.right, &w.gradient, &w.diagonal}) std::fill(values->begin(), values->begin() + size, 0.0);
    for (int a = 0; a < group_count; ++a) {
      const PoseSums& sums = w.sums[a];
      const double* adjoint = w.edges[a].adjoint;
      double own[36];
      for (int r = 0; r < 6; ++r) {
        for (int c = 0; c < 6; ++c) own[r * 6 + c] = r <= c ? sums.h[r * 6 + c] : sums.h[c * 6 + r];
        for (int c = 0; options_.points && c < 6 * a + 6; ++c) local[(6 + 6 * a + r) * size + 6 + c] = -gram(6 * a + r, c);
        for (int c = 0; c < 6; ++c) local[(6 + 6 * a + r) * size + 6 + 6 * a + c] += own[r * 6 + c];
        const double right = sums.v[r] - gram(slope_row, 6 * a + r);
        const double cross = sums.hf[r] - gram(focal_row, 6 * a + r);
        w.right[6 + 6 * a + r] = right;
        w.gradient[6 + 6 * a + r] = sums.v[r];
        w.diagonal[6 + 6 * a + r] = own[r * 7];
        local[focal * size + 6 + 6 * a + r] = cross;
        for (int i = 0; i < 6; ++i) {
          w.right[i] -= adjoint[r * 6 + i] * right;
          w.gradient[i] -= adjoint[r * 6 + i] * sums.v[r];
          local[focal * size + i] -= adjoint[r * 6 + i] * cross;
        }
      }
      double turned[36] = {};
      add_transposed_product(adjoint, own, 6, false, 1, turned);
      for (int i = 0; i < 6; ++i) {
        for (int k = 0; k < 6; ++k) w.diagonal[i] += turned[i * 6 + k] * adjoint[k * 6 + i];
      }
      local[focal * size + focal] += sums.hff;
      w.diagonal[focal] += sums.hff;
      w.right[focal] += sums.vf;
      w.gradient[focal] += sums.vf;
    }
    local[focal * size + focal] -= gram(focal_row, focal_row);
    w.right[focal] -= gram(slope_row, focal_row);
    add_source_blocks(group_count, size, options_.points, w);
  }

  // Only the elimination of points joins targets with each other.
  static void add_source_blocks(int group_count, int size, bool targets_joined, Workspace<T>& w) {
    double* local = w.local.data();
    for (int b = 0; b < group_count; ++b) {
      double cross[36] = {};  // source and target b
      for (int a = targets_joined ? 0 : b; a < (targets_joined ? group_count : b + 1); ++a) {
        const int row = 6 + 6 * std::max(a, b), column = 6 + 6 * std::min(a, b);
        const bool transposed = a < b;
        // The blocks on the diagonal are whole: nothing below reads half of them.
        add_transposed_product(w.edges[a].adjoint, local + row * size + column, size, transposed, -1, cross);
      }
      for (int r = 0; r < 6; ++r) {
        for (int c = 0; c < 6; ++c) {
          local[(6 + 6 * b + c) * size + r] = cross[r * 6 + c];
          for (int k = 0; k < 6; ++k) local[r * size + c] -= cross[r * 6 + k] * w.edges[b].adjoint[k * 6 + c];
        }
      }
    }
  }

  void add_local_system(int frame, const Workspace<T>& w) {
    const auto& groups = groups_[frame];
    const int slots = int(groups.size()) + 2, size = 6 * (slots - 1) + 1;
    const auto variable_of = [&](int slot) {
      if (slot == 0) return variable_[frame];
      return slot == slots - 1 ? focal_variable_ : variable_[groups[slot - 1].target];
    };
    const auto width_of = [&](int slot) { return slot == slots - 1 ? 1 : 6; };
    for (int a = 0; a < slots; ++a) {
      const int row = variable_of(a);
      if (row < 0) continue;
      for (int i = 0; i < width_of(a); ++i) {
        system_.right[row + i] += w.right[6 * a + i];
        system_.gradient[row + i] += w.gradient[6 * a + i];
        system_.curvature[row + i] += w.diagonal[6 * a + i];
      }
      for (int b = 0; b <= a; ++b) {
        const int column = variable_of(b);
        const bool both_targets = b > 0 && a < slots - 1 && a != b;
        if (column < 0 || (both_targets && !options_.points)) continue;
        system_.add_block(w.local.data() + std::size_t(6 * a) * size + 6 * b, size, row, column, width_of(a),
                          width_of(b));
      }
    }
  }

  std::vector<double> pose_damping() const {
    return std::vector<double>(system_.size(), options_.pose_damping_floor);
  }

  bool solve(double damping) {
    step_.clear();
    if (system_.size() == 0) return true;
    system_.damp(damping, pose_damping());
    if (!system_.factorise(0)) return false;
    step_ = system_.solve();
    return std::all_of(step_.begin(), step_.end(), [](double x) { return std::isfinite(x); });
  }

  // The state after the step; its costs are compared only if the steps are adaptive.
  Costs make_step(double damping, State& trial) {
    trial = state_;
    Costs total;
    for (int i = 0; i < problem_.frames; ++i) {
      if (variable_[i] < 0) continue;
      double motion[se3::kPose];
      se3::exp(step_.data() + variable_[i], motion);
      se3::compose(motion, state_.cam_from_world.data() + se3::kPose * i, trial.cam_from_world.data() + se3::kPose * i);
    }
    if (options_.focal) {
      // Farther than to the half or the double the linear model says nothing.
      const double factor = std::exp(std::clamp(step_[focal_variable_], -kMaxLogFocalStep, kMaxLogFocalStep));
      trial.intrinsics[0] *= factor;
      trial.intrinsics[1] *= factor;
    }
    for (int i = 0; i < system_.size(); ++i) {
      const double x = step_[i];
      total.predicted += x * (system_.gradient[i] + (damping * system_.curvature[i] + options_.pose_damping_floor) * x);
    }
    if (!options_.points && !options_.adaptive) return total;
    std::vector<Costs> costs(problem_.frames);
    parallel_for(problem_.frames, options_.threads, [&](int frame, int worker) {
      if (takes_part(frame)) costs[frame] = step_frame(frame, damping, trial, workspaces_[worker]);
    });
    total.before = focal_prior_cost(state_);
    total.now = focal_prior_cost(trial);
    for (const auto& c : costs) total.before += c.before, total.now += c.now, total.predicted += c.predicted;
    return total;
  }

  Costs step_frame(int frame, double damping, State& trial, Workspace<T>& w) const {
    Costs costs;
    prepare_edges(state_, frame, w.edges);
    if (options_.adaptive) prepare_edges(trial, frame, w.moved_edges);
    for (int first = 0; first < problem_.points; first += kTile) {
      const int count = std::min(kTile, problem_.points - first);
      costs.before += point_prior_cost(state_, frame, first, count);
      load_tile(problem_, state_.intrinsics, state_.inverse_depth.data(), frame, first, count, w.points);
      substitute_back(frame, first, count, w);
      if (options_.points) costs.predicted += move_points(frame, first, count, damping, trial, w);
      if (!options_.adaptive) continue;
      costs.now += point_prior_cost(trial, frame, first, count);
      load_tile(problem_, trial.intrinsics, trial.inverse_depth.data(), frame, first, count, w.points);
      compare_tile(frame, first, count, w, costs);
    }
    return costs;
  }

  // Takes the poses' part from the points' slopes, and keeps the costs.
  void substitute_back(int frame, int first, int count, Workspace<T>& w) const {
    if (options_.points) {
      const std::size_t offset = std::size_t(frame) * problem_.points + first;
      std::copy_n(slope_.data() + offset, count, w.slope);
    }
    T* kept = w.kept_costs.data();
    for (std::size_t g = 0; g < groups_[frame].size(); ++g) {
      T motion[6];
      relative_step(frame, groups_[frame][g].target, w.edges[g].adjoint, motion);
      const T focal = options_.focal ? T(step_[focal_variable_]) : T(0);
      for (const int e : groups_[frame][g].edges) {
        if (!kernels_.project(w.points, w.edges[g].model, observations(e, first, count), w.projected)) {
          std::fill_n(kept, padded(count), T(-1));
        } else {
          if (options_.points) kernels_.subtract_step(w.projected, count, motion, focal, w.slope);
          if (options_.adaptive) kernels_.keep_costs(w.projected, count, kept);
        }
        kept += kTile;
      }
    }
  }

  void relative_step(int source, int target, const double* adjoint, T* out) const {
    double motion[6] = {};
    if (variable_[target] >= 0) std::copy_n(step_.data() + variable_[target], 6, motion);
    if (variable_[source] >= 0) {
      const double* step = step_.data() + variable_[source];
      for (int r = 0; r < 6; ++r) {
        for (int c = 0; c < 6; ++c) motion[r] -= adjoint[r * 6 + c] * step[c];
      }
    }
    std::transform(motion, motion + 6, out, [](double x) { return T(x); });
  }

  // Returns the decrease of the cost that the model promises.
  double move_points(int frame, int first, int count, double damping, State& trial, const Workspace<T>& w) const {
    double predicted = 0;
    const std::size_t offset = std::size_t(frame) * problem_.points + first;
    for (int k = 0; k < count; ++k) {
      const std::size_t point = offset + k;
      const double damped = curvature_[point];
      if (!(damped > 0)) continue;
      const double step = w.slope[k] / damped;
      if (!std::isfinite(step)) continue;
      const double absolute = absolute_point_damping(point);
      const double damping_part = absolute + (damped - absolute) * damping / (1 + damping);
      predicted += step * (slope_[point] + damping_part * step);
      trial.inverse_depth[point] = limited(state_.inverse_depth[point] + step);
    }
    return predicted;
  }

  void compare_tile(int frame, int first, int count, Workspace<T>& w, Costs& costs) const {
    const T* kept = w.kept_costs.data();
    for (std::size_t g = 0; g < groups_[frame].size(); ++g) {
      for (const int e : groups_[frame][g].edges) {
        if (kernels_.project(w.points, w.moved_edges[g].model, observations(e, first, count), w.projected)) {
          kernels_.compare_costs(w.projected, count, kept, costs.before, costs.now);
        }
        kept += kTile;
      }
    }
  }

  void finish(double damping, Result& result) {
    if (options_.residuals) {
      result.residuals.resize(std::size_t(problem_.edges) * problem_.points);
      result.cost_history.push_back(measure(result.residuals.data()));
    }
    result.focal_variance = kNaN;
    if (options_.variances && system_.size() > 0) measure_variances(result);
    result.damping = damping;
    result.cam_from_world = std::move(state_.cam_from_world);
    result.inverse_depth = std::move(state_.inverse_depth);
    std::copy(state_.intrinsics, state_.intrinsics + 4, result.intrinsics);
  }

  // Writes the lengths of all residuals; returns the cost.
  double measure(float* residuals) {
    std::vector<double> costs(problem_.frames, 0.0);
    parallel_for(problem_.frames, options_.threads, [&](int frame, int worker) {
      auto& w = workspaces_[worker];
      prepare_edges(state_, frame, w.edges);
      for (int first = 0; first < problem_.points; first += kTile) {
        const int count = std::min(kTile, problem_.points - first);
        costs[frame] += point_prior_cost(state_, frame, first, count);
        load_tile(problem_, state_.intrinsics, state_.inverse_depth.data(), frame, first, count, w.points);
        for (std::size_t g = 0; g < groups_[frame].size(); ++g) {
          for (const int e : groups_[frame][g].edges) {
            float* to = residuals + std::size_t(e) * problem_.points + first;
            costs[frame] += measure_tile(w.edges[g].model, observations(e, first, count), w, to);
          }
        }
      }
    });
    double cost = focal_prior_cost(state_);
    for (const double c : costs) cost += c;
    return cost;
  }

  double measure_tile(const EdgeModel<T>& model, const Observations& observations, Workspace<T>& w, float* to) const {
    if (!kernels_.project(w.points, model, observations, w.projected)) {
      std::fill_n(to, observations.count, std::numeric_limits<float>::quiet_NaN());
      return 0;
    }
    const auto& p = w.projected;
    for (int k = 0; k < observations.count; ++k) {
      const T u = p.ru[k] * model.fx, v = p.rv[k] * model.fy;
      to[k] = p.wu[k] + p.wv[k] > 0 ? float(std::sqrt(u * u + v * v)) : std::numeric_limits<float>::quiet_NaN();
    }
    return kernels_.sum(p.cost, observations.count);
  }

  void measure_variances(Result& result) {
    constexpr double kLeastPivot = 1e-11;
    linearise(0);
    system_.damp(0, pose_damping());
    if (!system_.factorise(kLeastPivot)) return;
    const std::vector<double> variances = system_.inverse_diagonal();
    result.pose_variance.assign(std::size_t(problem_.frames) * 6, 0.0);
    for (int i = 0; i < problem_.frames; ++i) {
      if (variable_[i] >= 0) std::copy_n(variances.data() + variable_[i], 6, result.pose_variance.data() + 6 * i);
    }
    if (options_.focal) result.focal_variance = variances[focal_variable_];
  }

  const Problem& problem_;
  const Options& options_;
  const Kernels<T> kernels_;
  const std::vector<std::vector<Group>> groups_;
  std::vector<int> next_edge_;  // in the order in which a frame's edges are looked at, -1 after the last
  std::vector<int> variable_;   // of a frame's pose, -1 for none
  int focal_variable_ = -1;
  ReducedSystem system_;
  std::vector<Workspace<T>> workspaces_;
  State state_;
  std::vector<T> curvature_, slope_;  // of the points, as eliminated
  std::vector<double> step_;
};

template <typename T>
Kernels<T> choose_kernels(const std::string& simd) {
#ifdef SPATIALBEAM_HAS_X86_BUNDLE_KERNELS
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  // Older processors with AVX-512 lower their clock when they use it, for all that runs on the core.
  const bool prefers_avx512 = has_avx512 && __builtin_cpu_supports("avx512vnni");
  if (has_avx512 && (simd == "avx512" || (simd == "auto" && prefers_avx512))) return avx512_kernels<T>();
  if (has_avx2 && (simd == "avx2" || simd == "auto")) return avx2_kernels<T>();
#endif
  if (simd == "portable" || simd == "auto") return portable_kernels<T>();
  throw std::invalid_argument("this processor has no code path named " + simd + "; auto chooses one");
}

}  // namespace

Result adjust(const Problem& problem, const Options& options) {
  if (options.single_precision) return Solver<float>(problem, options, choose_kernels<float>(options.simd)).run();
  return Solver<double>(problem, options, choose_kernels<double>(options.simd)).run();
}

}  // namespace spatialbeam::bundle
