// A frame's contribution to the reduced system: source pose, target poses of its edges, and focal length.
#pragma once

#include <algorithm>

#include "bundle_frames.hpp"

namespace spatialbeam::bundle {

// Blocks of the source: -T^T M with the targets, and from these T^T M T. Both triangles of M are read.
template <typename T>
void add_source_blocks(const Kernels<T>& kernels, int group_count, int size, bool has_cross_blocks, Workspace<T>& w) {
  double* local = w.local.data();
  std::fill(w.cross.begin(), w.cross.end(), 0.0);
  const int columns = 6 * group_count, stride = int(w.cross.size() / 6);
  for (int a = 0; a < group_count; ++a) std::copy_n(w.edges[a].adjoint, 36, w.adjoints.data() + 36 * a);
  const double* targets = local + 6 * size + 6;
  if (has_cross_blocks) {
    kernels.add_transposed_product(w.adjoints.data(), targets, columns, size, columns, stride, w.cross.data());
  } else {
    for (int k = 0; k < columns; ++k) {
      const int block = k / 6 * 6;
      for (int i = 0; i < 6; ++i) {
        const double factor = w.adjoints[6 * k + i];
        for (int c = block; c < block + 6; ++c) w.cross[i * stride + c] += factor * targets[k * size + c];
      }
    }
  }
  double source[36] = {};
  for (int c = 0; c < columns; ++c) {
    for (int r = 0; r < 6; ++r) {
      const double cross = w.cross[r * stride + c];
      local[(6 + c) * size + r] = -cross;
      for (int i = 0; i < 6; ++i) source[6 * r + i] += cross * w.adjoints[6 * c + i];
    }
  }
  for (int r = 0; r < 6; ++r) std::copy_n(source + 6 * r, 6, local + r * size);
}

// J^T W J (both triangles) and J^T W r of a target's pose, from the sums of `add_pose_sums`.
inline void motion_terms(const PoseSums& sums, double* h, double* v) {
  constexpr int kCount = kMotionSums - 6;
  constexpr int kEntries[kCount] = {0, 7, 2, 8, 14, 3, 4, 5, 9, 10, 11, 15, 16, 21, 22, 23, 28, 29, 35};
  constexpr int kSigns[kCount] = {1, 1, -1, -1, 1, -1, 1, -1, -1, 1, 1, 1, -1, 1, -1, 1, 1, -1, 1};
  constexpr int kGradientSigns[6] = {1, 1, -1, -1, 1, 1};
  std::fill_n(h, 36, 0.0);
  for (int i = 0; i < kCount; ++i) h[kEntries[i]] = kSigns[i] * sums.motion[i];
  h[17] = -h[3] - h[10];
  for (int r = 0; r < 6; ++r) {
    for (int c = 0; c < r; ++c) h[r * 6 + c] = h[c * 6 + r];
    v[r] = kGradientSigns[r] * sums.motion[kCount + r];
  }
}

// The frame's contribution to the reduced system: [[T^T M T, -T^T M], [-M T, M]] for source and targets, with M the
// Schur complement for the targets' poses and T the stacked adjoints.
template <typename T>
void build_local_system(const Kernels<T>& kernels, int group_count, bool points, Workspace<T>& w) {
  const int gram_size = 6 * group_count + 2, size = 6 * (group_count + 1) + 1;
  const int focal_row = 6 * group_count, gradient_row = focal_row + 1, focal = size - 1;
  const auto gram = [&](int r, int c) { return w.gram[r * gram_size + c]; };  // its lower triangle
  double* local = w.local.data();
  for (auto* values : {&w.right, &w.gradient, &w.diagonal}) std::fill(values->begin(), values->begin() + size, 0.0);
  if (points) {
    for (int r = 0; r < 6 * group_count; ++r) {
      for (int c = 0; c <= r; ++c) {
        local[(6 + r) * size + 6 + c] = local[(6 + c) * size + 6 + r] = -w.gram[r * gram_size + c];
      }
    }
  } else {
    // Blocks of two targets are zero and not read.
    for (int r = 0; r < 6 * group_count; ++r) std::fill_n(local + (6 + r) * size + 6 + r / 6 * 6, 6, 0.0);
  }
  std::fill_n(local + focal * size, size, 0.0);
  for (int a = 0; a < group_count; ++a) {
    const double* adjoint = w.edges[a].adjoint;
    const double* focal_sums = w.sums[a].focal;
    double own[36], gradient[6];
    motion_terms(w.sums[a], own, gradient);
    for (int r = 0; r < 6; ++r) {
      for (int c = 0; c < 6; ++c) local[(6 + 6 * a + r) * size + 6 + 6 * a + c] += own[r * 6 + c];
      const double right = gradient[r] - gram(gradient_row, 6 * a + r);
      const double cross = focal_sums[r] - gram(focal_row, 6 * a + r);
      w.right[6 + 6 * a + r] = right;
      w.gradient[6 + 6 * a + r] = gradient[r];
      w.diagonal[6 + 6 * a + r] = own[r * 7];
      local[focal * size + 6 + 6 * a + r] = cross;
      for (int i = 0; i < 6; ++i) {
        w.right[i] -= adjoint[r * 6 + i] * right;
        w.gradient[i] -= adjoint[r * 6 + i] * gradient[r];
        local[focal * size + i] -= adjoint[r * 6 + i] * cross;
      }
    }
    for (int i = 0; i < 6; ++i) {
      for (int k = 0; k < 6; ++k) {
        double rotated = 0;
        for (int r = 0; r < 6; ++r) rotated += adjoint[r * 6 + i] * own[r * 6 + k];
        w.diagonal[i] += rotated * adjoint[k * 6 + i];
      }
    }
    local[focal * size + focal] += focal_sums[6];
    w.diagonal[focal] += focal_sums[6];
    w.right[focal] += focal_sums[7];
    w.gradient[focal] += focal_sums[7];
  }
  local[focal * size + focal] -= gram(focal_row, focal_row);
  w.right[focal] -= gram(gradient_row, focal_row);
  add_source_blocks(kernels, group_count, size, points, w);
}

}  // namespace spatialbeam::bundle
