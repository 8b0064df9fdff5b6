// Bilinear lookup in correlation volumes, one warp per pixel: a lane interpolates a row of one level's window along x,
// then the rows are interpolated along y.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kLevels = 4, kWarps = 8;

struct Levels {
  int height[kLevels], width[kLevels], start[kLevels];
};

template <int kRadius>
__global__ void LookUp(const __half* __restrict__ volume, const float2* __restrict__ coords, __half* __restrict__ out,
                       int64_t rows, int64_t columns, Levels levels) {
  constexpr int kTaps = 2 * kRadius + 1, kRows = kTaps + 1, kOutputs = kLevels * kTaps * kTaps,
                kStride = (kOutputs + 7) / 8 * 8;
  __shared__ float along_x[kWarps][kLevels][kTaps][kRows];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t row = int64_t{blockIdx.x} * kWarps + warp;
  if (row >= rows) return;  // a whole warp at a time
  const float2 at = coords[row];
  for (int item = lane; item < kLevels * kRows; item += 32) {
    const int level = item / kRows, r = item % kRows;
    const float scale = 1.0f / (1 << level);
    const float x = fminf(fmaxf(at.x * scale, -1e4f), 1e4f), y = fminf(fmaxf(at.y * scale, -1e4f), 1e4f);
    const float x0 = floorf(x), fx = x - x0;
    const int left = static_cast<int>(x0) - kRadius, v = static_cast<int>(floorf(y)) - kRadius + r;
    const int width = levels.width[level];
    const bool row_inside = v >= 0 && v < levels.height[level];
    const __half* line = volume + row * columns + levels.start[level] + int64_t{row_inside ? v : 0} * width;
    float value[kRows];
#pragma unroll
    for (int k = 0; k < kRows; ++k) {
      const int u = left + k;
      value[k] = row_inside && u >= 0 && u < width ? __half2float(line[u]) : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < kTaps; ++k) along_x[warp][level][k][r] = (1 - fx) * value[k] + fx * value[k + 1];
  }
  __syncwarp();
  for (int k = lane; k < kStride; k += 32) {
    if (k >= kOutputs) {
      out[row * kStride + k] = __float2half_rn(0.0f);
      continue;
    }
    const int level = k / (kTaps * kTaps), tap = k / kTaps % kTaps, r = k % kTaps;
    const float y = fminf(fmaxf(at.y / (1 << level), -1e4f), 1e4f), fy = y - floorf(y);
    const float* column = along_x[warp][level][tap];
    out[row * kStride + k] = __float2half_rn((1 - fy) * column[r] + fy * column[r + 1]);
  }
}

}  // namespace

extern "C" int sb_look_up_correlation(const void* volume, const void* coords, void* out, int64_t rows, int64_t columns,
                                      const int* shape, int64_t radius, void* stream) {
  Levels levels;
  for (int k = 0; k < kLevels; ++k) {
    levels.height[k] = shape[3 * k];
    levels.width[k] = shape[3 * k + 1];
    levels.start[k] = shape[3 * k + 2];
  }
  const auto blocks = static_cast<unsigned>((rows + kWarps - 1) / kWarps);
  if (blocks == 0) return 0;
  if (radius != 3 && radius != 4) return cudaErrorInvalidValue;
  const auto kernel = radius == 3 ? LookUp<3> : LookUp<4>;
  kernel<<<blocks, kWarps * 32, 0, static_cast<cudaStream_t>(stream)>>>(
      static_cast<const __half*>(volume), static_cast<const float2*>(coords), static_cast<__half*>(out), rows, columns,
      levels);
  return cudaGetLastError();
}
