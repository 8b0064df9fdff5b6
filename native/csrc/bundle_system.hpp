// The reduced normal equations: those of the poses and the focal length, once the points have been eliminated.
#pragma once

#include <vector>

namespace spatialbeam::bundle {

using Dot = double (*)(const double* a, const double* b, int count);

// A symmetric matrix by its lower triangle, whose rows are known to be zero before some column.
class ReducedSystem {
 public:
  ReducedSystem(int size, Dot dot);

  void clear();
  int size() const { return size_; }

  // Adds block[r * stride + c] to the rows from `row` and the columns from `column` on, or its transpose to the columns
  // and rows where that is the lower triangle. Of a block on the diagonal the lower triangle is read.
  void add_block(const double* block, int stride, int row, int column, int rows, int columns);

  // To the diagonal: `relative` x `curvature` + `absolute`, where `curvature` is the diagonal before the elimination of
  // points; 1 for a variable that nothing depends on.
  void damp(double relative, const std::vector<double>& absolute);

  // Factorises in place (Cholesky); false if a pivot is not above `least_pivot` x its diagonal element.
  bool factorise(double least_pivot);
  // After factorise().
  std::vector<double> solve() const;
  // The diagonal of the inverse; after factorise().
  std::vector<double> inverse_diagonal() const;

  std::vector<double> right;      // right-hand side, reduced
  std::vector<double> gradient;   // right-hand side before the elimination of points
  std::vector<double> curvature;  // diagonal before the elimination of points

 private:
  double* row(int r) { return matrix_.data() + std::size_t(r) * size_; }
  const double* row(int r) const { return matrix_.data() + std::size_t(r) * size_; }

  int size_;
  Dot dot_;
  std::vector<double> matrix_;
  std::vector<int> first_;  // first column of a row that may not be zero
};

}  // namespace spatialbeam::bundle
