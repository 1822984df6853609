#ifndef CAFFE_FUSION_FUSED_RUN_HPP_
#define CAFFE_FUSION_FUSED_RUN_HPP_

#include <vector>

#include "caffe/common.hpp"

namespace caffe {

template <typename Dtype>
class Net;

/**
 * @brief Layers of a net, one after the other, that are computed as one on the CPU.
 *
 * The numbers are those of the layers within rounding, and what one sees of the net is the same: what the run does
 * not need to write down, its inner blobs and their gradients, is computed by the layers themselves when somebody
 * reads it.
 */
class FusedRun {
 public:
  virtual ~FusedRun() {}
  /// The first and the last of the layers, by their index in the net.
  virtual int first() const = 0;
  virtual int last() const = 0;
  /// In place of the layers' Forward.
  virtual void Forward() = 0;
  /// Whether the last forward pass was this run's and its backward pass is one it can do.
  virtual bool CanBackward() const = 0;
  /// In place of the layers' Backward, with the gradient of the last one's top.
  virtual void Backward() = 0;
  /// Puts the layers into the state they would be in had they run themselves, to go on with them.
  virtual void HandOver() = 0;
};

/// The runs of a net that can be fused; none where upstream's code alone is wanted (UpstreamOnly) or Dtype is not
/// float.
template <typename Dtype>
std::vector<shared_ptr<FusedRun> > FindFusedRuns(const Net<Dtype>& net);

}  // namespace caffe

#endif  // CAFFE_FUSION_FUSED_RUN_HPP_
