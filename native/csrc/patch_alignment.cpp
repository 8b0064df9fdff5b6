#include "patch_alignment.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.hpp"

namespace spatialbeam {
namespace {

constexpr int kSide = 2 * kMaxPatchRadius + 1;
constexpr int kRimSide = kSide + 2;
constexpr float kSettledPx = 0.003f;
constexpr float kMaxStepPx = 2.0f;
constexpr std::size_t kChunk = 256;

// Bilinear value at (x, y), which must be inside by a pixel.
inline float sample(const std::uint8_t* picture, int width, float x, float y) {
  const int column = static_cast<int>(x), row = static_cast<int>(y);
  const float right = x - static_cast<float>(column), below = y - static_cast<float>(row);
  const std::uint8_t* at = picture + static_cast<std::size_t>(row) * width + column;
  const float top = at[0] + right * (at[1] - at[0]);
  const float bottom = at[width] + right * (at[width + 1] - at[width]);
  return top + below * (bottom - top);
}

inline bool inside(const PatchStack& stack, float x, float y, float margin) {
  return x >= margin && y >= margin && x < static_cast<float>(stack.width) - 1 - margin &&
         y < static_cast<float>(stack.height) - 1 - margin;
}

// The patch as the target should show it: values with their mean taken away, gradients, and what belongs to both.
struct Template {
  float value[kSide * kSide];
  float dx[kSide * kSide];
  float dy[kSide * kSide];
  float energy = 0;
  float inverse[3];  // of the 2 x 2 curvature: xx, xy, yy

  bool fill(const PatchStack& stack, const PatchQuery& query, int radius) {
    const float* w = query.warp;
    const float reach = static_cast<float>(radius + 1);
    const float spread_x = reach * (std::abs(w[0]) + std::abs(w[1]));
    const float spread_y = reach * (std::abs(w[2]) + std::abs(w[3]));
    if (!inside(stack, query.at[0], query.at[1], std::max(spread_x, spread_y))) return false;
    const std::uint8_t* picture = stack.pictures + static_cast<std::size_t>(query.source) * stack.height * stack.width;
    const int side = 2 * radius + 1, rim = side + 2;
    float rimmed[kRimSide * kRimSide];
    for (int row = 0; row < rim; ++row) {
      const float v = static_cast<float>(row - radius - 1);
      for (int column = 0; column < rim; ++column) {
        const float u = static_cast<float>(column - radius - 1);
        rimmed[row * rim + column] =
            sample(picture, stack.width, query.at[0] + w[0] * u + w[1] * v, query.at[1] + w[2] * u + w[3] * v);
      }
    }
    float sum = 0, sum_dx = 0, sum_dy = 0;
    for (int row = 0; row < side; ++row) {
      for (int column = 0; column < side; ++column) {
        const float* middle = rimmed + (row + 1) * rim + column + 1;
        const int index = row * side + column;
        value[index] = middle[0];
        dx[index] = 0.5f * (middle[1] - middle[-1]);
        dy[index] = 0.5f * (middle[rim] - middle[-rim]);
        sum += value[index];
        sum_dx += dx[index];
        sum_dy += dy[index];
      }
    }
    const int count = side * side;
    const float mean = sum / count, mean_dx = sum_dx / count, mean_dy = sum_dy / count;
    float xx = 0, xy = 0, yy = 0;
    energy = 0;
    for (int index = 0; index < count; ++index) {
      value[index] -= mean;
      dx[index] -= mean_dx;
      dy[index] -= mean_dy;
      energy += value[index] * value[index];
      xx += dx[index] * dx[index];
      xy += dx[index] * dy[index];
      yy += dy[index] * dy[index];
    }
    const float determinant = xx * yy - xy * xy;
    // An edge without a corner, or nothing at all, has no place of its own.
    if (!(determinant > 1e-4f * (xx + yy) * (xx + yy)) || !(energy > static_cast<float>(count))) return false;
    inverse[0] = yy / determinant;
    inverse[1] = -xy / determinant;
    inverse[2] = xx / determinant;
    return true;
  }
};

PatchResult align(const PatchStack& stack, const PatchQuery& query, int radius, int iterations) {
  constexpr float kNothing = std::numeric_limits<float>::quiet_NaN();
  const PatchResult lost{{kNothing, kNothing}, kNothing, kNothing};
  Template patch;
  if (!patch.fill(stack, query, radius)) return lost;
  const std::uint8_t* picture = stack.pictures + static_cast<std::size_t>(query.target) * stack.height * stack.width;
  const int side = 2 * radius + 1, count = side * side;
  float x = query.guess[0], y = query.guess[1];
  for (int iteration = 0; iteration <= iterations; ++iteration) {
    if (!inside(stack, x, y, static_cast<float>(radius))) return lost;
    // All pixels of a patch lie at the same fractions, so the four weights are shared.
    const int column = static_cast<int>(x), row = static_cast<int>(y);
    const float right = x - static_cast<float>(column), below = y - static_cast<float>(row);
    const float w00 = (1 - right) * (1 - below), w01 = right * (1 - below), w10 = (1 - right) * below,
                w11 = right * below;
    float seen[kSide * kSide];
    float sum = 0;
    for (int v = 0; v < side; ++v) {
      const std::uint8_t* at = picture + static_cast<std::size_t>(row - radius + v) * stack.width + (column - radius);
      const std::uint8_t* under = at + stack.width;
      for (int u = 0; u < side; ++u) {
        const float here = w00 * at[u] + w01 * at[u + 1] + w10 * under[u] + w11 * under[u + 1];
        seen[v * side + u] = here;
        sum += here;
      }
    }
    const float mean = sum / count;
    float product = 0, energy = 0;
    for (int index = 0; index < count; ++index) {
      seen[index] -= mean;
      product += seen[index] * patch.value[index];
      energy += seen[index] * seen[index];
    }
    if (!(product > 0)) return lost;
    const float contrast = product / patch.energy;
    float gx = 0, gy = 0;
    for (int index = 0; index < count; ++index) {
      const float error = seen[index] - contrast * patch.value[index];
      gx += patch.dx[index] * error;
      gy += patch.dy[index] * error;
    }
    float step_x = (patch.inverse[0] * gx + patch.inverse[1] * gy) / contrast;
    float step_y = (patch.inverse[1] * gx + patch.inverse[2] * gy) / contrast;
    const float length = std::sqrt(step_x * step_x + step_y * step_y);
    if (!(length < 1e6f)) return lost;
    if (length < kSettledPx) {
      const float spread = std::sqrt(0.5f * (patch.inverse[0] + patch.inverse[2])) / contrast;
      return {{x - step_x, y - step_y}, product / std::sqrt(energy * patch.energy), spread};
    }
    const float shorten = std::min(1.0f, kMaxStepPx / length);
    x -= shorten * step_x;
    y -= shorten * step_y;
  }
  return lost;
}

}  // namespace

void align_patches(const PatchStack& stack, const PatchQuery* queries, PatchResult* results, std::size_t size,
                   int radius, int iterations, int threads) {
  const int chunks = static_cast<int>((size + kChunk - 1) / kChunk);
  parallel_for(chunks, threads, [&](int chunk, int) {
    const std::size_t end = std::min(size, (chunk + 1) * kChunk);
    for (std::size_t index = chunk * kChunk; index < end; ++index) {
      results[index] = align(stack, queries[index], radius, iterations);
    }
  });
}

}  // namespace spatialbeam
