// The reduced system: normal equations of poses and focal length after elimination of the points.
#pragma once

#include <vector>

namespace spatialbeam::bundle {

using Dot = double (*)(const double* a, const double* b, int count);

// A symmetric matrix: lower triangle in skyline (envelope) storage, rows are zero before their first column.
class ReducedSystem {
 public:
  ReducedSystem(int size, Dot dot);

  void clear();
  int size() const { return size_; }

  // Adds block[r * stride + c] at (row, column), or its transpose at (column, row) if that is in the lower triangle. Of
  // a diagonal block the lower triangle is read.
  void add_block(const double* block, int stride, int row, int column, int rows, int columns);

  // Adds `relative` x `hessian_diagonal` + `absolute` to the diagonal (Levenberg-Marquardt); sets it to 1 for a
  // variable without observations.
  void damp(double relative, const std::vector<double>& absolute);

  // Cholesky factorization in place; false if a pivot is not above `min_pivot` x its diagonal element.
  bool factorize(double min_pivot);
  // After factorize().
  std::vector<double> solve() const;
  // The diagonal of the inverse; after factorize().
  std::vector<double> inverse_diagonal() const;

  std::vector<double> right;             // right-hand side
  std::vector<double> gradient;          // right-hand side before elimination
  std::vector<double> hessian_diagonal;  // diagonal before elimination

 private:
  double* row(int r) { return matrix_.data() + std::size_t(r) * size_; }
  const double* row(int r) const { return matrix_.data() + std::size_t(r) * size_; }

  int size_;
  Dot dot_;
  std::vector<double> matrix_;
  std::vector<int> first_;  // first nonzero column of each row
};

}  // namespace spatialbeam::bundle
