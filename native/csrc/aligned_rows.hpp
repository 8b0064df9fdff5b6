// Cache-aligned, padded rows for vector kernels.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace spatialbeam {

// Zero-initialized rows; each starts at a cache line, with `padding` elements before and after its `size`.
template <typename T>
class AlignedRows {
 public:
  AlignedRows(std::size_t rows, std::size_t size, std::size_t padding)
      : lead_(round_up(padding)), stride_(lead_ + round_up(size + padding)) {
    const std::size_t bytes = rows * stride_ * sizeof(T);
    memory_.reset(static_cast<T*>(::operator new(bytes, std::align_val_t(kLine))));
    std::memset(memory_.get(), 0, bytes);
  }

  T* operator[](std::size_t row) { return memory_.get() + row * stride_ + lead_; }

 private:
  static constexpr std::size_t kLine = 64;
  static std::size_t round_up(std::size_t n) {
    constexpr std::size_t kElements = kLine / sizeof(T);
    return (n + kElements - 1) / kElements * kElements;
  }

  struct Free {
    void operator()(T* memory) const { ::operator delete(memory, std::align_val_t(kLine)); }
  };

  std::size_t lead_;
  std::size_t stride_;
  std::unique_ptr<T[], Free> memory_;
};

}  // namespace spatialbeam
