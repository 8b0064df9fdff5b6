// The small work of dense bundle adjustment around its matrix products. Slots are edges laid out by clip, source frame
// and place; empty ones have edge -1.
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kRows = 7, kThreads = 128;

// R = Rj Ri^T, t = tj - R ti.
__device__ void Relative(const double* ri, const double* ti, const double* rj, const double* tj, double* r, double* t) {
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) {
      r[3 * a + b] = rj[3 * a] * ri[3 * b] + rj[3 * a + 1] * ri[3 * b + 1] + rj[3 * a + 2] * ri[3 * b + 2];
    }
    t[a] = tj[a] - (r[3 * a] * ti[0] + r[3 * a + 1] * ti[1] + r[3 * a + 2] * ti[2]);
  }
}

// Each edge's own motion and camera, and the rows that give its variables from those of the clip: -Ad for the source's
// pose, 1 for the target's, 1 for the focal length. `carry` comes zeroed.
__global__ void CarryEdges(const double* __restrict__ rotation, const double* __restrict__ translation,
                           const double* __restrict__ intrinsics, const int64_t* __restrict__ clip,
                           const int64_t* __restrict__ edge, const int64_t* __restrict__ source,
                           const int64_t* __restrict__ target, const int64_t* __restrict__ source_column,
                           const int64_t* __restrict__ target_column, const uint8_t* __restrict__ with_focal,
                           float* __restrict__ pose, double* __restrict__ carry, int64_t slots, int64_t poses) {
  const int64_t slot = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (slot >= slots || edge[slot] < 0) return;
  const int64_t i = source[slot], j = target[slot], variables = 6 * poses + 1;
  double r[9], t[3];
  Relative(rotation + 9 * i, translation + 3 * i, rotation + 9 * j, translation + 3 * j, r, t);
  float* own = pose + 16 * slot;
  for (int k = 0; k < 9; ++k) own[k] = static_cast<float>(r[k]);
  for (int k = 0; k < 3; ++k) own[9 + k] = static_cast<float>(t[k]);
  for (int k = 0; k < 4; ++k) own[12 + k] = static_cast<float>(intrinsics[4 * clip[i] + k]);
  double* rows = carry + slot * kRows * variables;
  if (source_column[slot] < poses) {
    double* block = rows + 6 * source_column[slot];
    const double cross[9] = {0, -t[2], t[1], t[2], 0, -t[0], -t[1], t[0], 0};
    for (int a = 0; a < 3; ++a) {
      for (int b = 0; b < 3; ++b) {
        block[a * variables + b] = block[(a + 3) * variables + b + 3] = -r[3 * a + b];
        double turned = 0;
        for (int k = 0; k < 3; ++k) turned += cross[3 * a + k] * r[3 * k + b];
        block[a * variables + b + 3] = -turned;
      }
    }
  }
  if (target_column[slot] < poses) {
    double* block = rows + 6 * target_column[slot];
    for (int a = 0; a < 6; ++a) block[a * variables + a] = 1;
  }
  if (with_focal && with_focal[clip[i]]) rows[6 * variables + variables - 1] = 1;
}

// Sums over the edges of a frame, with its prior and damping: 1 / curvature (0 for none) and gradient of each pixel.
__global__ void SumPoints(const float* __restrict__ points, const int64_t* __restrict__ frame,
                          const int64_t* __restrict__ clip, const float* __restrict__ inverse_depth,
                          const float* __restrict__ prior, const float* __restrict__ eta,
                          const float* __restrict__ alpha, float* __restrict__ inverse, float* __restrict__ gradient,
                          int64_t slots, int64_t pixels) {
  const int64_t row = blockIdx.y, k = int64_t{blockIdx.x} * kThreads + threadIdx.x, f = frame[row];
  if (k >= pixels) return;
  float curved = 0, slope = 0;
  if (f >= 0) {
    const float* own = points + row * slots * 2 * pixels + k;
    for (int64_t s = 0; s < slots; ++s) {
      curved += own[2 * s * pixels];
      slope += own[(2 * s + 1) * pixels];
    }
    const float expected = prior[f * pixels + k], strength = expected > 0 ? alpha[clip[f]] : 0.0f;
    curved += strength > 0 ? strength : eta[f * pixels + k];
    slope -= strength * (inverse_depth[f * pixels + k] - expected);
  }
  inverse[row * pixels + k] = curved > 0 ? 1 / curved : 0.0f;
  gradient[row * pixels + k] = slope;
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

// pose <- exp(xi) pose, the rotation taken one Newton step towards the nearest one.
__global__ void Retract(const double* __restrict__ step, const int64_t* __restrict__ free,
                        const int64_t* __restrict__ place, double* __restrict__ rotation,
                        double* __restrict__ translation, int64_t count, int64_t poses) {
  const int64_t k = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (k >= count) return;
  const int64_t variables = 6 * poses + 1;
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

const double* Doubles(const void* pointer) { return static_cast<const double*>(pointer); }
const float* Floats(const void* pointer) { return static_cast<const float*>(pointer); }
const int64_t* Indices(const void* pointer) { return static_cast<const int64_t*>(pointer); }

}  // namespace

extern "C" int sb_carry_edges(const void* rotation, const void* translation, const void* intrinsics, const void* clip,
                              const void* edge, const void* source, const void* target, const void* source_column,
                              const void* target_column, const void* with_focal, void* pose, void* carry,
                              int64_t slots, int64_t poses, void* stream) {
  if (slots == 0) return 0;
  CarryEdges<<<Blocks(slots), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      Doubles(rotation), Doubles(translation), Doubles(intrinsics), Indices(clip), Indices(edge), Indices(source),
      Indices(target), Indices(source_column), Indices(target_column), static_cast<const uint8_t*>(with_focal),
      static_cast<float*>(pose), static_cast<double*>(carry), slots, poses);
  return cudaGetLastError();
}

extern "C" int sb_sum_points(const void* points, const void* frame, const void* clip, const void* inverse_depth,
                             const void* prior, const void* eta, const void* alpha, void* inverse, void* gradient,
                             int64_t rows, int64_t slots, int64_t pixels, void* stream) {
  if (rows == 0) return 0;
  SumPoints<<<dim3(Blocks(pixels), static_cast<unsigned>(rows)), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      Floats(points), Indices(frame), Indices(clip), Floats(inverse_depth), Floats(prior), Floats(eta), Floats(alpha),
      static_cast<float*>(inverse), static_cast<float*>(gradient), slots, pixels);
  return cudaGetLastError();
}

extern "C" int sb_retract(const void* step, const void* free, const void* place, void* rotation, void* translation,
                          int64_t count, int64_t poses, void* stream) {
  if (count == 0) return 0;
  Retract<<<Blocks(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      Doubles(step), Indices(free), Indices(place), static_cast<double*>(rotation), static_cast<double*>(translation),
      count, poses);
  return cudaGetLastError();
}
