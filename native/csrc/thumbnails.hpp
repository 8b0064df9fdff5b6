// Thumbnail differences for shot detection.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "frame_stats.hpp"

namespace spatialbeam {

constexpr int kThumbnailBytes = kThumbnailHeight * kThumbnailWidth * 3;

// Mean absolute differences of two thumbnails, in 8-bit levels: of all channels, and of luma alone.
double mean_change(const std::uint8_t* a, const std::uint8_t* b);
double mean_luma_change(const std::uint8_t* a, const std::uint8_t* b);

// Limits for a window of frames to be a linear blend of its ends.
struct BlendLimits {
  double min_distance;      // mean absolute difference of the ends
  double max_nonlinearity;  // deviation of blend factors from linear in time
  double max_residual;      // mean absolute error of the blend, relative to the distance of the ends
  double min_quality;       // (1 - residual) * (1 - nonlinearity)
};

struct BlendCandidate {
  double quality;
  int length;
  double distance;
};

// Finds windows that end at each thumbnail and are a linear blend of their ends, at half resolution.
class BlendSearch {
 public:
  // `lengths` in ascending order; `probes` are relative times in a window, 0 to 1.
  BlendSearch(std::vector<int> lengths, std::vector<double> probes, BlendLimits limits);

  // Candidates that end at this thumbnail, best first.
  std::vector<BlendCandidate> push(const std::uint8_t* thumbnail);

  // Blend factors of the thumbnails of the last window of that length, from 0 to 1; throws std::invalid_argument if too
  // few were added.
  std::vector<double> factors(int length) const;

 private:
  static constexpr int kHalfSizeBytes = kThumbnailBytes / 4;
  using HalfSize = std::array<std::uint8_t, kHalfSizeBytes>;

  // `back` thumbnails before the last one.
  const HalfSize& at_half_size(int back) const { return ring_[(count_ - 1 - back) % ring_.size()]; }
  double quality(int length, double distance) const;

  std::vector<int> lengths_;
  std::vector<double> probes_;
  BlendLimits limits_;
  std::vector<HalfSize> ring_;
  std::uint64_t count_ = 0;
};

}  // namespace spatialbeam
