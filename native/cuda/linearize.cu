// Normal equations of an edge, summed over pixels (DROID-SLAM's dense bundle adjustment): one block per edge.
#include <cuda_runtime.h>

#include <cstdint>

#include "cameras.cuh"
#include "plan.cuh"

namespace {

using spatialbeam::Cameras;
using spatialbeam::kRows;
using spatialbeam::kSums;
using spatialbeam::kUpper;
using spatialbeam::LoadEdge;
using spatialbeam::MakeCameras;

constexpr int kThreads = 256;

// Jacobian of a projected pixel (u, v): relative motion of the edge, focal length and inverse depth; weights,
// residuals.
struct Pixel {
  float u[kRows], v[kRows], depth_u, depth_v, weight_u, weight_v, residual_u, residual_v;
};

__device__ Pixel Differentiate(const float* pose, float px, float py, float h, float2 target, float2 weight,
                               float scale, float min_depth) {
  const float *r = pose, *t = pose + 9;
  const float fx = pose[12], fy = pose[13], cx = pose[14], cy = pose[15];
  const float rx = (px - cx) / fx, ry = (py - cy) / fy;
  const float z = r[6] * rx + r[7] * ry + r[8] + t[2] * h;
  const bool valid = z >= min_depth;
  const float n = 1.0f / (valid ? z : 1.0f);
  const float x = (r[0] * rx + r[1] * ry + r[2] + t[0] * h) * n;
  const float y = (r[3] * rx + r[4] * ry + r[5] + t[1] * h) * n;
  const float hn = h * n;
  const float qx = -(r[0] * rx + r[1] * ry), qy = -(r[3] * rx + r[4] * ry), qz = -(r[6] * rx + r[7] * ry);
  const float focal = 2.0f * cx / fx;
  Pixel p;
  p.u[0] = fx * hn, p.u[1] = 0, p.u[2] = -fx * x * hn;
  p.u[3] = -fx * x * y, p.u[4] = fx * (1 + x * x), p.u[5] = -fx * y;
  p.u[6] = fx * focal * (x + (qx - x * qz) * n);
  p.v[0] = 0, p.v[1] = fy * hn, p.v[2] = -fy * y * hn;
  p.v[3] = -fy * (1 + y * y), p.v[4] = fy * x * y, p.v[5] = fy * x;
  p.v[6] = fy * focal * (y + (qy - y * qz) * n);
  p.depth_u = fx * (t[0] - t[2] * x) * n;
  p.depth_v = fy * (t[1] - t[2] * y) * n;
  p.weight_u = valid ? scale * weight.x : 0.0f;
  p.weight_v = valid ? scale * weight.y : 0.0f;
  p.residual_u = valid ? target.x - (fx * x + cx) : 0.0f;
  p.residual_v = valid ? target.y - (fy * y + cy) : 0.0f;
  return p;
}

__global__ void __launch_bounds__(kThreads)
    Linearize(Cameras cameras, const int64_t* __restrict__ source, const int64_t* __restrict__ target,
              const int64_t* __restrict__ edge, const float2* __restrict__ target_px, const float2* __restrict__ weight,
              float* __restrict__ sums, float* __restrict__ mixed, float* __restrict__ points, int64_t pixels,
              int64_t width, float scale, float min_depth) {
  __shared__ float pose[16];
  __shared__ float partial[kThreads / 32][kSums];
  const int64_t slot = blockIdx.x;
  if (edge[slot] < 0) {
    for (int64_t k = threadIdx.x; k < kRows * pixels; k += kThreads) mixed[slot * kRows * pixels + k] = 0;
    for (int64_t k = threadIdx.x; k < 2 * pixels; k += kThreads) points[slot * 2 * pixels + k] = 0;
    if (threadIdx.x < kSums) sums[slot * kSums + threadIdx.x] = 0;
    return;
  }
  LoadEdge(cameras, source[slot], target[slot], pose);
  const float* depth = cameras.inverse_depth + source[slot] * pixels;
  const float2 *to = target_px + edge[slot] * pixels, *to_weight = weight + edge[slot] * pixels;
  float sum[kSums] = {};
  for (int64_t k = threadIdx.x; k < pixels; k += kThreads) {
    const Pixel p = Differentiate(pose, static_cast<float>(k % width), static_cast<float>(k / width), depth[k], to[k],
                                  to_weight[k], scale, min_depth);
    const float du = p.weight_u * p.depth_u, dv = p.weight_v * p.depth_v;
    int s = 0;
#pragma unroll
    for (int a = 0; a < kRows; ++a) {
      const float u = p.weight_u * p.u[a], v = p.weight_v * p.v[a];
#pragma unroll
      for (int b = a; b < kRows; ++b) sum[s++] += u * p.u[b] + v * p.v[b];
      sum[kUpper + a] += u * p.residual_u + v * p.residual_v;
      mixed[(slot * kRows + a) * pixels + k] = du * p.u[a] + dv * p.v[a];
    }
    points[2 * slot * pixels + k] = du * p.depth_u + dv * p.depth_v;
    points[(2 * slot + 1) * pixels + k] = du * p.residual_u + dv * p.residual_v;
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int s = 0; s < kSums; ++s) {
    float value = sum[s];
#pragma unroll
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
    if (lane == 0) partial[warp][s] = value;
  }
  __syncthreads();
  if (threadIdx.x < kSums) {
    float value = 0;
    for (int w = 0; w < kThreads / 32; ++w) value += partial[w][threadIdx.x];
    sums[slot * kSums + threadIdx.x] = value;
  }
}

}  // namespace

extern "C" int sb_linearize_edges(const void* rotation, const void* translation, const void* intrinsics,
                                  const void* clip, const void* inverse_depth, const void* source, const void* target,
                                  const void* edge, const void* target_px, const void* weight, void* sums, void* mixed,
                                  void* points, int64_t slots, int64_t pixels, int64_t width, float scale,
                                  float min_depth, void* stream) {
  if (slots == 0) return 0;
  Linearize<<<static_cast<unsigned>(slots), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      MakeCameras(rotation, translation, intrinsics, clip, inverse_depth), static_cast<const int64_t*>(source),
      static_cast<const int64_t*>(target), static_cast<const int64_t*>(edge), static_cast<const float2*>(target_px),
      static_cast<const float2*>(weight), static_cast<float*>(sums), static_cast<float*>(mixed),
      static_cast<float*>(points), pixels, width, scale, min_depth);
  return cudaGetLastError();
}
