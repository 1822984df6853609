// The kernels of depthwise_kernels.hpp for one instruction set, see kernels_by_level.inl.

// to[i] = start + sum_k weights[k] * from[k][i] for i < n, where start is to[i] itself unless kFresh.
template <int K, bool kFresh, typename Dtype>
inline void AddTaps(const Dtype* const* from,
    const Dtype* weights, int n, Dtype start, Dtype* __restrict to) {
  const Dtype* source[K];
  Dtype weight[K];
  for (int k = 0; k < K; ++k) {
    source[k] = from[k];
    weight[k] = weights[k];
  }
  for (int i = 0; i < n; ++i) {
    Dtype sum = kFresh ? start : to[i];
    for (int k = 0; k < K; ++k) {
      sum += weight[k] * source[k][i];
    }
    to[i] = sum;
  }
}

// sums[k] += sum_i a[i] * b[k][i] for i < n.
template <int K, typename Dtype>
inline void DotTaps(const Dtype* a, const Dtype* const* b, int n,
    Dtype* sums) {
  // Sums of their own for each lane, which a compiler may not introduce by itself, as it changes rounding.
  const int kLanes = 4 * kWidest / sizeof(Dtype);
  typedef Dtype Vector __attribute__((vector_size(4 * kWidest)));
  Vector lanes[K];
  for (int k = 0; k < K; ++k) {
    lanes[k] = Vector{};
  }
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Vector left, right;
    std::memcpy(&left, a + i, sizeof(Vector));
    for (int k = 0; k < K; ++k) {
      std::memcpy(&right, b[k] + i, sizeof(Vector));
      lanes[k] += left * right;
    }
  }
  for (int k = 0; k < K; ++k) {
    Dtype sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      sum += lanes[k][lane];
    }
    for (int j = i; j < n; ++j) {
      sum += a[j] * b[k][j];
    }
    sums[k] += sum;
  }
}

// Any number of taps, nine at a time (a 3x3 filter), then four, two and one (the phases of one at stride 2).
template <int K, typename Dtype>
inline int AddGroups(const Dtype* const* from,
    const Dtype* weights, int k, int taps, int n, Dtype start, Dtype* to) {
  for (; k + K <= taps; k += K) {
    if (k == 0) {
      AddTaps<K, true>(from, weights, n, start, to);
    } else {
      AddTaps<K, false>(from + k, weights + k, n, start, to);
    }
  }
  return k;
}

template <typename Dtype>
inline void AddAllTaps(const Dtype* const* from,
    const Dtype* weights, int taps, int n, Dtype start, Dtype* to) {
  int k = AddGroups<9>(from, weights, 0, taps, n, start, to);
  k = AddGroups<4>(from, weights, k, taps, n, start, to);
  k = AddGroups<2>(from, weights, k, taps, n, start, to);
  AddGroups<1>(from, weights, k, taps, n, start, to);
}

template <typename Dtype>
inline void DotAllTaps(const Dtype* a, const Dtype* const* b,
    int taps, int n, Dtype* sums) {
  int k = 0;
  for (; k + 9 <= taps; k += 9) { DotTaps<9>(a, b + k, n, sums + k); }
  for (; k + 3 <= taps; k += 3) { DotTaps<3>(a, b + k, n, sums + k); }
  for (; k < taps; ++k) { DotTaps<1>(a, b + k, n, sums + k); }
}

// Copies a grid of numbers: rows a pitch apart, columns a step apart.
template <typename Dtype>
inline void CopyGrid(const Dtype* from, int from_pitch,
    int from_step, int rows, int columns, Dtype* to, int to_pitch, int to_step) {
  for (int y = 0; y < rows; ++y, from += from_pitch, to += to_pitch) {
    // The steps in use written out, for the compiler to make vector instructions of them.
    if (from_step == 1 && to_step == 1) {
      for (int x = 0; x < columns; ++x) { to[x] = from[x]; }
    } else if (from_step == 2 && to_step == 1) {
      for (int x = 0; x < columns; ++x) { to[x] = from[2 * x]; }
    } else {
      for (int x = 0; x < columns; ++x) { to[x * to_step] = from[x * from_step]; }
    }
  }
}

constexpr DepthwiseKernels<float> kFloats = {AddAllTaps<float>, DotAllTaps<float>, CopyGrid<float>};
constexpr DepthwiseKernels<double> kDoubles = {AddAllTaps<double>, DotAllTaps<double>, CopyGrid<double>};
