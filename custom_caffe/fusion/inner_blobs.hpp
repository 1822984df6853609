#ifndef CAFFE_FUSION_INNER_BLOBS_HPP_
#define CAFFE_FUSION_INNER_BLOBS_HPP_

#include <set>
#include <vector>

#include "caffe/blob.hpp"
#include "caffe/common.hpp"
#include "caffe/net.hpp"
#include "caffe/syncedmem.hpp"

namespace caffe {

/**
 * @brief What a fused run does not write down of its layers' blobs: the layers compute it when somebody reads it.
 */
class InnerBlobs {
 public:
  /// Of the layers from first to last, all they write but what the run itself does.
  InnerBlobs(const Net<float>& net, int first, int last, const std::set<Blob<float>*>& written);
  ~InnerBlobs() { Disarm(); }

  /// Every layer's own, after a change of the first one's bottom.
  void Reshape();
  /// From now on the data that the run did not write is computed when it is read.
  void ArmData();
  /// The same of the gradients; and of `top`'s, which layers that work in place leave changed, if it is not NULL.
  void ArmDiffs(Blob<float>* top);
  void Disarm();
  void DisarmDiffs();
  /// The layers' own forward pass, without what it leaves behind in the parameters; once after each ArmData.
  void RunLayers();

 private:
  class Data : public SyncedMemory::Filler {
   public:
    explicit Data(InnerBlobs* blobs) : blobs_(blobs) {}
    void Fill() override { blobs_->RunLayersAgain(); }

   private:
    InnerBlobs* const blobs_;
  };
  class Diffs : public SyncedMemory::Filler {
   public:
    explicit Diffs(InnerBlobs* blobs) : blobs_(blobs) {}
    void Fill() override { blobs_->RunLayersBackward(); }

   private:
    InnerBlobs* const blobs_;
  };
  typedef std::vector<shared_ptr<SyncedMemory> > Memories;

  static void Arm(const shared_ptr<SyncedMemory>& memory, SyncedMemory::Filler* filler, Memories* armed);
  static void Disarm(Memories* armed);
  void RunLayersAgain();
  void RunLayersBackward();

  const Net<float>& net_;
  const int first_, last_;
  std::vector<Blob<float>*> blobs_;
  Data data_;
  Diffs diffs_;
  Memories armed_data_, armed_diffs_;
  bool layers_ran_ = false;
};

}  // namespace caffe

#endif  // CAFFE_FUSION_INNER_BLOBS_HPP_
