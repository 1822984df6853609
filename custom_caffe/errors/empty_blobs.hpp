#ifndef CAFFE_ERRORS_EMPTY_BLOBS_HPP_
#define CAFFE_ERRORS_EMPTY_BLOBS_HPP_

#include <string>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/proto/caffe.pb.h"

namespace caffe {

/// Fails, naming it, if one of a layer's bottoms has no values from the axis `from` on: for layers that would divide by
/// the number of images (from = 0), or by the size of an image (from = 1).
template <typename Dtype>
void CheckNotEmpty(const LayerParameter& layer, const vector<Blob<Dtype>*>& bottom, int from = 0) {
  for (size_t i = 0; i < bottom.size(); ++i) {
    if (bottom[i]->num_axes() < from || bottom[i]->count(from) > 0) { continue; }
    // Layers made by other layers have no names for their bottoms.
    const bool named = i < static_cast<size_t>(layer.bottom_size());
    string shape;
    for (int size : bottom[i]->shape()) { shape += (shape.empty() ? "" : " ") + std::to_string(size); }
    LOG(FATAL) << "bottom " << (named ? "'" + layer.bottom(i) + "'" : std::to_string(i)) << " is empty (" << shape
               << ")";
  }
}

}  // namespace caffe

#endif  // CAFFE_ERRORS_EMPTY_BLOBS_HPP_
