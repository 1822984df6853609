// The kernels of random_kernels.hpp for one instruction set, see kernels_by_level.inl.
typedef Vector<kWidest>::Type FloatVector;
typedef int32_t IntVector __attribute__((vector_size(4 * kWidest)));
typedef uint32_t BitVector __attribute__((vector_size(4 * kWidest)));

// Bits that look random, of numbers that follow each other: MurmurHash3's finaliser with the seed at either end.
inline BitVector Scattered(BitVector number, uint32_t seed, uint32_t stream) {
  BitVector bits = number * 0x9e3779b1u ^ seed;
  bits = (bits ^ bits >> 16) * 0x85ebca6bu + stream * 0x27d4eb2fu;
  bits = (bits ^ bits >> 13) * 0xc2b2ae35u;
  return bits ^ bits >> 16;
}

// The natural logarithm of (bits + 1) / 2^24 for bits of 24, to 1e-7: with x = m 2^e and m near 1,
// ln m = 2 artanh((m - 1) / (m + 1)).
inline FloatVector LogOfUniform(BitVector bits) {
  const FloatVector x = (__builtin_convertvector((IntVector)bits, FloatVector) + 1.f) * (1.f / (1 << 24));
  const IntVector exponent = ((IntVector)x - 0x3f3504f3) >> 23;  // m from the root of 1/2 on
  const FloatVector m = (FloatVector)((IntVector)x - (exponent << 23));
  const FloatVector s = (m - 1.f) / (m + 1.f), square = s * s;
  const FloatVector series = 2.f + square * (2.f / 3 + square * (2.f / 5 + square * (2.f / 7 + square * (2.f / 9))));
  return __builtin_convertvector(exponent, FloatVector) * 0.69314718f + s * series;
}

void Normal(int count, uint32_t seed, uint32_t stream, float* to) {
  const int kBlock = 16;  // cosines of this many, then their sines, whatever the registers' width
  IntVector places;
  for (int i = 0; i < kWidest; ++i) { places[i] = i; }
  for (int begin = 0; begin < count; begin += 2 * kBlock) {
    alignas(64) float radius[kBlock], block[2 * kBlock];
    for (int i = 0; i < kBlock; i += kWidest) {
      const BitVector number = (BitVector)(places + begin + i);
      Store<kWidest>(-2.f * LogOfUniform(Scattered(number, seed, stream) >> 8), radius + i);
    }
    for (int i = 0; i < kBlock; ++i) { radius[i] = __builtin_sqrtf(radius[i]); }
    for (int i = 0; i < kBlock; i += kWidest) {
      const BitVector number = (BitVector)(places + begin + i);
      const FloatVector length = Load<kWidest>(radius + i);
      const BitVector turn = Scattered(number + kBlock, seed, stream) >> 8;
      // The angle, 2 pi turn / 2^24, as quarters of a turn and what is left, at most an eighth either way.
      const IntVector quarter = (IntVector)((turn + (1u << 21)) >> 22);
      const FloatVector angle =
          __builtin_convertvector((IntVector)turn - (quarter << 22), FloatVector) * (1.57079633f / (1 << 22));
      const FloatVector square = angle * angle;
      const FloatVector sine = angle * (1.f - square * (1.f / 6 - square * (1.f / 120 - square * (1.f / 5040))));
      const FloatVector cosine =
          1.f - square * (0.5f - square * (1.f / 24 - square * (1.f / 720 - square * (1.f / 40320))));
      const IntVector odd = (quarter & 1) != 0;
      const FloatVector x = odd ? sine : cosine, y = odd ? cosine : sine;
      Store<kWidest>(length * (((quarter + 1) & 2) != 0 ? -x : x), block + i);
      Store<kWidest>(length * ((quarter & 2) != 0 ? -y : y), block + kBlock + i);
    }
    std::memcpy(to + begin, block, sizeof(float) * (count - begin < 2 * kBlock ? count - begin : 2 * kBlock));
  }
}

constexpr RandomKernels kKernels = {Normal};
