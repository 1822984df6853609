// The kernels of window_kernels.hpp for one instruction set, see kernels_by_level.inl.

typedef Vector<kWidest>::Type Wide;
const int kVectors = kPanel / kWidest;  // of a panel
// Panels that are computed together: where two or three of their vectors fit into the registers besides the pixels.
const int kMostPanels = kVectors == 1 ? 3 : 1;

// Pixels whose sums the registers hold: of 32 registers with AVX-512 and NEON, else of 16.
constexpr int MostPixels(int panels) {
  return kWidest == 16 ? (panels == 1 ? 14 : panels == 2 ? 12 : 9) : kWidest == 8 ? 6 : kRows == 8 ? 6 : 3;
}

// kM pixels of kPanels panels, kept in registers over all rows and taps.
template <int kPanels, int kM>
void WindowTile(const WindowRow& row, int panel, const float* from, float* to) {
  const int kN = kPanels * kVectors;
  const int kGroup = 6;  // pixels that are addressed from one of them, by multiples of their distance
  Wide sum[kM][kN];
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) { sum[i][j] = Load<kWidest>(row.start + panel * kPanel + j * kWidest); }
  }
  const long step = row.from_pixel, size = static_cast<long>(row.rows) * row.taps * kPanel;
  const float* weights = row.weights + panel * size;
  const int taps = row.taps;
  for (int r = 0; r < row.rows; ++r) {
    const float* pixels = from + static_cast<long>(r) * row.from_row;
    for (int tap = 0; tap < taps; ++tap, ++pixels, weights += kPanel) {
      Wide right[kN];
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) {
        right[j] = Load<kWidest>(weights + j / kVectors * size + j % kVectors * kWidest);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kM; ++i) {
        const float left = (pixels + i / kGroup * kGroup * step)[i % kGroup * step];
#pragma GCC unroll 4
        for (int j = 0; j < kN; ++j) { sum[i][j] += left * right[j]; }
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) {
      const Wide value = sum[i][j];
      Store<kWidest>(value > 0 ? value : value * Load<kWidest>(row.slopes + panel * kPanel + j * kWidest),
          to + i * row.outputs + panel * kPanel + j * kWidest);
    }
  }
}

// As many pixels as asked for, up to kM.
template <int kPanels, int kM>
struct WindowPixels {
  static void Run(int pixels, const WindowRow& row, int panel, const float* from, float* to) {
    if (pixels == kM) {
      WindowTile<kPanels, kM>(row, panel, from, to);
    } else {
      WindowPixels<kPanels, kM - 1>::Run(pixels, row, panel, from, to);
    }
  }
};

template <int kPanels>
struct WindowPixels<kPanels, 0> {
  static void Run(int, const WindowRow&, int, const float*, float*) {}
};

// Pixels in parts of about the same size, since a few alone would leave the arithmetic waiting for itself. The
// panels from the last on: what a pixel writes behind its outputs, the next then writes over.
template <int kPanels>
void WindowPart(const WindowRow& row, int panel, int begin, int end) {
  WindowPixels<kPanels, MostPixels(kPanels)>::Run(end - begin, row, panel,
      row.from + static_cast<long>(begin) * row.from_pixel, row.to + static_cast<long>(begin) * row.outputs);
}

void Convolve(const WindowRow& row, int width) {
  const int panels = (row.outputs + kPanel - 1) / kPanel;
  const int groups = (panels + kMostPanels - 1) / kMostPanels;
  const int most = MostPixels((panels + groups - 1) / groups);
  const int parts = (width + most - 1) / most;
  for (int part = 0; part < parts; ++part) {
    const int begin = part * width / parts, end = (part + 1) * width / parts;
    for (int group = groups - 1; group >= 0; --group) {
      const int panel = group * panels / groups, count = (group + 1) * panels / groups - panel;
      if (count == 3) {
        WindowPart<kMostPanels>(row, panel, begin, end);
      } else if (count == 2) {
        WindowPart<kMostPanels == 3 ? 2 : 1>(row, panel, begin, end);
      } else {
        WindowPart<1>(row, panel, begin, end);
      }
    }
  }
}

void Pool(const float* const* from, int count, int width, int channels, int kernel, int stride, int outputs,
    float* to) {
  for (int x = 0; x < outputs; ++x, to += channels) {
    const int begin = x * stride * channels;
    const int end = (x * stride + kernel < width ? x * stride + kernel : width) * channels;
    // The next pixels write over what a whole register holds beyond this one's channels.
    const int left = (outputs - x) * channels;
    int c = 0;
    for (; c < channels && c + kWidest <= left; c += kWidest) {
      Wide most = Wide{} - FLT_MAX;
      for (int r = 0; r < count; ++r) {
        for (int i = begin + c; i < end; i += channels) {
          const Wide value = Load<kWidest>(from[r] + i);
          most = value > most ? value : most;
        }
      }
      Store<kWidest>(most, to + c);
    }
    for (; c < channels; ++c) {
      float most = -FLT_MAX;
      for (int r = 0; r < count; ++r) {
        for (int i = begin + c; i < end; i += channels) { most = from[r][i] > most ? from[r][i] : most; }
      }
      to[c] = most;
    }
  }
}

constexpr WindowKernels kWindowKernels = {Convolve, Pool};
