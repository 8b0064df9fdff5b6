// Back substitution of a step to the points of a frame, and comparison of costs.
#pragma once

#include <algorithm>
#include <cmath>

#include "bundle_frames.hpp"

namespace spatialbeam::bundle {

template <typename T>
class Step {
 public:
  // `step` is the solution of the reduced system at `state`.
  Step(const Frames<T>& frames, const State& state, const std::vector<double>& step)
      : frames_(frames), state_(state), step_(step) {}

  // Updates the frame's points in `trial`, whose poses are updated; costs are compared only in adaptive mode.
  Costs run(int frame, double damping, State& trial, Workspace<T>& w) const {
    Costs costs;
    frames_.prepare_edges(state_, frame, w.edges);
    if (frames_.options.adaptive) {
      frames_.prepare_edges(trial, frame, w.moved_edges);
      for (auto* edges : {&w.edges, &w.moved_edges}) {
        for (auto& edge : *edges) edge.model.with_costs = true;
      }
    }
    frames_.for_each_tile(frame, [&](int first, int count) {
      costs.before += frames_.point_prior_cost(state_, frame, first, count);
      frames_.load_points(state_, frame, first, count, w.points);
      substitute_back(frame, first, count, w);
      if (frames_.options.points) costs.predicted += update_points(frame, first, count, damping, trial, w);
      if (!frames_.options.adaptive) return;
      costs.now += frames_.point_prior_cost(trial, frame, first, count);
      frames_.load_points(trial, frame, first, count, w.points);
      compare_tile(frame, first, count, w, costs);
    });
    return costs;
  }

 private:
  // Subtracts the poses' part from the points' gradients, and stores the current costs.
  void substitute_back(int frame, int first, int count, Workspace<T>& w) const {
    if (frames_.options.points) {
      const std::size_t offset = std::size_t(frame) * frames_.problem.points + first;
      std::copy_n(frames_.point_gradient.data() + offset, count, w.point_gradient);
    }
    T* stored_costs = w.stored_costs.data();
    for (std::size_t g = 0; g < frames_.groups[frame].size(); ++g) {
      T motion[6];
      relative_motion(frame, frames_.groups[frame][g].target, w.edges[g].adjoint, motion);
      const T focal = frames_.options.focal ? T(step_[frames_.focal_variable]) : T(0);
      for (const int e : frames_.groups[frame][g].edges) {
        if (frames_.has_observation(e, first)) {
          frames_.kernels.project(w.points, w.edges[g].model, frames_.observations(e, first, count), w.projected);
          if (frames_.options.points)
            frames_.kernels.subtract_step(w.projected, count, motion, focal, w.point_gradient);
          if (frames_.options.adaptive) frames_.kernels.store_costs(w.projected, count, stored_costs);
        }
        stored_costs += kTile;
      }
    }
  }

  void relative_motion(int source, int target, const double* adjoint, T* out) const {
    double motion[6] = {};
    if (frames_.variable[target] >= 0) std::copy_n(step_.data() + frames_.variable[target], 6, motion);
    if (frames_.variable[source] >= 0) {
      const double* step = step_.data() + frames_.variable[source];
      for (int r = 0; r < 6; ++r) {
        for (int c = 0; c < 6; ++c) motion[r] -= adjoint[r * 6 + c] * step[c];
      }
    }
    std::transform(motion, motion + 6, out, [](double x) { return T(x); });
  }

  // Returns the decrease of the cost predicted by the linear model.
  double update_points(int frame, int first, int count, double damping, State& trial, const Workspace<T>& w) const {
    double predicted = 0;
    const std::size_t offset = std::size_t(frame) * frames_.problem.points + first;
    for (int k = 0; k < count; ++k) {
      const std::size_t point = offset + k;
      const double damped = frames_.point_hessian[point];
      if (!(damped > 0)) continue;
      const double step = w.point_gradient[k] / damped;
      if (!std::isfinite(step)) continue;
      const double absolute = frames_.absolute_point_damping(point);
      const double damping_part = absolute + (damped - absolute) * damping / (1 + damping);
      predicted += step * (frames_.point_gradient[point] + damping_part * step);
      trial.inverse_depth[point] = frames_.clamp_inverse_depth(state_.inverse_depth[point] + step);
    }
    return predicted;
  }

  void compare_tile(int frame, int first, int count, Workspace<T>& w, Costs& costs) const {
    const T* stored_costs = w.stored_costs.data();
    for (std::size_t g = 0; g < frames_.groups[frame].size(); ++g) {
      for (const int e : frames_.groups[frame][g].edges) {
        if (frames_.has_observation(e, first)) {
          const Observations observations = frames_.observations(e, first, count);
          frames_.kernels.project(w.points, w.moved_edges[g].model, observations, w.projected);
          frames_.kernels.compare_costs(w.projected, count, stored_costs, costs.before, costs.now);
        }
        stored_costs += kTile;
      }
    }
  }

  const Frames<T>& frames_;
  const State& state_;
  const std::vector<double>& step_;
};

}  // namespace spatialbeam::bundle
