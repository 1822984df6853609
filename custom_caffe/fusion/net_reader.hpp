#ifndef CAFFE_FUSION_NET_READER_HPP_
#define CAFFE_FUSION_NET_READER_HPP_

#include <map>
#include <string>
#include <vector>

#include "caffe/net.hpp"

namespace caffe {

/// What the search for layers to fuse asks of a net.
class NetReader {
 public:
  explicit NetReader(const Net<float>& net) : net_(net) {
    for (int i = 0; i < Layers(); ++i) {
      for (const Blob<float>* blob : net.bottom_vecs()[i]) { readers_[blob].push_back(i); }
    }
  }

 protected:
  int Layers() const { return net_.layers().size(); }
  bool Is(int i, const char* type) const { return i < Layers() && std::string(net_.layers()[i]->type()) == type; }
  const LayerParameter& Param(int i) const { return net_.layers()[i]->layer_param(); }

  /// Whether layer i has one bottom and one top, which counts for no loss.
  bool Plain(int i) const {
    if (net_.bottom_vecs()[i].size() != 1 || net_.top_vecs()[i].size() != 1) { return false; }
    return net_.blob_loss_weights()[net_.top_ids(i)[0]] == 0;
  }

  /// Layer i if it is of that type and reads that blob alone; then *blob is what it writes.
  bool Step(int i, const char* type, Blob<float>** blob) const {
    if (!Is(i, type) || net_.bottom_vecs()[i].size() != 1 || net_.top_vecs()[i].size() != 1 ||
        net_.bottom_vecs()[i][0] != *blob || !OnlyReadBy(*blob, i)) {
      return false;
    }
    *blob = net_.top_vecs()[i][0];
    return true;
  }

  /// Whether the layers before i that read a blob are those that also write it, in place, and none after i reads it
  /// unless i writes it.
  bool OnlyReadBy(const Blob<float>* blob, int i) const {
    const bool in_place = net_.top_vecs()[i][0] == blob;
    for (int reader : readers_.at(blob)) {
      if (reader > i && !in_place) { return false; }
      if (reader < i && net_.top_vecs()[reader][0] != blob) { return false; }
    }
    return true;
  }

  /// The layers that read a blob, in order.
  std::vector<int> Readers(const Blob<float>* blob) const {
    const std::map<const Blob<float>*, std::vector<int> >::const_iterator found = readers_.find(blob);
    return found == readers_.end() ? std::vector<int>() : found->second;
  }

  /// A setting that is given for both axes at once, or not at all; -1 if it is given for each.
  template <typename Field>
  static int Square(const Field& values, int otherwise) {
    return values.size() == 0 ? otherwise : values.size() == 1 ? static_cast<int>(values.Get(0)) : -1;
  }

  static bool Geometry(const ConvolutionParameter& convolution, int* kernel, int* stride, int* pad) {
    *kernel = Square(convolution.kernel_size(), -1);
    *stride = Square(convolution.stride(), 1);
    *pad = Square(convolution.pad(), 0);
    return *kernel > 0 && *stride > 0 && *pad >= 0 && !convolution.has_kernel_h() && !convolution.has_stride_h() &&
           !convolution.has_pad_h();
  }

  const Net<float>& net_;

 private:
  std::map<const Blob<float>*, std::vector<int> > readers_;
};

}  // namespace caffe

#endif  // CAFFE_FUSION_NET_READER_HPP_
