// Every kernel at every level of the instruction set that this processor has, against plain loops in double
// precision. Prints a line for each kernel and level; ends with 1 if any differs by more than rounding can.
//
// Compiled by tests/custom_caffe/test_kernels.py, against libcaffe for this processor and by itself for 64-bit ARM.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "caffe/kernels/block_kernels.hpp"
#include "caffe/kernels/depthwise_kernels.hpp"
#include "caffe/kernels/isa.hpp"
#include "caffe/kernels/random_kernels.hpp"

namespace {

using std::vector;

const int kCases = 60;     // random shapes a kernel
const int kGuard = 16;     // numbers behind each result that nobody may write
const float kMark = 12345;  // and what they hold

std::mt19937 generator(7);

int Draw(int least, int most) { return std::uniform_int_distribution<int>(least, most)(generator); }

template <typename T = float>
vector<T> Random(size_t size) {
  std::normal_distribution<T> normal;
  vector<T> values(size);
  for (T& value : values) { value = normal(generator); }
  return values;
}

// What a kernel writes, with marks behind it.
template <typename T = float>
vector<T> Guarded(vector<T> values) {
  values.resize(values.size() + kGuard, kMark);
  return values;
}

// A sum in double precision and how far a sum of as many numbers in the precision T may be from it (Higham 2002,
// chapter 3: the number of operations times half an ulp of the sum of the magnitudes).
struct Sum {
  double value = 0, magnitude = 0;
  int count = 2;
  void Add(double term) {
    value += term;
    magnitude += std::abs(term);
    ++count;
  }
  // What is added up goes on to be multiplied, or was rounded before.
  void Add(const Sum& sum, double factor) {
    value += factor * sum.value;
    magnitude += std::abs(factor) * sum.magnitude;
    count += sum.count;
  }
};

class Check {
 public:
  template <typename T>
  void Near(T found, const Sum& wanted) {
    const double epsilon = sizeof(T) == 4 ? std::ldexp(1, -24) : std::ldexp(1, -53);
    const double bound = wanted.count * epsilon * wanted.magnitude + 1e-37;
    ++compared;
    if (!(std::abs(found - wanted.value) <= bound)) { ++wrong; }
  }
  template <typename T>
  void Same(T found, T wanted) {
    ++compared;
    if (!(found == wanted)) { ++wrong; }
  }
  template <typename T>
  void Untouched(const vector<T>& values) {
    for (size_t i = values.size() - kGuard; i < values.size(); ++i) { Same<T>(values[i], kMark); }
  }
  long compared = 0, wrong = 0;
};

Sum Activated(const Sum& sum, double slope) {
  Sum result;
  result.Add(sum, sum.value > 0 ? 1 : slope);
  return result;
}

void CheckMultiply(Check* check) {
  const int m = Draw(1, 40), n = Draw(1, 70), k = Draw(1, 300);
  const bool turned = Draw(0, 1), accumulate = Draw(0, 1);
  const int a_row = turned ? 1 : k + Draw(0, 3), a_column = turned ? m + Draw(0, 3) : 1;
  const int b_row = n + Draw(0, 5), c_row = n + Draw(0, 5);
  const vector<float> a = Random(m * a_row + k * a_column), b = Random(k * b_row), before = Random(m * c_row);
  vector<float> c = Guarded(before);
  caffe::block_kernels().multiply(m, n, k, a.data(), a_row, a_column, b.data(), b_row, c.data(), c_row, accumulate);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < c_row; ++j) {
      if (j >= n) {
        check->Same(c[i * c_row + j], before[i * c_row + j]);
        continue;
      }
      Sum sum;
      if (accumulate) { sum.Add(before[i * c_row + j]); }
      for (int p = 0; p < k; ++p) { sum.Add(static_cast<double>(a[i * a_row + p * a_column]) * b[p * b_row + j]); }
      check->Near(c[i * c_row + j], sum);
    }
  }
  check->Untouched(c);
}

void CheckMultiplyActivate(Check* check) {
  const int m = Draw(1, 40), n = Draw(1, 70), k = Draw(1, 80), c_row = n + Draw(0, 5);
  const float slope = Draw(0, 2) / 2.f;
  const vector<float> a = Random(m * k), b = Random(k * n), start = Random(n);
  vector<float> c = Guarded(vector<float>(m * c_row));
  caffe::block_kernels().multiply_activate(m, n, k, a.data(), k, 1, b.data(), n, start.data(), slope, c.data(),
      c_row);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      Sum sum;
      sum.Add(start[j]);
      for (int p = 0; p < k; ++p) { sum.Add(static_cast<double>(a[i * k + p]) * b[p * n + j]); }
      // Near 0 rounding decides the slope, but both results are then near 0.
      check->Near(c[i * c_row + j], Activated(sum, slope));
    }
  }
  check->Untouched(c);
}

void CheckMultiplyListed(Check* check) {
  const int m = Draw(1, 40), n = Draw(1, 70), k = Draw(1, 80);
  const vector<float> a = Random(m * k), b = Random(1000 + n);
  vector<int> offsets(k);
  for (int& offset : offsets) { offset = Draw(0, 1000); }
  vector<float> c = Guarded(vector<float>(m * n));
  caffe::block_kernels().multiply_listed(m, n, k, a.data(), k, 1, b.data(), offsets.data(), c.data(), n);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      Sum sum;
      for (int p = 0; p < k; ++p) { sum.Add(static_cast<double>(a[i * k + p]) * b[offsets[p] + j]); }
      check->Near(c[i * n + j], sum);
    }
  }
  check->Untouched(c);
}

void CheckPatches(Check* check) {
  const int m = Draw(1, 40), n = Draw(1, 70), k = Draw(1, 80), step = Draw(1, 2);
  const vector<float> image = Random(1000 + 2 * std::max(m, k)), b = Random(k * n), start = Random(n), before = Random(m * n);
  vector<int> columns(k), rows(m);
  for (int& offset : columns) { offset = Draw(0, 1000); }
  for (int& offset : rows) { offset = Draw(0, 1000); }
  vector<float> c = Guarded(before), d = Guarded(before);
  const float slope = 0.25;
  caffe::block_kernels().multiply_patches(m, n, k, image.data(), step, columns.data(), b.data(), n, start.data(), slope,
      c.data(), n);
  caffe::block_kernels().add_patches(m, n, k, image.data(), rows.data(), step, b.data(), n, d.data(), n);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      Sum product, sum;
      product.Add(start[j]);
      sum.Add(before[i * n + j]);
      for (int p = 0; p < k; ++p) {
        product.Add(static_cast<double>(image[i * step + columns[p]]) * b[p * n + j]);
        sum.Add(static_cast<double>(image[rows[i] + p * step]) * b[p * n + j]);
      }
      check->Near(c[i * n + j], Activated(product, slope));
      check->Near(d[i * n + j], sum);
    }
  }
  check->Untouched(c);
  check->Untouched(d);
}

// An image that a filter is laid upon, at pixels as far apart as they like, its taps too, forwards or backwards.
struct Filtering {
  const int height = Draw(1, 9), width = Draw(1, 11), channels = Draw(1, 80);
  const int rows = Draw(0, 1) ? 3 : Draw(0, 4), columns = Draw(0, 1) ? 3 : Draw(0, 4);
  const int step = channels + Draw(0, 3), apart = Draw(1, 2), w_tap = channels + Draw(0, 3), turned = Draw(0, 1);
  const caffe::ConstGrid from{nullptr, (apart * width + 3) * step, apart * step};
  const caffe::Grid to{nullptr, (width + 2) * (channels + 5), channels + 5};
  const caffe::TapGrid taps{rows, columns, turned ? 16 * w_tap : 0, turned ? -4 * w_tap : 4 * w_tap,
      turned ? -w_tap : w_tap, Draw(0, 70), Draw(0, 30)};
  const vector<float> values = Random(height * from.row + 4 * 100 + channels);

  caffe::ConstGrid at() const { return {values.data(), from.row, from.pixel}; }
  int weight(int r, int s) const { return taps.weight + r * taps.weight_row + s * taps.weight_column; }
  int offset(int r, int s) const { return r * taps.from_row + s * taps.from_column; }
  size_t weights() const { return 20 * w_tap + channels; }
  size_t size() const { return height * to.row; }
  template <typename F>
  void ForEach(F work) const {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        for (int c = 0; c < channels; ++c) {
          work(y * to.row + x * to.pixel + c, y * from.row + x * from.pixel + c, c);
        }
      }
    }
  }
};

void CheckCorrelate(Check* check) {
  const Filtering f;
  const vector<float> weights = Random(f.weights()), activated = Random(f.size()), sums_before = Random(f.channels);
  const bool masked = Draw(0, 1);
  const float slope = 0.25;
  vector<float> to = Guarded(vector<float>(f.size(), kMark)), sums = Guarded(sums_before);
  const caffe::Grid grid{to.data(), f.to.row, f.to.pixel};
  if (masked) {
    caffe::block_kernels().correlate_masked(f.height, f.width, f.channels, f.taps, weights.data(), f.at(),
        caffe::ConstGrid{activated.data(), f.to.row, f.to.pixel}, slope, grid, sums.data());
  } else {
    caffe::block_kernels().correlate(f.height, f.width, f.channels, f.taps, weights.data(), f.at(), grid);
  }
  vector<Sum> totals(f.channels);
  vector<float> marked(f.size(), kMark);
  for (int c = 0; c < f.channels; ++c) { totals[c].Add(sums_before[c]); }
  f.ForEach([&](int at, int value, int c) {
    Sum sum, written;
    for (int r = 0; r < f.rows; ++r) {
      for (int s = 0; s < f.columns; ++s) {
        sum.Add(static_cast<double>(weights[f.weight(r, s) + c]) * f.values[value + f.offset(r, s)]);
      }
    }
    written.Add(sum, masked && !(activated[at] > 0) ? slope : 1);
    check->Near(to[at], written);
    totals[c].Add(written, 1);
    marked[at] = to[at];
  });
  for (size_t i = 0; i < marked.size(); ++i) { check->Same(to[i], marked[i]); }
  for (int c = 0; masked && c < f.channels; ++c) { check->Near(sums[c], totals[c]); }
  check->Untouched(to);
  check->Untouched(sums);
}

void CheckCorrelateGradient(Check* check) {
  const Filtering f;
  const vector<float> gradient = Random(f.size()), before = Random(f.weights());
  vector<float> sums = Guarded(before);
  caffe::block_kernels().correlate_gradient(f.height, f.width, f.channels, f.taps, f.at(),
      caffe::ConstGrid{gradient.data(), f.to.row, f.to.pixel}, sums.data());
  vector<Sum> wanted(before.size());
  for (size_t i = 0; i < before.size(); ++i) { wanted[i].Add(before[i]); }
  f.ForEach([&](int at, int value, int c) {
    for (int r = 0; r < f.rows; ++r) {
      for (int s = 0; s < f.columns; ++s) {
        wanted[f.weight(r, s) + c].Add(static_cast<double>(gradient[at]) * f.values[value + f.offset(r, s)]);
      }
    }
  });
  for (size_t i = 0; i < before.size(); ++i) { check->Near(sums[i], wanted[i]); }
  check->Untouched(sums);
}

// Random values of pixels x channels, and some a channel.
struct Pixels {
  const int pixels = Draw(1, 50), channels = Draw(1, 200), size = pixels * channels;
  const vector<float> from = Random(size), other = Random(size), scale = Random(channels), shift = Random(channels),
      mean = Random(channels);
  template <typename F>
  void ForEach(F work) const {
    for (int i = 0; i < size; ++i) { work(i, i % channels); }
  }
};

void CheckAffine(Check* check) {
  const Pixels p;
  const float slope = Draw(0, 2) / 2.f;
  vector<float> to = Guarded(p.from), sum = Guarded(p.from), alone = Guarded(p.from);
  caffe::block_kernels().affine(p.pixels, p.channels, to.data(), p.scale.data(), p.shift.data(), slope, to.data());
  caffe::block_kernels().affine_add(p.pixels, p.channels, p.from.data(), p.scale.data(), p.shift.data(),
      p.other.data(), sum.data());
  caffe::block_kernels().affine_add(p.pixels, p.channels, alone.data(), p.scale.data(), p.shift.data(), nullptr,
      alone.data());
  p.ForEach([&](int i, int c) {
    Sum wanted;
    wanted.Add(static_cast<double>(p.scale[c]) * p.from[i]);
    wanted.Add(p.shift[c]);
    check->Near(to[i], Activated(wanted, slope));
    check->Near(alone[i], wanted);
    wanted.Add(p.other[i]);
    check->Near(sum[i], wanted);
  });
  check->Untouched(to);
  check->Untouched(sum);
  check->Untouched(alone);
}

void CheckMoments(Check* check) {
  const Pixels p;
  vector<float> mean = Guarded(p.mean), squares = Guarded(p.scale);
  caffe::block_kernels().moments(p.pixels, p.channels, p.from.data(), mean.data(), squares.data());
  vector<Sum> sums(p.channels), products(p.channels);
  p.ForEach([&](int i, int c) { sums[c].Add(p.from[i]); });
  for (int c = 0; c < p.channels; ++c) {
    Sum divided;
    divided.Add(sums[c], 1. / p.pixels);
    check->Near(mean[c], divided);
  }
  p.ForEach([&](int i, int c) {
    Sum distance;
    distance.Add(p.from[i]);
    distance.Add(-static_cast<double>(mean[c]));
    products[c].Add(distance, distance.value);
    products[c].count += distance.count;  // both factors are rounded
  });
  for (int c = 0; c < p.channels; ++c) { check->Near(squares[c], products[c]); }
  check->Untouched(mean);
  check->Untouched(squares);
}

void CheckMaskMoments(Check* check) {
  const Pixels p;
  const bool masked = Draw(0, 1);
  const float slope = 0.25;
  const vector<float> before = Random(p.channels);
  vector<float> gradient = Guarded(p.other), sums = Guarded(before), products = Guarded(before);
  if (masked) {
    caffe::block_kernels().mask_moments(p.pixels, p.channels, p.from.data(), p.scale.data(), p.shift.data(),
        p.mean.data(), slope, gradient.data(), sums.data(), products.data());
  } else {
    caffe::block_kernels().sum_moments(p.pixels, p.channels, gradient.data(), p.from.data(), p.mean.data(),
        sums.data(), products.data());
  }
  vector<Sum> total(p.channels), product(p.channels);
  for (int c = 0; c < p.channels; ++c) {
    total[c].Add(before[c]);
    product[c].Add(before[c]);
  }
  p.ForEach([&](int i, int c) {
    const double activated = static_cast<double>(p.scale[c]) * p.from[i] + p.shift[c];
    float wanted = masked && !(activated > 0) ? p.other[i] * slope : p.other[i];
    // Where rounding decides the slope, either is right.
    if (masked && std::abs(activated) < 1e-6) { wanted = gradient[i]; }
    check->Same(gradient[i], wanted);
    total[c].Add(wanted);
    Sum distance;
    distance.Add(p.from[i]);
    distance.Add(-static_cast<double>(p.mean[c]));
    product[c].Add(distance, wanted);
  });
  for (int c = 0; c < p.channels; ++c) {
    check->Near(sums[c], total[c]);
    check->Near(products[c], product[c]);
  }
  check->Untouched(gradient);
  check->Untouched(sums);
  check->Untouched(products);
}

void CheckCombine(Check* check) {
  const Pixels p;
  const int from_pixel = p.channels + Draw(0, 5);
  const vector<float> gradient = Random(p.pixels * from_pixel), z = Random(p.pixels * from_pixel);
  const int to_pixel = p.channels + Draw(0, 5);
  vector<float> to = Guarded(vector<float>(p.pixels * to_pixel, kMark));
  caffe::block_kernels().combine(p.pixels, p.channels, gradient.data(), z.data(), from_pixel, p.scale.data(),
      p.mean.data(), p.shift.data(), to.data(), to_pixel);
  for (int i = 0; i < p.pixels * to_pixel; ++i) {
    if (i % to_pixel >= p.channels) { check->Same(to[i], kMark); }
  }
  p.ForEach([&](int i, int c) {
    const int at = i / p.channels * from_pixel + c;
    Sum wanted;
    wanted.Add(static_cast<double>(p.scale[c]) * gradient[at]);
    wanted.Add(static_cast<double>(p.mean[c]) * z[at]);
    wanted.Add(p.shift[c]);
    check->Near(to[i / p.channels * to_pixel + c], wanted);
  });
  check->Untouched(to);
}

void CheckAdam(Check* check) {
  const int count = Draw(1, 300);
  const vector<float> g = Random(count), m = Random(count), noise = Random(count);
  vector<float> v(count);
  for (int i = 0; i < count; ++i) { v[i] = noise[i] * noise[i]; }
  vector<float> step = Guarded(g), first = Guarded(m), second = Guarded(v);
  const float rate = 0.01f, beta1 = 0.9f, beta2 = 0.99f, e = 1e-3f;
  caffe::block_kernels().adam(count, rate, beta1, beta2, e, step.data(), first.data(), second.data());
  for (int i = 0; i < count; ++i) {
    const double gradient = g[i];
    Sum moment, square, change;
    moment.Add(static_cast<double>(beta1) * m[i]);
    moment.Add((1. - beta1) * gradient);
    square.Add(static_cast<double>(beta2) * v[i]);
    square.Add((1. - beta2) * gradient * gradient);
    // (1 - beta) is rounded, to an ulp of 1.
    moment.count += 8;
    square.count += 32;
    check->Near(first[i], moment);
    check->Near(second[i], square);
    change.Add(moment, rate / (std::sqrt(square.value) + e));
    change.count += 40;
    check->Near(step[i], change);
  }
  check->Untouched(step);
  check->Untouched(first);
  check->Untouched(second);
}

void CheckReluGradient(Check* check) {
  const int count = Draw(1, 300);
  vector<float> from = Random(count);
  const vector<float> gradient = Random(count);
  from[0] = 0;
  if (count > 1) { from[1] = -0.f; }
  const float slope = 0.25;
  vector<float> to = Guarded(gradient);
  caffe::block_kernels().relu_gradient(count, from.data(), slope, to.data(), to.data());
  for (int i = 0; i < count; ++i) { check->Same(to[i], from[i] > 0 ? gradient[i] : slope * gradient[i]); }
  check->Untouched(to);
}

template <typename T>
void CheckDepthwise(Check* check) {
  const int taps = Draw(1, 27), n = Draw(1, 100);
  const vector<T> values = Random<T>(200 + n), weights = Random<T>(taps), a = Random<T>(n), before = Random<T>(taps);
  vector<const T*> from(taps);
  for (const T*& one : from) { one = values.data() + Draw(0, 200); }
  vector<T> to = Guarded(vector<T>(n)), sums = Guarded(before);
  caffe::depthwise_kernels<T>().add(from.data(), weights.data(), taps, n, T(0.5), to.data());
  caffe::depthwise_kernels<T>().dot(a.data(), from.data(), taps, n, sums.data());
  for (int i = 0; i < n; ++i) {
    Sum wanted;
    wanted.Add(0.5);
    for (int k = 0; k < taps; ++k) { wanted.Add(static_cast<double>(weights[k]) * from[k][i]); }
    check->Near(to[i], wanted);
  }
  for (int k = 0; k < taps; ++k) {
    Sum wanted;
    wanted.Add(before[k]);
    for (int i = 0; i < n; ++i) { wanted.Add(static_cast<double>(a[i]) * from[k][i]); }
    wanted.count *= 2;  // the oracle's sums are of the same precision as the kernel's
    check->Near(sums[k], wanted);
  }
  check->Untouched(to);
  check->Untouched(sums);
}

template <typename T>
void CheckCopyGrid(Check* check) {
  const int rows = Draw(1, 9), columns = Draw(1, 40), from_step = Draw(1, 3), to_step = Draw(1, 2);
  const int from_pitch = columns * from_step + Draw(0, 4), to_pitch = columns * to_step + Draw(0, 4);
  const vector<T> from = Random<T>(rows * from_pitch);
  vector<T> to = Guarded(vector<T>(rows * to_pitch, kMark));
  caffe::depthwise_kernels<T>().copy_grid(from.data(), from_pitch, from_step, rows, columns, to.data(), to_pitch,
      to_step);
  for (int y = 0; y < rows; ++y) {
    for (int x = 0; x < to_pitch; ++x) {
      const bool copied = x % to_step == 0 && x / to_step < columns;
      check->Same(to[y * to_pitch + x], copied ? from[y * from_pitch + x / to_step * from_step] : T(kMark));
    }
  }
  check->Untouched(to);
}

uint32_t Scattered(uint32_t number, uint32_t seed, uint32_t stream) {
  uint32_t bits = number * 0x9e3779b1u ^ seed;
  bits = (bits ^ bits >> 16) * 0x85ebca6bu + stream * 0x27d4eb2fu;
  bits = (bits ^ bits >> 13) * 0xc2b2ae35u;
  return bits ^ bits >> 16;
}

void CheckNormal(Check* check) {
  const int count = Draw(1, 700);
  const uint32_t seed = generator(), stream = generator();
  vector<float> found = Guarded(vector<float>(count));
  caffe::random_kernels().normal(count, seed, stream, found.data());
  for (int i = 0; i < count; ++i) {
    const uint32_t place = i / 32 * 32 + i % 16;
    const double uniform = ((Scattered(place, seed, stream) >> 8) + 1.) / (1 << 24);
    const double angle = 8 * std::atan(1.) * (Scattered(place + 16, seed, stream) >> 8) / (1 << 24);
    Sum wanted;
    wanted.Add(std::sqrt(-2 * std::log(uniform)) * (i % 32 < 16 ? std::cos(angle) : std::sin(angle)));
    wanted.magnitude = 6;  // the series are good to some ulps of the largest number
    wanted.count = 10;
    check->Near(found[i], wanted);
  }
  check->Untouched(found);
}

struct Kernel {
  const char* name;
  void (*check)(Check*);
};

const Kernel kAll[] = {
    {"multiply", CheckMultiply},
    {"multiply_activate", CheckMultiplyActivate},
    {"multiply_listed", CheckMultiplyListed},
    {"multiply_patches, add_patches", CheckPatches},
    {"correlate, correlate_masked", CheckCorrelate},
    {"correlate_gradient", CheckCorrelateGradient},
    {"affine, affine_add", CheckAffine},
    {"moments", CheckMoments},
    {"mask_moments, sum_moments", CheckMaskMoments},
    {"combine", CheckCombine},
    {"adam", CheckAdam},
    {"relu_gradient", CheckReluGradient},
    {"normal", CheckNormal},
    {"add, dot (float)", CheckDepthwise<float>},
    {"add, dot (double)", CheckDepthwise<double>},
    {"copy_grid (float)", CheckCopyGrid<float>},
    {"copy_grid (double)", CheckCopyGrid<double>},
};

}  // namespace

int main() {
  bool right = true;
  for (caffe::Isa isa : caffe::available_isas()) {
    caffe::SetIsa(caffe::isa_name(isa));
    for (const Kernel& kernel : kAll) {
      Check check;
      for (int i = 0; i < kCases; ++i) { kernel.check(&check); }
      std::printf("%s %s: %ld of %ld wrong\n", caffe::isa_name(isa), kernel.name, check.wrong, check.compared);
      right = right && check.wrong == 0 && check.compared > 0;
    }
  }
  return right ? 0 : 1;
}
