// Applies the solution of the systems to poses, focal lengths and inverse depths.
#include <cuda_runtime.h>

#include <cstdint>

#include "plan.cuh"

namespace {

using spatialbeam::kPose;
using spatialbeam::kRows;
using spatialbeam::MakePlan;
using spatialbeam::Plan;

constexpr int kThreads = 128;

// Back substitution: steps of inverse depths from those of poses and focal lengths.
__global__ void __launch_bounds__(kThreads)
    MovePoints(Plan plan, const float* __restrict__ mixed, const float* __restrict__ inverse,
               const float* __restrict__ gradient, const double* __restrict__ motion, const double* __restrict__ steps,
               float* __restrict__ inverse_depth, int64_t pixels, float lowest, float highest) {
  extern __shared__ float own[];
  const int64_t row = blockIdx.y, slots = plan.slots, system = row / plan.rows;
  if (plan.frame[row] < 0) return;
  const int used = plan.Used(row);
  const double* step = steps + system * plan.Variables();
  for (int item = threadIdx.x; item < kRows * used; item += kThreads) {
    const int64_t slot = row * slots + item / kRows;
    const int a = item % kRows;
    double value = 0;
    if (a == kPose) {
      if (plan.HasFocal(system)) value = step[kPose * plan.poses];
    } else {
      const int64_t p = plan.source_column[slot], q = plan.target_column[slot];
      if (p < plan.poses) {
        for (int b = 0; b < kPose; ++b) value += motion[36 * slot + 6 * a + b] * step[kPose * p + b];
      }
      if (q < plan.poses) value += step[kPose * q + a];
    }
    own[item] = static_cast<float>(value);
  }
  __syncthreads();
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (k >= pixels) return;
  const float* lines = mixed + row * slots * kRows * pixels + k;
  float slope = gradient[row * pixels + k];
  for (int r = 0; r < kRows * used; ++r) slope -= own[r] * lines[r * pixels];
  float* depth = inverse_depth + plan.frame[row] * pixels + k;
  *depth = fminf(fmaxf(*depth + inverse[row * pixels + k] * slope, lowest), highest);
}

__device__ void Exp(const double* xi, double* r, double* t) {
  const double x = xi[3], y = xi[4], z = xi[5], angle2 = x * x + y * y + z * z, angle = sqrt(angle2);
  const bool small = angle2 < 1e-8;
  const double a = small ? 1 - angle2 / 6 : sin(angle) / angle;
  const double b = small ? 0.5 - angle2 / 24 : (1 - cos(angle)) / angle2;
  const double c = small ? 1.0 / 6 - angle2 / 120 : (angle - sin(angle)) / (angle2 * angle);
  const double hat[9] = {0, -z, y, z, 0, -x, -y, x, 0};
  for (int i = 0; i < 3; ++i) {
    t[i] = 0;
    for (int j = 0; j < 3; ++j) {
      double square = 0;
      for (int k = 0; k < 3; ++k) square += hat[3 * i + k] * hat[3 * k + j];
      const double one = i == j ? 1 : 0;
      r[3 * i + j] = one + a * hat[3 * i + j] + b * square;
      t[i] += (one + b * hat[3 * i + j] + c * square) * xi[j];
    }
  }
}

// pose <- exp(xi) pose, with one Newton step of re-orthonormalization; then focal lengths.
__global__ void Retract(const double* __restrict__ step, const int64_t* __restrict__ free,
                        const int64_t* __restrict__ place, const int64_t* __restrict__ clips,
                        double* __restrict__ rotation, double* __restrict__ translation,
                        double* __restrict__ intrinsics, int64_t count, int64_t poses, int64_t systems,
                        double max_focal_step) {
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t variables = kPose * poses + 1;
  if (k >= count) {
    if (k >= count + systems) return;
    double* camera = intrinsics + 4 * clips[k - count];
    const double wanted = 2 * camera[2] * step[(k - count + 1) * variables - 1] / camera[0];
    const double change = 1 + fmin(fmax(wanted, -max_focal_step), max_focal_step);
    camera[0] *= change;
    camera[1] *= change;
    return;
  }
  const double* xi = step + place[k] / poses * variables + place[k] % poses * 6;
  double *pose = rotation + 9 * free[k], *shift = translation + 3 * free[k];
  double turn[9], move[3], r[9], moved[3], square[9];
  Exp(xi, turn, move);
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      r[3 * i + j] = turn[3 * i] * pose[j] + turn[3 * i + 1] * pose[3 + j] + turn[3 * i + 2] * pose[6 + j];
    }
    moved[i] = turn[3 * i] * shift[0] + turn[3 * i + 1] * shift[1] + turn[3 * i + 2] * shift[2] + move[i];
  }
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      square[3 * i + j] = r[3 * i] * r[3 * j] + r[3 * i + 1] * r[3 * j + 1] + r[3 * i + 2] * r[3 * j + 2];
    }
  }
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      const double across = square[3 * i] * r[j] + square[3 * i + 1] * r[3 + j] + square[3 * i + 2] * r[6 + j];
      pose[3 * i + j] = 1.5 * r[3 * i + j] - 0.5 * across;
    }
    shift[i] = moved[i];
  }
}

unsigned Blocks(int64_t items) { return static_cast<unsigned>((items + kThreads - 1) / kThreads); }

}  // namespace

// Updates all variables; `mixed` is null if inverse depths are fixed.
extern "C" int sb_move(const void* steps, const void* const* plan_columns, const void* with_focal, const void* free,
                       const void* place, const void* mixed, const void* inverse, const void* gradient,
                       const void* motion, void* rotation, void* translation, void* intrinsics, void* inverse_depth,
                       int64_t count, int64_t rows, int64_t slots, int64_t poses, int64_t pixels, int64_t num_free,
                       float lowest, float highest, float max_focal_step, void* stream_) {
  const auto stream = static_cast<cudaStream_t>(stream_);
  const Plan plan = MakePlan(plan_columns, with_focal, count, rows, slots, poses);
  if (count * rows == 0) return 0;
  if (mixed) {
    MovePoints<<<dim3(Blocks(pixels), static_cast<unsigned>(count * rows)), kThreads, kRows * slots * sizeof(float),
                 stream>>>(plan, static_cast<const float*>(mixed), static_cast<const float*>(inverse),
                           static_cast<const float*>(gradient), static_cast<const double*>(motion),
                           static_cast<const double*>(steps), static_cast<float*>(inverse_depth), pixels, lowest,
                           highest);
  }
  Retract<<<Blocks(num_free + count), kThreads, 0, stream>>>(
      static_cast<const double*>(steps), static_cast<const int64_t*>(free), static_cast<const int64_t*>(place),
      plan.clips, static_cast<double*>(rotation), static_cast<double*>(translation), static_cast<double*>(intrinsics),
      num_free, poses, count, max_focal_step);
  return cudaGetLastError();
}
