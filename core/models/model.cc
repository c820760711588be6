#include "core/models/model.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/models/architecture.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

const Architecture* const kRegistry[] = {&kBert, &kGpt2, &kLlama};

constexpr std::pair<std::string_view, Head> kHeads[] = {
    {"ForSequenceClassification", Head::kSequenceClassification},
    {"ForTokenClassification", Head::kTokenClassification},
    {"ForQuestionAnswering", Head::kQuestionAnswering},
    {"ForNextSentencePrediction", Head::kNextSentence},
    {"ForPreTraining", Head::kPreTraining},
    {"ForMaskedLM", Head::kMaskedLM},
    {"ForCausalLM", Head::kCausalLM},
    {"LMHeadModel", Head::kCausalLM},
    {"Model", Head::kNone},
};

// Matrices smaller than this either way stay f32: they weigh nothing, and heads want the precision.
constexpr int64_t kMinPackedExtent = 32;

bool Packs(const Parameter& p) {
  return p.decays() && p.shape.dim(0) >= kMinPackedExtent && p.shape.dim(1) >= kMinPackedExtent;
}

// The name under which the checkpoint holds a parameter: as declared; with or without the
// backbone's prefix; with the old spelling of norms.
std::string StoredName(const Model& model, const TensorSource& source, const std::string& name) {
  const std::string& prefix = model.base_prefix();
  std::vector<std::string> spellings{name, prefix + name};
  if (name.starts_with(prefix)) spellings.push_back(name.substr(prefix.size()));
  for (size_t i = 0, n = spellings.size(); i < n; ++i) {
    std::string old = spellings[i];
    if (old.ends_with("LayerNorm.weight"))
      spellings.push_back(old.replace(old.size() - 6, 6, "gamma"));
    if (old.ends_with("LayerNorm.bias"))
      spellings.push_back(old.replace(old.size() - 4, 4, "beta"));
  }
  for (const std::string& spelling : spellings) {
    if (source.Find(spelling) != nullptr) return spelling;
  }
  return {};
}

// One parameter from the file, in the layout asked for.
Result<Tensor> LoadParameter(const Parameter& p, const std::string& stored, TensorSource& source,
                             WeightFormat format, bool writable) {
  const bool quantized = source.Find(stored)->dtype == DType::kI8;
  if (quantized && p.shape.rank() == 2) {
    Q8Rows rows;
    SOTTO_ASSIGN_OR_RETURN(rows.values, source.Take(stored, p.shape));
    SOTTO_ASSIGN_OR_RETURN(rows.scales, source.TakeF32(stored + ".scale", Shape({p.shape.dim(0)})));
    SOTTO_ASSIGN_OR_RETURN(Tensor packed, PackQ8(rows));
    if (format != WeightFormat::kF32) return packed;
    SOTTO_ASSIGN_OR_RETURN(Tensor plain, Tensor::Allocate(p.shape));
    for (int64_t r = 0; r < p.shape.dim(0); ++r)
      UnpackQ8Row(packed, r, plain.f32() + r * p.shape.dim(1));
    return plain;
  }
  SOTTO_ASSIGN_OR_RETURN(Tensor tensor, source.TakeF32(stored, p.stored_shape()));
  if (p.taps > 0) tensor = tensor.Reshaped(p.shape);
  if (p.stored_transposed) {
    SOTTO_ASSIGN_OR_RETURN(tensor, Transposed(tensor));
  }
  if (format == WeightFormat::kQ8 && Packs(p)) return PackQ8(tensor);
  return writable && !p.stored_transposed ? Tensor::FromFloats(p.shape, tensor.floats()) : tensor;
}

bool BelongsToBackbone(const Model& model, const std::string& name) {
  return model.head() == Head::kNone || name.starts_with(model.base_prefix());
}

}  // namespace

Result<std::unique_ptr<Model>> CreateModel(const Json& config) {
  if (!config.is_object()) return InvalidFile("config.json must be an object");
  const std::vector<Json>& classes = config["architectures"].items();
  const std::string class_name = classes.empty() ? "" : classes.front().as_string();
  SOTTO_ASSIGN_OR_RETURN(const std::string type, config.StringOr("model_type", ""));
  for (const Architecture* architecture : kRegistry) {
    if (architecture->model_type != type) continue;
    std::string suffix = "Model";
    if (!class_name.empty()) {
      if (!class_name.starts_with(architecture->class_prefix)) {
        return InvalidFile(StrCat("config.json: '", class_name, "' is no class of '", type, "'"));
      }
      suffix = class_name.substr(architecture->class_prefix.size());
    }
    for (const auto& [name, head] : kHeads) {
      if (suffix != name) continue;
      SOTTO_ASSIGN_OR_RETURN(std::vector<std::string> labels, ReadLabels(config));
      Result<std::unique_ptr<Model>> created = architecture->create(config, head);
      if (!created.ok()) return created.status();
      std::unique_ptr<Model> model = *std::move(created);
      model->config_ = config;
      model->id2label_ = std::move(labels);
      return model;
    }
    return Unsupported(StrCat("the head of '", class_name, "' is not implemented"));
  }
  std::string known;
  for (const Architecture* architecture : kRegistry)
    known += StrCat(known.empty() ? "" : ", ", architecture->model_type);
  return Unsupported(StrCat("the architecture '", type, "' is not implemented; known are ", known));
}

Status LoadWeights(Model& model, TensorSource& source, const LoadOptions& options) {
  for (const Parameter& p : model.parameters().all()) {
    const std::string stored = StoredName(model, source, p.name);
    if (stored.empty()) {
      if (options.fresh_head && (!BelongsToBackbone(model, p.name) || model.Ignores(p.name)))
        continue;
      return InvalidFile(
          StrCat("the checkpoint has no tensor '", p.name, "' ", p.shape.ToString()));
    }
    Result<Tensor> tensor = LoadParameter(p, stored, source, options.format, options.writable);
    if (!tensor.ok()) return tensor.status().In(stored);
    *p.tensor = *std::move(tensor);
  }
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
    if (!model.Ignores(name))
      return InvalidFile(
          StrCat("the checkpoint has a tensor that the model does not use: '", name, "'"));
  }
  return OkStatus();
}

Result<NamedTensors> ExportWeights(const Model& model, SaveFormat format) {
  NamedTensors out;
  for (const Parameter& p : model.parameters().all()) {
    Tensor tensor = *p.tensor;
    if (tensor.dtype() == DType::kQ8)
      return Unsupported("a model packed to 8 bits cannot be saved again; load it as f32");
    tensor.set_grad_slot(nullptr);
    if (format == SaveFormat::kQ8 && Packs(p)) {
      SOTTO_ASSIGN_OR_RETURN(Q8Rows rows, QuantizeRows(tensor));
      out.emplace_back(p.name, std::move(rows.values));
      out.emplace_back(p.name + ".scale", std::move(rows.scales));
      continue;
    }
    if (p.stored_transposed) {
      SOTTO_ASSIGN_OR_RETURN(tensor, Transposed(tensor));
    }
    if (p.taps > 0) tensor = tensor.Reshaped(p.stored_shape());
    if (format == SaveFormat::kF16) {
      SOTTO_ASSIGN_OR_RETURN(tensor, ConvertFloats(tensor, DType::kF16));
    }
    out.emplace_back(p.name, std::move(tensor));
  }
  return out;
}

}  // namespace sotto
