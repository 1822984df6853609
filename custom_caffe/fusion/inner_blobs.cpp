#include "caffe/fusion/inner_blobs.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace caffe {

namespace {

using std::string;
using std::vector;

// The values of some arrays, to be restored.
class Saved {
 public:
  void Add(float* values, int count) { arrays_.push_back(Array{values, vector<float>(values, values + count)}); }
  void Restore() const {
    for (const Array& array : arrays_) { std::copy(array.before.begin(), array.before.end(), array.values); }
  }

 private:
  struct Array {
    float* values;
    vector<float> before;
  };
  vector<Array> arrays_;
};

}  // namespace

InnerBlobs::InnerBlobs(const Net<float>& net, int first, int last, const std::set<Blob<float>*>& written)
    : net_(net), first_(first), last_(last), data_(this), diffs_(this) {
  std::set<Blob<float>*> seen = written;
  for (int i = first_; i <= last_; ++i) {
    for (Blob<float>* blob : net_.top_vecs()[i]) {
      if (seen.insert(blob).second) { blobs_.push_back(blob); }
    }
  }
}

void InnerBlobs::Reshape() {
  for (int i = first_; i <= last_; ++i) { net_.layers()[i]->Reshape(net_.bottom_vecs()[i], net_.top_vecs()[i]); }
}

void InnerBlobs::Arm(const shared_ptr<SyncedMemory>& memory, SyncedMemory::Filler* filler, Memories* armed) {
  memory->set_filler(filler);
  armed->push_back(memory);
}

void InnerBlobs::ArmData() {
  layers_ran_ = false;
  for (int i = first_; i <= last_; ++i) {
    // As its Forward does: or what is read of it later would not be what is filled then.
    if (string(net_.layers()[i]->type()) == "Split") {
      for (Blob<float>* top : net_.top_vecs()[i]) { top->ShareData(*net_.bottom_vecs()[i][0]); }
    }
  }
  for (Blob<float>* blob : blobs_) { Arm(blob->data(), &data_, &armed_data_); }
}

void InnerBlobs::ArmDiffs(Blob<float>* top) {
  for (Blob<float>* blob : blobs_) { Arm(blob->diff(), &diffs_, &armed_diffs_); }
  if (top != nullptr) { Arm(top->diff(), &diffs_, &armed_diffs_); }
}

void InnerBlobs::Disarm(Memories* armed) {
  for (const shared_ptr<SyncedMemory>& memory : *armed) { memory->set_filler(nullptr); }
  armed->clear();
}

void InnerBlobs::Disarm() {
  Disarm(&armed_data_);
  DisarmDiffs();
}

void InnerBlobs::DisarmDiffs() { Disarm(&armed_diffs_); }

void InnerBlobs::RunLayers() {
  if (!layers_ran_) { RunLayersAgain(); }
}

void InnerBlobs::RunLayersAgain() {
  Disarm(&armed_data_);
  Saved averages;
  for (int i = first_; i <= last_; ++i) {
    if (string(net_.layers()[i]->type()) == "BatchNorm") {
      for (const shared_ptr<Blob<float> >& blob : net_.layers()[i]->blobs()) {
        averages.Add(blob->mutable_cpu_data(), blob->count());
      }
    }
  }
  for (int i = first_; i <= last_; ++i) { net_.layers()[i]->Forward(net_.bottom_vecs()[i], net_.top_vecs()[i]); }
  layers_ran_ = true;
  averages.Restore();
}

void InnerBlobs::RunLayersBackward() {
  DisarmDiffs();
  RunLayersAgain();
  Saved gradients;
  for (int i = first_; i <= last_; ++i) {
    for (const shared_ptr<Blob<float> >& blob : net_.layers()[i]->blobs()) {
      gradients.Add(blob->mutable_cpu_diff(), blob->count());
    }
  }
  for (int i = last_; i >= first_; --i) {
    if (net_.layer_need_backward()[i]) {
      net_.layers()[i]->Backward(net_.top_vecs()[i], net_.bottom_need_backward()[i], net_.bottom_vecs()[i]);
    }
  }
  gradients.Restore();
}

}  // namespace caffe
