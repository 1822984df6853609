// The kernels of block_kernels.hpp for one instruction set, see kernels_by_level.inl.
enum Start { kZero, kOld, kGiven };

// Where the numbers of a product's left side are: as far from each other, or with offsets for its columns or rows.
struct EvenLeft {
  const float* first;
  int row, column;
  const float* operator()(int i, int p) const { return first + i * row + static_cast<long>(p) * column; }
  EvenLeft Below(int rows) const { return {first + static_cast<long>(rows) * row, row, column}; }
};

struct ListedColumns {
  const float* first;
  int row;
  const int* offsets;
  const float* operator()(int i, int p) const { return first + offsets[p] + i * row; }
  ListedColumns Below(int rows) const { return {first + static_cast<long>(rows) * row, row, offsets}; }
};

struct ListedRows {
  const float* first;
  const int* offsets;
  int column;
  const float* operator()(int i, int p) const { return first + offsets[i] + static_cast<long>(p) * column; }
  ListedRows Below(int rows) const { return {first, offsets + rows, column}; }
};

// The same of the rows of its right side.
struct EvenRight {
  const float* first;
  int row;
  const float* operator()(int p) const { return first + static_cast<long>(p) * row; }
  EvenRight From(int column) const { return {first + column, row}; }
};

struct ListedRight {
  const float* first;
  const int* offsets;
  const float* operator()(int p) const { return first + offsets[p]; }
  ListedRight From(int column) const { return {first + column, offsets}; }
};

// The first kFew lanes of a vector, the others of any value.
template <int kLanes, int kFew>
inline typename Vector<kLanes>::Type LoadFew(const float* from) {
  if constexpr (kFew == kLanes) {
    return Load<kLanes>(from);
  } else {
    const auto half = Load<kFew>(from);
    if constexpr (kFew == 8) {
      return __builtin_shufflevector(half, half, 0, 1, 2, 3, 4, 5, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1);
    } else {
      static_assert(kFew == 4, "");
      return __builtin_shufflevector(half, half, 0, 1, 2, 3, -1, -1, -1, -1);
    }
  }
}

template <int kLanes, int kFew>
inline void StoreFew(typename Vector<kLanes>::Type value, float* to) {
  if constexpr (kFew == kLanes) {
    Store<kLanes>(value, to);
  } else if constexpr (kFew == 8) {
    Store<kFew>(__builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7), to);
  } else {
    static_assert(kFew == 4, "");
    Store<kFew>(__builtin_shufflevector(value, value, 0, 1, 2, 3), to);
  }
}

// kM x kN vectors of a product, of the last of them kFew lanes, kept in registers over all of k.
template <int kLanes, int kM, int kN, int kFew, Start kStart, typename Left, typename Right>
inline void Tile(int k, Left a, Right b, const float* start, float slope, float* c, int c_row) {
  typedef typename Vector<kLanes>::Type V;
  V sum[kM][kN];
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      const float* from = kStart == kOld ? c + i * c_row + j * kLanes : start + j * kLanes;
      sum[i][j] = kStart == kZero ? V{} : j + 1 < kN ? Load<kLanes>(from) : LoadFew<kLanes, kFew>(from);
    }
  }
#pragma GCC unroll 2
  for (int p = 0; p < k; ++p) {
    V right[kN];
    const float* row = b(p);
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      right[j] = j + 1 < kN ? Load<kLanes>(row + j * kLanes) : LoadFew<kLanes, kFew>(row + j * kLanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const float left = *a(i, p);
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) { sum[i][j] += left * right[j]; }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      V value = sum[i][j];
      if (kStart == kGiven) { value = value > 0 ? value : value * slope; }
      float* to = c + i * c_row + j * kLanes;
      if (j + 1 < kN) {
        Store<kLanes>(value, to);
      } else {
        StoreFew<kLanes, kFew>(value, to);
      }
    }
  }
}

template <int kLanes, int kN, int kFew, Start kStart, typename Left, typename Right>
inline void Panel(int m, int k, Left a, Right b, const float* start, float slope, float* c, int c_row) {
  // At least eight sums under way, as many as a multiply-add takes cycles times how many begin in one.
  const int kM = kN == 1 ? 8 : kRows;
  int i = 0;
  for (; i + kM <= m; i += kM) {
    Tile<kLanes, kM, kN, kFew, kStart>(k, a.Below(i), b, start, slope, c + static_cast<long>(i) * c_row, c_row);
  }
  for (; kM > 4 && i + 4 <= m; i += 4) {
    Tile<kLanes, 4, kN, kFew, kStart>(k, a.Below(i), b, start, slope, c + static_cast<long>(i) * c_row, c_row);
  }
  for (; i < m; ++i) {
    Tile<kLanes, 1, kN, kFew, kStart>(k, a.Below(i), b, start, slope, c + static_cast<long>(i) * c_row, c_row);
  }
}

// Three vectors of columns at a time, then two, then one, of which the last may be half used; what is left goes to
// vectors half as wide, one of each width.
template <int kLanes, Start kStart, typename Left, typename Right>
struct Columns {
  template <int kN, int kFew>
  static void Next(int m, int* j, int k, Left a, Right b, const float* start, float slope, float* c, int c_row) {
    Panel<kLanes, kN, kFew, kStart>(m, k, a, b.From(*j), start + *j, slope, c + *j, c_row);
    *j += (kN - 1) * kLanes + kFew;
  }

  static void Run(int m, int n, int k, Left a, Right b, const float* start, float slope, float* c, int c_row) {
    int j = 0;
    if constexpr (kLanes == kWidest) {
      const int kHalf = kLanes / 2;
      while (j + 3 * kLanes <= n) { Next<3, kLanes>(m, &j, k, a, b, start, slope, c, c_row); }
      if constexpr (kHalf >= 4) {
        if (n - j >= 2 * kLanes + kHalf) {
          Next<3, kHalf>(m, &j, k, a, b, start, slope, c, c_row);
        } else if (n - j >= kLanes + kHalf && n - j < 2 * kLanes) {
          Next<2, kHalf>(m, &j, k, a, b, start, slope, c, c_row);
        }
      }
      if (j + 2 * kLanes <= n) { Next<2, kLanes>(m, &j, k, a, b, start, slope, c, c_row); }
    }
    if (j + kLanes <= n) { Next<1, kLanes>(m, &j, k, a, b, start, slope, c, c_row); }
    if constexpr (kLanes > 1) {
      if (j < n) {
        Columns<kLanes / 2, kStart, Left, Right>::Run(m, n - j, k, a, b.From(j), start + j, slope, c + j, c_row);
      }
    }
  }
};

// Rows of the right side of which three vectors' columns stay in a core's first cache.
const int kDepth = 128;

template <Start kStart, typename Left, typename Right>
void Product(int m, int n, int k, Left a, Right b, const float* start, float slope, float* c, int c_row) {
  Columns<kWidest, kStart, Left, Right>::Run(m, n, k, a, b, start, slope, c, c_row);
}

void Multiply(int m, int n, int k, const float* a, int a_row, int a_column, const float* b, int b_row, float* c,
    int c_row, bool accumulate) {
  int done = 0;
  if (!accumulate) {
    done = k < 2 * kDepth ? k : kDepth;
    Product<kZero>(m, n, done, EvenLeft{a, a_row, a_column}, EvenRight{b, b_row}, c, 1, c, c_row);
  }
  for (int depth; done < k; done += depth) {
    depth = k - done < 2 * kDepth ? k - done : kDepth;
    Product<kOld>(m, n, depth, EvenLeft{a + static_cast<long>(done) * a_column, a_row, a_column},
        EvenRight{b + static_cast<long>(done) * b_row, b_row}, c, 1, c, c_row);
  }
}

void MultiplyActivate(int m, int n, int k, const float* a, int a_row, int a_column, const float* b, int b_row,
    const float* start, float slope, float* c, int c_row) {
  Product<kGiven>(m, n, k, EvenLeft{a, a_row, a_column}, EvenRight{b, b_row}, start, slope, c, c_row);
}

void MultiplyListed(int m, int n, int k, const float* a, int a_row, int a_column, const float* b,
    const int* b_offsets, float* c, int c_row) {
  Product<kZero>(m, n, k, EvenLeft{a, a_row, a_column}, ListedRight{b, b_offsets}, c, 1, c, c_row);
}

void MultiplyPatches(int m, int n, int k, const float* a, int a_row, const int* a_offsets, const float* b, int b_row,
    const float* start, float slope, float* c, int c_row) {
  Product<kGiven>(m, n, k, ListedColumns{a, a_row, a_offsets}, EvenRight{b, b_row}, start, slope, c, c_row);
}

void AddPatches(int m, int n, int k, const float* a, const int* a_offsets, int a_column, const float* b, int b_row,
    float* c, int c_row) {
  Product<kOld>(m, n, k, ListedRows{a, a_offsets, a_column}, EvenRight{b, b_row}, c, 1, c, c_row);
}

// Runs kernel.Run<kLanes, kN>(c), for kN vectors of channels from c on, over all channels.
template <int kMost, int kLanes, typename Kernel>
inline void OverChannels(int channels, int c, const Kernel& kernel) {
  if constexpr (kLanes > 0) {
    for (; c + kMost * kLanes <= channels; c += kMost * kLanes) { kernel.template Run<kLanes, kMost>(c); }
    if constexpr (kMost > 1) {
      for (; c + kLanes <= channels; c += kLanes) { kernel.template Run<kLanes, 1>(c); }
    }
    OverChannels<1, kLanes / 2>(channels, c, kernel);
  }
}

// A pointer of which the compiler knows nothing, or it would keep the sums of all pointers and offsets in memory.
template <typename T>
inline T* Opaque(T* pointer) {
#ifdef __GNUC__
  __asm__("" : "+r"(pointer));
#endif
  return pointer;
}

template <int kR, int kC, bool kMasked>
struct Correlation {
  int height, width;
  TapGrid taps;
  const float* weights;
  ConstGrid from;
  ConstGrid activated;
  float slope;
  Grid to;
  float* sums;

  // kX pixels side by side.
  template <int kLanes, int kX, typename V>
  static inline void Pixels(const V* weight, const float* value, long row, long column, long from_step,
      const float* mask, long mask_step, float slope, float* target, long to_step, V* total) {
    V sum[kX];
#pragma GCC unroll 4
    for (int x = 0; x < kX; ++x) { sum[x] = V{}; }
#pragma GCC unroll 3
    for (int r = 0; r < kR; ++r) {
      const float* at = value;
#pragma GCC unroll 3
      for (int s = 0; s < kC; ++s) {
#pragma GCC unroll 4
        for (int x = 0; x < kX; ++x) { sum[x] += weight[r * kC + s] * Load<kLanes>(at + x * from_step); }
        at = Opaque(at + column);
      }
      value = Opaque(value + row);
    }
#pragma GCC unroll 4
    for (int x = 0; x < kX; ++x) {
      if (kMasked) {
        sum[x] = Load<kLanes>(mask + x * mask_step) > 0 ? sum[x] : sum[x] * slope;
        *total += sum[x];
      }
      Store<kLanes>(sum[x], target + x * to_step);
    }
  }

  template <int kLanes, int kN>
  void Run(int c) const {
    typedef typename Vector<kLanes>::Type V;
    V weight[kR * kC], total = {};
#pragma GCC unroll 9
    for (int t = 0; t < kR * kC; ++t) {
      weight[t] = Load<kLanes>(weights + taps.weight + t / kC * taps.weight_row + t % kC * taps.weight_column + c);
    }
    if (kMasked) { total = Load<kLanes>(sums + c); }
    // A store of a vector may change anything but what is local.
    const ConstGrid from = this->from, activated = this->activated;
    const Grid to = this->to;
    const int height = this->height, width = this->width;
    const long row = taps.from_row, column = taps.from_column;
    const float slope = this->slope;
    for (int y = 0; y < height; ++y) {
      const float* value = from.first + static_cast<long>(y) * from.row + c;
      const float* mask = kMasked ? activated.first + static_cast<long>(y) * activated.row + c : nullptr;
      float* target = to.first + static_cast<long>(y) * to.row + c;
      int x = 0;
      for (; x + 4 <= width; x += 4) {
        Pixels<kLanes, 4>(weight, value, row, column, from.pixel, mask, activated.pixel, slope, target, to.pixel,
            &total);
        value += 4 * from.pixel;
        if (kMasked) { mask += 4 * activated.pixel; }
        target += 4 * to.pixel;
      }
      for (; x < width; ++x) {
        Pixels<kLanes, 1>(weight, value, row, column, from.pixel, mask, activated.pixel, slope, target, to.pixel,
            &total);
        value += from.pixel;
        if (kMasked) { mask += activated.pixel; }
        target += to.pixel;
      }
    }
    if (kMasked) { Store<kLanes>(total, sums + c); }
  }
};

// Any number of taps, none too.
template <bool kMasked>
struct AnyCorrelation {
  int height, width;
  TapGrid taps;
  const float* weights;
  ConstGrid from;
  ConstGrid activated;
  float slope;
  Grid to;
  float* sums;

  template <int kLanes, int kN>
  void Run(int c) const {
    typedef typename Vector<kLanes>::Type V;
    V total = {};
    if (kMasked) { total = Load<kLanes>(sums + c); }
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const float* value = from.first + static_cast<long>(y) * from.row + x * from.pixel + c;
        V sum = {};
        for (int r = 0; r < taps.rows; ++r) {
          for (int s = 0; s < taps.columns; ++s) {
            sum += Load<kLanes>(weights + taps.weight + r * taps.weight_row + s * taps.weight_column + c) *
                Load<kLanes>(value + r * taps.from_row + s * taps.from_column);
          }
        }
        if (kMasked) {
          sum = Load<kLanes>(activated.first + static_cast<long>(y) * activated.row + x * activated.pixel + c) > 0
              ? sum : sum * slope;
          total += sum;
        }
        Store<kLanes>(sum, to.first + static_cast<long>(y) * to.row + x * to.pixel + c);
      }
    }
    if (kMasked) { Store<kLanes>(total, sums + c); }
  }
};

template <typename Kernel>
inline void CorrelateBy(int height, int width, int channels, const TapGrid& taps, const float* weights,
    ConstGrid from, ConstGrid activated, float slope, Grid to, float* sums) {
  OverChannels<1, kWidest>(channels, 0, Kernel{height, width, taps, weights, from, activated, slope, to, sums});
}

template <bool kMasked>
void CorrelateAny(int height, int width, int channels, const TapGrid& taps, const float* weights, ConstGrid from,
    ConstGrid activated, float slope, Grid to, float* sums) {
  auto by = CorrelateBy<AnyCorrelation<kMasked> >;
  // A 3x3 filter, and the gradient of one at stride 2.
  if (taps.rows == 3 && taps.columns == 3) { by = CorrelateBy<Correlation<3, 3, kMasked> >; }
  if (taps.rows == 2 && taps.columns == 2) { by = CorrelateBy<Correlation<2, 2, kMasked> >; }
  if (taps.rows == 2 && taps.columns == 1) { by = CorrelateBy<Correlation<2, 1, kMasked> >; }
  if (taps.rows == 1 && taps.columns == 2) { by = CorrelateBy<Correlation<1, 2, kMasked> >; }
  if (taps.rows == 1 && taps.columns == 1) { by = CorrelateBy<Correlation<1, 1, kMasked> >; }
  by(height, width, channels, taps, weights, from, activated, slope, to, sums);
}

void Correlate(int height, int width, int channels, const TapGrid& taps, const float* weights, ConstGrid from,
    Grid to) {
  CorrelateAny<false>(height, width, channels, taps, weights, from, ConstGrid(), 1, to, nullptr);
}

void CorrelateMasked(int height, int width, int channels, const TapGrid& taps, const float* weights, ConstGrid from,
    ConstGrid activated, float slope, Grid to, float* sums) {
  CorrelateAny<true>(height, width, channels, taps, weights, from, activated, slope, to, sums);
}

template <int kR, int kC>
struct CorrelationGradient {
  int height, width;
  TapGrid taps;
  ConstGrid from, gradient;
  float* sums;

  template <int kLanes, int kN>
  void Run(int c) const {
    typedef typename Vector<kLanes>::Type V;
    V sum[kR * kC];
    const auto place = [&](int t) {
      return sums + taps.weight + t / kC * taps.weight_row + t % kC * taps.weight_column + c;
    };
#pragma GCC unroll 9
    for (int t = 0; t < kR * kC; ++t) { sum[t] = Load<kLanes>(place(t)); }
    const long column = taps.from_column, row = taps.from_row;
    for (int y = 0; y < height; ++y) {
      const float* value[kR];
#pragma GCC unroll 3
      for (int r = 0; r < kR; ++r) { value[r] = from.first + static_cast<long>(y) * from.row + r * row + c; }
      const float* factor = gradient.first + static_cast<long>(y) * gradient.row + c;
      for (int x = 0; x < width; ++x, factor += gradient.pixel) {
        const V one = Load<kLanes>(factor);
#pragma GCC unroll 3
        for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 3
          for (int s = 0; s < kC; ++s) { sum[r * kC + s] += one * Load<kLanes>(value[r] + s * column); }
          value[r] = Opaque(value[r] + from.pixel);
        }
      }
    }
#pragma GCC unroll 9
    for (int t = 0; t < kR * kC; ++t) { Store<kLanes>(sum[t], place(t)); }
  }
};

void CorrelateGradient(int height, int width, int channels, const TapGrid& taps, ConstGrid from, ConstGrid gradient,
    float* sums) {
  if (taps.rows == 3 && taps.columns == 3) {
    OverChannels<1, kWidest>(channels, 0, CorrelationGradient<3, 3>{height, width, taps, from, gradient, sums});
    return;
  }
  for (int r = 0; r < taps.rows; ++r) {
    for (int s = 0; s < taps.columns; ++s) {
      const TapGrid tap = {1, 1, taps.weight + r * taps.weight_row + s * taps.weight_column, 0, 0, 0, 0};
      const ConstGrid met = {from.first + r * taps.from_row + s * taps.from_column, from.row, from.pixel};
      OverChannels<1, kWidest>(channels, 0, CorrelationGradient<1, 1>{height, width, tap, met, gradient, sums});
    }
  }
}

// `to` may be what it is made from.
template <bool kActivated, bool kAdds>
struct AffineOf {
  int pixels, channels;
  const float* from;
  const float* scale;
  const float* shift;
  const float* other;
  float slope;
  float* to;

  template <int kLanes, int kN>
  void Run(int c) const {
    // A store of a vector may change anything but what is local.
    const auto pixels = this->pixels;
    const auto channels = this->channels;
    const auto from = this->from;
    const auto other = this->other;
    const auto slope = this->slope;
    const auto to = this->to;
    typedef typename Vector<kLanes>::Type V;
    V factor[kN], start[kN];
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      factor[j] = Load<kLanes>(scale + c + j * kLanes);
      start[j] = Load<kLanes>(shift + c + j * kLanes);
    }
    for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) {
        const long at = static_cast<long>(p) * channels + c + j * kLanes;
        V value = factor[j] * Load<kLanes>(from + at) + start[j];
        if (kActivated) { value = value > 0 ? value : value * slope; }
        if (kAdds) { value += Load<kLanes>(other + at); }
        Store<kLanes>(value, to + at);
      }
    }
  }
};

void Affine(int pixels, int channels, const float* from, const float* scale, const float* shift, float slope,
    float* to) {
  OverChannels<4, kWidest>(channels, 0,
      AffineOf<true, false>{pixels, channels, from, scale, shift, nullptr, slope, to});
}

void AffineAdd(int pixels, int channels, const float* from, const float* scale, const float* shift,
    const float* other, float* to) {
  if (other == nullptr) {
    OverChannels<4, kWidest>(channels, 0,
        AffineOf<false, false>{pixels, channels, from, scale, shift, nullptr, 1, to});
  } else {
    OverChannels<4, kWidest>(channels, 0,
        AffineOf<false, true>{pixels, channels, from, scale, shift, other, 1, to});
  }
}

struct MomentsOf {
  int pixels, channels;
  const float* from;
  float* mean;
  float* squares;

  template <int kLanes, int kN>
  void Run(int c) const {
    typedef typename Vector<kLanes>::Type V;
    V middle[kN], square[kN];
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) { middle[j] = square[j] = V{}; }
    for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) { middle[j] += Load<kLanes>(from + p * channels + c + j * kLanes); }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) { middle[j] /= static_cast<float>(pixels); }
    for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) {
        const V distance = Load<kLanes>(from + p * channels + c + j * kLanes) - middle[j];
        square[j] += distance * distance;
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      Store<kLanes>(middle[j], mean + c + j * kLanes);
      Store<kLanes>(square[j], squares + c + j * kLanes);
    }
  }
};

void Moments(int pixels, int channels, const float* from, float* mean, float* squares) {
  OverChannels<4, kWidest>(channels, 0, MomentsOf{pixels, channels, from, mean, squares});
}

// kMasked: `from` is a gradient, which becomes that before the leaky ReLU of scale * z + shift.
template <bool kMasked>
struct ProductsOf {
  int pixels, channels;
  const float* z;
  const float* scale;
  const float* shift;
  const float* mean;
  float slope;
  float* from;
  float* sums;
  float* products;

  template <int kLanes, int kN>
  void Run(int c) const {
    // A store of a vector may change anything but what is local.
    const auto pixels = this->pixels;
    const auto channels = this->channels;
    const auto z = this->z;
    const auto slope = this->slope;
    const auto from = this->from;
    typedef typename Vector<kLanes>::Type V;
    V sum[kN], product[kN], middle[kN], factor[kN], start[kN];
#pragma GCC unroll 2
    for (int j = 0; j < kN; ++j) {
      const int at = c + j * kLanes;
      sum[j] = Load<kLanes>(sums + at);
      product[j] = Load<kLanes>(products + at);
      middle[j] = Load<kLanes>(mean + at);
      if (kMasked) {
        factor[j] = Load<kLanes>(scale + at);
        start[j] = Load<kLanes>(shift + at);
      }
    }
    for (int p = 0; p < pixels; ++p) {
#pragma GCC unroll 2
      for (int j = 0; j < kN; ++j) {
        const long at = static_cast<long>(p) * channels + c + j * kLanes;
        const V before = Load<kLanes>(z + at);
        V value = Load<kLanes>(from + at);
        if (kMasked) {
          value = factor[j] * before + start[j] > 0 ? value : value * slope;
          Store<kLanes>(value, from + at);
        }
        sum[j] += value;
        product[j] += value * (before - middle[j]);
      }
    }
#pragma GCC unroll 2
    for (int j = 0; j < kN; ++j) {
      Store<kLanes>(sum[j], sums + c + j * kLanes);
      Store<kLanes>(product[j], products + c + j * kLanes);
    }
  }
};

void MaskMoments(int pixels, int channels, const float* z, const float* scale, const float* shift, const float* mean,
    float slope, float* gradient, float* sums, float* products) {
  OverChannels<2, kWidest>(channels, 0,
      ProductsOf<true>{pixels, channels, z, scale, shift, mean, slope, gradient, sums, products});
}

void SumMoments(int pixels, int channels, const float* from, const float* z, const float* mean, float* sums,
    float* products) {
  OverChannels<2, kWidest>(channels, 0, ProductsOf<false>{pixels, channels, z, nullptr, nullptr, mean, 1,
      const_cast<float*>(from), sums, products});
}

struct CombinationOf {
  int width, channels;
  const float* scale;
  const float* z_scale;
  const float* shift;
  const float* gradient;
  const float* z;
  int from_pixel;
  float* to;
  int to_pixel;

  template <int kLanes, int kN>
  void Run(int c) const {
    // A store of a vector may change anything but what is local.
    const auto width = this->width;
    const auto gradient = this->gradient;
    const auto z = this->z;
    const auto from_pixel = this->from_pixel;
    const auto to = this->to;
    const auto to_pixel = this->to_pixel;
    typedef typename Vector<kLanes>::Type V;
    V factor[kN], z_factor[kN], start[kN];
#pragma GCC unroll 2
    for (int j = 0; j < kN; ++j) {
      factor[j] = Load<kLanes>(scale + c + j * kLanes);
      z_factor[j] = Load<kLanes>(z_scale + c + j * kLanes);
      start[j] = Load<kLanes>(shift + c + j * kLanes);
    }
    for (int x = 0; x < width; ++x) {
#pragma GCC unroll 2
      for (int j = 0; j < kN; ++j) {
        const long at = static_cast<long>(x) * from_pixel + c + j * kLanes;
        Store<kLanes>(factor[j] * Load<kLanes>(gradient + at) + z_factor[j] * Load<kLanes>(z + at) + start[j],
            to + static_cast<long>(x) * to_pixel + c + j * kLanes);
      }
    }
  }
};

void Combine(int pixels, int channels, const float* gradient, const float* z, int from_pixel, const float* scale,
    const float* z_scale, const float* shift, float* to, int to_pixel) {
  OverChannels<2, kWidest>(channels, 0,
      CombinationOf{pixels, channels, scale, z_scale, shift, gradient, z, from_pixel, to, to_pixel});
}

void Adam(int count, float rate, float beta1, float beta2, float e, float* __restrict g, float* __restrict m,
    float* __restrict v) {
  for (int i = 0; i < count; ++i) {
    m[i] = beta1 * m[i] + (1 - beta1) * g[i];
    v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
    g[i] = rate * m[i] / (__builtin_sqrtf(v[i]) + e);
  }
}

// `to` may be the gradient.
void ReluGradient(int count, const float* from, float slope, const float* gradient, float* to) {
#pragma GCC ivdep
  for (int i = 0; i < count; ++i) { to[i] = gradient[i] * ((from[i] > 0) + slope * (from[i] <= 0)); }
}

constexpr BlockKernels kKernels = {Multiply, MultiplyActivate, MultiplyListed, MultiplyPatches, AddPatches, Correlate,
    CorrelateMasked, CorrelateGradient, Affine, AffineAdd, Moments, MaskMoments, Combine, SumMoments, Adam,
    ReluGradient};
