#include "patch_alignment.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.hpp"

namespace spatialbeam {
namespace {

constexpr int kSide = 2 * kMaxPatchRadius + 1;
constexpr int kBorderedSide = kSide + 2;
constexpr float kConvergedPx = 0.003f;
constexpr float kMaxStepPx = 2.0f;
constexpr std::size_t kChunk = 256;

// Bilinear interpolation at (x, y), at least a pixel inside the image.
inline float sample(const std::uint8_t* image, int width, float x, float y) {
  const int column = static_cast<int>(x), row = static_cast<int>(y);
  const float right = x - static_cast<float>(column), below = y - static_cast<float>(row);
  const std::uint8_t* at = image + static_cast<std::size_t>(row) * width + column;
  const float top = at[0] + right * (at[1] - at[0]);
  const float bottom = at[width] + right * (at[width + 1] - at[width]);
  return top + below * (bottom - top);
}

inline bool is_inside(const PatchStack& stack, float x, float y, float margin) {
  return x >= margin && y >= margin && x < static_cast<float>(stack.width) - 1 - margin &&
         y < static_cast<float>(stack.height) - 1 - margin;
}

// The template, warped to the target: zero-mean values and gradients, and the inverse Hessian.
struct Template {
  float value[kSide * kSide];
  float dx[kSide * kSide];
  float dy[kSide * kSide];
  float energy = 0;
  float inverse[3];  // of the 2 x 2 Hessian: xx, xy, yy

  bool fill(const PatchStack& stack, const PatchQuery& query, int radius) {
    const float* w = query.warp;
    const float reach = static_cast<float>(radius + 1);
    const float extent_x = reach * (std::abs(w[0]) + std::abs(w[1]));
    const float extent_y = reach * (std::abs(w[2]) + std::abs(w[3]));
    if (!is_inside(stack, query.position[0], query.position[1], std::max(extent_x, extent_y))) return false;
    const std::uint8_t* image = stack.images + static_cast<std::size_t>(query.source) * stack.height * stack.width;
    const int side = 2 * radius + 1, stride = side + 2;
    float bordered[kBorderedSide * kBorderedSide];
    for (int row = 0; row < stride; ++row) {
      const float v = static_cast<float>(row - radius - 1);
      for (int column = 0; column < stride; ++column) {
        const float u = static_cast<float>(column - radius - 1);
        bordered[row * stride + column] = sample(image, stack.width, query.position[0] + w[0] * u + w[1] * v,
                                                 query.position[1] + w[2] * u + w[3] * v);
      }
    }
    float sum = 0, sum_dx = 0, sum_dy = 0;
    for (int row = 0; row < side; ++row) {
      for (int column = 0; column < side; ++column) {
        const float* middle = bordered + (row + 1) * stride + column + 1;
        const int index = row * side + column;
        value[index] = middle[0];
        dx[index] = 0.5f * (middle[1] - middle[-1]);
        dy[index] = 0.5f * (middle[stride] - middle[-stride]);
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
    // Singular Hessian (an edge), or no texture.
    if (!(determinant > 1e-4f * (xx + yy) * (xx + yy)) || !(energy > static_cast<float>(count))) return false;
    inverse[0] = yy / determinant;
    inverse[1] = -xy / determinant;
    inverse[2] = xx / determinant;
    return true;
  }
};

PatchResult align(const PatchStack& stack, const PatchQuery& query, int radius, int iterations) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const PatchResult failed{{kNaN, kNaN}, kNaN, kNaN};
  Template reference;
  if (!reference.fill(stack, query, radius)) return failed;
  const std::uint8_t* image = stack.images + static_cast<std::size_t>(query.target) * stack.height * stack.width;
  const int side = 2 * radius + 1, count = side * side;
  float x = query.initial[0], y = query.initial[1];
  for (int iteration = 0; iteration <= iterations; ++iteration) {
    if (!is_inside(stack, x, y, static_cast<float>(radius))) return failed;
    // All pixels of a patch have the same subpixel offset and share four bilinear weights.
    const int column = static_cast<int>(x), row = static_cast<int>(y);
    const float right = x - static_cast<float>(column), below = y - static_cast<float>(row);
    const float w00 = (1 - right) * (1 - below), w01 = right * (1 - below), w10 = (1 - right) * below,
                w11 = right * below;
    float values[kSide * kSide];
    float sum = 0;
    for (int v = 0; v < side; ++v) {
      const std::uint8_t* at = image + static_cast<std::size_t>(row - radius + v) * stack.width + (column - radius);
      const std::uint8_t* under = at + stack.width;
      for (int u = 0; u < side; ++u) {
        const float here = w00 * at[u] + w01 * at[u + 1] + w10 * under[u] + w11 * under[u + 1];
        values[v * side + u] = here;
        sum += here;
      }
    }
    const float mean = sum / count;
    float product = 0, energy = 0;
    for (int index = 0; index < count; ++index) {
      values[index] -= mean;
      product += values[index] * reference.value[index];
      energy += values[index] * values[index];
    }
    if (!(product > 0)) return failed;
    const float gain = product / reference.energy;
    float gx = 0, gy = 0;
    for (int index = 0; index < count; ++index) {
      const float error = values[index] - gain * reference.value[index];
      gx += reference.dx[index] * error;
      gy += reference.dy[index] * error;
    }
    float step_x = (reference.inverse[0] * gx + reference.inverse[1] * gy) / gain;
    float step_y = (reference.inverse[1] * gx + reference.inverse[2] * gy) / gain;
    const float length = std::sqrt(step_x * step_x + step_y * step_y);
    if (!(length < 1e6f)) return failed;
    if (length < kConvergedPx) {
      const float sigma = std::sqrt(0.5f * (reference.inverse[0] + reference.inverse[2])) / gain;
      return {{x - step_x, y - step_y}, product / std::sqrt(energy * reference.energy), sigma};
    }
    const float scale = std::min(1.0f, kMaxStepPx / length);
    x -= scale * step_x;
    y -= scale * step_y;
  }
  return failed;
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
