// Separable blur of difference rows, for x86-64: part of row_kernels_x86.hpp.

// Vertical blur of two neighboring rows; kBits is the bit depth if known at compile time, else 0. The pointers are
// copies, which stores cannot alias.
template <int kBits>
struct VerticalBlur {
  const std::int16_t* rows[kBlurRows];
  int bit_depth;

  // One vector of columns of each row in 32 bits, interleaved in 128-bit blocks; `saturate` restores the order.
  INLINE inline void at(int x, Widened (&blurs)[kPair]) const {
    Vec low[kBlurRows / 2];
    Vec high[kBlurRows / 2];
    for (int i = 0; i < kBlurRows / 2; ++i) {
      const Vec first = load(rows[2 * i] + x);
      const Vec second = load(rows[2 * i + 1] + x);
      low[i] = unpack_low_16(first, second);
      high[i] = unpack_high_16(first, second);
    }
    blurs[0] = {shifted(sum_first(low)), shifted(sum_first(high))};
    blurs[1] = {shifted(sum_second(low)), shifted(sum_second(high))};
  }

 private:
  INLINE inline Vec sum_first(const Vec (&pairs)[3]) const {
    Vec sum = add_products(round(), pairs[0], factors(kTapFar, kTapNear));
    sum = add_products(sum, pairs[1], factors(kTapCenter, kTapNear));
    return add_products(sum, pairs[2], factors(kTapFar, 0));
  }
  INLINE inline Vec sum_second(const Vec (&pairs)[3]) const {
    Vec sum = add_products(round(), pairs[0], factors(0, kTapFar));
    sum = add_products(sum, pairs[1], factors(kTapNear, kTapCenter));
    return add_products(sum, pairs[2], factors(kTapNear, kTapFar));
  }
  INLINE inline Vec round() const { return set_all_32(1 << (bit_depth - 1)); }
  INLINE inline Vec shifted(Vec sum) const {
    if constexpr (kBits != 0) return shift_right_32<kBits>(sum);
    return shift_right_32(sum, bit_depth);
  }
};

// Horizontal blur before the shift, in 32 bits, of the even and the odd columns of a vector.
INLINE inline Widened blur_horizontal(const std::int16_t* at, Vec round) {
  const Vec left = load(at - 2);
  const Vec here = load(at);
  const Vec right = load(at + 2);
  Vec even = add_products(round, left, factors(kTapFar, kTapNear));
  even = add_products(even, here, factors(kTapCenter, kTapNear));
  even = add_products(even, right, factors(kTapFar, 0));
  Vec odd = add_products(round, left, factors(0, kTapFar));
  odd = add_products(odd, here, factors(kTapNear, kTapCenter));
  odd = add_products(odd, right, factors(kTapNear, kTapFar));
  return {even, odd};
}

inline void reflect_borders(std::int16_t* row, int width) {
  for (int i = 1; i <= kBlurRadius; ++i) {
    row[-i] = row[reflect(-i, width)];
    row[width - 1 + i] = row[reflect(width - 1 + i, width)];
  }
}

INLINE inline Vec absolute_blur_16(const std::int16_t* at) {
  const Widened blur = blur_horizontal(at, set_all_32(1 << 15));
  return absolute_16(high_halves(blur.low, blur.high));
}

// Sums over columns [begin, end), in 32-bit lanes.
INLINE inline Vec sum_blur_16(const std::int16_t* blurred, int begin, int end) {
  const Vec one = set_all_16(1);
  Vec sum = zero();
  int x = begin;
  for (; x + kLanes16 <= end; x += kLanes16) sum = add_products(sum, absolute_blur_16(blurred + x), one);
  if (x == end) return sum;
  return add_products(sum, bit_and(absolute_blur_16(blurred + x), columns_before(end, x)), one);
}

// A 17-bit vertical blur is split into its floored half a and its lowest bit b, which are blurred separately:
// (2 a + b + 2^15) >> 16 equals (a + ((b + 2^15) >> 1)) >> 15, which fits 32 bits.
INLINE inline Vec absolute_blur_17(Vec halves, Vec rounded_bits) {
  return absolute_32(shift_right_32<15>(add_32(halves, shift_right_32<1>(rounded_bits))));
}

INLINE inline Vec sum_blur_17(const std::int16_t* halves, const std::int16_t* bits, int begin, int end) {
  Vec sum = zero();
  for (int x = begin; x < end; x += kLanes16) {
    const Widened half = blur_horizontal(halves + x, zero());
    const Widened bit = blur_horizontal(bits + x, set_all_32(1 << 15));
    const Vec valid = columns_before(end < x + kLanes16 ? end : x + kLanes16, x);
    const Vec even_valid = shift_right_32<16>(shift_left_32<16>(valid));
    const Vec odd_valid = shift_right_32<16>(valid);
    sum = add_32(sum, bit_and(absolute_blur_17(half.low, bit.low), even_valid));
    sum = add_32(sum, bit_and(absolute_blur_17(half.high, bit.high), odd_valid));
  }
  return sum;
}

// Vertical blur of columns [begin, end) of both rows; updates its minimum and maximum.
template <int kBits>
INLINE inline void blur_vertical(const VerticalBlur<kBits>& blur, int begin, int end, std::int16_t* const* blurred,
                                 Vec& minimum, Vec& maximum) {
  for (int x = begin; x < end; x += kLanes16) {
    Widened blurs[kPair];
    blur.at(x, blurs);
    for (int i = 0; i < kPair; ++i) {
      const Vec saturated = saturate(blurs[i].low, blurs[i].high);
      minimum = min_16(minimum, saturated);
      maximum = max_16(maximum, saturated);
      store(blurred[i] + x, saturated);
    }
  }
}

// Whether values are saturated: they may have 17 bits.
INLINE inline bool is_saturated(Vec minimum, Vec maximum) {
  const Vec mirrored_minimum = bit_xor(minimum, set_all_16(-1));  // maps -32768 to 32767
  return any_equal_16(max_16(maximum, mirrored_minimum), set_all_16(32767));
}

// A maximal range of changed columns. Its blur extends two columns further.
struct Run {
  int begin;
  int end;
  int first_blurred() const { return begin < kBlurRadius ? 0 : begin - kBlurRadius; }
  int end_blurred(int width) const { return end + kBlurRadius < width ? end + kBlurRadius : width; }
};

// Sum of a run with saturated columns: there the vertical blur is recomputed in 17 bits.
template <int kBits>
TARGET __attribute__((noinline)) Vec sum_saturated_run(const VerticalBlur<kBits>& blur, int row,
                                                       const std::int16_t* blurred, Run run, int width,
                                                       const Scratch& scratch) {
  auto* halves = static_cast<std::int16_t*>(scratch.rows[kPair]);
  auto* bits = static_cast<std::int16_t*>(scratch.rows[kPair + 1]);
  const Vec one = set_all_32(1);
  const int last = run.end_blurred(width);
  Vec sum = zero();
  int ready = 0;  // halves and bits are valid before this column
  for (int x = run.first_blurred(), end; x < last; x = end) {
    end = x + kLanes16 < last ? x + kLanes16 : last;
    const Vec left = load(blurred + x - kBlurRadius);
    const Vec right = load(blurred + x + kBlurRadius);
    if (!is_saturated(min_16(left, right), max_16(left, right))) {
      sum = add_32(sum, sum_blur_16(blurred, x, end));
      continue;
    }
    int at = x < kLanes16 ? 0 : x - kLanes16;
    if (at < ready) at = ready;
    for (; at < x + kLanes16 + kBlurRadius && at < width; at += kLanes16) {
      Widened blurs[kPair];
      blur.at(at, blurs);
      const Widened sums = blurs[row];
      store(halves + at, saturate(shift_right_32<1>(sums.low), shift_right_32<1>(sums.high)));
      store(bits + at, saturate(bit_and(sums.low, one), bit_and(sums.high, one)));
    }
    ready = at;
    if (x < kLanes16 || at >= width) {
      reflect_borders(halves, width);
      reflect_borders(bits, width);
    }
    sum = add_32(sum, sum_blur_17(halves, bits, x, end));
  }
  return sum;
}

// Sets the blur beside a run to zero, or reflects it at the border.
INLINE inline void pad_run(std::int16_t* blurred, Run run, int width) {
  store(blurred + run.end, zero());
  if (run.begin > 0) store(blurred + run.begin - kLanes16, zero());
  if (run.begin == 0 || run.end + 2 * kBlurRadius > width) reflect_borders(blurred, width);
}

// Mask of 64 blocks that have changed in any row. A single gap is filled: cheaper than another run.
INLINE inline std::uint64_t changed_blocks(const DifferenceRow<std::int16_t>* rows, int word) {
  std::uint64_t bits = 0;
  for (int row = 0; row < kBlurRows; ++row) bits |= rows[row].changed[word];
  return bits | ((bits << 1) & (bits >> 1));
}

// First block from `from` on whose bit is `value`, else `blocks`.
inline int find_block(const std::uint64_t* bits, int from, int blocks, bool value) {
  for (int word = from / 64; word * 64 < blocks; ++word) {
    std::uint64_t found = value ? bits[word] : ~bits[word];
    if (word == from / 64) found &= ~std::uint64_t(0) << (from % 64);
    if (found == 0) continue;
    const int block = word * 64 + __builtin_ctzll(found);
    return block < blocks ? block : blocks;
  }
  return blocks;
}

// All vertical blurs come before the horizontal ones, which read the columns beside a run.
template <int kBits>
TARGET std::uint64_t blur_and_sum(const DifferenceRow<std::int16_t>* rows, int count, int width, int bit_depth,
                                  const Scratch& scratch) {
  const int blocks = block_count(width);
  std::uint64_t bits[kMaxWords];
  for (int word = 0; word < word_count(width); ++word) bits[word] = changed_blocks(rows, word);
  Run runs[block_count(kMaxWidth) / 2];
  int run_count = 0;
  for (int begin = find_block(bits, 0, blocks, true); begin < blocks;) {
    const int end = find_block(bits, begin, blocks, false);
    runs[run_count++] = {begin * kBlock, end * kBlock < width ? end * kBlock : width};
    begin = find_block(bits, end, blocks, true);
  }
  if (run_count == 0) return 0;

  VerticalBlur<kBits> blur{{}, kBits != 0 ? kBits : bit_depth};
  for (int i = 0; i < kBlurRows; ++i) blur.rows[i] = rows[i].values;
  std::int16_t* const blurred[] = {static_cast<std::int16_t*>(scratch.rows[0]),
                                   static_cast<std::int16_t*>(scratch.rows[1])};
  Vec minimum = zero();
  Vec maximum = zero();
  for (int i = 0; i < run_count; ++i) blur_vertical(blur, runs[i].begin, runs[i].end, blurred, minimum, maximum);
  const bool any_saturated = is_saturated(minimum, maximum);
  Vec sum = zero();
  for (int i = 0; i < run_count; ++i) {
    for (int row = 0; row < count; ++row) {
      const Run run = runs[i];
      pad_run(blurred[row], run, width);
      sum = add_32(sum, any_saturated ? sum_saturated_run(blur, row, blurred[row], run, width, scratch)
                                      : sum_blur_16(blurred[row], run.first_blurred(), run.end_blurred(width)));
    }
  }
  return sum_of_u32(sum);
}
