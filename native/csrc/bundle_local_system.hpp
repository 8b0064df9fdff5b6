// A frame's part of the reduced system: its source pose, the targets of its edges, and the focal length.
#pragma once

#include <algorithm>

#include "bundle_frames.hpp"

namespace spatialbeam::bundle {

// C = A^T B of 6 x 6 blocks, of which A and B have their own row lengths, times `sign`; added.
inline void add_transposed_product(const double* a, const double* b, int stride_b, bool transpose_b, double sign,
                                   double* c) {
  for (int i = 0; i < 6; ++i) {
    for (int k = 0; k < 6; ++k) {
      const double factor = sign * a[k * 6 + i];
      for (int j = 0; j < 6; ++j) c[i * 6 + j] += factor * (transpose_b ? b[j * stride_b + k] : b[k * stride_b + j]);
    }
  }
}

// Only the elimination of points joins targets with each other.
template <typename T>
void add_source_blocks(int group_count, int size, bool targets_joined, Workspace<T>& w) {
  double* local = w.local.data();
  for (int b = 0; b < group_count; ++b) {
    double cross[36] = {};  // source and target b
    for (int a = targets_joined ? 0 : b; a < (targets_joined ? group_count : b + 1); ++a) {
      const int row = 6 + 6 * std::max(a, b), column = 6 + 6 * std::min(a, b);
      const bool transposed = a < b;
      // The blocks on the diagonal are whole: nothing below reads half of them.
      add_transposed_product(w.edges[a].adjoint, local + row * size + column, size, transposed, -1, cross);
    }
    for (int r = 0; r < 6; ++r) {
      for (int c = 0; c < 6; ++c) {
        local[(6 + 6 * b + c) * size + r] = cross[r * 6 + c];
        for (int k = 0; k < 6; ++k) local[r * size + c] -= cross[r * 6 + k] * w.edges[b].adjoint[k * 6 + c];
      }
    }
  }
}

// Turns sums over edges into the frame's part of the reduced system. With M the sums for the targets' poses and T the
// matrix of all Ad, that is [[T^T M T, -T^T M], [-M T, M]] for the source and the targets.
template <typename T>
void build_local_system(int group_count, bool points, Workspace<T>& w) {
  const int gram_size = 6 * group_count + 2, size = 6 * (group_count + 1) + 1;
  const int focal_row = 6 * group_count, slope_row = focal_row + 1, focal = size - 1;
  const auto gram = [&](int r, int c) { return r >= c ? w.gram[r * gram_size + c] : w.gram[c * gram_size + r]; };
  double* local = w.local.data();
  std::fill(w.local.begin(), w.local.begin() + std::size_t(size) * size, 0.0);
  for (auto* values : {&w.right, &w.gradient, &w.diagonal}) std::fill(values->begin(), values->begin() + size, 0.0);
  for (int a = 0; a < group_count; ++a) {
    const PoseSums& sums = w.sums[a];
    const double* adjoint = w.edges[a].adjoint;
    double own[36];
    for (int r = 0; r < 6; ++r) {
      for (int c = 0; c < 6; ++c) own[r * 6 + c] = r <= c ? sums.h[r * 6 + c] : sums.h[c * 6 + r];
      for (int c = 0; points && c < 6 * a + 6; ++c) local[(6 + 6 * a + r) * size + 6 + c] = -gram(6 * a + r, c);
      for (int c = 0; c < 6; ++c) local[(6 + 6 * a + r) * size + 6 + 6 * a + c] += own[r * 6 + c];
      const double right = sums.v[r] - gram(slope_row, 6 * a + r);
      const double cross = sums.hf[r] - gram(focal_row, 6 * a + r);
      w.right[6 + 6 * a + r] = right;
      w.gradient[6 + 6 * a + r] = sums.v[r];
      w.diagonal[6 + 6 * a + r] = own[r * 7];
      local[focal * size + 6 + 6 * a + r] = cross;
      for (int i = 0; i < 6; ++i) {
        w.right[i] -= adjoint[r * 6 + i] * right;
        w.gradient[i] -= adjoint[r * 6 + i] * sums.v[r];
        local[focal * size + i] -= adjoint[r * 6 + i] * cross;
      }
    }
    double turned[36] = {};
    add_transposed_product(adjoint, own, 6, false, 1, turned);
    for (int i = 0; i < 6; ++i) {
      for (int k = 0; k < 6; ++k) w.diagonal[i] += turned[i * 6 + k] * adjoint[k * 6 + i];
    }
    local[focal * size + focal] += sums.hff;
    w.diagonal[focal] += sums.hff;
    w.right[focal] += sums.vf;
    w.gradient[focal] += sums.vf;
  }
  local[focal * size + focal] -= gram(focal_row, focal_row);
  w.right[focal] -= gram(slope_row, focal_row);
  add_source_blocks(group_count, size, points, w);
}

}  // namespace spatialbeam::bundle
