// As many multiply-adds as registers can keep under way, and nothing else: what a core can do at most.
float Peak(long count) {
  typedef float V __attribute__((vector_size(4 * kWidest)));
  const int kSums = 12;
  V sum[kSums], factor = {}, term = {};
  for (int i = 0; i < kWidest; ++i) {
    factor[i] = 0.999f;
    term[i] = 1e-3f * i;
  }
  for (V& one : sum) { one = term; }
  for (long k = 0; k < count; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) { sum[i] = sum[i] * factor + term; }
  }
  V total = {};
  for (const V& one : sum) { total += one; }
  return total[0];
}

constexpr PeakKernel kPeak = {Peak, 2. * 12 * kWidest};
