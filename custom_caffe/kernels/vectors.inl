// Vectors of floats, of any width: for kernels by level, see kernels_by_level.inl.

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
