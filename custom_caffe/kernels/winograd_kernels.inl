// The kernels of winograd_kernels.hpp for one instruction set, see kernels_by_level.inl.
typedef Vector<kWidest>::Type Lanes;

// The interpolation points +-kSmall and +-kLarge beside 0 and infinity. kSmall * kLarge = 1.
constexpr float kSmall = 0.70710678118654752f, kLarge = 1.41421356237309505f;
constexpr float kSmallCube = 0.35355339059327376f, kLargeCube = 2.82842712474619010f;
// 1 / (product of a point's distances from the other finite ones), for the points of either size.
constexpr float kSmallFactor = -2.f / 3, kLargeFactor = 1.f / 6;

// B^T x
struct InputLine {
  enum { kFrom = 6, kTo = 6 };
  static inline void Run(const Lanes* x, int step, Lanes* to) {
    const Lanes x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step];
    to[0] = x[0] - 2.5f * x2 + x4;
    const Lanes even = x4 - 2.f * x2, odd = kSmall * (x3 - 2.f * x1);
    to[1] = even + odd;
    to[2] = even - odd;
    const Lanes even_large = x4 - 0.5f * x2, odd_large = kLarge * (x3 - 0.5f * x1);
    to[3] = even_large + odd_large;
    to[4] = even_large - odd_large;
    to[5] = x1 - 2.5f * x3 + x[5 * step];
  }
};

// A^T m
struct OutputLine {
  enum { kFrom = 6, kTo = 4 };
  static inline void Run(const Lanes* m, int step, Lanes* to) {
    const Lanes sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    const Lanes sum_large = m[3 * step] + m[4 * step], difference_large = m[3 * step] - m[4 * step];
    to[0] = m[0] + sum + sum_large;
    to[1] = kSmall * difference + kLarge * difference_large;
    to[2] = 0.5f * sum + 2.f * sum_large;
    to[3] = kSmallCube * difference + kLargeCube * difference_large + m[5 * step];
  }
};

// A g
struct GradientLine {
  enum { kFrom = 4, kTo = 6 };
  static inline void Run(const Lanes* g, int step, Lanes* to) {
    const Lanes g0 = g[0], g1 = g[step], g2 = g[2 * step], g3 = g[3 * step];
    to[0] = g0;
    const Lanes even = g0 + 0.5f * g2, odd = kSmall * g1 + kSmallCube * g3;
    to[1] = even + odd;
    to[2] = even - odd;
    const Lanes even_large = g0 + 2.f * g2, odd_large = kLarge * g1 + kLargeCube * g3;
    to[3] = even_large + odd_large;
    to[4] = even_large - odd_large;
    to[5] = g3;
  }
};

// G w
struct FilterLine {
  enum { kFrom = 3, kTo = 6 };
  static inline void Run(const Lanes* w, int step, Lanes* to) {
    const Lanes w0 = w[0], w1 = w[step], w2 = w[2 * step];
    to[0] = w0;
    const Lanes even = kSmallFactor * (w0 + 0.5f * w2), odd = kSmallFactor * kSmall * w1;
    to[1] = even + odd;
    to[2] = even - odd;
    const Lanes even_large = kLargeFactor * (w0 + 2.f * w2), odd_large = kLargeFactor * kLarge * w1;
    to[3] = even_large + odd_large;
    to[4] = even_large - odd_large;
    to[5] = w2;
  }
};

// G^T u
struct FilterGradientLine {
  enum { kFrom = 6, kTo = 3 };
  static inline void Run(const Lanes* u, int step, Lanes* to) {
    const Lanes sum = kSmallFactor * (u[step] + u[2 * step]), difference = kSmallFactor * (u[step] - u[2 * step]);
    const Lanes sum_large = kLargeFactor * (u[3 * step] + u[4 * step]);
    const Lanes difference_large = kLargeFactor * (u[3 * step] - u[4 * step]);
    to[0] = u[0] + sum + sum_large;
    to[1] = kSmall * difference + kLarge * difference_large;
    to[2] = 0.5f * sum + 2.f * sum_large + u[5 * step];
  }
};

// Columns, then rows, of one tile: kFrom x kFrom numbers become kTo x kTo.
template <typename Line, typename From, typename To>
inline void Transform(From load, To store) {
  const int kFrom = Line::kFrom, kTo = Line::kTo;
  Lanes half[kFrom * kTo];  // columns of kTo
#pragma GCC unroll 6
  for (int x = 0; x < kFrom; ++x) {
    Lanes column[kFrom];
#pragma GCC unroll 6
    for (int y = 0; y < kFrom; ++y) { column[y] = load(y * kFrom + x); }
    Line::Run(column, 1, half + x * kTo);
  }
#pragma GCC unroll 6
  for (int y = 0; y < kTo; ++y) {
    Lanes row[kTo];
    Line::Run(half + y, kTo, row);
#pragma GCC unroll 6
    for (int x = 0; x < kTo; ++x) { store(y * kTo + x, row[x]); }
  }
}

// From pixels to matrices.
template <typename Line>
inline void Spread(int tiles, const float* pixels, const int* offsets, float* to, int tile, size_t matrix) {
  for (int i = 0; i < tiles; ++i, offsets += Line::kFrom * Line::kFrom, to += tile) {
    for (int c = 0; c < kWinogradChannels; c += kWidest) {
      Transform<Line>([=](int j) { return Load<kWidest>(pixels + offsets[j] + c); },
          [=](int j, Lanes value) { Store<kWidest>(value, to + j * matrix + c); });
    }
  }
}

void WinogradInput(int tiles, const float* pixels, const int* offsets, float* to, int tile, size_t matrix) {
  Spread<InputLine>(tiles, pixels, offsets, to, tile, matrix);
}

void WinogradGradient(int tiles, const float* pixels, const int* offsets, float* to, int tile, size_t matrix) {
  Spread<GradientLine>(tiles, pixels, offsets, to, tile, matrix);
}

void WinogradOutput(int tiles, const float* from, int tile, size_t matrix, const float* start, const int* offsets,
    float* pixels) {
  for (int i = 0; i < tiles; ++i, from += tile, offsets += 16) {
    for (int c = 0; c < kWinogradChannels; c += kWidest) {
      const Lanes first = Load<kWidest>(start + c);
      Transform<OutputLine>([=](int j) { return Load<kWidest>(from + j * matrix + c); },
          [=](int j, Lanes value) { Store<kWidest>(first + value, pixels + offsets[j] + c); });
    }
  }
}

void WinogradFilter(const float* taps, float* to, size_t matrix) {
  for (int c = 0; c < kWinogradChannels; c += kWidest) {
    Transform<FilterLine>([=](int j) { return Load<kWidest>(taps + j * kWinogradChannels + c); },
        [=](int j, Lanes value) { Store<kWidest>(value, to + j * matrix + c); });
  }
}

void WinogradFilterGradient(const float* from, size_t matrix, float* taps) {
  for (int c = 0; c < kWinogradChannels; c += kWidest) {
    Transform<FilterGradientLine>([=](int j) { return Load<kWidest>(from + j * matrix + c); },
        [=](int j, Lanes value) { Store<kWidest>(value, taps + j * kWinogradChannels + c); });
  }
}

// {a0, b0, a1, b1, ...} of the lower and of the upper halves.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define CAFFE_SHUFFLES 1
#endif
#endif
#ifdef CAFFE_SHUFFLES
template <typename V>
inline void Zip(V a, V b, V* low, V* high, float (*)[4]) {
  *low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  *high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
template <typename V>
inline void Zip(V a, V b, V* low, V* high, float (*)[8]) {
  *low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  *high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
template <typename V>
inline void Zip(V a, V b, V* low, V* high, float (*)[16]) {
  *low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  *high = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
#else
template <typename V, int kCount>
inline void Zip(V a, V b, V* low, V* high, float (*)[kCount]) {
  for (int i = 0; i < kCount / 2; ++i) {
    (*low)[2 * i] = a[i];
    (*low)[2 * i + 1] = b[i];
    (*high)[2 * i] = a[kCount / 2 + i];
    (*high)[2 * i + 1] = b[kCount / 2 + i];
  }
}
#endif

// kWidest x kWidest numbers: after each step of zips, rows half as far apart lie side by side.
inline void TransposeLanes(Lanes* rows) {
#pragma GCC unroll 4
  for (int step = 1; step < kWidest; step *= 2) {
    Lanes next[kWidest];
#pragma GCC unroll 8
    for (int i = 0; i < kWidest / 2; ++i) {
      Zip(rows[i], rows[i + kWidest / 2], &next[2 * i], &next[2 * i + 1],
          static_cast<float (*)[kWidest]>(nullptr));
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidest; ++i) { rows[i] = next[i]; }
  }
}

// Calls block(p) for pixels from p to p + kWidest - 1, the last of them again where they do not come out even, and
// one(p) for each pixel where there are fewer.
template <typename Block, typename One>
inline void ForPixels(int pixels, Block block, One one) {
  if (pixels < kWidest) {
    for (int p = 0; p < pixels; ++p) { one(p); }
    return;
  }
  int p = 0;
  for (; p + kWidest <= pixels; p += kWidest) { block(p); }
  if (p < pixels) { block(pixels - kWidest); }
}

void WinogradToPixels(int channels, int pixels, const float* from, size_t plane, float* to) {
  for (int c = 0; c < kWinogradChannels; c += kWidest) {
    const int some = std::min(kWidest, channels - c);
    const auto one = [=](int p) {
      for (int i = 0; i < kWidest; ++i) {
        to[p * kWinogradChannels + c + i] = i < some ? from[(c + i) * plane + p] : 0;
      }
    };
    if (some < kWidest) {
      for (int p = 0; p < pixels; ++p) { one(p); }
      continue;
    }
    ForPixels(pixels, [=](int p) {
      Lanes rows[kWidest];
#pragma GCC unroll 16
      for (int i = 0; i < kWidest; ++i) { rows[i] = Load<kWidest>(from + (c + i) * plane + p); }
      TransposeLanes(rows);
#pragma GCC unroll 16
      for (int i = 0; i < kWidest; ++i) { Store<kWidest>(rows[i], to + (p + i) * kWinogradChannels + c); }
    }, one);
  }
}

void WinogradToPlanes(int channels, int pixels, const float* from, float* to, size_t plane) {
  for (int c = 0; c < channels; c += kWidest) {
    const int some = std::min(kWidest, channels - c);
    const auto one = [=](int p) {
      for (int i = 0; i < some; ++i) { to[(c + i) * plane + p] = from[p * kWinogradChannels + c + i]; }
    };
    if (some < kWidest) {
      for (int p = 0; p < pixels; ++p) { one(p); }
      continue;
    }
    ForPixels(pixels, [=](int p) {
      Lanes rows[kWidest];
#pragma GCC unroll 16
      for (int i = 0; i < kWidest; ++i) { rows[i] = Load<kWidest>(from + (p + i) * kWinogradChannels + c); }
      TransposeLanes(rows);
#pragma GCC unroll 16
      for (int i = 0; i < kWidest; ++i) { Store<kWidest>(rows[i], to + (c + i) * plane + p); }
    }, one);
  }
}

constexpr WinogradKernels kWinograd = {WinogradToPixels, WinogradToPlanes, WinogradInput, WinogradOutput,
    WinogradGradient, WinogradFilter, WinogradFilterGradient};
