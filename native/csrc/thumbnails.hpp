// Comparisons of the analysis pass's thumbnails: what shot detection asks of every frame.
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

// What a stretch of frames must be like to count as a linear blend of its two ends.
struct BlendLimits {
  double min_distance;  // mean absolute difference of the ends
  double max_bend;      // of a blend factor from an even course
  double max_residual;  // part of the ends' distance that a blend leaves unexplained
  double min_quality;   // (1 - residual) * (1 - bend)
};

struct BlendCandidate {
  double quality;
  int length;
  double distance;
};

// Looks back from each thumbnail for windows that are a blend of their ends, on thumbnails of half the size.
class BlendSearch {
 public:
  // `lengths` in ascending order; `probes` are the places inside a window that are looked at, 0 to 1.
  BlendSearch(std::vector<int> lengths, std::vector<double> probes, BlendLimits limits);

  // Windows that end at this thumbnail, best first.
  std::vector<BlendCandidate> push(const std::uint8_t* thumbnail);

  // Blend factors of all thumbnails of the last window of that length, from 0 to 1; throws std::invalid_argument if
  // there are not so many.
  std::vector<double> factors(int length) const;

 private:
  static constexpr int kSmallBytes = kThumbnailBytes / 4;
  using Small = std::array<std::uint8_t, kSmallBytes>;

  // `back` thumbnails before the last one.
  const Small& small(int back) const { return ring_[(count_ - 1 - back) % ring_.size()]; }
  double quality(int length, double distance) const;

  std::vector<int> lengths_;
  std::vector<double> probes_;
  BlendLimits limits_;
  std::vector<Small> ring_;
  std::uint64_t count_ = 0;
};

}  // namespace spatialbeam
