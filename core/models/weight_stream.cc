#include "core/models/weight_stream.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "core/models/parameter_sink.h"

namespace sotto {
namespace {

constexpr int64_t kBytesAtATime = 4 << 20;
constexpr std::string_view kScale = ".scale";  // of rounded values, beside their tensor

// The name under which the checkpoint holds a parameter: as declared; with or without the
// backbone's prefix; with the old spelling of norms.
std::string StoredName(const Model& model, const Parameter& p,
                       const std::function<bool(const std::string&)>& has) {
  const std::string &prefix = model.base_prefix(), &name = p.name;
  std::vector<std::string> spellings{name, prefix + name};
  if (!p.other_name.empty()) spellings.push_back(p.other_name);
  if (name.starts_with(prefix)) {
    const std::string rest = name.substr(prefix.size());
    spellings.push_back(rest);
    if (!model.older_prefix().empty()) spellings.push_back(model.older_prefix() + rest);
  }
  for (size_t i = 0, n = spellings.size(); i < n; ++i) {
    std::string old = spellings[i];
    if (old.ends_with("LayerNorm.weight"))
      spellings.push_back(old.replace(old.size() - 6, 6, "gamma"));
    if (old.ends_with("LayerNorm.bias"))
      spellings.push_back(old.replace(old.size() - 4, 4, "beta"));
  }
  for (const std::string& spelling : spellings) {
    if (has(spelling)) return spelling;
  }
  return {};
}

Status CheckScales(const ParameterSink& sink, std::string_view name, const TensorInfo* scales) {
  if (scales != nullptr && scales->dtype == sink.scales_dtype() &&
      scales->shape == sink.scales_shape()) {
    return OkStatus();
  }
  return InvalidFile(StrCat("tensor '", name, "' needs '", name, kScale, "' ",
                            DTypeName(sink.scales_dtype()), " ", sink.scales_shape().ToString()));
}

// One parameter from memory, in the layout asked for.
Result<Tensor> LoadParameter(const Parameter& p, const std::string& stored, TensorSource& source,
                             const LoadOptions& options) {
  const TensorInfo& info = *source.Find(stored);
  const bool as_it_is = info.dtype == DType::kF32 && info.shape == p.shape &&
                        info.form.to_row.empty() && info.form.to_column.empty() &&
                        info.form.undo == nullptr && (!p.stored_transposed || info.form.upright);
  const bool packs = options.format == WeightFormat::kQ8 || options.format == WeightFormat::kQ4;
  if (as_it_is && !options.writable && !(packs && MayPack(p))) {
    return source.Take(stored);
  }
  SOTTO_ASSIGN_OR_RETURN(ParameterSink sink, ParameterSink::Create(p, info, options));
  SOTTO_ASSIGN_OR_RETURN(const std::string_view bytes, source.TakeBytes(stored));
  const int64_t step = std::max<int64_t>(1, kBytesAtATime / std::max<int64_t>(1, sink.row_bytes()));
  for (int64_t row = 0; row < sink.rows(); row += step) {
    const int64_t rows = std::min(step, sink.rows() - row);
    const auto begin = static_cast<uint64_t>(row * sink.row_bytes()),
               end = begin + static_cast<uint64_t>(rows * sink.row_bytes());
    SOTTO_RETURN_IF_ERROR(sink.Add(bytes.data() + begin, rows));
    source.Forget(stored, begin, end);
  }
  if (sink.wants_scales()) {
    const std::string name = StrCat(stored, kScale);
    SOTTO_RETURN_IF_ERROR(CheckScales(sink, stored, source.Find(name)));
    SOTTO_ASSIGN_OR_RETURN(const std::string_view scales, source.TakeBytes(name));
    sink.AddScales(scales);
  }
  return sink.Finish();
}

Status NoTensor(const Parameter& p) {
  return InvalidFile(StrCat("the checkpoint has no tensor '", p.name, "' ", p.shape.ToString()));
}

Status Unused(std::string_view name) {
  return InvalidFile(
      StrCat("the checkpoint has a tensor that the model does not use: '", name, "'"));
}

}  // namespace

Status LoadWeights(Model& model, TensorSource& source, const LoadOptions& options) {
  for (const Parameter& p : model.parameters().all()) {
    const std::string stored =
        StoredName(model, p, [&](const std::string& name) { return source.Has(name); });
    if (stored.empty()) {
      if (p.kind == Parameter::Kind::kConstant) continue;
      if (options.fresh_head && (!model.IsInBackbone(p.name) || model.Ignores(p.name))) continue;
      if (p.optional) continue;
      return NoTensor(p);
    }
    Result<Tensor> tensor = LoadParameter(p, stored, source, options);
    if (!tensor.ok()) return tensor.status().In(stored);
    *p.tensor = *std::move(tensor);
  }
  model.parameters().ForgetLacking();
  if (options.fresh_head) {
    for (const Parameter& p : model.parameters().all()) {
      if (*p.tensor) continue;
      ParameterList fresh;
      fresh.AddLike(p);
      SOTTO_RETURN_IF_ERROR(fresh.Initialize(options.seed, 0.02f));
    }
    return OkStatus();
  }
  for (const std::string& name : source.Unused()) {
    if (!model.Ignores(name)) return Unused(name);
  }
  return OkStatus();
}

std::vector<Status> CheckWeights(const Model& model, const TensorSource& source) {
  std::vector<Status> wrong;
  std::set<std::string, std::less<>> used;
  for (const Parameter& p : model.parameters().all()) {
    const std::string stored =
        StoredName(model, p, [&](const std::string& name) { return source.Has(name); });
    if (stored.empty()) {
      if (!p.optional && p.kind != Parameter::Kind::kConstant) wrong.push_back(NoTensor(p));
      continue;
    }
    const Result<ParameterSink> sink = ParameterSink::Create(p, *source.Find(stored), {});
    if (!sink.ok()) wrong.push_back(sink.status());
    used.insert({stored, StrCat(stored, kScale)});
  }
  for (const std::string& name : source.Names()) {
    if (!used.contains(name) && !model.Ignores(name)) wrong.push_back(Unused(name));
  }
  return wrong;
}

Status WeightStream::Begin(std::vector<TensorInfo> tensors) {
  filled_.resize(model_->parameters().all().size());
  // What the file gave when it began before.
  for (const size_t p : here_) filled_[p] = false;
  here_.clear();
  sinks_.clear();
  plans_.clear();
  partial_.clear();
  at_ = 0;
  current_ = 0;
  std::map<std::string, size_t, std::less<>> places;
  for (size_t i = 0; i < tensors.size(); ++i) places.emplace(tensors[i].name, i);
  plans_.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) plans_[i].info = std::move(tensors[i]);

  const std::vector<Parameter>& all = model_->parameters().all();
  for (size_t p = 0; p < all.size(); ++p) {
    const std::string stored =
        StoredName(*model_, all[p], [&](const std::string& name) { return places.contains(name); });
    if (stored.empty()) continue;
    if (filled_[p]) return InvalidFile(StrCat("tensor '", stored, "' is there twice"));
    Plan& plan = plans_[places.find(stored)->second];
    Result<ParameterSink> sink = ParameterSink::Create(all[p], plan.info, options_);
    if (!sink.ok()) return sink.status().In(stored);
    if (sink->wants_scales()) {
      const auto scales = places.find(StrCat(stored, kScale));
      const bool there = scales != places.end();
      SOTTO_RETURN_IF_ERROR(
          CheckScales(*sink, stored, there ? &plans_[scales->second].info : nullptr));
      plans_[scales->second].scales_of = sinks_.size();
    }
    plan.sink = sinks_.size();
    sinks_.push_back(*std::move(sink));
    filled_[p] = true;
    here_.push_back(p);
  }
  for (const Plan& plan : plans_) {
    if (plan.sink == kNone && plan.scales_of == kNone && !model_->Ignores(plan.info.name)) {
      return Unused(plan.info.name);
    }
  }
  return OkStatus();
}

// Whole rows of the current tensor.
Status WeightStream::Give(const Plan& plan, std::string_view bytes) {
  if (plan.sink != kNone) {
    ParameterSink& sink = *sinks_[plan.sink];
    return sink.Add(bytes.data(), static_cast<int64_t>(bytes.size()) / sink.row_bytes());
  }
  sinks_[plan.scales_of]->AddScales(bytes);
  return OkStatus();
}

// Hands a tensor to the model as soon as all of it is there, so that nothing else is held.
Status WeightStream::FinishIfWhole(size_t index) {
  std::optional<ParameterSink>& sink = sinks_[index];
  if (!sink->whole()) return OkStatus();
  const Parameter& p = model_->parameters().all()[here_[index]];
  Result<Tensor> tensor = sink->Finish();
  if (!tensor.ok()) return tensor.status().In(p.name);
  *p.tensor = *std::move(tensor);
  sink.reset();
  return OkStatus();
}

Status WeightStream::Append(std::string_view bytes) {
  const auto advance = [&](uint64_t count) {
    bytes.remove_prefix(static_cast<size_t>(count));
    at_ += count;
  };
  while (current_ < plans_.size()) {
    const Plan& plan = plans_[current_];
    const TensorInfo& info = plan.info;
    const bool wanted = plan.sink != kNone || plan.scales_of != kNone;
    if (at_ < info.begin || !wanted) {  // the header, padding, or what the model ignores
      const uint64_t to = wanted ? info.begin : info.end;
      if (at_ < to) advance(std::min<uint64_t>(to - at_, bytes.size()));
      if (at_ < to) return OkStatus();
    }
    if (!wanted) {
      ++current_;
      continue;
    }
    const bool values = plan.sink != kNone;
    const size_t index = values ? plan.sink : plan.scales_of;
    const auto row = static_cast<uint64_t>(values ? sinks_[index]->row_bytes()
                                                  : sinks_[index]->scales_row_bytes());
    while (at_ < info.end && !bytes.empty()) {
      if (partial_.empty() && bytes.size() >= row) {
        const uint64_t whole = std::min<uint64_t>(info.end - at_, bytes.size()) / row * row;
        SOTTO_RETURN_IF_ERROR(Give(plan, bytes.substr(0, whole)).In(info.name));
        advance(whole);
        continue;
      }
      const uint64_t more = std::min<uint64_t>(row - partial_.size(), bytes.size());
      partial_.append(bytes.substr(0, more));
      advance(more);
      if (partial_.size() < row) return OkStatus();
      SOTTO_RETURN_IF_ERROR(Give(plan, partial_).In(info.name));
      partial_.clear();
    }
    if (at_ < info.end) return OkStatus();
    SOTTO_RETURN_IF_ERROR(FinishIfWhole(index));
    ++current_;
  }
  at_ += bytes.size();
  return OkStatus();
}

Status WeightStream::End() {
  if (current_ < plans_.size()) {
    return InvalidFile(
        StrCat("the file ends before tensor '", plans_[current_].info.name, "' is whole"));
  }
  here_.clear();
  sinks_.clear();
  plans_.clear();
  partial_ = {};
  return OkStatus();
}

Status WeightStream::Finish() {
  const std::vector<Parameter>& all = model_->parameters().all();
  for (size_t p = 0; p < all.size(); ++p) {
    if (all[p].kind == Parameter::Kind::kConstant || all[p].optional) continue;
    if (filled_.empty() || !filled_[p]) return NoTensor(all[p]);
  }
  model_->parameters().ForgetLacking();
  return OkStatus();
}

}  // namespace sotto
