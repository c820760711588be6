#include "core/io/checkpoint.h"

#include <charconv>
#include <cstring>
#include <limits>
#include <utility>

#include "core/base/file.h"
#include "core/io/tensor_source.h"

namespace sotto {
namespace {

constexpr std::string_view kKey = "sotto_checkpoint";
constexpr int64_t kVersion = 1;
constexpr std::string_view kParameters = "parameters.";
constexpr std::string_view kOptimizer = "optimizer.";

// JSON's integers end at 2^63 for us, so the full 64 bits travel as text.
Json Unsigned(uint64_t value) { return Json::String(std::to_string(value)); }

Result<uint64_t> UnsignedAt(const Json& object, std::string_view key) {
  SOTTO_ASSIGN_OR_RETURN(const std::string text, object.StringAt(key));
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec == std::errc() && parsed.ptr == end) return value;
  return InvalidFile(StrCat("'", key, "' must be a decimal number in quotes, not \"", text, "\""));
}

Status ParseState(const Metadata& metadata, Checkpoint& checkpoint) {
  const std::string* text = nullptr;
  for (const auto& [key, value] : metadata) {
    if (key == kKey) text = &value;
  }
  if (text == nullptr) return InvalidFile("this safetensors file is not a training checkpoint");
  SOTTO_ASSIGN_OR_RETURN(const Json state, Json::Parse(*text));
  SOTTO_ASSIGN_OR_RETURN(const int64_t version,
                         state.IntAt("version", 1, std::numeric_limits<int64_t>::max()));
  if (version > kVersion) {
    return Unsupported(
        StrCat("the checkpoint has version ", version, "; this program reads up to ", kVersion));
  }
  SOTTO_ASSIGN_OR_RETURN(checkpoint.step,
                         state.IntAt("step", 0, std::numeric_limits<int64_t>::max()));
  SOTTO_ASSIGN_OR_RETURN(checkpoint.seed, UnsignedAt(state, "seed"));
  SOTTO_ASSIGN_OR_RETURN(checkpoint.random_position, UnsignedAt(state, "random_position"));
  SOTTO_ASSIGN_OR_RETURN(checkpoint.data_cursor, UnsignedAt(state, "data_cursor"));
  checkpoint.extra = state["extra"];
  return OkStatus();
}

Result<Tensor> CopyOf(const Tensor& tensor) {
  SOTTO_ASSIGN_OR_RETURN(Tensor copy, Tensor::Allocate(tensor.shape(), tensor.dtype()));
  if (tensor.bytes() > 0) std::memcpy(copy.data(), tensor.data(), tensor.bytes());
  return copy;
}

}  // namespace

Result<Checkpoint> ParseCheckpoint(std::string_view bytes) {
  TensorSource source;
  SOTTO_RETURN_IF_ERROR(source.AddSafetensors(bytes, nullptr));
  Checkpoint checkpoint;
  const Status state = ParseState(source.metadata(), checkpoint);
  if (!state.ok()) return state.In("checkpoint");
  for (const std::string& name : source.Names()) {
    SOTTO_ASSIGN_OR_RETURN(const Tensor view, source.Take(name));
    SOTTO_ASSIGN_OR_RETURN(Tensor tensor, CopyOf(view));
    if (name.starts_with(kParameters)) {
      checkpoint.parameters.emplace_back(name.substr(kParameters.size()), std::move(tensor));
    } else if (name.starts_with(kOptimizer)) {
      checkpoint.optimizer.emplace_back(name.substr(kOptimizer.size()), std::move(tensor));
    } else {
      return InvalidFile(StrCat("checkpoint: tensor '", name,
                                "' belongs neither to the parameters nor to the optimizer"));
    }
  }
  return checkpoint;
}

Result<Checkpoint> ReadCheckpoint(const std::string& path) {
  SOTTO_ASSIGN_OR_RETURN(const FileView view, FileView::Open(path));
  Result<Checkpoint> checkpoint = ParseCheckpoint(view.bytes());
  if (!checkpoint.ok()) return checkpoint.status().In(path);
  return checkpoint;
}

Status WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint) {
  const Json state = Json::Object({{"version", Json::Int(kVersion)},
                                   {"step", Json::Int(checkpoint.step)},
                                   {"seed", Unsigned(checkpoint.seed)},
                                   {"random_position", Unsigned(checkpoint.random_position)},
                                   {"data_cursor", Unsigned(checkpoint.data_cursor)},
                                   {"extra", checkpoint.extra}});
  NamedTensors tensors;
  for (const auto& [name, tensor] : checkpoint.parameters) {
    tensors.emplace_back(StrCat(kParameters, name), tensor);
  }
  for (const auto& [name, tensor] : checkpoint.optimizer) {
    tensors.emplace_back(StrCat(kOptimizer, name), tensor);
  }
  return WriteSafetensorsFile(path, tensors, {{std::string(kKey), state.Dump()}});
}

}  // namespace sotto
