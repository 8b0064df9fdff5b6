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

INLINE inline Widened load_wide(const std::uint16_t* from) {
  return {load_u16_as_u32(from), load_u16_as_u32(from + kLanes32)};
}

INLINE inline void add_columns(std::uint16_t* sums, Widened samples) {
  store(sums, add_16(load(sums), samples.low));
  store(sums + kLanes16, add_16(load(sums + kLanes16), samples.high));
}

INLINE inline void add_columns(std::uint32_t* sums, Widened samples) {
  store(sums, add_32(load(sums), samples.low));
  store(sums + kLanes32, add_32(load(sums + kLanes32), samples.high));
}

// A copy of the last samples of a row, shorter than a vector, that ends in zeros: nothing may be read behind the row.
template <typename Sample>
struct Tail {
  alignas(Vec) Sample samples[sizeof(Vec) / sizeof(Sample)] = {};
  Tail(const Sample* from, int count) { std::memcpy(samples, from, count * sizeof(Sample)); }
};

template <typename Samples>
TARGET void add_row(const typename Samples::Sample* row, int width, typename Samples::ColumnSum* column_sums) {
  constexpr int kLanes = sizeof(Vec) / sizeof(*row);
  int x = 0;
  for (; x + kLanes <= width; x += kLanes) add_columns(column_sums + x, load_wide(row + x));
  if (x < width) add_columns(column_sums + x, load_wide(Tail(row + x, width - x).samples));
}

// Calls `step(x, row_at_x, previous_at_x)` for every vector of two rows; returns how many samples of the last one are
// behind the rows' ends: they are zero.
template <typename Sample, typename Step>
INLINE inline int for_each_vector(const Sample* row, const Sample* previous, int width, Step step) {
  constexpr int kLanes = sizeof(Vec) / sizeof(Sample);
  int x = 0;
  for (; x + kLanes <= width; x += kLanes) step(x, row + x, previous + x);
  if (x == width) return 0;
  const Tail row_tail(row + x, width - x);
  const Tail previous_tail(previous + x, width - x);
  step(x, row_tail.samples, previous_tail.samples);
  return x + kLanes - width;
}

// At the end of a block (or of the row), writes whether any bit of it changed, and starts the next block.
INLINE inline void note_change(Vec& any_change, int end, int width, std::uint8_t* changed) {
  if (end % kBlock != 0 && end < width) return;
  changed[(end - 1) / kBlock] = !is_zero(any_change);
  any_change = zero();
}

TARGET std::uint64_t take_luma_row_8(const std::uint8_t* row, const std::uint8_t* previous, int width, int,
                                     std::uint16_t* column_sums, std::int16_t* difference, std::uint8_t* changed) {
  const Vec black = set_all_8(kNominalBlack);
  const Vec white = set_all_8(kNominalWhite);
  Vec nominal_sum = zero();
  Vec any_change = zero();
  const auto take = [&](int x, const std::uint8_t* now, const std::uint8_t* before) INLINE {
    const Widened samples = load_wide(now);
    const Widened samples_before = load_wide(before);
    any_change = bit_or(any_change, bit_xor(load(now), load(before)));
    store(difference + x, subtract_16(samples_before.low, samples.low));
    store(difference + x + kLanes16, subtract_16(samples_before.high, samples.high));
    add_columns(column_sums + x, samples);
    nominal_sum = add_64(nominal_sum, sum_bytes(min_u8(max_u8(load(now), black), white)));
    note_change(any_change, x + 2 * kLanes16, width, changed);
  };
  const int padding = for_each_vector(row, previous, width, take);
  return sum_of_u64(nominal_sum) - std::uint64_t(padding) * kNominalBlack;
}

TARGET std::uint64_t take_luma_row_14(const std::uint16_t* row, const std::uint16_t* previous, int width,
                                      int bit_depth, std::uint32_t* column_sums, std::int16_t* difference,
                                      std::uint8_t* changed) {
  const int black_level = kNominalBlack << (bit_depth - 8);
  const Vec black = set_all_16(black_level);
  const Vec white = set_all_16(kNominalWhite << (bit_depth - 8));
  Vec nominal_sum = zero();
  Vec any_change = zero();
  const auto take = [&](int x, const std::uint16_t* now, const std::uint16_t* before) INLINE {
    const Vec samples = load(now);
    const Vec step = subtract_16(load(before), samples);
    any_change = bit_or(any_change, step);
    store(difference + x, step);
    add_columns(column_sums + x, load_wide(now));
    nominal_sum = add_products(nominal_sum, min_u16(max_u16(samples, black), white), set_all_16(1));
    note_change(any_change, x + kLanes16, width, changed);
  };
  const int padding = for_each_vector(row, previous, width, take);
  return sum_of_u32(nominal_sum) - std::uint64_t(padding) * black_level;
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

// The vertical blur of a block: not there, within 16 bits, or beyond (then cut off at the ends of the range).
enum BlockRange : std::uint8_t { kZero = 0, kNarrow = 1, kWide = 2 };

inline bool is_cut_off(std::int16_t blurred) { return blurred == 32767 || blurred == -32768; }

template <int kBits>
INLINE inline BlockRange blur_block_down(const VerticalBlur<kBits>& blur, int begin, int end, std::int16_t* blurred) {
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
  return any_equal_16(max_16(most, mirrored_least), set_all_16(32767)) ? kWide : kNarrow;
}

template <int kBits>
TARGET __attribute__((noinline)) Vec sum_wide_block(VerticalBlur<kBits> blur, int begin, int end, int width,
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

template <int kBits>
TARGET std::uint64_t blur_and_sum(const DifferenceRows<std::int16_t>& rows, int width, int bit_depth,
                                  const Scratch& scratch) {
  const std::int16_t* const* values = rows.values;
  const VerticalBlur<kBits> blur{values[0], values[1], values[2], values[3], values[4], kBits != 0 ? kBits : bit_depth};
  const int blocks = block_count(width);
  auto* blurred = static_cast<std::int16_t*>(scratch.rows[0]);
  std::uint8_t* range = scratch.blocks + 1;  // with a block of zeros before and after the row
  range[-1] = range[blocks] = kZero;
  int any_changed = 0;
  for (int b = 0; b < blocks; ++b) any_changed |= range[b] = rows.block_changed(b) ? kNarrow : kZero;
  if (any_changed == 0) return 0;
  for (int b = 0; b < blocks; ++b) {
    const int begin = b * kBlock;
    const int end = begin + kBlock < width ? begin + kBlock : width;
    if (range[b] != kZero) {
      range[b] = blur_block_down(blur, begin, end, blurred);
    } else {
      std::memset(blurred + begin, 0, (end - begin) * sizeof(*blurred));
    }
  }
  extend_row(blurred, width);
  Vec sum = zero();
  for (int b = 0; b < blocks; ++b) {
    const int begin = b * kBlock;
    const int end = begin + kBlock < width ? begin + kBlock : width;
    const bool wide_left = range[b - 1] == kWide && (is_cut_off(blurred[begin - 1]) || is_cut_off(blurred[begin - 2]));
    const bool wide_right = range[b + 1] == kWide && (is_cut_off(blurred[end]) || is_cut_off(blurred[end + 1]));
    if (range[b] == kWide || wide_left || wide_right) {
      sum = add_32(sum, sum_wide_block(blur, begin, end, width, static_cast<std::int16_t*>(scratch.rows[1]),
                                       static_cast<std::int16_t*>(scratch.rows[2])));
    } else if (range[b - 1] != kZero || range[b] != kZero || range[b + 1] != kZero) {
      sum = add_32(sum, sum_along_narrow(blurred, begin, end));
    }
  }
  return sum_of_u32(sum);
}

INLINE inline Vec cell_of(const std::uint16_t* column_sums, CellRange range) {
  const Vec one = set_all_16(1);  // sums have 15 bits: signed multiplication is right
  Vec sum = zero();
  int x = range.begin;
  for (; x + kLanes16 <= range.end; x += kLanes16) sum = add_products(sum, load(column_sums + x), one);
  return add_products(sum, bit_and(load(column_sums + x), columns_before(range.end, x)), one);
}

INLINE inline Vec cell_of(const std::uint32_t* column_sums, CellRange range) {
  Vec sum = zero();
  int x = range.begin;
  for (; x + kLanes32 <= range.end; x += kLanes32) sum = add_32(sum, load(column_sums + x));
  const Vec valid = greater_32(set_all_32(range.end - x), lane_numbers_32());
  return add_32(sum, bit_and(load(column_sums + x), valid));
}

template <typename ColumnSum>
TARGET void add_cells(const ColumnSum* column_sums, const CellRange* ranges, int count, double* cells) {
  for (int i = 0; i < count; ++i) cells[i] += double(sum_of_u32(cell_of(column_sums, ranges[i])));
}

#undef INLINE
