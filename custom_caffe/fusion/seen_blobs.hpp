#ifndef CAFFE_FUSION_SEEN_BLOBS_HPP_
#define CAFFE_FUSION_SEEN_BLOBS_HPP_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/threads/scratch.hpp"

namespace caffe {

/// What blobs held when something was made of them. They are written to from outside without a word, so that they have
/// to be compared.
class SeenBlobs {
 public:
  /// Whether these blobs hold what those of the last call did, in the same order; remembers what they hold now.
  bool Same(const std::vector<const Blob<float>*>& blobs);
  /// The next call returns false.
  void Forget() { values_.clear(); }

 private:
  Floats values_;
};

}  // namespace caffe

#endif  // CAFFE_FUSION_SEEN_BLOBS_HPP_
