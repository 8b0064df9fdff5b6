// Reprojection of pixels and frame distance, one block per edge.
#include <cuda_runtime.h>

#include <cstdint>

#include "cameras.cuh"

namespace {

using spatialbeam::Cameras;
using spatialbeam::LoadEdge;
using spatialbeam::MakeCameras;

constexpr int kThreads = 256;
constexpr float kMinProjectedDepth = 0.1f;

// Position in the target times the depth ratio z, and z (depth in the target / depth in the source).
__device__ float3 Move(const float* e, float px, float py, float h, bool turn) {
  const float rx = (px - e[14]) / e[12], ry = (py - e[15]) / e[13];
  const float x = turn ? e[0] * rx + e[1] * ry + e[2] : rx, y = turn ? e[3] * rx + e[4] * ry + e[5] : ry;
  const float z = (turn ? e[6] * rx + e[7] * ry + e[8] : 1.0f) + e[11] * h;
  return {e[12] * (x + e[9] * h) + e[14] * z, e[13] * (y + e[10] * h) + e[15] * z, z};
}

__global__ void __launch_bounds__(kThreads)
    Reproject(Cameras cameras, const int64_t* __restrict__ source, const int64_t* __restrict__ target,
              float2* __restrict__ out, int64_t pixels, int64_t width) {
  __shared__ float edge[16];
  LoadEdge(cameras, source[blockIdx.x], target[blockIdx.x], edge);
  const float* depth = cameras.inverse_depth + source[blockIdx.x] * pixels;
  for (int64_t k = threadIdx.x; k < pixels; k += kThreads) {
    const float3 at = Move(edge, static_cast<float>(k % width), static_cast<float>(k / width), depth[k], true);
    const float z = at.z < kMinProjectedDepth ? 1.0f : at.z;
    out[blockIdx.x * pixels + k] = {at.x / z, at.y / z};
  }
}

__global__ void __launch_bounds__(kThreads)
    Distance(Cameras cameras, const int64_t* __restrict__ source, const int64_t* __restrict__ target,
             float* __restrict__ out, int64_t pixels, int64_t width, float beta, float min_depth, float min_share,
             float invalid) {
  __shared__ float edge[16], partial[kThreads / 32][2];
  LoadEdge(cameras, source[blockIdx.x], target[blockIdx.x], edge);
  const float* depth = cameras.inverse_depth + source[blockIdx.x] * pixels;
  float total = 0, counted = 0;
  for (int64_t k = threadIdx.x; k < pixels; k += kThreads) {
    const float px = static_cast<float>(k % width), py = static_cast<float>(k / width);
#pragma unroll
    for (int turn = 0; turn < 2; ++turn) {
      const float3 at = Move(edge, px, py, depth[k], turn);
      if (at.z > min_depth) {
        const float share = turn ? beta : 1 - beta, u = at.x / at.z - px, v = at.y / at.z - py;
        total += share * sqrtf(u * u + v * v);
        counted += share;
      }
    }
  }
  for (int step = 16; step > 0; step /= 2) {
    total += __shfl_down_sync(0xffffffffu, total, step);
    counted += __shfl_down_sync(0xffffffffu, counted, step);
  }
  if (threadIdx.x % 32 == 0) {
    partial[threadIdx.x / 32][0] = total;
    partial[threadIdx.x / 32][1] = counted;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    total = counted = 0;
    for (int w = 0; w < kThreads / 32; ++w) {
      total += partial[w][0];
      counted += partial[w][1];
    }
    out[blockIdx.x] = counted >= min_share * pixels ? total / counted : invalid;
  }
}

}  // namespace

extern "C" int sb_reproject(const void* rotation, const void* translation, const void* intrinsics, const void* clip,
                            const void* inverse_depth, const void* source, const void* target, void* out, int64_t edges,
                            int64_t pixels, int64_t width, void* stream) {
  if (edges == 0) return 0;
  Reproject<<<static_cast<unsigned>(edges), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      MakeCameras(rotation, translation, intrinsics, clip, inverse_depth), static_cast<const int64_t*>(source),
      static_cast<const int64_t*>(target), static_cast<float2*>(out), pixels, width);
  return cudaGetLastError();
}

extern "C" int sb_frame_distance(const void* rotation, const void* translation, const void* intrinsics,
                                 const void* clip, const void* inverse_depth, const void* source, const void* target,
                                 void* out, int64_t edges, int64_t pixels, int64_t width, float beta, float min_depth,
                                 float min_share, float invalid, void* stream) {
  if (edges == 0) return 0;
  Distance<<<static_cast<unsigned>(edges), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      MakeCameras(rotation, translation, intrinsics, clip, inverse_depth), static_cast<const int64_t*>(source),
      static_cast<const int64_t*>(target), static_cast<float*>(out), pixels, width, beta, min_depth, min_share,
      invalid);
  return cudaGetLastError();
}
