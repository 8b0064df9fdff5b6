// Tiles of points, and which of them have observations in each edge.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "bundle_adjustment.hpp"

namespace spatialbeam::bundle {

// Long tiles are best where most points have an observation in every edge, as in dense depth: fewer horizontal sums.
// Short tiles are best for tracked keypoints, observed in few frames each: tiles without observations are skipped.
class Tiles {
 public:
  explicit Tiles(const Problem& problem) : channels_(problem.weight_channels), points_(problem.points) {
    size_ = is_sparse(problem) ? kSparseTile : kTile;
    per_edge_ = (points_ + size_ - 1) / size_;
    has_observation_.resize(std::size_t(problem.edges) * per_edge_);
    for (int e = 0; e < problem.edges; ++e) {
      for (int t = 0; t < per_edge_; ++t) {
        const int first = t * size_, count = std::min(size_, points_ - first);
        has_observation_[std::size_t(e) * per_edge_ + t] = num_weights(problem, e, first, count, true) > 0;
      }
    }
  }

  int size() const { return size_; }

  bool has_observation(int edge, int first) const {
    return has_observation_[std::size_t(edge) * per_edge_ + first / size_];
  }

 private:
  static constexpr int kSparseTile = 32;
  static constexpr int kSampledEdges = 64;
  static constexpr double kDenseShare = 0.6;

  bool is_sparse(const Problem& problem) const {
    std::size_t used = 0, all = 0;
    for (int e = 0; e < problem.edges; e += std::max(1, problem.edges / kSampledEdges)) {
      used += num_weights(problem, e, 0, points_, false);
      all += std::size_t(points_) * channels_;
    }
    return double(used) < kDenseShare * double(all);
  }

  // Number of nonzero weights; at most 1 if `any`.
  std::size_t num_weights(const Problem& problem, int edge, int first, int count, bool any) const {
    const float* weight = problem.weight + channels_ * (std::size_t(edge) * points_ + first);
    std::size_t found = 0;
    for (int i = 0; i < channels_ * count && !(any && found); ++i) found += weight[i] != 0;
    return found;
  }

  int channels_, points_, size_, per_edge_;
  std::vector<std::uint8_t> has_observation_;
};

}  // namespace spatialbeam::bundle
