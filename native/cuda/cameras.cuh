// Camera poses and intrinsics of frames on the device, and relative poses of edges.
#pragma once

#include <cstdint>

namespace spatialbeam {

struct Cameras {
  const double *rotation, *translation, *intrinsics;
  const int64_t* clip;
  const float* inverse_depth;
};

inline Cameras MakeCameras(const void* rotation, const void* translation, const void* intrinsics, const void* clip,
                           const void* inverse_depth) {
  return {static_cast<const double*>(rotation), static_cast<const double*>(translation),
          static_cast<const double*>(intrinsics), static_cast<const int64_t*>(clip),
          static_cast<const float*>(inverse_depth)};
}

// Relative rotation (9), translation (3) and intrinsics (4) of an edge, by the first threads of the block.
__device__ inline void LoadEdge(const Cameras& cameras, int64_t i, int64_t j, float* edge) {
  const int k = threadIdx.x;
  const double *ri = cameras.rotation + 9 * i, *rj = cameras.rotation + 9 * j;
  if (k < 9) {
    const double *a = rj + 3 * (k / 3), *b = ri + 3 * (k % 3);
    edge[k] = static_cast<float>(a[0] * b[0] + a[1] * b[1] + a[2] * b[2]);
  } else if (k < 12) {
    const double *a = rj + 3 * (k - 9), *ti = cameras.translation + 3 * i;
    double moved = cameras.translation[3 * j + k - 9];
    for (int c = 0; c < 3; ++c) {
      const double* b = ri + 3 * c;
      moved -= (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) * ti[c];
    }
    edge[k] = static_cast<float>(moved);
  } else if (k < 16) {
    edge[k] = static_cast<float>(cameras.intrinsics[4 * cameras.clip[i] + k - 12]);
  }
  __syncthreads();
}

// Row-major (6, 6) matrix from the source's perturbation to that of the edge: -Ad(G_j G_i^-1).
__device__ inline void NegativeAdjoint(const Cameras& cameras, int64_t i, int64_t j, double* out) {
  const double *ri = cameras.rotation + 9 * i, *rj = cameras.rotation + 9 * j;
  const double *ti = cameras.translation + 3 * i, *tj = cameras.translation + 3 * j;
  double r[9], t[3];
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) {
      r[3 * a + b] = rj[3 * a] * ri[3 * b] + rj[3 * a + 1] * ri[3 * b + 1] + rj[3 * a + 2] * ri[3 * b + 2];
    }
    t[a] = tj[a] - (r[3 * a] * ti[0] + r[3 * a + 1] * ti[1] + r[3 * a + 2] * ti[2]);
  }
  const double cross[9] = {0, -t[2], t[1], t[2], 0, -t[0], -t[1], t[0], 0};
  for (int a = 0; a < 3; ++a) {
    for (int b = 0; b < 3; ++b) {
      double turned = 0;
      for (int k = 0; k < 3; ++k) turned += cross[3 * a + k] * r[3 * k + b];
      out[6 * a + b] = out[6 * (a + 3) + b + 3] = -r[3 * a + b];
      out[6 * a + b + 3] = -turned;
      out[6 * (a + 3) + b] = 0;
    }
  }
}

}  // namespace spatialbeam
