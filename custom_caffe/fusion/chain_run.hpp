#ifndef CAFFE_FUSION_CHAIN_RUN_HPP_
#define CAFFE_FUSION_CHAIN_RUN_HPP_

#include <vector>

#include "caffe/fusion/fused_run.hpp"
#include "caffe/fusion/net_reader.hpp"

namespace caffe {

/// A layer with weights of a chain, and the layers after it that are computed with it; -1 where there is none.
struct ChainLink {
  int weights = -1, activation = -1, pooling = -1;
};

/// What a chain writes down: `count` of its last outputs from `begin` on, or their softmax.
struct ChainOutput {
  Blob<float>* top = nullptr;
  int begin = 0, count = 0;
  bool softmax = false;
};

/**
 * @brief Finds chains of plain layers in a net of phase TEST: convolutions of stride 1, each with a ReLU or PReLU or
 *        without, and with max pooling or without; then inner products. They may end in several that read the same
 *        (heads), and in Softmax.
 *
 * Such a chain is computed image by image, or in bands of rows where images are few, with the channels of a pixel
 * side by side, activation and pooling on the way.
 */
class ChainFinder : public NetReader {
 public:
  explicit ChainFinder(const Net<float>& net) : NetReader(net) {}
  /// Adds the run that begins at layer i and returns the layer after it, or i if none does.
  int Find(int i, std::vector<shared_ptr<FusedRun> >* runs) const;

 private:
  bool IsWeights(int i) const;
  int FindLink(int i, Blob<float>** blob, ChainLink* link) const;
  int FindHeads(int i, const Blob<float>* blob, std::vector<int>* heads) const;
};

}  // namespace caffe

#endif  // CAFFE_FUSION_CHAIN_RUN_HPP_
