// The kernels of block_kernels.hpp for one instruction set, see kernels_by_level.inl.
template <int kLanes>
struct Vector {
  typedef float Type __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
};

template <int kLanes>
inline typename Vector<kLanes>::Type Load(const float* from) {
  return *reinterpret_cast<const typename Vector<kLanes>::Type*>(from);
}

template <int kLanes>
inline void Store(typename Vector<kLanes>::Type value, float* to) {
  *reinterpret_cast<typename Vector<kLanes>::Type*>(to) = value;
}

enum Start { kZero, kOld, kGiven };

// Where the rows of a product's right side are: as far from each other, or at offsets from the first.
struct EvenRows {
  const float* first;
  int step;
  const float* operator()(int p) const { return first + static_cast<long>(p) * step; }
  EvenRows From(int column) const { return {first + column, step}; }
};

struct ListedRows {
  const float* first;
  const int* offsets;
  const float* operator()(int p) const { return first + offsets[p]; }
  ListedRows From(int column) const { return {first + column, offsets}; }
};

// kM x (kN vectors) of a product, kept in registers over all of k.
template <int kLanes, int kM, int kN, Start kStart, typename Rows>
inline void Tile(int k, const float* a, int a_row, int a_column, Rows b, const float* start, float slope, float* c,
    int c_row) {
  typedef typename Vector<kLanes>::Type V;
  V sum[kM][kN];
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      sum[i][j] = kStart == kZero ? V{} : Load<kLanes>(kStart == kOld ? c + i * c_row + j * kLanes
                                                                       : start + j * kLanes);
    }
  }
  for (int p = 0; p < k; ++p) {
    V right[kN];
    const float* row = b(p);
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) { right[j] = Load<kLanes>(row + j * kLanes); }
#pragma GCC unroll 16
    for (int i = 0; i < kM; ++i) {
      const float left = a[i * a_row];
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) { sum[i][j] += left * right[j]; }
    }
    a += a_column;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      V value = sum[i][j];
      if (kStart == kGiven) { value = value > 0 ? value : value * slope; }
      Store<kLanes>(value, c + i * c_row + j * kLanes);
    }
  }
}

template <int kLanes, int kN, Start kStart, typename Rows>
inline void Panel(int m, int k, const float* a, int a_row, int a_column, Rows b, const float* start, float slope,
    float* c, int c_row) {
  int i = 0;
  for (; i + kRows <= m; i += kRows) {
    Tile<kLanes, kRows, kN, kStart>(k, a + i * a_row, a_row, a_column, b, start, slope, c + i * c_row, c_row);
  }
  for (; i + 4 <= m; i += 4) {
    Tile<kLanes, 4, kN, kStart>(k, a + i * a_row, a_row, a_column, b, start, slope, c + i * c_row, c_row);
  }
  for (; i < m; ++i) {
    Tile<kLanes, 1, kN, kStart>(k, a + i * a_row, a_row, a_column, b, start, slope, c + i * c_row, c_row);
  }
}

// Columns from j on, three vectors at a time; what is left goes to vectors half as wide.
template <int kLanes, Start kStart, typename Rows>
struct Columns {
  static void Run(int m, int n, int k, const float* a, int a_row, int a_column, Rows b,
      const float* start, float slope, float* c, int c_row) {
    int j = 0;
    for (; j + 3 * kLanes <= n; j += 3 * kLanes) {
      Panel<kLanes, 3, kStart>(m, k, a, a_row, a_column, b.From(j), start + j, slope, c + j, c_row);
    }
    for (; j + 2 * kLanes <= n; j += 2 * kLanes) {
      Panel<kLanes, 2, kStart>(m, k, a, a_row, a_column, b.From(j), start + j, slope, c + j, c_row);
    }
    for (; j + kLanes <= n; j += kLanes) {
      Panel<kLanes, 1, kStart>(m, k, a, a_row, a_column, b.From(j), start + j, slope, c + j, c_row);
    }
    if (j < n) {
      Columns<kLanes / 2, kStart, Rows>::Run(m, n - j, k, a, a_row, a_column, b.From(j), start + j, slope, c + j,
          c_row);
    }
  }
};

template <Start kStart, typename Rows>
struct Columns<0, kStart, Rows> {
  static void Run(int, int, int, const float*, int, int, Rows, const float*, float, float*, int) {}
};

template <Start kStart, typename Rows>
void Product(int m, int n, int k, const float* a, int a_row, int a_column, Rows b,
    const float* start, float slope, float* c, int c_row) {
  // 24 columns: three half vectors rather than a whole and a half.
  if (kWidest > 8 && n % kWidest != 0 && n % (kWidest / 2) == 0) {
    Columns<kWidest / 2, kStart, Rows>::Run(m, n, k, a, a_row, a_column, b, start, slope, c, c_row);
  } else {
    Columns<kWidest, kStart, Rows>::Run(m, n, k, a, a_row, a_column, b, start, slope, c, c_row);
  }
}

void Multiply(int m, int n, int k, const float* a, int a_row, int a_column, const float* b, int b_row, float* c,
    int c_row, bool accumulate) {
  if (accumulate) {
    Product<kOld>(m, n, k, a, a_row, a_column, EvenRows{b, b_row}, c, 1, c, c_row);
  } else {
    Product<kZero>(m, n, k, a, a_row, a_column, EvenRows{b, b_row}, c, 1, c, c_row);
  }
}

void MultiplyActivate(int m, int n, int k, const float* a, int a_row, int a_column, const float* b, int b_row,
    const float* start, float slope, float* c, int c_row) {
  Product<kGiven>(m, n, k, a, a_row, a_column, EvenRows{b, b_row}, start, slope, c, c_row);
}

void MultiplyListed(int m, int n, int k, const float* a, int a_row, int a_column, const float* b,
    const int* b_offsets, float* c, int c_row) {
  Product<kZero>(m, n, k, a, a_row, a_column, ListedRows{b, b_offsets}, c, 1, c, c_row);
}

// kX pixels side by side that meet the same taps.
template <int kLanes, int kN, int kX>
inline void GatherPixels(const TapList& rows, int y, const TapList& columns, int x, int taps, const float* weights,
    int w_tap, const float* from, int from_width, int from_pixel, float* to, int to_pixel) {
  typedef typename Vector<kLanes>::Type V;
  V sum[kX][kN];
#pragma GCC unroll 4
  for (int i = 0; i < kX; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) { sum[i][j] = V{}; }
  }
  const int pairs = columns.begin[x + 1] - columns.begin[x];
  for (int r = rows.begin[y]; r < rows.begin[y + 1]; ++r) {
    const float* row = from + rows.source[r] * from_width * from_pixel;
    for (int s = 0; s < pairs; ++s) {
      const float* weight = weights + (rows.tap[r] * taps + columns.tap[columns.begin[x] + s]) * w_tap;
      V factor[kN];
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) { factor[j] = Load<kLanes>(weight + j * kLanes); }
#pragma GCC unroll 4
      for (int i = 0; i < kX; ++i) {
        const float* value = row + columns.source[columns.begin[x + i] + s] * from_pixel;
#pragma GCC unroll 4
        for (int j = 0; j < kN; ++j) { sum[i][j] += factor[j] * Load<kLanes>(value + j * kLanes); }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kX; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) { Store<kLanes>(sum[i][j], to + i * to_pixel + j * kLanes); }
  }
}

// Whether kX pixels from x on meet the same taps.
template <int kX>
inline bool Alike(const TapList& columns, int x, int width) {
  if (x + kX > width) { return false; }
  const int first = columns.begin[x], pairs = columns.begin[x + 1] - first;
  for (int i = 1; i < kX; ++i) {
    const int begin = columns.begin[x + i];
    if (columns.begin[x + i + 1] - begin != pairs || (pairs > 0 && columns.tap[begin] != columns.tap[first])) {
      return false;
    }
  }
  return true;
}

template <int kLanes>
struct Channels {
  static void Gather(int height, int width, int channels, const TapList& rows, const TapList& columns, int taps,
      const float* weights, int w_tap, const float* from, int from_width, int from_pixel, float* to,
      int to_pixel) {
    const int whole = channels / kLanes * kLanes;
    const int kX = kRows / 2;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width;) {
        const bool alike = Alike<kX>(columns, x, width);
        float* pixel = to + (y * width + x) * to_pixel;
        int c = 0;
        for (; c + 3 * kLanes <= whole; c += 3 * kLanes) {
          if (alike) {
            GatherPixels<kLanes, 3, kX>(rows, y, columns, x, taps, weights + c, w_tap, from + c, from_width,
                from_pixel, pixel + c, to_pixel);
          } else {
            GatherPixels<kLanes, 3, 1>(rows, y, columns, x, taps, weights + c, w_tap, from + c, from_width,
                from_pixel, pixel + c, to_pixel);
          }
        }
        for (; c < whole; c += kLanes) {
          if (alike) {
            GatherPixels<kLanes, 1, kX>(rows, y, columns, x, taps, weights + c, w_tap, from + c, from_width,
                from_pixel, pixel + c, to_pixel);
          } else {
            GatherPixels<kLanes, 1, 1>(rows, y, columns, x, taps, weights + c, w_tap, from + c, from_width,
                from_pixel, pixel + c, to_pixel);
          }
        }
        x += alike ? kX : 1;
      }
    }
    if (whole < channels) {
      Channels<kLanes / 2>::Gather(height, width, channels - whole, rows, columns, taps, weights + whole, w_tap,
          from + whole, from_width, from_pixel, to + whole, to_pixel);
    }
  }

  template <int kN>
  static void Gradient(int height, int width, const TapList& rows, const TapList& columns, int taps,
      const float* from, int from_width, int from_pixel, const float* gradient, int gradient_pixel, float* sums,
      int sums_tap) {
    typedef typename Vector<kLanes>::Type V;
    for (int y = 0; y < height; ++y) {
      for (int r = rows.begin[y]; r < rows.begin[y + 1]; ++r) {
        for (int tap = 0; tap < taps; ++tap) {
          V sum[kN];
          float* total = sums + (rows.tap[r] * taps + tap) * sums_tap;
#pragma GCC unroll 4
          for (int j = 0; j < kN; ++j) { sum[j] = Load<kLanes>(total + j * kLanes); }
          for (int x = 0; x < width; ++x) {
            for (int s = columns.begin[x]; s < columns.begin[x + 1]; ++s) {
              if (columns.tap[s] != tap) { continue; }
              const float* value = from + (rows.source[r] * from_width + columns.source[s]) * from_pixel;
              const float* factor = gradient + (y * width + x) * gradient_pixel;
#pragma GCC unroll 4
              for (int j = 0; j < kN; ++j) {
                sum[j] += Load<kLanes>(value + j * kLanes) * Load<kLanes>(factor + j * kLanes);
              }
            }
          }
#pragma GCC unroll 4
          for (int j = 0; j < kN; ++j) { Store<kLanes>(sum[j], total + j * kLanes); }
        }
      }
    }
  }

  static void GatherGradient(int height, int width, int channels, const TapList& rows, const TapList& columns,
      int taps, const float* from, int from_width, int from_pixel, const float* gradient, int gradient_pixel,
      float* sums, int sums_tap) {
    int c = 0;
    for (; c + 3 * kLanes <= channels; c += 3 * kLanes) {
      Gradient<3>(height, width, rows, columns, taps, from + c, from_width, from_pixel, gradient + c,
          gradient_pixel, sums + c, sums_tap);
    }
    for (; c + kLanes <= channels; c += kLanes) {
      Gradient<1>(height, width, rows, columns, taps, from + c, from_width, from_pixel, gradient + c,
          gradient_pixel, sums + c, sums_tap);
    }
    if (c < channels) {
      Channels<kLanes / 2>::GatherGradient(height, width, channels - c, rows, columns, taps, from + c, from_width,
          from_pixel, gradient + c, gradient_pixel, sums + c, sums_tap);
    }
  }
};

template <>
struct Channels<0> {
  static void Gather(int, int, int, const TapList&, const TapList&, int, const float*, int, const float*, int, int,
      float*, int) {}
  static void GatherGradient(int, int, int, const TapList&, const TapList&, int, const float*, int, int,
      const float*, int, float*, int) {}
};

void Gather(int height, int width, int channels, const TapList& rows, const TapList& columns, int taps,
    const float* weights, int w_tap, const float* from, int from_width, int from_pixel, float* to, int to_pixel) {
  Channels<kWidest>::Gather(height, width, channels, rows, columns, taps, weights, w_tap, from, from_width,
      from_pixel, to, to_pixel);
}

void GatherGradient(int height, int width, int channels, const TapList& rows, const TapList& columns, int taps,
    const float* from, int from_width, int from_pixel, const float* gradient, int gradient_pixel, float* sums,
    int sums_tap) {
  Channels<kWidest>::GatherGradient(height, width, channels, rows, columns, taps, from, from_width, from_pixel,
      gradient, gradient_pixel, sums, sums_tap);
}

// `to` may be what it is made from.
void Affine(int pixels, int channels, const float* from, const float* scale, const float* shift, float slope,
    float* to) {
  for (int p = 0; p < pixels; ++p, from += channels, to += channels) {
#pragma GCC ivdep
    for (int c = 0; c < channels; ++c) {
      const float value = scale[c] * from[c] + shift[c];
      to[c] = value > 0 ? value : value * slope;
    }
  }
}

// `to` may be what it is made from.
void AffineAdd(int pixels, int channels, const float* from, const float* scale, const float* shift,
    const float* other, float* to) {
  for (int p = 0; p < pixels; ++p, from += channels, to += channels) {
    if (other == nullptr) {
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) { to[c] = scale[c] * from[c] + shift[c]; }
    } else {
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) { to[c] = scale[c] * from[c] + shift[c] + other[c]; }
      other += channels;
    }
  }
}

void Moments(int pixels, int channels, const float* __restrict from, float* __restrict mean,
    float* __restrict squares) {
  for (int c = 0; c < channels; ++c) { mean[c] = squares[c] = 0; }
  for (int p = 0; p < pixels; ++p) {
    for (int c = 0; c < channels; ++c) { mean[c] += from[p * channels + c]; }
  }
  for (int c = 0; c < channels; ++c) { mean[c] /= pixels; }
  for (int p = 0; p < pixels; ++p) {
    for (int c = 0; c < channels; ++c) {
      const float distance = from[p * channels + c] - mean[c];
      squares[c] += distance * distance;
    }
  }
}

void MaskSum(int pixels, int channels, const float* __restrict activated, float slope, float* __restrict gradient,
    float* __restrict sums) {
  for (int p = 0; p < pixels; ++p, activated += channels, gradient += channels) {
    for (int c = 0; c < channels; ++c) {
      const float value = activated[c] > 0 ? gradient[c] : gradient[c] * slope;
      gradient[c] = value;
      sums[c] += value;
    }
  }
}

void MaskMoments(int pixels, int channels, const float* __restrict z, const float* __restrict scale,
    const float* __restrict shift, const float* __restrict mean, float slope, float* __restrict gradient,
    float* __restrict sums, float* __restrict products) {
  for (int p = 0; p < pixels; ++p, z += channels, gradient += channels) {
    for (int c = 0; c < channels; ++c) {
      const float value = scale[c] * z[c] + shift[c] > 0 ? gradient[c] : gradient[c] * slope;
      gradient[c] = value;
      sums[c] += value;
      products[c] += value * (z[c] - mean[c]);
    }
  }
}

void Combine(int pixels, int channels, const float* __restrict gradient, const float* __restrict z, int from_pixel,
    const float* __restrict scale, const float* __restrict z_scale, const float* __restrict shift,
    float* __restrict to) {
  for (int p = 0; p < pixels; ++p, gradient += from_pixel, z += from_pixel, to += channels) {
    for (int c = 0; c < channels; ++c) { to[c] = scale[c] * gradient[c] + z_scale[c] * z[c] + shift[c]; }
  }
}

void SumMoments(int pixels, int channels, const float* __restrict from, const float* __restrict z,
    const float* __restrict mean, float* __restrict sums, float* __restrict products) {
  for (int p = 0; p < pixels; ++p, from += channels, z += channels) {
    for (int c = 0; c < channels; ++c) {
      sums[c] += from[c];
      products[c] += from[c] * (z[c] - mean[c]);
    }
  }
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

constexpr BlockKernels kKernels = {Multiply, MultiplyActivate, MultiplyListed, Gather, GatherGradient, Affine,
    AffineAdd, Moments, MaskSum, MaskMoments, Combine, SumMoments, Adam, ReluGradient};
