// Fills a model's parameters from files that arrive in pieces: each tensor goes straight to the
// layout that the model keeps, so that no more is held than what is kept and one row. See
// LoadWeights in model.h for files that are at hand.
#ifndef SOTTO_CORE_MODELS_WEIGHT_STREAM_H_
#define SOTTO_CORE_MODELS_WEIGHT_STREAM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/safetensors.h"
#include "core/models/model.h"
#include "core/models/parameter_sink.h"

namespace sotto {

class WeightStream {
 public:
  // The model outlives the stream.
  WeightStream(Model* model, const LoadOptions& options) : model_(model), options_(options) {}

  // A file begins, or begins anew where it did not end. `tensors`: what its header says, by place.
  // A tensor that is mis-shaped, there twice, or of no use to the model is an error that names it.
  Status Begin(std::vector<TensorInfo> tensors);
  // The next bytes of the file, the header's included.
  Status Append(std::string_view bytes);
  Status End();
  // After the last file: a parameter that none of them had is an error that names it.
  Status Finish();

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);
  struct Plan {
    TensorInfo info;
    size_t sink = kNone;       // where the rows go
    size_t scales_of = kNone;  // or the sink that these scales are for
  };
  Status Give(const Plan& plan, std::string_view bytes);
  Status FinishIfWhole(size_t sink);

  Model* model_;
  LoadOptions options_;
  std::vector<bool> filled_;  // by parameter
  std::vector<size_t> here_;  // the parameters of this file, by sink
  std::vector<std::optional<ParameterSink>> sinks_;
  std::vector<Plan> plans_;  // by place
  size_t current_ = 0;       // the plan of the byte at_
  uint64_t at_ = 0;
  std::string partial_;  // the beginning of a row
};

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_WEIGHT_STREAM_H_
