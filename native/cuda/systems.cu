// Builds the reduced systems of the clips from the edges' normal equations and Schur complements. Sums have one order.
#include <cuda_runtime.h>

#include <cstdint>

#include "cameras.cuh"
#include "plan.cuh"

namespace {

using spatialbeam::Cameras;
using spatialbeam::kPose;
using spatialbeam::kRows;
using spatialbeam::kSums;
using spatialbeam::kUpper;
using spatialbeam::MakeCameras;
using spatialbeam::MakePlan;
using spatialbeam::NegativeAdjoint;
using spatialbeam::Plan;

constexpr int kThreads = 128;

// A row's system in the variables of its edges: entry (a of slot e, column c), the gradient in the last column.
struct RowSystem {
  const float *sums, *taken;
  int64_t row, rows, slots, parts;

  __device__ double At(int64_t e, int a, int64_t c) const {
    const float* own = sums + (row * slots + e) * kSums;
    const int64_t inner = kRows * slots, r = kRows * e + a;
    double value = 0;
    if (c == inner) {
      value = own[kUpper + a];
    } else if (c / kRows == e) {
      const int b = static_cast<int>(c % kRows), low = min(a, b), high = max(a, b);
      value = own[low * kRows - low * (low - 1) / 2 + high - low];
    }
    // Only the lower triangle is read, so that the system is exactly symmetric.
    const int64_t place = c == inner ? r * (inner + 1) + inner : max(r, c) * (inner + 1) + min(r, c);
    for (int64_t part = 0; part < parts; ++part) {
      value -= taken[(part * rows + row) * inner * (inner + 1) + place];
    }
    return value;
  }
};

// Maps edge variables to poses on the left side: `half` has 6 rows of the source, 7 of each slot (the first 6 are the
// target's) and one of the focal length; `motion` are the matrices from the source's perturbation to the edges';
// `damped` their contributions to the source's diagonal. One block per row.
__global__ void __launch_bounds__(kThreads)
    CarryRows(Plan plan, Cameras cameras, const float* __restrict__ sums, const float* __restrict__ taken,
              double* __restrict__ motion, double* __restrict__ half, double* __restrict__ damped, int64_t parts) {
  const int64_t row = blockIdx.x, slots = plan.slots, inner = kRows * slots, columns = inner + 1;
  const int used = plan.Used(row);
  double *turn = motion + row * slots * 36, *out = half + row * (kPose + inner + 1) * columns;
  for (int e = threadIdx.x; e < used; e += kThreads) {
    NegativeAdjoint(cameras, plan.source[row * slots + e], plan.target[row * slots + e], turn + 36 * e);
  }
  const RowSystem system{sums, taken, row, plan.systems * plan.rows, slots, parts};
  const int count = kRows * used + 1;
  for (int item = threadIdx.x; item < kRows * used * count; item += kThreads) {
    const int r = item / count;
    const int64_t c = item % count == kRows * used ? inner : item % count;
    out[(kPose + r) * columns + c] = system.At(r / kRows, r % kRows, c);
  }
  __syncthreads();
  for (int item = threadIdx.x; item < kRows * count; item += kThreads) {
    const int x = item / count;
    const int64_t c = item % count == kRows * used ? inner : item % count;
    double value = 0;
    for (int e = 0; e < used; ++e) {
      const double* lines = out + (kPose + kRows * e) * columns + c;
      if (x == kPose) value += lines[kPose * columns];
      for (int a = 0; x < kPose && a < kPose; ++a) value += turn[36 * e + 6 * a + x] * lines[a * columns];
    }
    out[(x == kPose ? kPose + inner : x) * columns + c] = value;
  }
  for (int item = threadIdx.x; item < kPose * used; item += kThreads) {
    const int e = item / kPose, x = item % kPose;
    const float* own = sums + (row * slots + e) * kSums;
    double value = 0;
    for (int a = 0, place = 0; a < kPose; ++a, ++place) {
      for (int b = a; b < kPose; ++b) {
        const double both = turn[36 * e + 6 * a + x] * turn[36 * e + 6 * b + x] * own[place++];
        value += a == b ? both : 2 * both;
      }
    }
    damped[(row * slots + e) * kPose + x] = value;
  }
}

constexpr int kSource = -1, kNone = -2, kFocal = -3, kGatherThreads = 64;

// Index of a pose, or the focal length, in a row's variables.
__device__ int Find(const Plan& plan, int64_t system, int64_t row, int64_t variable) {
  const int64_t first = row * plan.slots;
  if (plan.edge[first] < 0) return kNone;
  if (variable == plan.poses) return plan.HasFocal(system) ? kFocal : kNone;
  if (plan.source_column[first] == variable) return kSource;
  for (int64_t e = 0; e < plan.slots && plan.edge[first + e] >= 0; ++e) {
    if (plan.target_column[first + e] == variable) return static_cast<int>(e);
  }
  return kNone;
}

// Blocks of the clips' systems, each summed over the rows that contain both poses; the right-hand side is the last row.
__global__ void __launch_bounds__(kGatherThreads)
    GatherSystems(Plan plan, const float* __restrict__ sums, const double* __restrict__ motion,
                  const double* __restrict__ half, const double* __restrict__ damped, double* __restrict__ systems,
                  double damping, double floor) {
  extern __shared__ int places[];
  int64_t down = 0, across = blockIdx.x;
  while (across > down) across -= ++down;
  const int64_t system = blockIdx.y, slots = plan.slots, inner = kRows * slots, columns = inner + 1;
  for (int64_t k = threadIdx.x; k < 2 * plan.rows; k += kGatherThreads) {
    places[k] = Find(plan, system, system * plan.rows + k / 2, k % 2 ? across : down);
  }
  __syncthreads();
  const int height = down == plan.poses ? 1 : kPose, width = across == plan.poses ? 1 : kPose;
  const int x = threadIdx.x / kRows, y = threadIdx.x % kRows;
  const bool right_side = down == across && y == width;
  if (x >= height || (y >= width && !right_side)) return;
  double value = 0, diagonal = 0;
  for (int64_t k = 0; k < plan.rows; ++k) {
    const int p = places[2 * k], q = places[2 * k + 1];
    if (p == kNone || q == kNone) continue;
    const int64_t row = system * plan.rows + k;
    const int64_t line = p == kSource ? x : p == kFocal ? kPose + inner : kPose + kRows * p + x;
    const double* own = half + (row * (kPose + inner + 1) + line) * columns;
    if (right_side) {
      value += own[inner];
      continue;
    }
    if (q >= 0) {
      value += own[kRows * q + y];
      if (x == y && down == across) diagonal += sums[(row * slots + q) * kSums + x * kRows - x * (x - 1) / 2];
      continue;
    }
    for (int64_t e = 0; e < slots && plan.edge[row * slots + e] >= 0; ++e) {
      const double* turn = motion + (row * slots + e) * 36;
      if (q == kFocal) {
        value += own[kRows * e + kPose];
        diagonal += sums[(row * slots + e) * kSums + kUpper - 1];
      } else {
        for (int b = 0; b < kPose; ++b) value += own[kRows * e + b] * turn[6 * b + y];
        diagonal += damped[(row * slots + e) * kPose + x];
      }
    }
  }
  const int64_t size = plan.Variables();
  if (down == across && x == y) value += damping * diagonal + floor;
  const int64_t line = right_side ? size : kPose * down + x, column = kPose * across + (right_side ? x : y);
  systems[(system * (size + 1) + line) * size + column] = value;
}

}  // namespace

// `taken` is null if inverse depths are fixed.
extern "C" int sb_build_systems(const void* rotation, const void* translation, const void* intrinsics, const void* clip,
                                const void* inverse_depth, const void* const* plan_columns, const void* with_focal,
                                const void* sums, const void* taken, void* motion, void* half, void* damped,
                                void* systems, int64_t count, int64_t rows, int64_t slots, int64_t poses, int64_t parts,
                                float damping, float floor, void* stream_) {
  if (count * rows == 0) return 0;
  const auto stream = static_cast<cudaStream_t>(stream_);
  const Plan plan = MakePlan(plan_columns, with_focal, count, rows, slots, poses);
  CarryRows<<<static_cast<unsigned>(count * rows), kThreads, 0, stream>>>(
      plan, MakeCameras(rotation, translation, intrinsics, clip, inverse_depth), static_cast<const float*>(sums),
      static_cast<const float*>(taken), static_cast<double*>(motion), static_cast<double*>(half),
      static_cast<double*>(damped), parts);
  const dim3 grid(static_cast<unsigned>((poses + 1) * (poses + 2) / 2), static_cast<unsigned>(count));
  GatherSystems<<<grid, kGatherThreads, 2 * rows * sizeof(int), stream>>>(
      plan, static_cast<const float*>(sums), static_cast<const double*>(motion), static_cast<const double*>(half),
      static_cast<const double*>(damped), static_cast<double*>(systems), damping, floor);
  return cudaGetLastError();
}
