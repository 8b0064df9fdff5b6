#include "bundle_system.hpp"

#include <algorithm>
#include <cmath>

namespace spatialbeam::bundle {

ReducedSystem::ReducedSystem(int size, Dot dot)
    : right(size),
      gradient(size),
      hessian_diagonal(size),
      size_(size),
      dot_(dot),
      matrix_(std::size_t(size) * size),
      first_(size) {
  clear();
}

void ReducedSystem::clear() {
  for (auto* values : {&matrix_, &right, &gradient, &hessian_diagonal}) std::fill(values->begin(), values->end(), 0.0);
  for (int r = 0; r < size_; ++r) first_[r] = r;
}

void ReducedSystem::add_block(const double* block, int stride, int row, int column, int rows, int columns) {
  if (row < column) {
    for (int c = 0; c < columns; ++c) {
      for (int r = 0; r < rows; ++r) this->row(column + c)[row + r] += block[r * stride + c];
      first_[column + c] = std::min(first_[column + c], row);
    }
    return;
  }
  for (int r = 0; r < rows; ++r) {
    const int end = row == column ? r + 1 : columns;
    for (int c = 0; c < end; ++c) this->row(row + r)[column + c] += block[r * stride + c];
    first_[row + r] = std::min(first_[row + r], column);
  }
}

void ReducedSystem::damp(double relative, const std::vector<double>& absolute) {
  for (int i = 0; i < size_; ++i) {
    double& diagonal = row(i)[i];
    diagonal += relative * hessian_diagonal[i] + absolute[i];
    if (hessian_diagonal[i] == 0 && diagonal == 0) diagonal = 1;
  }
}

bool ReducedSystem::factorize(double min_pivot) {
  for (int i = 0; i < size_; ++i) {
    double* at = row(i);
    for (int j = first_[i]; j < i; ++j) {
      const int from = std::max(first_[i], first_[j]);
      if (from < j) at[j] -= dot_(at + from, row(j) + from, j - from);
      at[j] /= row(j)[j];
    }
    const double pivot = at[i] - dot_(at + first_[i], at + first_[i], i - first_[i]);
    if (!(pivot > 0) || !(pivot > min_pivot * at[i])) return false;
    at[i] = std::sqrt(pivot);
  }
  return true;
}

std::vector<double> ReducedSystem::solve() const {
  std::vector<double> x = right;
  for (int i = 0; i < size_; ++i) {
    x[i] = (x[i] - dot_(row(i) + first_[i], x.data() + first_[i], i - first_[i])) / row(i)[i];
  }
  for (int i = size_ - 1; i >= 0; --i) {
    x[i] /= row(i)[i];
    for (int j = first_[i]; j < i; ++j) x[j] -= row(i)[j] * x[i];
  }
  return x;
}

std::vector<double> ReducedSystem::inverse_diagonal() const {
  // Inverts the triangle row by row; the diagonal of the inverse matrix are the squared norms of its columns.
  std::vector<double> inverse(std::size_t(size_) * size_, 0.0);
  std::vector<double> diagonal(size_, 0.0);
  for (int i = 0; i < size_; ++i) {
    double* to = inverse.data() + std::size_t(i) * size_;
    to[i] = 1;
    for (int j = first_[i]; j < i; ++j) {
      const double factor = row(i)[j];
      const double* other = inverse.data() + std::size_t(j) * size_;
      for (int k = 0; k <= j; ++k) to[k] -= factor * other[k];
    }
    for (int k = 0; k <= i; ++k) {
      to[k] /= row(i)[i];
      diagonal[k] += to[k] * to[k];
    }
  }
  return diagonal;
}

}  // namespace spatialbeam::bundle
