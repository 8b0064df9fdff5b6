#include "thumbnails.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace spatialbeam {
namespace {

// Integer sums: the same in any order and on every processor. The compiler also builds an AVX2 version of each
// function, selected at run time.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define VECTORS
#endif

VECTORS int sum_of_changes(const std::uint8_t* a, const std::uint8_t* b, int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += std::abs(a[i] - b[i]);
  return sum;
}

// Stores `from` - `base`; returns its squared norm.
VECTORS int subtract(const std::uint8_t* from, const std::uint8_t* base, int count, std::int16_t* difference) {
  int energy = 0;
  for (int i = 0; i < count; ++i) {
    difference[i] = static_cast<std::int16_t>(from[i] - base[i]);
    energy += difference[i] * difference[i];
  }
  return energy;
}

VECTORS int product(const std::int16_t* a, const std::int16_t* b, int count) {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Fixed-point unit of blend factors: sums of 1728 differences of up to 2 x 255 fit 32 bits.
constexpr int kFactorUnit = 4096;

// Sum of |kFactorUnit step - factor change|.
VECTORS std::uint32_t sum_blend_error(const std::int16_t* step, const std::int16_t* change, int factor, int count) {
  std::uint32_t sum = 0;
  for (int i = 0; i < count; ++i) {
    sum += static_cast<std::uint32_t>(std::abs(step[i] * kFactorUnit - factor * change[i]));
  }
  return sum;
}

}  // namespace

double mean_change(const std::uint8_t* a, const std::uint8_t* b) {
  return double(sum_of_changes(a, b, kThumbnailBytes)) / kThumbnailBytes;
}

double mean_luma_change(const std::uint8_t* a, const std::uint8_t* b) {
  int sum = 0;
  for (int i = 0; i < kThumbnailBytes; i += 3) sum += std::abs(a[i] - b[i]);
  return double(sum) / (kThumbnailBytes / 3);
}

BlendSearch::BlendSearch(std::vector<int> lengths, std::vector<double> probes, BlendLimits limits)
    : lengths_(std::move(lengths)), probes_(std::move(probes)), limits_(limits), ring_(lengths_.back() + 1) {}

std::vector<BlendCandidate> BlendSearch::push(const std::uint8_t* thumbnail) {
  constexpr int kRow = kThumbnailWidth * 3;
  HalfSize& last = ring_[count_++ % ring_.size()];
  for (int y = 0; y < kThumbnailHeight / 2; ++y) {
    const std::uint8_t* top = thumbnail + 2 * y * kRow;
    std::array<std::uint16_t, kRow> sums;
    for (int i = 0; i < kRow; ++i) sums[i] = static_cast<std::uint16_t>(top[i] + top[kRow + i]);
    std::uint8_t* out = last.data() + y * kRow / 2;
    for (int x = 0; x < kRow; x += 6) {
      for (int c = x; c < x + 3; ++c) *out++ = static_cast<std::uint8_t>((sums[c] + sums[c + 3] + 2) / 4);
    }
  }
  std::vector<BlendCandidate> found;
  for (const int length : lengths_) {
    if (std::uint64_t(length) >= count_) break;
    const double distance =
        double(sum_of_changes(last.data(), at_half_size(length).data(), kHalfSizeBytes)) / kHalfSizeBytes;
    if (distance < limits_.min_distance) continue;
    const double q = quality(length, distance);
    if (q >= limits_.min_quality) found.push_back({q, length, distance});
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.quality > b.quality; });
  return found;
}

std::vector<double> BlendSearch::factors(int length) const {
  if (length < 1 || length >= int(ring_.size()) || std::uint64_t(length) >= count_) {
    throw std::invalid_argument("there are not that many thumbnails");
  }
  const HalfSize& first = at_half_size(length);
  const HalfSize& last = at_half_size(0);
  std::array<std::int16_t, kHalfSizeBytes> change;
  std::array<std::int16_t, kHalfSizeBytes> step;
  subtract(last.data(), first.data(), kHalfSizeBytes, change.data());
  std::vector<double> found;
  for (int back = length; back >= 0; --back) {
    subtract(at_half_size(back).data(), first.data(), kHalfSizeBytes, step.data());
    found.push_back(product(step.data(), change.data(), kHalfSizeBytes));
  }
  const double energy = std::max(found.back(), 1.0);
  for (double& factor : found) factor /= energy;
  return found;
}

// The blend factor of a frame M between the ends A and B is the projection of M - A on B - A.
double BlendSearch::quality(int length, double distance) const {
  const HalfSize& first = at_half_size(length);
  const HalfSize& last = at_half_size(0);
  std::array<std::int16_t, kHalfSizeBytes> change;
  std::array<std::int16_t, kHalfSizeBytes> step;
  const int energy = subtract(last.data(), first.data(), kHalfSizeBytes, change.data());
  double nonlinearity = 0;
  double residual = 0;
  for (const double probe : probes_) {
    const HalfSize& middle = at_half_size(length - static_cast<int>(std::nearbyint(probe * length)));
    subtract(middle.data(), first.data(), kHalfSizeBytes, step.data());
    const double factor = double(product(step.data(), change.data(), kHalfSizeBytes)) / energy;
    nonlinearity = std::max(nonlinearity, std::abs(factor - probe));
    if (nonlinearity > limits_.max_nonlinearity) return 0;
    const int scaled = static_cast<int>(std::lround(factor * kFactorUnit));
    const std::uint32_t error = sum_blend_error(step.data(), change.data(), scaled, kHalfSizeBytes);
    residual = std::max(residual, double(error) / kFactorUnit / (kHalfSizeBytes * distance));
    if (residual > limits_.max_residual) return 0;
  }
  return (1 - residual) * (1 - nonlinearity);
}

}  // namespace spatialbeam
