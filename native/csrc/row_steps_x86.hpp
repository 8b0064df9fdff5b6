// Steps from the rows of one picture to those of the next, for x86-64: a part of row_kernels_x86.hpp.

// A block of one or two rows of a picture and of the one before.
template <typename Sample>
struct Block {
  const Sample* now[kPair];
  const Sample* before[kPair];
};

// The blocks of one or two rows. Of the last one, where it is shorter, a copy that ends in zeros: nothing may be read
// behind the rows.
template <typename Sample, int kRows>
class Blocks {
 public:
  INLINE Blocks(const PictureRows<Sample>& rows, int width) : rows_(rows), whole_(width / kBlock) {
    const int x = whole_ * kBlock;
    if (x == width) return;
    for (int i = 0; i < kRows; ++i) {
      std::memcpy(tail_[0][i], rows.now[i] + x, (width - x) * sizeof(Sample));
      std::memcpy(tail_[1][i], rows.before[i] + x, (width - x) * sizeof(Sample));
    }
  }

  INLINE Block<Sample> operator[](int i) const {
    if (i == whole_) return {{tail_[0][0], tail_[0][1]}, {tail_[1][0], tail_[1][1]}};
    const int x = i * kBlock;
    return {{rows_.now[0] + x, rows_.now[1] + x}, {rows_.before[0] + x, rows_.before[1] + x}};
  }

  // Rows lie too far apart for the processor to foresee where the next ones begin. Nothing is read: the address may be
  // any.
  INLINE void fetch_below(int i) const {
    const Block<Sample> block = (*this)[i];
    for (int row = 0; row < kRows; ++row) {
      for (int x = 0; x < kBlock; x += kLine / int(sizeof(Sample))) {
        _mm_prefetch(reinterpret_cast<const char*>(block.now[row] + x + kPair * (rows_.now[1] - rows_.now[0])),
                     _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(block.before[row] + x + kPair * (rows_.before[1] - rows_.before[0])),
                     _MM_HINT_T0);
      }
    }
  }

 private:
  alignas(Vec) Sample tail_[2][kPair][kBlock] = {};
  const PictureRows<Sample>& rows_;
  const int whole_;
};

template <int kRows, typename Sample>
INLINE inline bool has_changed(const Block<Sample>& block) {
  Vec any_change = zero();
  for (int i = 0; i < kRows; ++i) {
    for (int x = 0; x < kBlock; x += sizeof(Vec) / sizeof(Sample)) {
      any_change = bit_or(any_change, bit_xor(load(block.now[i] + x), load(block.before[i] + x)));
    }
  }
  return !is_zero(any_change);
}

INLINE inline Vec steps_16(const std::uint8_t* now, const std::uint8_t* before) {
  return subtract_16(load_u8_as_u16(before), load_u8_as_u16(now));
}
INLINE inline Vec steps_16(const std::uint16_t* now, const std::uint16_t* before) {
  return subtract_16(load(before), load(now));
}

INLINE inline void add_to_columns(std::int16_t* sums, Vec steps, Vec more_steps) {
  store(sums, add_16(load(sums), add_16(steps, more_steps)));
}
INLINE inline void add_to_columns(std::int32_t* sums, Vec steps, Vec more_steps) {
  const Vec low = add_32(low_i16_as_i32(steps), low_i16_as_i32(more_steps));
  const Vec high = add_32(high_i16_as_i32(steps), high_i16_as_i32(more_steps));
  store(sums, add_32(load(sums), low));
  store(sums + kLanes32, add_32(load(sums + kLanes32), high));
}

// Adds a block's steps to the sums of its columns; writes them too, with `differences`, to column `at` of these rows.
// Returns whether any is other than zero.
template <int kRows, typename Sample, typename ColumnSum>
INLINE inline bool add_block(const Block<Sample>& block, ColumnSum* column_sums,
                             const DifferenceRow<std::int16_t>* differences, int at) {
  Vec any = zero();
  for (int x = 0; x < kBlock; x += kLanes16) {
    const Vec steps = steps_16(block.now[0] + x, block.before[0] + x);
    const Vec more_steps = kRows == 1 ? zero() : steps_16(block.now[1] + x, block.before[1] + x);
    if (differences != nullptr) {
      store(differences[0].values + at + x, steps);
      if (kRows == 2) store(differences[1].values + at + x, more_steps);
    }
    add_to_columns(column_sums + at + x, steps, more_steps);
    any = bit_or(any, bit_or(steps, more_steps));
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

// Calls `take` with the number of each block whose bit is set.
template <typename Take>
INLINE inline void for_each_block(std::uint64_t bits, int first, Take take) {
  for (; bits != 0; bits &= bits - 1) take(first + __builtin_ctzll(bits));
}

// Takes the steps of blocks of rows to what they add to.
template <typename Samples, int kRows>
struct Taker {
  using Sample = typename Samples::Sample;

  typename Samples::ColumnSum* columns;
  const DifferenceRow<std::int16_t>* differences;  // null: these are not wanted, and neither are clamped sums
  int bit_depth;
  Vec clamped = zero();
  Vec clamped_before = zero();

  // Returns whether the block has changed.
  INLINE bool take(const Block<Sample>& block, int i) {
    const bool changed = add_block<kRows>(block, columns, differences, i * kBlock);
    for (int row = 0; differences != nullptr && row < kRows; ++row) {
      for (int x = 0; x < kBlock; x += sizeof(Vec) / sizeof(Sample)) {
        clamped = add_clamped(clamped, block.now[row] + x, bit_depth);
        clamped_before = add_clamped(clamped_before, block.before[row] + x, bit_depth);
      }
    }
    return changed;
  }

  // Of 64 blocks those in `bits` have changed: others that had are zero again.
  INLINE void mark(int first, std::uint64_t bits, bool is_written) const {
    for (int row = 0; differences != nullptr && row < kRows; ++row) {
      std::uint64_t& changed = differences[row].changed[first / 64];
      for_each_block(is_written ? 0 : changed & ~bits, first, [&](int i) INLINE {
        for (int x = 0; x < kBlock; x += kLanes16) store(differences[row].values + i * kBlock + x, zero());
      });
      changed = bits;
    }
  }

  INLINE std::int64_t nominal_step() const {
    const Sample* type = nullptr;
    return std::int64_t(sum_of_clamped(clamped, type)) - std::int64_t(sum_of_clamped(clamped_before, type));
  }
};

// Where few blocks change, all comparisons of 64 blocks come before the arithmetic on those that have: the processor
// guesses wrongly once a row, not once for each border between still and moving.
template <typename Samples, int kRows>
INLINE inline int take_rows(const PictureRows<typename Samples::Sample>& rows, int width,
                            Taker<Samples, kRows>& taker) {
  const Blocks<typename Samples::Sample, kRows> blocks(rows, width);
  const int count = block_count(width);
  int changed_blocks = 0;
  for (int first = 0; first < count; first += 64) {
    const int last = count < first + 64 ? count : first + 64;
    std::uint64_t bits = 0;
    for (int i = first; i < last; ++i) {
      blocks.fetch_below(i);
      const bool changed = rows.compare_first ? has_changed<kRows>(blocks[i]) : taker.take(blocks[i], i);
      bits |= std::uint64_t(changed) << (i - first);
    }
    taker.mark(first, bits, !rows.compare_first);
    if (rows.compare_first) for_each_block(bits, first, [&](int i) INLINE { taker.take(blocks[i], i); });
    changed_blocks += __builtin_popcountll(bits);
  }
  return changed_blocks;
}

template <typename Samples, int kRows>
INLINE inline int add_steps_of(const PictureRows<typename Samples::Sample>& rows, int width,
                               typename Samples::ColumnSum* column_sums) {
  Taker<Samples, kRows> taker{column_sums, nullptr, 0};
  return take_rows(rows, width, taker);
}

template <typename Samples, int kRows>
INLINE inline int take_steps_of(const PictureRows<typename Samples::Sample>& rows, int width, int bit_depth,
                                typename Samples::ColumnSum* column_sums,
                                const DifferenceRow<std::int16_t>* differences, std::int64_t& nominal_sum) {
  Taker<Samples, kRows> taker{column_sums, differences, bit_depth};
  const int changed = take_rows(rows, width, taker);
  if (changed != 0) nominal_sum += taker.nominal_step();
  return changed;
}

template <typename Samples>
TARGET int add_steps(const PictureRows<typename Samples::Sample>& rows, int width,
                     typename Samples::ColumnSum* column_sums) {
  return rows.count == 1 ? add_steps_of<Samples, 1>(rows, width, column_sums)
                         : add_steps_of<Samples, 2>(rows, width, column_sums);
}

template <typename Samples>
TARGET int take_steps(const PictureRows<typename Samples::Sample>& rows, int width, int bit_depth,
                      typename Samples::ColumnSum* column_sums, const DifferenceRow<std::int16_t>* differences,
                      std::int64_t& nominal_sum) {
  return rows.count == 1 ? take_steps_of<Samples, 1>(rows, width, bit_depth, column_sums, differences, nominal_sum)
                         : take_steps_of<Samples, 2>(rows, width, bit_depth, column_sums, differences, nominal_sum);
}
