// Vector types and operations: part of bundle_kernels_body.hpp.

template <typename T>
struct Lanes;

template <>
struct Lanes<float> {
  typedef float Vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef float Floats __attribute__((vector_size(VECTOR_BYTES)));  // one float per lane
  typedef std::int32_t Ints __attribute__((vector_size(VECTOR_BYTES)));
  typedef std::int32_t Int;
  static constexpr int kMantissaBits = 23;
  static constexpr int kBias = 127;
  static constexpr int kLogTerms = 5;
};

template <>
struct Lanes<double> {
  typedef double Vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef float Floats __attribute__((vector_size(VECTOR_BYTES / 2)));
  typedef std::int64_t Ints __attribute__((vector_size(VECTOR_BYTES)));
  typedef std::int64_t Int;
  static constexpr int kMantissaBits = 52;
  static constexpr int kBias = 1023;
  static constexpr int kLogTerms = 11;
};

template <typename T>
using Vec = typename Lanes<T>::Vec;

template <typename T>
constexpr int kLanes = VECTOR_BYTES / sizeof(T);

// Sums over points have as many lanes as the widest vectors on every instruction set, in kParts vectors: point k is
// added to lane k % kSumLanes, so that the order of sums is the same everywhere.
template <typename T>
constexpr int kSumLanes = 64 / sizeof(T);
constexpr int kParts = 64 / VECTOR_BYTES;

template <typename T>
INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

template <typename T>
INLINE void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof(v));
}

template <typename T>
INLINE Vec<T> load_floats(const float* from) {
  typename Lanes<T>::Floats v;
  std::memcpy(&v, from, sizeof(v));
  return widen(v);
}

// Deinterleaves two vectors into the values at even and at odd indices.
template <typename V>
INLINE void split_pairs(V low, V high, V& even, V& odd) {
  constexpr int kCount = sizeof(V) / sizeof(low[0]);
#if defined(__clang__)
  for (int i = 0; i < kCount; ++i) {
    even[i] = 2 * i < kCount ? low[2 * i] : high[2 * i - kCount];
    odd[i] = 2 * i < kCount ? low[2 * i + 1] : high[2 * i + 1 - kCount];
  }
#else
  decltype(low == high) places = {};
  for (int i = 0; i < kCount; ++i) places[i] = 2 * i;
  even = __builtin_shuffle(low, high, places);
  odd = __builtin_shuffle(low, high, places + 1);
#endif
}

template <typename T>
INLINE void load_pairs(const float* from, Vec<T>& first, Vec<T>& second) {
  typename Lanes<T>::Floats low, high, even, odd;
  std::memcpy(&low, from, sizeof(low));
  std::memcpy(&high, from + kLanes<T>, sizeof(high));
  keep_in_register(low), keep_in_register(high);
  split_pairs(low, high, even, odd);
  first = widen(even);
  second = widen(odd);
}

template <typename T, int kCount>
INLINE void set_to_zero(Vec<T> (&vectors)[kCount]) {
#pragma GCC unroll 32
  for (auto& vector : vectors) vector = Vec<T>{};
}

// Sums of kCount quantities' lanes: of each part's vectors first of neighbors, then of neighboring sums, all vectors at
// once; then of the parts in the same way, as if they were one vector.
template <typename T, int kCount>
class LaneSums {
 public:
  // Overwrites `vectors`.
  INLINE void put(int part, Vec<T> (&vectors)[kCount]) {
    int count = kCount;
#pragma GCC unroll 4
    for (int width = kLanes<T>; width > 1; width /= 2) {
#pragma GCC unroll 32
      for (int i = 0; i < (count + 1) / 2; ++i) {
        Vec<T> even, odd;
        split_pairs(vectors[2 * i], 2 * i + 1 < count ? vectors[2 * i + 1] : Vec<T>{}, even, odd);
        vectors[i] = even + odd;
      }
      count = (count + 1) / 2;
    }
    for (int i = 0; i < kVectors; ++i) store(sums_[part] + i * kLanes<T>, vectors[i]);
  }

  INLINE void add_to(double* sums) {
    for (int step = 1; step < kParts; step *= 2) {
      for (int part = 0; part < kParts; part += 2 * step) {
        for (int i = 0; i < kCount; ++i) sums_[part][i] += sums_[part + step][i];
      }
    }
    for (int i = 0; i < kCount; ++i) sums[i] += double(sums_[0][i]);
  }

 private:
  static constexpr int kVectors = (kCount + kLanes<T> - 1) / kLanes<T>;
  alignas(64) T sums_[kParts][kVectors * kLanes<T>];
};

// The sum of the lanes of a sum's vectors, by halves.
template <typename T>
INLINE double sum_parts(Vec<T> (&parts)[kParts]) {
  for (int half = kParts / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) parts[i] += parts[i + half];
  }
  return sum_lanes(parts[0]);
}

template <typename T>
INLINE Vec<T> filled(T value) {
  return value - Vec<T>{};
}

template <typename T>
INLINE Vec<T> fused(T a, Vec<T> b, Vec<T> c) {
  return fused(filled(a), b, c);
}

template <typename T>
INLINE void add_product(Vec<T>& sum, Vec<T> a, Vec<T> b) {
  sum = fused(a, b, sum);
}

// log(1 + v) for v >= 0: 1 + v = 2^e m with m near 1, and log m = 2 atanh((m - 1) / (m + 1)) by its series.
template <typename T>
INLINE Vec<T> log_of_one_plus(Vec<T> v) {
  typedef typename Lanes<T>::Ints Ints;
  typedef typename Lanes<T>::Int Int;
  constexpr int kBits = Lanes<T>::kMantissaBits;
  constexpr Int kOne = Int(Lanes<T>::kBias) << kBits;
  const Vec<T> sum = v + T(1);
  const Ints bits = (Ints)sum;
  Ints exponent = (bits >> kBits) - Int(Lanes<T>::kBias);
  Vec<T> mantissa = (Vec<T>)((bits & ((Int(1) << kBits) - 1)) | kOne);
  const Ints upper = mantissa > T(1.4142135623730951);
  mantissa = upper ? mantissa * T(0.5) : mantissa;
  exponent -= upper;
  const Vec<T> above = exponent == 0 ? v : mantissa - T(1);
  const Vec<T> z = above / (above + T(2));
  const Vec<T> z2 = z * z;
  Vec<T> series = filled(T(1) / T(2 * Lanes<T>::kLogTerms - 1));
  for (int i = Lanes<T>::kLogTerms - 1; i > 0; --i) series = fused(series, z2, filled(T(1) / T(2 * i - 1)));
  return fused(T(2) * z, series, __builtin_convertvector(exponent, Vec<T>) * T(0.6931471805599453));
}
