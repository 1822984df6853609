#ifndef CAFFE_FUSION_FLOATS_HPP_
#define CAFFE_FUSION_FLOATS_HPP_

#include <cstddef>
#include <new>
#include <vector>

namespace caffe {

/// Allocates at the beginning of a cache line, which the widest registers then never straddle.
template <typename T>
struct CacheLines {
  typedef T value_type;
  CacheLines() = default;
  template <typename U>
  CacheLines(const CacheLines<U>&) {}  // NOLINT(runtime/explicit)
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, std::align_val_t(64)); }
  template <typename U>
  bool operator==(const CacheLines<U>&) const { return true; }
  template <typename U>
  bool operator!=(const CacheLines<U>&) const { return false; }
};

typedef std::vector<float, CacheLines<float> > Floats;

}  // namespace caffe

#endif  // CAFFE_FUSION_FLOATS_HPP_
