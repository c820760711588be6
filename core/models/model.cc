#include "core/models/model.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/models/architecture.h"
#include "core/models/parameter_sink.h"
#include "core/models/pointer_generator.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

// clang-format off: one a line
const Architecture* const kRegistry[] = {
    &kAlbert,
    &kBart,
    &kBert,
    &kCamembert,
    &kDeberta,
    &kDebertaV2,
    &kDistilBert,
    &kElectra,
    &kGemma2,
    &kGemma3,
    &kGemma3Text,
    &kGpt2,
    &kGptNeo,
    &kGptNeox,
    &kGranite,
    &kLfm2,
    &kLlama,
    &kM2M100,
    &kMamba,
    &kMarian,
    &kMBart,
    &kMistral,
    &kModernBert,
    &kModernBertDecoder,
    &kMPNet,
    &kMT5,
    &kNomicBert,
    &kOlmo2,
    &kPegasus,
    &kPhi3,
    &kQwen2,
    &kQwen3,
    &kQwen35,
    &kQwen35Text,
    &kRoberta,
    &kRwkv,
    &kSmolLM3,
    &kT5,
    &kUMT5,
    &kXlmRoberta,
};
// clang-format on

constexpr std::pair<std::string_view, Head> kHeads[] = {
    {"ForSequenceClassification", Head::kSequenceClassification},
    {"ForTokenClassification", Head::kTokenClassification},
    {"ForQuestionAnswering", Head::kQuestionAnswering},
    {"ForNextSentencePrediction", Head::kNextSentence},
    {"ForPreTraining", Head::kPreTraining},
    {"ForMultipleChoice", Head::kMultipleChoice},
    {"ForMaskedLM", Head::kMaskedLM},
    {"ForCausalLM", Head::kCausalLM},
    {"LMHeadModel", Head::kCausalLM},
    {"ForConditionalGeneration", Head::kSeq2SeqLM},
    {"MTModel", Head::kSeq2SeqLM},
    {kPointerGeneration, Head::kSeq2SeqLM},
    {"EncoderModel", Head::kEncoder},
    {"Model", Head::kNone},
    {"TextModel", Head::kNone},
    {"TextForSequenceClassification", Head::kSequenceClassification},
};

Result<const Architecture*> FindArchitecture(std::string_view model_type) {
  std::string known;
  for (const Architecture* architecture : kRegistry) {
    if (architecture->model_type == model_type) return architecture;
    known += StrCat(known.empty() ? "" : ", ", architecture->model_type);
  }
  return Unsupported(
      StrCat("the architecture '", model_type, "' is not implemented; known are ", known));
}

// Settings that any architecture may have, and that none implements.
Status CheckCommonSettings(const Json& config) {
  const Json& quantized = config["quantization_config"];
  if (!quantized.is_null()) {
    const std::string& method = quantized["quant_method"].as_string();
    return Unsupported(StrCat(
        "config.json: 'quantization_config'", method.empty() ? "" : " of " + method,
        " is not implemented: take the weights as they were before, or a GGUF file; Sotto rounds "
        "to 8 or 4 bits itself"));
  }
  if (!config["pruned_heads"].members().empty())
    return Unsupported("config.json: 'pruned_heads' are not implemented");
  return OkStatus();
}

}  // namespace

Result<std::string> ClassName(std::string_view model_type, Head head) {
  SOTTO_ASSIGN_OR_RETURN(const Architecture* architecture, FindArchitecture(model_type));
  const std::string_view own = architecture->writer_suffix;
  for (const auto& [suffix, named] : kHeads) {
    if (named == head && suffix == own) return StrCat(architecture->class_prefix, suffix);
  }
  for (const auto& [suffix, named] : kHeads) {
    if (named == head) return StrCat(architecture->class_prefix, suffix);
  }
  return Internal("a head without a name");
}

Result<std::unique_ptr<Model>> CreateModel(const Json& config) {
  if (!config.is_object()) return InvalidFile("config.json must be an object");
  const std::vector<Json>& classes = config["architectures"].items();
  const std::string class_name = classes.empty() ? "" : classes.front().as_string();
  SOTTO_ASSIGN_OR_RETURN(const std::string type, config.StringOr("model_type", ""));
  SOTTO_ASSIGN_OR_RETURN(const Architecture* architecture, FindArchitecture(type));
  SOTTO_RETURN_IF_ERROR(CheckCommonSettings(config));
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
    if (suffix == kPointerGeneration && !model->copies())
      return Unsupported(StrCat("'", class_name, "': this architecture has no pointer-generator"));
    model->config_ = config;
    model->id2label_ = std::move(labels);
    return model;
  }
  return Unsupported(StrCat("the head of '", class_name, "' is not implemented"));
}

std::optional<WeightFormat> WeightFormatByName(std::string_view name) {
  if (name == "auto") return WeightFormat::kAsStored;
  if (name == "fp32") return WeightFormat::kF32;
  if (name == "q8") return WeightFormat::kQ8;
  if (name == "q4") return WeightFormat::kQ4;
  return std::nullopt;
}

std::optional<SaveFormat> SaveFormatByName(std::string_view name) {
  if (name == "f32") return SaveFormat::kF32;
  if (name == "f16") return SaveFormat::kF16;
  if (name == "q8") return SaveFormat::kQ8;
  if (name == "q4") return SaveFormat::kQ4;
  return std::nullopt;
}

Result<NamedTensors> ExportWeights(const Model& model, SaveFormat format) {
  NamedTensors out;
  for (const Parameter& p : model.parameters().all()) {
    Tensor tensor = *p.tensor;
    if (IsPacked(tensor.dtype()))
      return Unsupported("a packed model cannot be saved again; load it as f32");
    tensor.set_grad_slot(nullptr);
    if (format == SaveFormat::kQ4 && MayPackTo4(p) && p.shape[1] % kQ4Group == 0) {
      SOTTO_ASSIGN_OR_RETURN(Q4Rows rows, QuantizeRowsQ4(tensor));
      out.emplace_back(p.name, std::move(rows.values));
      out.emplace_back(p.name + ".scale", std::move(rows.scales));
      continue;
    }
    if ((format == SaveFormat::kQ8 || format == SaveFormat::kQ4) && MayPack(p)) {
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
