// Differences of rows of consecutive frames, for x86-64: part of row_kernels_x86.hpp.

// A block of one or two rows of a frame and of the previous one.
template <typename Sample>
struct Block {
  const Sample* current[kPair];
  const Sample* previous[kPair];
};

// The blocks of one or two rows. A partial last block is copied and zero-padded: rows must not be read past their end.
template <typename Sample, int kRows>
class Blocks {
 public:
  INLINE Blocks(const RowPair<Sample>& rows, int width) : rows_(rows), whole_(width / kBlock) {
    const int x = whole_ * kBlock;
    if (x == width) return;
    for (int i = 0; i < kRows; ++i) {
      std::memcpy(tail_[0][i], rows.current[i] + x, (width - x) * sizeof(Sample));
      std::memcpy(tail_[1][i], rows.previous[i] + x, (width - x) * sizeof(Sample));
    }
  }

  INLINE Block<Sample> operator[](int i) const {
    if (i == whole_) return {{tail_[0][0], tail_[0][1]}, {tail_[1][0], tail_[1][1]}};
    const int x = i * kBlock;
    return {{rows_.current[0] + x, rows_.current[1] + x}, {rows_.previous[0] + x, rows_.previous[1] + x}};
  }

  // The hardware prefetcher does not cross to the next rows. A prefetch does not fault: any address is allowed.
  INLINE void prefetch_next_rows(int i) const {
    const Block<Sample> block = (*this)[i];
    for (int row = 0; row < kRows; ++row) {
      for (int x = 0; x < kBlock; x += kLine / int(sizeof(Sample))) {
        _mm_prefetch(
            reinterpret_cast<const char*>(block.current[row] + x + kPair * (rows_.current[1] - rows_.current[0])),
            _MM_HINT_T0);
        _mm_prefetch(
            reinterpret_cast<const char*>(block.previous[row] + x + kPair * (rows_.previous[1] - rows_.previous[0])),
            _MM_HINT_T0);
      }
    }
  }

 private:
  alignas(Vec) Sample tail_[2][kPair][kBlock] = {};
  const RowPair<Sample>& rows_;
  const int whole_;
};

template <int kRows, typename Sample>
INLINE inline bool is_changed(const Block<Sample>& block) {
  Vec any_change = zero();
  for (int i = 0; i < kRows; ++i) {
    for (int x = 0; x < kBlock; x += sizeof(Vec) / sizeof(Sample)) {
      any_change = bit_or(any_change, bit_xor(load(block.current[i] + x), load(block.previous[i] + x)));
    }
  }
  return !is_zero(any_change);
}

INLINE inline Vec difference_16(const std::uint8_t* current, const std::uint8_t* previous) {
  return subtract_16(load_u8_as_u16(previous), load_u8_as_u16(current));
}
INLINE inline Vec difference_16(const std::uint16_t* current, const std::uint16_t* previous) {
  return subtract_16(load(previous), load(current));
}

INLINE inline void add_to_columns(std::int16_t* sums, Vec difference, Vec second_difference) {
  store(sums, add_16(load(sums), add_16(difference, second_difference)));
}
INLINE inline void add_to_columns(std::int32_t* sums, Vec difference, Vec second_difference) {
  const Vec low = add_32(low_i16_as_i32(difference), low_i16_as_i32(second_difference));
  const Vec high = add_32(high_i16_as_i32(difference), high_i16_as_i32(second_difference));
  store(sums, add_32(load(sums), low));
  store(sums + kLanes32, add_32(load(sums + kLanes32), high));
}

// Adds a block's differences to the column sums, and stores them at column `at` of `differences` unless null. Returns
// whether any is nonzero.
template <int kRows, typename Sample, typename ColumnSum>
INLINE inline bool add_block(const Block<Sample>& block, ColumnSum* column_sums,
                             const DifferenceRow<std::int16_t>* differences, int at) {
  Vec any = zero();
  for (int x = 0; x < kBlock; x += kLanes16) {
    const Vec difference = difference_16(block.current[0] + x, block.previous[0] + x);
    const Vec second_difference = kRows == 1 ? zero() : difference_16(block.current[1] + x, block.previous[1] + x);
    if (differences != nullptr) {
      store(differences[0].values + at + x, difference);
      if (kRows == 2) store(differences[1].values + at + x, second_difference);
    }
    add_to_columns(column_sums + at + x, difference, second_difference);
    any = bit_or(any, bit_or(difference, second_difference));
  }
  return !is_zero(any);
}

INLINE inline Vec add_clamped(Vec sum, const std::uint8_t* from, int) {
  return add_64(sum, sum_bytes(min_u8(max_u8(load(from), set_all_8(kNominalBlack)), set_all_8(kNominalWhite))));
}

INLINE inline Vec add_clamped(Vec sum, const std::uint16_t* from, int bit_depth) {
  const Vec black = set_all_16(kNominalBlack << (bit_depth - 8));
  const Vec white = set_all_16(kNominalWhite << (bit_depth - 8));
  return add_products(sum, min_u16(max_u16(load(from), black), white), set_all_16(1));
}

INLINE inline std::uint64_t sum_of_clamped(Vec sum, const std::uint8_t*) { return sum_of_u64(sum); }
INLINE inline std::uint64_t sum_of_clamped(Vec sum, const std::uint16_t*) { return sum_of_u32(sum); }

// Calls use(block) for each bit that is set.
template <typename Use>
INLINE inline void for_each_block(std::uint64_t bits, int first, Use use) {
  for (; bits != 0; bits &= bits - 1) use(first + __builtin_ctzll(bits));
}

// Accumulates the differences of blocks of rows.
template <typename Samples, int kRows>
struct DifferenceAccumulator {
  using Sample = typename Samples::Sample;

  typename Samples::ColumnSum* columns;
  const DifferenceRow<std::int16_t>* differences;  // null: neither differences nor clamped sums are computed
  int bit_depth;
  Vec clamped = zero();
  Vec clamped_before = zero();

  // Returns whether the block has changed.
  INLINE bool accumulate(const Block<Sample>& block, int i) {
    const bool changed = add_block<kRows>(block, columns, differences, i * kBlock);
    for (int row = 0; differences != nullptr && row < kRows; ++row) {
      for (int x = 0; x < kBlock; x += sizeof(Vec) / sizeof(Sample)) {
        clamped = add_clamped(clamped, block.current[row] + x, bit_depth);
        clamped_before = add_clamped(clamped_before, block.previous[row] + x, bit_depth);
      }
    }
    return changed;
  }

  // Sets the mask of 64 blocks to `bits`, and zeroes blocks that are no longer marked.
  INLINE void set_changed(int first, std::uint64_t bits, bool is_written) const {
    for (int row = 0; differences != nullptr && row < kRows; ++row) {
      std::uint64_t& changed = differences[row].changed[first / 64];
      for_each_block(is_written ? 0 : changed & ~bits, first, [&](int i) INLINE {
        for (int x = 0; x < kBlock; x += kLanes16) store(differences[row].values + i * kBlock + x, zero());
      });
      changed = bits;
    }
  }

  INLINE std::int64_t nominal_delta() const {
    const Sample* type = nullptr;
    return std::int64_t(sum_of_clamped(clamped, type)) - std::int64_t(sum_of_clamped(clamped_before, type));
  }
};

// If few blocks change, all 64 comparisons come before the arithmetic: one branch misprediction per row instead of
// one per boundary between static and moving blocks.
template <typename Samples, int kRows>
INLINE inline int accumulate_rows(const RowPair<typename Samples::Sample>& rows, int width,
                                  DifferenceAccumulator<Samples, kRows>& accumulator) {
  const Blocks<typename Samples::Sample, kRows> blocks(rows, width);
  const int count = block_count(width);
  int changed_blocks = 0;
  for (int first = 0; first < count; first += 64) {
    const int last = count < first + 64 ? count : first + 64;
    std::uint64_t bits = 0;
    for (int i = first; i < last; ++i) {
      blocks.prefetch_next_rows(i);
      const bool changed = rows.compare_first ? is_changed<kRows>(blocks[i]) : accumulator.accumulate(blocks[i], i);
      bits |= std::uint64_t(changed) << (i - first);
    }
    accumulator.set_changed(first, bits, !rows.compare_first);
    if (rows.compare_first) for_each_block(bits, first, [&](int i) INLINE { accumulator.accumulate(blocks[i], i); });
    changed_blocks += __builtin_popcountll(bits);
  }
  return changed_blocks;
}

template <typename Samples, int kRows>
INLINE inline int add_differences_of(const RowPair<typename Samples::Sample>& rows, int width,
                                     typename Samples::ColumnSum* column_sums) {
  DifferenceAccumulator<Samples, kRows> accumulator{column_sums, nullptr, 0};
  return accumulate_rows(rows, width, accumulator);
}

template <typename Samples, int kRows>
INLINE inline int store_differences_of(const RowPair<typename Samples::Sample>& rows, int width, int bit_depth,
                                       typename Samples::ColumnSum* column_sums,
                                       const DifferenceRow<std::int16_t>* differences, std::int64_t& nominal_sum) {
  DifferenceAccumulator<Samples, kRows> accumulator{column_sums, differences, bit_depth};
  const int changed = accumulate_rows(rows, width, accumulator);
  if (changed != 0) nominal_sum += accumulator.nominal_delta();
  return changed;
}

template <typename Samples>
TARGET int add_differences(const RowPair<typename Samples::Sample>& rows, int width,
                           typename Samples::ColumnSum* column_sums) {
  return rows.count == 1 ? add_differences_of<Samples, 1>(rows, width, column_sums)
                         : add_differences_of<Samples, 2>(rows, width, column_sums);
}

template <typename Samples>
TARGET int store_differences(const RowPair<typename Samples::Sample>& rows, int width, int bit_depth,
                             typename Samples::ColumnSum* column_sums, const DifferenceRow<std::int16_t>* differences,
                             std::int64_t& nominal_sum) {
  return rows.count == 1
             ? store_differences_of<Samples, 1>(rows, width, bit_depth, column_sums, differences, nominal_sum)
             : store_differences_of<Samples, 2>(rows, width, bit_depth, column_sums, differences, nominal_sum);
}
