// Look-up in correlation volumes: one warp a pixel; a lane reads a row of one level's window.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kRadius = 3, kLevels = 4, kRows = 8, kTaps = 7, kOutputs = kLevels * kTaps * kTaps, kWarps = 8;

struct Levels {
  int height[kLevels], width[kLevels], start[kLevels];
};

__global__ void LookUp(const __half* __restrict__ volume, const float2* __restrict__ coords, __half* __restrict__ out,
                       int64_t rows, int64_t columns, Levels levels) {
  __shared__ __half staged[kWarps][kOutputs];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t row = int64_t{blockIdx.x} * kWarps + warp;
  if (row >= rows) return;  // a whole warp at a time
  const int level = lane / kRows, r = lane % kRows;
  const float2 at = coords[row];
  const float scale = 1.0f / (1 << level);
  const float x = fminf(fmaxf(at.x * scale, -1e4f), 1e4f), y = fminf(fmaxf(at.y * scale, -1e4f), 1e4f);
  const float x0 = floorf(x), y0 = floorf(y), fx = x - x0, fy = y - y0;
  const int left = static_cast<int>(x0) - kRadius, v = static_cast<int>(y0) - kRadius + r;
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
  for (int k = 0; k < kTaps; ++k) {
    const float along = (1 - fx) * value[k] + fx * value[k + 1];
    const float below = __shfl_down_sync(0xffffffffu, along, 1);
    if (r < kTaps) staged[warp][(level * kTaps + k) * kTaps + r] = __float2half_rn((1 - fy) * along + fy * below);
  }
  __syncwarp();
  const uint32_t* from = reinterpret_cast<const uint32_t*>(staged[warp]);
  uint32_t* to = reinterpret_cast<uint32_t*>(out + row * kOutputs);
  for (int k = lane; k < kOutputs / 2; k += 32) to[k] = from[k];
}

}  // namespace

extern "C" int sb_look_up_correlation(const void* volume, const void* coords, void* out, int64_t rows, int64_t columns,
                                      const int* shape, void* stream) {
  Levels levels;
  for (int k = 0; k < kLevels; ++k) {
    levels.height[k] = shape[3 * k];
    levels.width[k] = shape[3 * k + 1];
    levels.start[k] = shape[3 * k + 2];
  }
  const auto blocks = static_cast<unsigned>((rows + kWarps - 1) / kWarps);
  if (blocks == 0) return 0;
  LookUp<<<blocks, kWarps * 32, 0, static_cast<cudaStream_t>(stream)>>>(
      static_cast<const __half*>(volume), static_cast<const float2*>(coords), static_cast<__half*>(out), rows, columns,
      levels);
  return cudaGetLastError();
}
