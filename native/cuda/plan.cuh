// Layout of the systems of dense bundle adjustment: edges in slots by clip, source frame (row) and index; empty slots
// are the last of a row, with edge -1.
#pragma once

#include <cstdint>

namespace spatialbeam {

constexpr int kRows = 7, kPose = 6, kUpper = kRows * (kRows + 1) / 2, kSums = kUpper + kRows;

struct Plan {
  const int64_t *edge, *source, *target, *source_column, *target_column, *frame, *clips;
  const uint8_t* with_focal;  // by clip, or null
  int64_t systems, rows, slots, poses;

  __host__ __device__ int64_t Variables() const { return kPose * poses + 1; }
  __device__ bool HasFocal(int64_t system) const { return with_focal && with_focal[clips[system]]; }
  __device__ int Used(int64_t row) const {
    int used = 0;
    while (used < slots && edge[row * slots + used] >= 0) ++used;
    return used;
  }
};

inline Plan MakePlan(const void* const* plan, const void* with_focal, int64_t systems, int64_t rows, int64_t slots,
                     int64_t poses) {
  const auto column = [plan](int k) { return static_cast<const int64_t*>(plan[k]); };
  return {column(0), column(1), column(2), column(3),
          column(4), column(5), column(6), static_cast<const uint8_t*>(with_focal),
          systems,   rows,      slots,     poses};
}

}  // namespace spatialbeam
