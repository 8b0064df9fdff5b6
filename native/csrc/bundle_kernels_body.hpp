// Kernels of bundle adjustment, one source for all vector widths.
//
// Included by one source file per instruction set, in an anonymous namespace, after it has defined TARGET (the function
// attribute of the instruction set, so that no build flag is needed), VECTOR_BYTES, the register block GRAM_ROWS x
// GRAM_COLUMNS of the Gram kernel, and for vectors of float and double square_root, fused (a * b + c, rounded once),
// sum_lanes (by halves), keep_in_register and widen (floats to either). Indices are pointer-sized: with Python's
// -fwrapv an int may wrap, which costs instructions in each loop.
//
// All instruction sets with FMA and all compilers give the same bits: sums have one order (see kSumLanes), and only
// `fused` contracts a product with a sum (setup.py passes -ffp-contract=off).

#define INLINE TARGET __attribute__((always_inline)) inline

#include "bundle_vectors_body.hpp"
#include "bundle_projection_body.hpp"
#include "bundle_sums_body.hpp"

template <typename T>
TARGET void store_costs(const Projected<T>& p, int count, T* costs) {
  for (int k = 0; k < count; k += kLanes<T>) {
    const Vec<T> zero = Vec<T>{};
    store(costs + k, load(p.wu + k) + load(p.wv + k) > zero ? load(p.cost + k) : zero - T(1));
  }
}

template <typename T>
TARGET void compare_costs(const Projected<T>& p, int count, const T* stored, double& before, double& now) {
  const Vec<T> zero = Vec<T>{};
  Vec<T> all_before[kParts], all_now[kParts];
  for (int part = 0; part < kParts; ++part) {
    Vec<T> sum_before = {}, sum_now = {};
    for (int k = part * kLanes<T>; k < count; k += kSumLanes<T>) {
      const Vec<T> old = load(stored + k);
      const Vec<T> cost = load(p.wu + k) + load(p.wv + k) > zero ? load(p.cost + k) : old;
      sum_before += old >= zero ? old : zero;
      sum_now += old >= zero ? cost : zero;
    }
    all_before[part] = sum_before, all_now[part] = sum_now;
  }
  before += sum_parts<T>(all_before);
  now += sum_parts<T>(all_now);
}

template <typename T>
TARGET void scale_row(const T* factors, int count, T* row) {
  for (int k = 0; k < count; k += kLanes<T>) store(row + k, load(row + k) * load(factors + k));
}

template <typename T, int kRows, int kColumns>
INLINE void add_gram_block(const T* const* rows, const int* index, int r0, int c0, int count, int size, double* out) {
  Vec<T> sums[kRows][kColumns][kParts];
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
    for (auto& row : sums) {
      for (auto& sum : row) sum[part] = Vec<T>{};
    }
    for (std::ptrdiff_t k = part * kLanes<T>; k < count; k += kSumLanes<T>) {
      Vec<T> columns[kColumns];
      for (int c = 0; c < kColumns; ++c) columns[c] = load(rows[c0 + c] + k);
      for (int r = 0; r < kRows; ++r) {
        const Vec<T> row = load(rows[r0 + r] + k);
        for (int c = 0; c < kColumns; ++c) sums[r][c][part] = fused(row, columns[c], sums[r][c][part]);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns && c0 + c <= r0 + r; ++c) {
      out[index[r0 + r] * size + index[c0 + c]] += sum_parts<T>(sums[r][c]);
    }
  }
}

template <typename T>
TARGET void add_gram(const T* const* rows, const int* index, int row_count, int count, int size, double* out) {
  int r = 0;
  for (; r + GRAM_ROWS <= row_count; r += GRAM_ROWS) {
    int c = 0;
    for (; c + GRAM_COLUMNS <= r + GRAM_ROWS; c += GRAM_COLUMNS) {
      add_gram_block<T, GRAM_ROWS, GRAM_COLUMNS>(rows, index, r, c, count, size, out);
    }
    for (; c < r + GRAM_ROWS; ++c) add_gram_block<T, GRAM_ROWS, 1>(rows, index, r, c, count, size, out);
  }
  for (; r < row_count; ++r) {
    int c = 0;
    for (; c + GRAM_COLUMNS <= r + 1; c += GRAM_COLUMNS) {
      add_gram_block<T, 1, GRAM_COLUMNS>(rows, index, r, c, count, size, out);
    }
    for (; c <= r; ++c) add_gram_block<T, 1, 1>(rows, index, r, c, count, size, out);
  }
}

TARGET void add_transposed_product(const double* a, const double* b, int rows, int stride, int columns, int out_stride,
                                   double* out) {
  constexpr int kWidth = kLanes<double>;
  for (int c = 0; c < columns; c += kWidth) {
    Vec<double> sums[6];
    for (int i = 0; i < 6; ++i) sums[i] = load(out + i * out_stride + c);
    for (int r = 0; r < rows; ++r) {
      const Vec<double> row = load(b + std::size_t(r) * stride + c);
      for (int i = 0; i < 6; ++i) sums[i] = fused(a[6 * r + i], row, sums[i]);
    }
    for (int i = 0; i < 6; ++i) store(out + i * out_stride + c, sums[i]);
  }
}

TARGET double dot(const double* a, const double* b, int count) {
  constexpr int kChains = 4, kWidth = kLanes<double>, kStep = kSumLanes<double>;
  Vec<double> sums[kChains][kParts] = {};
  int k = 0;
  for (; k + kChains * kStep <= count; k += kChains * kStep) {
    for (int chain = 0; chain < kChains; ++chain) {
      for (int part = 0; part < kParts; ++part) {
        const int at = k + chain * kStep + part * kWidth;
        sums[chain][part] = fused(load(a + at), load(b + at), sums[chain][part]);
      }
    }
  }
  for (; k + kStep <= count; k += kStep) {
    for (int part = 0; part < kParts; ++part) {
      const int at = k + part * kWidth;
      sums[0][part] = fused(load(a + at), load(b + at), sums[0][part]);
    }
  }
  double rest = 0;
  for (; k < count; ++k) rest = std::fma(a[k], b[k], rest);
  for (int part = 0; part < kParts; ++part) {
    sums[0][part] = (sums[0][part] + sums[1][part]) + (sums[2][part] + sums[3][part]);
  }
  return rest + sum_parts<double>(sums[0]);
}

template <typename T>
Kernels<T> make_kernels() {
  return {load_points<T>,         project<T>,
          add_pose_sums<T>,       add_focal_sums<T>,
          store_pose_rows<T>,     add_focal_row<T>,
          add_point_sums<T>,      subtract_step<T>,
          store_costs<T>,         compare_costs<T>,
          scale_row<T>,           add_gram<T>,
          add_transposed_product, dot};
}
