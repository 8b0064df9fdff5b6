// A frame's part of the reduced system: its source pose, the targets of its edges, and the focal length.
#pragma once

#include <algorithm>

#include "bundle_frames.hpp"

namespace spatialbeam::bundle {

// The source's rows: minus T^T M for the targets, from which T^T M T for itself follows. `M` is whole, not half.
template <typename T>
void add_source_blocks(const Kernels<T>& kernels, int group_count, int size, bool targets_joined, Workspace<T>& w) {
  double* local = w.local.data();
  std::fill(w.cross.begin(), w.cross.end(), 0.0);
  const int columns = 6 * group_count, stride = int(w.cross.size() / 6);
  for (int a = 0; a < group_count; ++a) std::copy_n(w.edges[a].adjoint, 36, w.adjoints.data() + 36 * a);
  const double* targets = local + 6 * size + 6;
  if (targets_joined) {
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

// Writes J^T W J, whole, and J^T W r of a target's pose, from sums in the order of `add_pose_sums`.
inline void motion_terms(const PoseSums& sums, double* h, double* v) {
  constexpr int kCount = kMotionSums - 6;
  constexpr int kEntries[kCount] = {0, 7, 2, 8, 14, 3, 4, 5, 9, 10, 11, 15, 16, 21, 22, 23, 28, 29, 35};
  constexpr int kSigns[kCount] = {1, 1, -1, -1, 1, -1, 1, -1, -1, 1, 1, 1, -1, 1, -1, 1, 1, -1, 1};
  constexpr int kSlopeSigns[6] = {1, 1, -1, -1, 1, 1};
  std::fill_n(h, 36, 0.0);
  for (int i = 0; i < kCount; ++i) h[kEntries[i]] = kSigns[i] * sums.motion[i];
  h[17] = -h[3] - h[10];
  for (int r = 0; r < 6; ++r) {
    for (int c = 0; c < r; ++c) h[r * 6 + c] = h[c * 6 + r];
    v[r] = kSlopeSigns[r] * sums.motion[kCount + r];
  }
}

// Turns sums over edges into the frame's part of the reduced system. With M the sums for the targets' poses and T the
// matrix of all Ad, that is [[T^T M T, -T^T M], [-M T, M]] for the source and the targets.
template <typename T>
void build_local_system(const Kernels<T>& kernels, int group_count, bool points, Workspace<T>& w) {
  const int gram_size = 6 * group_count + 2, size = 6 * (group_count + 1) + 1;
  const int focal_row = 6 * group_count, slope_row = focal_row + 1, focal = size - 1;
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
    // Nothing joins one target to another, and those blocks are not read.
    for (int r = 0; r < 6 * group_count; ++r) std::fill_n(local + (6 + r) * size + 6 + r / 6 * 6, 6, 0.0);
  }
  std::fill_n(local + focal * size, size, 0.0);
  for (int a = 0; a < group_count; ++a) {
    const double* adjoint = w.edges[a].adjoint;
    const double* focal_sums = w.sums[a].focal;
    double own[36], slope[6];
    motion_terms(w.sums[a], own, slope);
    for (int r = 0; r < 6; ++r) {
      for (int c = 0; c < 6; ++c) local[(6 + 6 * a + r) * size + 6 + 6 * a + c] += own[r * 6 + c];
      const double right = slope[r] - gram(slope_row, 6 * a + r);
      const double cross = focal_sums[r] - gram(focal_row, 6 * a + r);
      w.right[6 + 6 * a + r] = right;
      w.gradient[6 + 6 * a + r] = slope[r];
      w.diagonal[6 + 6 * a + r] = own[r * 7];
      local[focal * size + 6 + 6 * a + r] = cross;
      for (int i = 0; i < 6; ++i) {
        w.right[i] -= adjoint[r * 6 + i] * right;
        w.gradient[i] -= adjoint[r * 6 + i] * slope[r];
        local[focal * size + i] -= adjoint[r * 6 + i] * cross;
      }
    }
    for (int i = 0; i < 6; ++i) {
      for (int k = 0; k < 6; ++k) {
        double turned = 0;
        for (int r = 0; r < 6; ++r) turned += adjoint[r * 6 + i] * own[r * 6 + k];
        w.diagonal[i] += turned * adjoint[k * 6 + i];
      }
    }
    local[focal * size + focal] += focal_sums[6];
    w.diagonal[focal] += focal_sums[6];
    w.right[focal] += focal_sums[7];
    w.gradient[focal] += focal_sums[7];
  }
  local[focal * size + focal] -= gram(focal_row, focal_row);
  w.right[focal] -= gram(slope_row, focal_row);
  add_source_blocks(kernels, group_count, size, points, w);
}

}  // namespace spatialbeam::bundle
