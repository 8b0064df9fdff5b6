// Row kernels for x86-64, written once for all vector widths.
//
// Included by one source file for each instruction set, inside a namespace of its own, after it has defined TARGET (the
// attribute that lets functions use the set, so that no build flag is needed), the type Vec and the operations on it.

constexpr int kLanes16 = sizeof(Vec) / 2;
constexpr int kLanes32 = sizeof(Vec) / 4;

#define INLINE TARGET __attribute__((always_inline))

// Two 16-bit factors for each pair of lanes.
INLINE inline Vec factors(int first, int second) {
  return set_all_32(static_cast<int>((std::uint32_t(second) << 16) | (std::uint32_t(first) & 0xffff)));
}

// 16-bit lanes: of the columns before `end`, all ones.
INLINE inline Vec columns_before(int end, int x) { return greater_16(set_all_16(end - x), lane_numbers_16()); }

struct Widened {
  Vec low;
  Vec high;
};

INLINE inline Widened load_wide(const std::uint8_t* from) {
  return {load_u8_as_u16(from), load_u8_as_u16(from + kLanes16)};
}

INLINE inline void write_steps(const std::uint8_t* now, const std::uint8_t* before, std::int16_t* column_sums,
                               std::int16_t* difference) {
  for (int x = 0; x < kBlock; x += 2 * kLanes16) {
    const Widened samples = load_wide(now + x);
    const Widened samples_before = load_wide(before + x);
    const Vec low = subtract_16(samples_before.low, samples.low);
    const Vec high = subtract_16(samples_before.high, samples.high);
    store(difference + x, low);
    store(difference + x + kLanes16, high);
    store(column_sums + x, add_16(load(column_sums + x), low));
    store(column_sums + x + kLanes16, add_16(load(column_sums + x + kLanes16), high));
  }
}

INLINE inline void write_steps(const std::uint16_t* now, const std::uint16_t* before, std::int32_t* column_sums,
                               std::int16_t* difference) {
  for (int x = 0; x < kBlock; x += kLanes16) {
    store(difference + x, subtract_16(load(before + x), load(now + x)));
    for (int half = x; half < x + kLanes16; half += kLanes32) {
      store(column_sums + half, add_32(load(column_sums + half), load_i16_as_i32(difference + half)));
    }
  }
}

// Whether the samples of a block differ from those before, and all that follows. Blocks below one that changed are not
// compared first: most of them changed too, and a wrong guess of the processor costs more than the arithmetic.
template <typename Samples>
INLINE inline bool take_block(const typename Samples::Sample* now, const typename Samples::Sample* before,
                              typename Samples::ColumnSum* column_sums, std::int16_t* difference, bool changed_above,
                              std::uint8_t& changed) {
  constexpr int kLanes = sizeof(Vec) / sizeof(*now);
  Vec any_change = zero();
  for (int x = 0; x < kBlock; x += kLanes) any_change = bit_or(any_change, bit_xor(load(now + x), load(before + x)));
  if (changed_above || !is_zero(any_change)) {
    write_steps(now, before, column_sums, difference);
  } else if (changed) {
    for (int x = 0; x < kBlock; x += kLanes16) store(difference + x, zero());
  }
  changed = !is_zero(any_change);
  return changed;
}

// A copy of the last samples of a row, shorter than a block, that ends in zeros: nothing may be read behind the row.
template <typename Sample>
struct Tail {
  alignas(Vec) Sample samples[kBlock] = {};
  Tail(const Sample* from, int count) { std::memcpy(samples, from, count * sizeof(Sample)); }
};

template <typename Samples>
TARGET bool take_row(const typename Samples::Sample* row, const typename Samples::Sample* previous, int width,
                     typename Samples::ColumnSum* column_sums, std::int16_t* difference,
                     const std::uint8_t* changed_above, std::uint8_t* changed) {
  bool any_changed = false;
  int x = 0;
  for (; x + kBlock <= width; x += kBlock) {
    any_changed |= take_block<Samples>(row + x, previous + x, column_sums + x, difference + x,
                                       changed_above[x / kBlock], changed[x / kBlock]);
  }
  if (x == width) return any_changed;
  const Tail now(row + x, width - x);
  const Tail before(previous + x, width - x);
  any_changed |= take_block<Samples>(now.samples, before.samples, column_sums + x, difference + x,
                                     changed_above[x / kBlock], changed[x / kBlock]);
  return any_changed;
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

template <typename Samples>
TARGET std::int64_t nominal_step(const typename Samples::Sample* row, const typename Samples::Sample* previous,
                                 const std::uint8_t* changed, int width, int bit_depth) {
  constexpr int kLanes = sizeof(Vec) / sizeof(*row);
  Vec sum = zero();
  Vec sum_before = zero();
  const auto take = [&](const typename Samples::Sample* now, const typename Samples::Sample* before) INLINE {
    for (int x = 0; x < kBlock; x += kLanes) {
      sum = add_clamped(sum, now + x, bit_depth);
      sum_before = add_clamped(sum_before, before + x, bit_depth);
    }
  };
  int x = 0;
  for (; x + kBlock <= width; x += kBlock) {
    if (changed[x / kBlock]) take(row + x, previous + x);
  }
  if (x < width && changed[x / kBlock]) take(Tail(row + x, width - x).samples, Tail(previous + x, width - x).samples);
  return std::int64_t(sum_of_clamped(sum, row)) - std::int64_t(sum_of_clamped(sum_before, row));
}

// The vertical blur; kBits is the bit depth where it is known when this is compiled, else 0. The pointers are copies, so
// that the compiler knows that stores don't change them.
template <int kBits>
struct VerticalBlur {
  const std::int16_t* above2;
  const std::int16_t* above1;
  const std::int16_t* centre;
  const std::int16_t* below1;
  const std::int16_t* below2;
  int bit_depth;

  // A vector of columns, 32 bits each, in the order that unpacking by 128 bits leaves, which `saturate` undoes.
  INLINE inline Widened at(int x) const {
    const Vec far = add_16(load(above2 + x), load(below2 + x));
    const Vec near = add_16(load(above1 + x), load(below1 + x));
    const Vec middle = load(centre + x);
    const Vec outer = factors(kTapFar, kTapNear);
    const Vec inner = factors(kTapCentre, 1 << (bit_depth - 1));  // the second one is for rounding
    const Vec one = set_all_16(1);
    const Vec low = add_products(products(unpack_low_16(far, near), outer), unpack_low_16(middle, one), inner);
    const Vec high = add_products(products(unpack_high_16(far, near), outer), unpack_high_16(middle, one), inner);
    if constexpr (kBits != 0) return {shift_right_32<kBits>(low), shift_right_32<kBits>(high)};
    return {shift_right_32(low, bit_depth), shift_right_32(high, bit_depth)};
  }
};

// The horizontal blur before its shift, 32 bits each, of the even and of the odd ones of a vector of columns.
INLINE inline Widened blur_along(const std::int16_t* at, Vec round) {
  const Vec left = load(at - 2);
  const Vec here = load(at);
  const Vec right = load(at + 2);
  Vec even = add_products(round, left, factors(kTapFar, kTapNear));
  even = add_products(even, here, factors(kTapCentre, kTapNear));
  even = add_products(even, right, factors(kTapFar, 0));
  Vec odd = add_products(round, left, factors(0, kTapFar));
  odd = add_products(odd, here, factors(kTapNear, kTapCentre));
  odd = add_products(odd, right, factors(kTapNear, kTapFar));
  return {even, odd};
}

inline void extend_row(std::int16_t* row, int width) {
  for (int i = 1; i <= kBlurRadius; ++i) {
    row[-i] = row[reflect(-i, width)];
    row[width - 1 + i] = row[reflect(width - 1 + i, width)];
  }
}

INLINE inline Vec absolute_narrow(const std::int16_t* at) {
  const Widened blur = blur_along(at, set_all_32(1 << 15));
  return absolute_16(high_halves(blur.low, blur.high));
}

// Sum over columns [begin, end), as 32-bit lanes.
INLINE inline Vec sum_along_narrow(const std::int16_t* blurred, int begin, int end) {
  const Vec one = set_all_16(1);
  Vec sum = zero();
  int x = begin;
  for (; x + kLanes16 <= end; x += kLanes16) sum = add_products(sum, absolute_narrow(blurred + x), one);
  if (x == end) return sum;
  return add_products(sum, bit_and(absolute_narrow(blurred + x), columns_before(end, x)), one);
}

// Where the vertical blur has 17 bits, its halves, rounded down, and the bits lost by that are blurred on their own:
// (2 a + b + 2^15) >> 16 is (a + ((b + 2^15) >> 1)) >> 15, and that fits 32 bits.
INLINE inline Vec absolute_wide(Vec halves, Vec rounded_bits) {
  return absolute_32(shift_right_32<15>(add_32(halves, shift_right_32<1>(rounded_bits))));
}

INLINE inline Vec sum_along_wide(const std::int16_t* halves, const std::int16_t* bits, int begin, int end) {
  Vec sum = zero();
  for (int x = begin; x < end; x += kLanes16) {
    const Widened half = blur_along(halves + x, zero());
    const Widened bit = blur_along(bits + x, set_all_32(1 << 15));
    const Vec valid = columns_before(end < x + kLanes16 ? end : x + kLanes16, x);
    const Vec even_valid = shift_right_32<16>(shift_left_32<16>(valid));
    const Vec odd_valid = shift_right_32<16>(valid);
    sum = add_32(sum, bit_and(absolute_wide(half.low, bit.low), even_valid));
    sum = add_32(sum, bit_and(absolute_wide(half.high, bit.high), odd_valid));
  }
  return sum;
}

// Writes the vertical blur of columns [begin, end); returns whether it is cut off somewhere: it may have 17 bits.
template <int kBits>
INLINE inline bool blur_down(const VerticalBlur<kBits>& blur, int begin, int end, std::int16_t* blurred) {
  Vec least = zero();
  Vec most = zero();
  for (int x = begin; x < end; x += kLanes16) {
    const Widened sums = blur.at(x);
    const Vec saturated = saturate(sums.low, sums.high);
    least = min_16(least, saturated);
    most = max_16(most, saturated);
    store(blurred + x, saturated);
  }
  const Vec mirrored_least = bit_xor(least, set_all_16(-1));  // the ends of the range mirror to each other
  return any_equal_16(max_16(most, mirrored_least), set_all_16(32767));
}

template <int kBits>
TARGET __attribute__((noinline)) Vec sum_wide(VerticalBlur<kBits> blur, int begin, int end, int width,
                                              std::int16_t* halves, std::int16_t* bits) {
  const Vec one = set_all_32(1);
  const int last = end + kBlurRadius < width ? end + kBlurRadius : width;
  for (int x = begin < kLanes16 ? 0 : begin - kLanes16; x < last; x += kLanes16) {
    const Widened sums = blur.at(x);
    store(halves + x, saturate(shift_right_32<1>(sums.low), shift_right_32<1>(sums.high)));
    store(bits + x, saturate(bit_and(sums.low, one), bit_and(sums.high, one)));
  }
  extend_row(halves, width);
  extend_row(bits, width);
  return sum_along_wide(halves, bits, begin, end);
}

// The sum that columns [begin, end) of the difference give, with none beside them: it reaches two columns further.
template <int kBits>
INLINE inline Vec sum_run(const VerticalBlur<kBits>& blur, int begin, int end, int width, const Scratch& scratch) {
  const int first = begin < kBlurRadius ? 0 : begin - kBlurRadius;
  const int last = end + kBlurRadius < width ? end + kBlurRadius : width;
  auto* blurred = static_cast<std::int16_t*>(scratch.rows[0]);
  if (blur_down(blur, begin, end, blurred)) {
    return sum_wide(blur, first, last, width, static_cast<std::int16_t*>(scratch.rows[1]),
                    static_cast<std::int16_t*>(scratch.rows[2]));
  }
  store(blurred + end, zero());
  if (begin > 0) store(blurred + begin - kLanes16, zero());
  if (begin == 0 || last + kBlurRadius > width) extend_row(blurred, width);
  return sum_along_narrow(blurred, first, last);
}

// Which of 64 blocks have changed in any of five rows. A single one between two that have counts too: it costs less than
// another run.
INLINE inline std::uint64_t changed_blocks(const DifferenceRows<std::int16_t>& rows, int first) {
  std::uint64_t bits = 0;
  for (int i = 0; i < kBlock; i += sizeof(Vec)) {
    Vec any = load(rows.changed[0] + first + i);
    for (int row = 1; row < kBlurTaps; ++row) any = bit_or(any, load(rows.changed[row] + first + i));
    bits |= nonzero_bytes(any) << i;
  }
  return bits | ((bits << 1) & (bits >> 1));
}

// The first block from `from` on whose bit is `value`; `blocks` if there is none.
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

template <int kBits>
TARGET std::uint64_t blur_and_sum(const DifferenceRows<std::int16_t>& rows, int width, int bit_depth,
                                  const Scratch& scratch) {
  const std::int16_t* const* values = rows.values;
  const VerticalBlur<kBits> blur{values[0], values[1], values[2], values[3], values[4], kBits != 0 ? kBits : bit_depth};
  const int blocks = block_count(width);
  std::uint64_t bits[block_count(kMaxWidth) / 64];
  for (int first = 0; first < blocks; first += 64) bits[first / 64] = changed_blocks(rows, first);
  Vec sum = zero();
  int end = 0;
  for (int begin = find_block(bits, 0, blocks, true); begin < blocks; begin = find_block(bits, end, blocks, true)) {
    end = find_block(bits, begin, blocks, false);
    const int end_column = end * kBlock < width ? end * kBlock : width;
    sum = add_32(sum, sum_run(blur, begin * kBlock, end_column, width, scratch));
  }
  return sum_of_u32(sum);
}

INLINE inline Vec cell_of(const std::int16_t* column_sums, CellRange range) {
  const Vec one = set_all_16(1);
  Vec sum = zero();
  int x = range.begin;
  for (; x + kLanes16 <= range.end; x += kLanes16) sum = add_products(sum, load(column_sums + x), one);
  return add_products(sum, bit_and(load(column_sums + x), columns_before(range.end, x)), one);
}

INLINE inline Vec cell_of(const std::int32_t* column_sums, CellRange range) {
  Vec sum = zero();
  int x = range.begin;
  for (; x + kLanes32 <= range.end; x += kLanes32) sum = add_32(sum, load(column_sums + x));
  const Vec valid = greater_32(set_all_32(range.end - x), lane_numbers_32());
  return add_32(sum, bit_and(load(column_sums + x), valid));
}

// The sums of four vectors' 32-bit lanes, from transposing them by parts of 128 bits.
INLINE inline __m128i four_sums(Vec a, Vec b, Vec c, Vec d) {
  const Vec ab = add_32(unpack_low_32(a, b), unpack_high_32(a, b));
  const Vec cd = add_32(unpack_low_32(c, d), unpack_high_32(c, d));
  return sum_of_parts(add_32(unpack_low_64(ab, cd), unpack_high_64(ab, cd)));
}

template <typename ColumnSum>
TARGET void sum_cells(const ColumnSum* column_sums, const CellRange* ranges, int count, std::int32_t* cells) {
  for (int i = 0; i < count; i += 4) {
    const __m128i sums = four_sums(cell_of(column_sums, ranges[i]), cell_of(column_sums, ranges[i + 1]),
                                   cell_of(column_sums, ranges[i + 2]), cell_of(column_sums, ranges[i + 3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(cells + i), sums);
  }
}

#undef INLINE
