#include "caffe/fusion/fused_run.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "caffe/fusion/chain_run.hpp"
#include "caffe/fusion/fused_blocks.hpp"
#include "caffe/fusion/inner_blobs.hpp"
#include "caffe/fusion/net_reader.hpp"
#include "caffe/net.hpp"
#include "caffe/steps/upstream_only.hpp"
#include "caffe/threads/for_each.hpp"

namespace caffe {

namespace {

using std::string;
using std::vector;

typedef Net<float> FloatNet;

// num x channels x pixels to num x pixels x channels, or back.
void ChannelsLast(const float* from, int channels, int pixels, float* to) {
  for (int c = 0; c < channels; ++c) {
    for (int p = 0; p < pixels; ++p) { to[p * channels + c] = from[c * pixels + p]; }
  }
}

void ChannelsFirst(const float* from, int channels, int pixels, float* to) {
  for (int c = 0; c < channels; ++c) {
    for (int p = 0; p < pixels; ++p) { to[c * pixels + p] = from[p * channels + c]; }
  }
}

// Parts of a thread's memory: what passes from unit to unit, and from which on they are a unit's own.
const int kTurns = 20, kOwnParts = 22;

class BlockRun : public FusedRun {
 public:
  BlockRun(const FloatNet& net, int first, int last, Blob<float>* bottom, Blob<float>* top, bool from_images,
      bool bottom_gradient, bool global, const vector<shared_ptr<FusedUnit> >& units)
      : net_(net),
        first_(first),
        last_(last),
        bottom_(bottom),
        top_(top),
        from_images_(from_images),
        bottom_gradient_(bottom_gradient),
        global_(global),
        units_(units),
        inner_(net, first, last, {bottom, top}) {
    for (size_t i = 0; i < units_.size(); ++i) { units_[i]->set_own_part(kOwnParts + 2 * i); }
  }

  int first() const override { return first_; }
  int last() const override { return last_; }

  void Forward() override {
    inner_.Disarm();
    if (bottom_->shape() != shape_) {
      inner_.Reshape();
      shape_ = bottom_->shape();
    }
    ran_ = false;
    scratch_.resize(std::max<size_t>(scratch_.size(), thread_count()));
    if (global_) {
      Infer();
    } else {
      Train();
    }
    ran_ = true;
    inner_.ArmData();
  }

  bool CanBackward() const override { return ran_ && !global_; }

  void Backward() override {
    const int num = shape_[0], channels = units_.back()->channels(), pixels = units_.back()->pixels();
    inner_.DisarmDiffs();
    scratch_.resize(std::max<size_t>(scratch_.size(), thread_count()));
    const float* top_diff = top_->cpu_diff();
    out_gradient_.resize(top_->count());
    ForEach(num, [&](int n, int) {
      ChannelsLast(top_diff + n * channels * pixels, channels, pixels, &out_gradient_[n * channels * pixels]);
    });
    float* gradient = out_gradient_.data();
    for (int i = units_.size() - 1; i >= 0; --i) { gradient = units_[i]->Backward(inputs_[i], gradient, &scratch_); }
    if (bottom_gradient_) {
      float* bottom_diff = bottom_->mutable_cpu_diff();
      const int in_channels = bottom_->shape(1), in_pixels = bottom_->count(2);
      ForEach(num, [&](int n, int) {
        ChannelsFirst(gradient + n * in_channels * in_pixels, in_channels, in_pixels,
            bottom_diff + n * in_channels * in_pixels);
      });
    }
    // Layers that work in place leave there the gradient of what they read.
    inner_.ArmDiffs(net_.bottom_vecs()[last_][0] == top_ ? top_ : nullptr);
  }

  void HandOver() override {
    if (ran_) { inner_.RunLayers(); }
    ran_ = false;
  }

 private:
  void Train() {
    const int num = shape_[0];
    const float* from = bottom_->cpu_data();
    inputs_.clear();
    if (!from_images_) {
      in_.resize(bottom_->count());
      const int channels = bottom_->shape(1), pixels = bottom_->count(2);
      ForEach(num, [&](int n, int) {
        ChannelsLast(from + n * channels * pixels, channels, pixels, &in_[n * channels * pixels]);
      });
      from = in_.data();
    }
    for (const shared_ptr<FusedUnit>& unit : units_) {
      unit->Resize(num);
      inputs_.push_back(from);
      from = unit->Forward(from, &scratch_);
    }
    const int channels = units_.back()->channels(), pixels = units_.back()->pixels();
    float* to = top_->mutable_cpu_data();
    ForEach(num, [&](int n, int) {
      ChannelsFirst(from + n * channels * pixels, channels, pixels, to + n * channels * pixels);
    });
  }

  // Image by image through all of the units, which so stays in a core's caches.
  void Infer() {
    for (const shared_ptr<FusedUnit>& unit : units_) { unit->Fold(); }
    const float* from = bottom_->cpu_data();
    float* to = top_->mutable_cpu_data();
    const int in_channels = bottom_->shape(1), in_pixels = bottom_->count(2);
    const int channels = units_.back()->channels(), pixels = units_.back()->pixels();
    size_t most = in_channels * in_pixels;
    for (const shared_ptr<FusedUnit>& unit : units_) {
      most = std::max<size_t>(most, unit->channels() * unit->pixels());
    }
    ForEach(shape_[0], [&](int n, int thread) {
      Scratch* own = &scratch_[thread];
      const float* image = from + n * in_channels * in_pixels;
      int turn = 0;
      if (!from_images_) {
        float* turned = own->Get(kTurns + turn, most);
        ChannelsLast(image, in_channels, in_pixels, turned);
        image = turned;
        turn = 1;
      }
      for (const shared_ptr<FusedUnit>& unit : units_) {
        float* next = own->Get(kTurns + turn, most);
        unit->Infer(image, next, own);
        image = next;
        turn = 1 - turn;
      }
      ChannelsFirst(image, channels, pixels, to + n * channels * pixels);
    });
  }

  const FloatNet& net_;
  const int first_, last_;
  Blob<float>* const bottom_;
  Blob<float>* const top_;
  const bool from_images_, bottom_gradient_, global_;
  const vector<shared_ptr<FusedUnit> > units_;
  InnerBlobs inner_;
  bool ran_ = false;
  vector<int> shape_;
  vector<const float*> inputs_;
  vector<Scratch> scratch_;
  Floats in_, out_gradient_;
};

// Finds the units in a net's layers, from one layer on.
class Finder : public NetReader {
 public:
  explicit Finder(const FloatNet& net) : NetReader(net) {}

  vector<shared_ptr<FusedRun> > Find() {
    vector<shared_ptr<FusedRun> > runs;
    const ChainFinder chains(net_);
    for (int i = 0; i < Layers();) {
      int next = FindRun(i, &runs);
      if (next == i) { next = chains.Find(i, &runs); }
      i = std::max(next, i + 1);
    }
    return runs;
  }

 private:
  struct Normalised {
    Normalisation normalisation;
    Blob<float>* bottom = nullptr;  // of the convolution
    Blob<float>* top = nullptr;     // of the last layer
    const ConvolutionParameter* convolution = nullptr;
    int layer = 0;  // the convolution
    float slope = 1;
    vector<Parameter> parameters;  // of the convolution
  };

  Parameter Learned(int layer, int index) const {
    Parameter parameter;
    parameter.blob = net_.layers()[layer]->blobs()[index].get();
    parameter.learned = net_.layers()[layer]->param_propagate_down(index);
    return parameter;
  }

  // Convolution (or one for each channel), BatchNorm, Scale and perhaps ReLU from layer i on; returns the layer
  // after them, or i if they are not there.
  int FindNormalised(int i, const char* type, bool activated, Normalised* found) const {
    if (!Is(i, type) || net_.bottom_vecs()[i].size() != 1 || net_.top_vecs()[i].size() != 1) { return i; }
    const ConvolutionParameter& convolution = Param(i).convolution_param();
    if (convolution.engine() == ConvolutionParameter_Engine_CAFFE || convolution.dilation_size() > 0 ||
        convolution.axis() != 1 || net_.bottom_vecs()[i][0]->num_axes() != 4) {
      return i;
    }
    Blob<float>* blob = net_.top_vecs()[i][0];
    int next = i + 1;
    if (blob == net_.bottom_vecs()[i][0] || !Step(next, "BatchNorm", &blob)) { return i; }
    const int norm = next++;
    if (!Step(next, "Scale", &blob) || !Param(next).scale_param().bias_term() ||
        Param(next).scale_param().axis() != 1 || Param(next).scale_param().num_axes() != 1) {
      return i;
    }
    const int scale = next++;
    found->slope = 1;
    if (activated) {
      if (!Step(next, "ReLU", &blob) || Param(next).relu_param().negative_slope() < 0 ||
          Param(next).relu_param().engine() == ReLUParameter_Engine_CAFFE) {
        return i;
      }
      found->slope = Param(next).relu_param().negative_slope();
      ++next;
    }
    for (int layer = i; layer < next; ++layer) {
      for (int id : net_.top_ids(layer)) {
        if (net_.blob_loss_weights()[id] != 0) { return i; }
      }
    }
    const BatchNormParameter& param = Param(norm).batch_norm_param();
    Normalisation& normalisation = found->normalisation;
    normalisation.mean_sum = net_.layers()[norm]->blobs()[0].get();
    normalisation.variance_sum = net_.layers()[norm]->blobs()[1].get();
    normalisation.weight_sum = net_.layers()[norm]->blobs()[2].get();
    normalisation.gamma = Learned(scale, 0);
    normalisation.beta = Learned(scale, 1);
    normalisation.epsilon = param.eps();
    normalisation.fraction = param.moving_average_fraction();
    normalisation.global = param.has_use_global_stats() ? param.use_global_stats() : net_.phase() == TEST;
    found->bottom = net_.bottom_vecs()[i][0];
    found->top = blob;
    found->convolution = &convolution;
    found->layer = i;
    for (size_t k = 0; k < net_.layers()[i]->blobs().size(); ++k) { found->parameters.push_back(Learned(i, k)); }
    return next;
  }

  static bool Pointwise(const Normalised& found) {
    int kernel, stride, pad;
    return Geometry(*found.convolution, &kernel, &stride, &pad) && kernel == 1 && stride == 1 && pad == 0 &&
           found.convolution->group() == 1 && found.parameters.size() == 1;
  }

  int FindStem(int i, Normalised* found, shared_ptr<FusedUnit>* unit) const {
    const int next = FindNormalised(i, "Convolution", true, found);
    FusedStem::Shape shape;
    if (next == i || found->convolution->group() != 1 || net_.bottom_need_backward()[i][0] ||
        !Geometry(*found->convolution, &shape.kernel, &shape.stride, &shape.pad)) {
      return i;
    }
    const Blob<float>& top = *net_.top_vecs()[i][0];
    shape.channels = found->bottom->shape(1);
    shape.height = found->bottom->shape(2);
    shape.width = found->bottom->shape(3);
    shape.outputs = top.shape(1);
    shape.out_height = top.shape(2);
    shape.out_width = top.shape(3);
    unit->reset(new FusedStem(shape, found->parameters[0],
        found->parameters.size() > 1 ? found->parameters[1] : Parameter(), found->normalisation, found->slope));
    return next;
  }

  int FindBlock(int i, Blob<float>** bottom, Blob<float>** top, bool* global, shared_ptr<FusedUnit>* unit) const {
    int next = i;
    Blob<float>* split = nullptr;
    if (Is(next, "Split")) {
      if (net_.top_vecs()[next].size() != 2) { return i; }
      *bottom = net_.bottom_vecs()[next][0];
      split = net_.top_vecs()[next][1];
      ++next;
    }
    Normalised expand, filter, project;
    const int filter_at = FindNormalised(next, "Convolution", true, &expand);
    if (filter_at == next || !Pointwise(expand)) { return i; }
    if (split != nullptr) {
      if (expand.bottom == split) { split = net_.top_vecs()[i][0]; }
      if (expand.bottom != net_.top_vecs()[i][0] && expand.bottom != net_.top_vecs()[i][1]) { return i; }
    } else {
      *bottom = expand.bottom;
    }
    const char* kind = Is(filter_at, "ConvolutionDepthwise") ? "ConvolutionDepthwise" : "Convolution";
    const int project_at = FindNormalised(filter_at, kind, true, &filter);
    if (project_at == filter_at || filter.bottom != expand.top || !OnlyReadBy(expand.top, filter_at)) { return i; }
    FusedBlock::Shape shape;
    const int wide = expand.top->shape(1);
    if (!Geometry(*filter.convolution, &shape.kernel, &shape.stride, &shape.pad) || filter.parameters.size() != 1 ||
        filter.top->shape(1) != wide ||
        (kind == string("Convolution") && static_cast<int>(filter.convolution->group()) != wide)) {
      return i;
    }
    next = FindNormalised(project_at, "Convolution", false, &project);
    if (next == project_at || project.bottom != filter.top || !OnlyReadBy(filter.top, project_at) ||
        !Pointwise(project)) {
      return i;
    }
    shape.residual = split != nullptr;
    *top = project.top;
    if (split != nullptr) {
      if (!Is(next, "Eltwise") || net_.bottom_vecs()[next].size() != 2) { return i; }
      const EltwiseParameter& sum = Param(next).eltwise_param();
      const vector<Blob<float>*>& parts = net_.bottom_vecs()[next];
      const bool both = (parts[0] == split && parts[1] == project.top) || (parts[1] == split && parts[0] == project.top);
      if (sum.operation() != EltwiseParameter_EltwiseOp_SUM || !both || !OnlyReadBy(project.top, next)) { return i; }
      for (float coefficient : sum.coeff()) {
        if (coefficient != 1) { return i; }
      }
      for (int id : net_.top_ids(next)) {
        if (net_.blob_loss_weights()[id] != 0) { return i; }
      }
      *top = net_.top_vecs()[next][0];
      ++next;
    }
    *global = expand.normalisation.global;
    if (filter.normalisation.global != *global || project.normalisation.global != *global) { return i; }
    shape.channels = (*bottom)->shape(1);
    shape.height = (*bottom)->shape(2);
    shape.width = (*bottom)->shape(3);
    shape.wide = wide;
    shape.outputs = project.top->shape(1);
    shape.out_height = project.top->shape(2);
    shape.out_width = project.top->shape(3);
    unit->reset(new FusedBlock(shape, expand.parameters[0], filter.parameters[0], project.parameters[0],
        expand.normalisation, filter.normalisation, project.normalisation, expand.slope, filter.slope));
    return next;
  }

  int FindRun(int i, vector<shared_ptr<FusedRun> >* runs) const {
    vector<shared_ptr<FusedUnit> > units;
    shared_ptr<FusedUnit> unit;
    Blob<float>* bottom = nullptr;
    Blob<float>* top = nullptr;
    bool global = false;
    Normalised stem;
    int next = FindStem(i, &stem, &unit);
    const bool from_images = next != i;
    if (from_images) {
      units.push_back(unit);
      bottom = stem.bottom;
      top = stem.top;
      global = stem.normalisation.global;
    }
    bool blocks = false;
    while (true) {
      Blob<float>* block_bottom = nullptr;
      Blob<float>* block_top = nullptr;
      bool block_global = false;
      const int end = FindBlock(next, &block_bottom, &block_top, &block_global, &unit);
      if (end == next || (top != nullptr && (block_bottom != top || !OnlyReadBy(top, next) || block_global != global))) {
        break;
      }
      if (bottom == nullptr) {
        bottom = block_bottom;
        global = block_global;
      }
      units.push_back(unit);
      top = block_top;
      next = end;
      blocks = true;
    }
    if (!blocks) { return i; }
    LOG_IF(INFO, Caffe::root_solver()) << "Layers " << net_.layer_names()[i] << " to " << net_.layer_names()[next - 1]
                                       << " are computed as one";
    const bool gradient = !from_images && net_.bottom_need_backward()[i][0];
    runs->push_back(shared_ptr<FusedRun>(
        new BlockRun(net_, i, next - 1, bottom, top, from_images, gradient, global, units)));
    return next;
  }
};

}  // namespace

template <>
vector<shared_ptr<FusedRun> > FindFusedRuns(const Net<float>& net) {
  return UpstreamOnly() ? vector<shared_ptr<FusedRun> >() : Finder(net).Find();
}

template <>
vector<shared_ptr<FusedRun> > FindFusedRuns(const Net<double>&) {
  return vector<shared_ptr<FusedRun> >();
}

}  // namespace caffe
