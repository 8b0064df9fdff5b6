#include "bundle_adjustment.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "bundle_linearization.hpp"
#include "bundle_step.hpp"
#include "bundle_system.hpp"
#include "parallel.hpp"

namespace spatialbeam::bundle {
namespace {

constexpr double kMaxLogFocalStep = 0.7;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <typename T>
class Solver {
 public:
  Solver(const Problem& problem, const Options& options, const Kernels<T>& kernels)
      : problem_(problem),
        options_(options),
        frames_(problem, options, kernels),
        system_(frames_.variable_count, kernels.dot),
        workspaces_(frames_.make_workspaces()) {
    const std::size_t frames = problem.frames;
    state_.cam_from_world.assign(problem.cam_from_world, problem.cam_from_world + frames * se3::kPose);
    state_.inverse_depth.assign(problem.inverse_depth, problem.inverse_depth + frames * problem.points);
    std::copy(problem.intrinsics, problem.intrinsics + 4, state_.intrinsics);
    if (options.points) {
      for (double& d : state_.inverse_depth) d = frames_.clamp_inverse_depth(d);
    }
  }

  Result run() {
    Result result{};
    double damping = options_.damping;
    for (; result.iterations < options_.iterations && !result.converged; ++result.iterations) {
      const double cost = linearize(damping);
      result.cost_history.push_back(cost);
      if (!solve(damping)) {
        if (!options_.adaptive || damping >= options_.damping_max) break;
        damping = std::min(damping * options_.damping_up, options_.damping_max);
        continue;
      }
      const Costs costs = apply_step(damping, trial_);
      // The predicted decrease is within rounding of the cost: converged.
      const bool has_converged = costs.predicted <= options_.tolerance * cost;
      if (!options_.adaptive || costs.now < costs.before || (has_converged && costs.now == costs.before)) {
        std::swap(state_, trial_);
        if (options_.adaptive) damping = std::max(damping * options_.damping_down, options_.damping_min);
        result.converged = has_converged;
      } else if (has_converged || damping >= options_.damping_max) {
        result.converged = has_converged;
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
  // Builds the reduced system at the current state; returns the cost.
  double linearize(double damping) {
    system_.clear();
    std::vector<double> costs(problem_.frames, 0.0);
    OrderedSection in_order;
    parallel_for(problem_.frames, options_.threads, [&](int frame, int worker) {
      auto& w = workspaces_[worker];
      const bool is_active = frames_.is_active(frame);
      if (is_active) costs[frame] = Linearization<T>(frames_).run(state_, frame, damping, w);
      in_order.run(frame, [&] {
        if (is_active) add_local_system(frame, w);
      });
    });
    if (options_.focal && options_.focal_prior_weight > 0) {
      const double fx = state_.intrinsics[0];
      const double hessian = options_.focal_prior_weight * fx * fx;
      const double gradient = options_.focal_prior_weight * fx * (options_.focal_prior - fx);
      system_.add_block(&hessian, 1, frames_.focal_variable, frames_.focal_variable, 1, 1);
      system_.hessian_diagonal[frames_.focal_variable] += hessian;
      system_.right[frames_.focal_variable] += gradient;
      system_.gradient[frames_.focal_variable] += gradient;
    }
    double cost = frames_.focal_prior_cost(state_);
    for (const double c : costs) cost += c;
    return cost;
  }

  void add_local_system(int frame, const Workspace<T>& w) {
    const auto& groups = frames_.groups[frame];
    const int slots = int(groups.size()) + 2, size = 6 * (slots - 1) + 1;
    const auto variable_of = [&](int slot) {
      if (slot == 0) return frames_.variable[frame];
      return slot == slots - 1 ? frames_.focal_variable : frames_.variable[groups[slot - 1].target];
    };
    const auto width_of = [&](int slot) { return slot == slots - 1 ? 1 : 6; };
    for (int a = 0; a < slots; ++a) {
      const int row = variable_of(a);
      if (row < 0) continue;
      for (int i = 0; i < width_of(a); ++i) {
        system_.right[row + i] += w.right[6 * a + i];
        system_.gradient[row + i] += w.gradient[6 * a + i];
        system_.hessian_diagonal[row + i] += w.diagonal[6 * a + i];
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

  std::vector<double> pose_damping() const { return std::vector<double>(system_.size(), options_.pose_damping_floor); }

  bool solve(double damping) {
    step_.clear();
    if (system_.size() == 0) return true;
    system_.damp(damping, pose_damping());
    if (!system_.factorize(0)) return false;
    step_ = system_.solve();
    return std::all_of(step_.begin(), step_.end(), [](double x) { return std::isfinite(x); });
  }

  // Applies the step to `trial`; costs are compared only in adaptive mode.
  Costs apply_step(double damping, State& trial) {
    trial.cam_from_world = state_.cam_from_world;
    std::copy(state_.intrinsics, state_.intrinsics + 4, trial.intrinsics);
    if (options_.points || trial.inverse_depth.empty()) trial.inverse_depth = state_.inverse_depth;
    Costs total;
    for (int i = 0; i < problem_.frames; ++i) {
      if (frames_.variable[i] < 0) continue;
      double motion[se3::kPose];
      se3::exp(step_.data() + frames_.variable[i], motion);
      se3::compose(motion, state_.cam_from_world.data() + se3::kPose * i, trial.cam_from_world.data() + se3::kPose * i);
    }
    if (options_.focal) {
      // The linear model does not hold beyond half or double the focal length.
      const double factor = std::exp(std::clamp(step_[frames_.focal_variable], -kMaxLogFocalStep, kMaxLogFocalStep));
      trial.intrinsics[0] *= factor;
      trial.intrinsics[1] *= factor;
    }
    for (int i = 0; i < system_.size(); ++i) {
      const double x = step_[i];
      total.predicted +=
          x * (system_.gradient[i] + (damping * system_.hessian_diagonal[i] + options_.pose_damping_floor) * x);
    }
    if (!options_.points && !options_.adaptive) return total;
    const Step<T> step(frames_, state_, step_);
    std::vector<Costs> costs(problem_.frames);
    parallel_for(problem_.frames, options_.threads, [&](int frame, int worker) {
      if (frames_.is_active(frame)) costs[frame] = step.run(frame, damping, trial, workspaces_[worker]);
    });
    total.before = frames_.focal_prior_cost(state_);
    total.now = frames_.focal_prior_cost(trial);
    for (const auto& c : costs) total.before += c.before, total.now += c.now, total.predicted += c.predicted;
    return total;
  }

  void finish(double damping, Result& result) {
    if (options_.residuals) {
      result.residuals.assign(std::size_t(problem_.edges) * problem_.points, std::numeric_limits<float>::quiet_NaN());
      result.cost_history.push_back(compute_residuals(result.residuals.data()));
    }
    result.focal_variance = kNaN;
    if (options_.variances && system_.size() > 0) compute_variances(result);
    result.damping = damping;
    result.cam_from_world = std::move(state_.cam_from_world);
    result.inverse_depth = std::move(state_.inverse_depth);
    std::copy(state_.intrinsics, state_.intrinsics + 4, result.intrinsics);
  }

  // Computes the lengths of all residuals; returns the cost.
  double compute_residuals(float* residuals) {
    std::vector<double> costs(problem_.frames, 0.0);
    parallel_for(problem_.frames, options_.threads, [&](int frame, int worker) {
      auto& w = workspaces_[worker];
      frames_.prepare_edges(state_, frame, w.edges);
      for (auto& edge : w.edges) edge.model.with_residuals = true;
      frames_.for_each_tile(frame, [&](int first, int count) {
        costs[frame] += frames_.point_prior_cost(state_, frame, first, count);
        frames_.load_points(state_, frame, first, count, w.points);
        for (std::size_t g = 0; g < frames_.groups[frame].size(); ++g) {
          for (const int e : frames_.groups[frame][g].edges) {
            if (!frames_.has_observation(e, first)) continue;
            float* to = residuals + std::size_t(e) * problem_.points + first;
            costs[frame] += tile_residuals(w.edges[g].model, frames_.observations(e, first, count), w, to);
          }
        }
      });
    });
    double cost = frames_.focal_prior_cost(state_);
    for (const double c : costs) cost += c;
    return cost;
  }

  double tile_residuals(const EdgeModel<T>& model, const Observations& observations, Workspace<T>& w, float* to) const {
    const double cost = frames_.kernels.project(w.points, model, observations, w.projected);
    const auto& p = w.projected;
    for (int k = 0; k < observations.count; ++k) {
      const T u = p.ru[k] * model.fx, v = p.rv[k] * model.fy;
      to[k] = p.wu[k] + p.wv[k] > 0 ? float(std::sqrt(u * u + v * v)) : std::numeric_limits<float>::quiet_NaN();
    }
    return cost;
  }

  void compute_variances(Result& result) {
    constexpr double kMinPivot = 1e-11;
    linearize(0);
    system_.damp(0, pose_damping());
    if (!system_.factorize(kMinPivot)) return;
    const std::vector<double> variances = system_.inverse_diagonal();
    result.pose_variance.assign(std::size_t(problem_.frames) * 6, 0.0);
    for (int i = 0; i < problem_.frames; ++i) {
      const int variable = frames_.variable[i];
      if (variable >= 0) std::copy_n(variances.data() + variable, 6, result.pose_variance.data() + 6 * i);
    }
    if (options_.focal) result.focal_variance = variances[frames_.focal_variable];
  }

  const Problem& problem_;
  const Options& options_;
  Frames<T> frames_;
  ReducedSystem system_;
  std::vector<Workspace<T>> workspaces_;
  State state_, trial_;
  std::vector<double> step_;
};

template <typename T>
Kernels<T> select_kernels(const std::string& simd) {
#ifdef SPATIALBEAM_HAS_X86_BUNDLE_KERNELS
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  // Older processors lower the clock of the whole core while they use AVX-512.
  const bool prefers_avx512 = has_avx512 && __builtin_cpu_supports("avx512vnni");
  if (has_avx512 && (simd == "avx512" || (simd == "auto" && prefers_avx512))) return avx512_kernels<T>();
  if (has_avx2 && (simd == "avx2" || simd == "auto")) return avx2_kernels<T>();
#endif
  if (simd == "portable" || simd == "auto") return portable_kernels<T>();
  throw std::invalid_argument("this processor has no code path named " + simd + "; auto chooses one");
}

}  // namespace

Result adjust(const Problem& problem, const Options& options) {
  if (options.single_precision) return Solver<float>(problem, options, select_kernels<float>(options.simd)).run();
  return Solver<double>(problem, options, select_kernels<double>(options.simd)).run();
}

}  // namespace spatialbeam::bundle
