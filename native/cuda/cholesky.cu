// Solves dense symmetric systems in double precision, one block per system: left-looking Cholesky factorization by
// panels of columns in shared memory. The right-hand side is the row below the matrix: factorizing it is forward
// substitution; back substitution follows.
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kPanel = 16, kStride = kPanel + 1, kThreads = 512, kColumns = 4;
constexpr unsigned kAll = 0xffffffffu;

struct Shared {
  double* panel;    // (rows of the panel, kStride)
  double* before;   // (columns before the panel, kPanel): the first rows of the panel in them
  double* inverse;  // (kPanel): 1 / diagonal
  double* found;    // (size): the solution
};

// Subtracts the products of the columns before the panel (left-looking).
__device__ void UpdatePanel(const double* system, int size, int first, int width, const Shared& shared) {
  for (int item = threadIdx.x; item < first * kPanel; item += kThreads) {
    const int k = item / kPanel, c = item % kPanel;
    shared.before[item] = c < width ? system[int64_t{first + c} * size + k] : 0;
  }
  __syncthreads();
  const int rows = size + 1 - first;
  for (int item = threadIdx.x; item < rows * (kPanel / kColumns); item += kThreads) {
    const int r = item / (kPanel / kColumns), c = item % (kPanel / kColumns) * kColumns;
    const double* row = system + int64_t{first + r} * size;
    double value[kColumns];
    for (int a = 0; a < kColumns; ++a) value[a] = c + a < width ? row[first + c + a] : 0;
#pragma unroll 8
    for (int k = 0; k < first; ++k) {
      const double left = row[k], *up = shared.before + k * kPanel + c;
#pragma unroll
      for (int a = 0; a < kColumns; ++a) value[a] -= left * up[a];
    }
    for (int a = 0; a < kColumns; ++a) shared.panel[r * kStride + c + a] = value[a];
  }
  __syncthreads();
}

// Factorizes the square block of the panel, one row per lane of the first warp; false if not positive definite.
__device__ bool FactorizeSquare(int width, const Shared& shared) {
  const int lane = threadIdx.x;
  double row[kPanel];
  for (int c = 0; c < kPanel; ++c) {
    row[c] = lane < width && c < width ? shared.panel[lane * kStride + c] : c == lane ? 1 : 0;
  }
  bool good = true;
#pragma unroll
  for (int c = 0; c < kPanel; ++c) {
    const double pivot = __shfl_sync(kAll, row[c], c);
    good = good && pivot > 0;
    const double inverse = rsqrt(pivot);
    row[c] *= inverse;
    if (lane == 0) shared.inverse[c] = inverse;
#pragma unroll
    for (int k = c + 1; k < kPanel; ++k) row[k] -= row[c] * __shfl_sync(kAll, row[c], k);
  }
  if (lane < width) {
    for (int c = 0; c < width; ++c) shared.panel[lane * kStride + c] = row[c];
  }
  return good;
}

// Computes the rows below the square block, and stores the panel.
__device__ void FinishPanel(double* system, int size, int first, int width, const Shared& shared) {
  const int rows = size + 1 - first;
  for (int r = width + threadIdx.x; r < rows; r += kThreads) {
    double x[kPanel];
    for (int c = 0; c < kPanel; ++c) x[c] = shared.panel[r * kStride + c];
#pragma unroll
    for (int c = 0; c < kPanel; ++c) {
      if (c >= width) break;
      x[c] *= shared.inverse[c];
#pragma unroll
      for (int k = c + 1; k < kPanel; ++k) {
        if (k < width) x[k] -= x[c] * shared.panel[k * kStride + c];
      }
    }
    for (int c = 0; c < kPanel; ++c) shared.panel[r * kStride + c] = x[c];
  }
  __syncthreads();
  for (int item = threadIdx.x; item < rows * kPanel; item += kThreads) {
    const int r = item / kPanel, c = item % kPanel;
    if (c < width) system[int64_t{first + r} * size + first + c] = shared.panel[r * kStride + c];
  }
  __syncthreads();
}

// Back substitution, from the last panel to the first.
__device__ void SolveBackwards(const double* system, int size, const Shared& shared) {
  constexpr int kLines = kThreads / kPanel;
  const int c = threadIdx.x % kPanel, line = threadIdx.x / kPanel;
  for (int first = (size - 1) / kPanel * kPanel; first >= 0; first -= kPanel) {
    const int width = min(kPanel, size - first);
    double sum = 0;
    if (c < width) {
      for (int r = first + width + line; r < size; r += kLines) {
        sum += system[int64_t{r} * size + first + c] * shared.found[r];
      }
    }
    shared.panel[line * kStride + c] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
      const int lane = threadIdx.x;
      const bool own = lane < width;
      double rest = own ? system[int64_t{size} * size + first + lane] : 0, column[kPanel], inverse = 1;
      if (own) {
        for (int k = 0; k < kLines; ++k) rest -= shared.panel[k * kStride + lane];
        inverse = 1 / system[int64_t{first + lane} * size + first + lane];
      }
      for (int k = 0; k < kPanel; ++k) {
        column[k] = own && k < width && k > lane ? system[int64_t{first + k} * size + first + lane] : 0;
      }
#pragma unroll
      for (int k = kPanel - 1; k >= 0; --k) rest -= column[k] * __shfl_sync(kAll, rest * inverse, k);
      if (own) shared.found[first + lane] = rest * inverse;
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads) Solve(double* __restrict__ systems, double* __restrict__ steps, int size) {
  extern __shared__ double memory[];
  __shared__ bool failed;
  double* system = systems + int64_t{blockIdx.x} * (size + 1) * size;
  Shared shared;
  shared.inverse = memory;
  shared.found = shared.inverse + kPanel;
  shared.panel = shared.found + size;
  shared.before = shared.panel + (max(size + 1, kThreads / kPanel)) * kStride;
  if (threadIdx.x == 0) failed = false;
  for (int first = 0; first < size; first += kPanel) {
    const int width = min(kPanel, size - first);
    UpdatePanel(system, size, first, width, shared);
    if (threadIdx.x < 32 && !FactorizeSquare(width, shared) && threadIdx.x == 0) failed = true;
    __syncthreads();
    if (failed) break;
    FinishPanel(system, size, first, width, shared);
  }
  __syncthreads();
  if (!failed) SolveBackwards(system, size, shared);
  for (int k = threadIdx.x; k < size; k += kThreads) {
    steps[int64_t{blockIdx.x} * size + k] = failed ? 0 : shared.found[k];
  }
}

int SharedBytes(int size) {
  const int lines = size + 1 > kThreads / kPanel ? size + 1 : kThreads / kPanel;
  return static_cast<int>(sizeof(double)) * (kPanel + size + lines * kStride + size * kPanel);
}

}  // namespace

extern "C" int sb_solve_systems(void* systems, void* steps, int64_t count, int64_t size, void* stream) {
  if (count == 0 || size == 0) return 0;
  const int bytes = SharedBytes(static_cast<int>(size));
  const cudaError_t status = cudaFuncSetAttribute(Solve, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess) return status;
  Solve<<<static_cast<unsigned>(count), kThreads, bytes, static_cast<cudaStream_t>(stream)>>>(
      static_cast<double*>(systems), static_cast<double*>(steps), static_cast<int>(size));
  return cudaGetLastError();
}
