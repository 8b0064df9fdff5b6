// Schur complement: eliminates inverse depths per source frame. Sums have one order.
#include <cuda_runtime.h>

#include <cstdint>

#include "plan.cuh"

namespace {

using spatialbeam::kRows;

constexpr int kThreads = 128;

// Sums over the edges of a frame, with prior and damping: inverse Hessian (0 if singular) and gradient of each pixel.
__global__ void SumPoints(const float* __restrict__ points, const int64_t* __restrict__ frame,
                          const int64_t* __restrict__ clip, const float* __restrict__ inverse_depth,
                          const float* __restrict__ prior, const float* __restrict__ eta,
                          const float* __restrict__ alpha, float* __restrict__ inverse, float* __restrict__ gradient,
                          int64_t slots, int64_t pixels) {
  const int64_t row = blockIdx.y, k = int64_t{blockIdx.x} * kThreads + threadIdx.x, f = frame[row];
  if (k >= pixels) return;
  float hessian = 0, row_gradient = 0;
  if (f >= 0) {
    const float* own = points + row * slots * 2 * pixels + k;
    for (int64_t s = 0; s < slots; ++s) {
      hessian += own[2 * s * pixels];
      row_gradient += own[(2 * s + 1) * pixels];
    }
    const float expected = prior[f * pixels + k], strength = expected > 0 ? alpha[clip[f]] : 0.0f;
    hessian += strength > 0 ? strength : eta[f * pixels + k];
    row_gradient -= strength * (inverse_depth[f * pixels + k] - expected);
  }
  inverse[row * pixels + k] = hessian > 0 ? 1 / hessian : 0.0f;
  gradient[row * pixels + k] = row_gradient;
}

// Schur complement of a row's inverse depths: mixed diag(inverse) mixed^T, and mixed diag(inverse) gradient in one more
// column. A block computes 4 x 4 slots of the lower triangle for a part of the pixels.
constexpr int kTileRows = 4 * kRows, kTileColumns = kTileRows + 2, kDepth = 32, kEliminateThreads = 224;

__global__ void __launch_bounds__(kEliminateThreads)
    Eliminate(const float* __restrict__ mixed, const float* __restrict__ inverse, const float* __restrict__ gradient,
              const int64_t* __restrict__ edge, float* __restrict__ taken, int64_t slots, int64_t pixels) {
  __shared__ float2 left[kDepth][kTileRows / 2], right[kDepth][kTileColumns / 2];
  int64_t down = 0, across = blockIdx.x;
  while (across > down) across -= ++down;
  const int64_t row = blockIdx.y, inner = kRows * slots;
  if (edge[row * slots + 4 * down] < 0) return;
  const int x = threadIdx.x % (kTileColumns / 2), y = threadIdx.x / (kTileColumns / 2);
  const int64_t begin = pixels * blockIdx.z / gridDim.z, end = pixels * (blockIdx.z + 1) / gridDim.z;
  const float *own = mixed + row * inner * pixels, *weight = inverse + row * pixels,
              *row_gradient = gradient + row * pixels;
  float sum[2][2] = {};
  for (int64_t start = begin; start < end; start += kDepth) {
    for (int item = threadIdx.x; item < (kTileRows + kTileColumns) * kDepth; item += kEliminateThreads) {
      const int line = item / kDepth, depth = item % kDepth, other = line - kTileRows;
      const int64_t k = start + depth;
      float value = 0;
      if (line < kTileRows) {
        const int64_t r = kTileRows * down + line;
        if (k < end && r < inner) value = own[r * pixels + k] * weight[k];
        reinterpret_cast<float*>(left[depth])[line] = value;
      } else {
        const int64_t r = kTileRows * across + other;
        if (k < end && other == kTileRows) value = row_gradient[k];
        if (k < end && other < kTileRows && r < inner) value = own[r * pixels + k];
        reinterpret_cast<float*>(right[depth])[other] = value;
      }
    }
    __syncthreads();
    if (y < kTileRows / 2) {
#pragma unroll
      for (int depth = 0; depth < kDepth; ++depth) {
        const float2 a = left[depth][y], b = right[depth][x];
        sum[0][0] += a.x * b.x, sum[0][1] += a.x * b.y, sum[1][0] += a.y * b.x, sum[1][1] += a.y * b.y;
      }
    }
    __syncthreads();
  }
  if (y >= kTileRows / 2) return;
  float* out = taken + (blockIdx.z * int64_t{gridDim.y} + row) * inner * (inner + 1);
  for (int a = 0; a < 2; ++a) {
    for (int b = 0; b < 2; ++b) {
      const int64_t r = kTileRows * down + 2 * y + a, column = 2 * x + b, c = kTileRows * across + column;
      if (r >= inner) continue;
      if (column < kTileRows && c < inner) out[r * (inner + 1) + c] = sum[a][b];
      if (column == kTileRows && across == 0) out[r * (inner + 1) + inner] = sum[a][b];
    }
  }
}

unsigned Blocks(int64_t items) { return static_cast<unsigned>((items + kThreads - 1) / kThreads); }

}  // namespace

// Number of parts that the pixels of a row are split into, for about a thousand blocks.
extern "C" int sb_elimination_parts(int64_t rows, int64_t slots) {
  const int64_t tiles = (slots + 3) / 4, blocks = rows * tiles * (tiles + 1) / 2;
  return static_cast<int>(blocks >= 1024 ? 1 : blocks <= 128 ? 8 : 1024 / blocks);
}

extern "C" int sb_eliminate(const void* points, const void* mixed, const void* frame, const void* edge,
                            const void* clip, const void* inverse_depth, const void* prior, const void* eta,
                            const void* alpha, void* inverse, void* gradient, void* taken, int64_t rows, int64_t slots,
                            int64_t pixels, int64_t parts, void* stream_) {
  if (rows == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(stream_);
  SumPoints<<<dim3(Blocks(pixels), static_cast<unsigned>(rows)), kThreads, 0, stream>>>(
      static_cast<const float*>(points), static_cast<const int64_t*>(frame), static_cast<const int64_t*>(clip),
      static_cast<const float*>(inverse_depth), static_cast<const float*>(prior), static_cast<const float*>(eta),
      static_cast<const float*>(alpha), static_cast<float*>(inverse), static_cast<float*>(gradient), slots, pixels);
  const auto tiles = static_cast<unsigned>((slots + 3) / 4);
  const dim3 grid(tiles * (tiles + 1) / 2, static_cast<unsigned>(rows), static_cast<unsigned>(parts));
  Eliminate<<<grid, kEliminateThreads, 0, stream>>>(
      static_cast<const float*>(mixed), static_cast<const float*>(inverse), static_cast<const float*>(gradient),
      static_cast<const int64_t*>(edge), static_cast<float*>(taken), slots, pixels);
  return cudaGetLastError();
}
