#include "core/run/insides.h"

#include <algorithm>
#include <cmath>

#include "core/nn/probe.h"
#include "core/run/token_search.h"

namespace sotto {
namespace {

// log p of token t + shift from the logits at t.
Result<Tensor> Logprobs(const Tensor& logits, const Tensor& ids, int64_t shift) {
  const int64_t batch = ids.dim(0), tokens = ids.dim(1), vocab = logits.dim(-1);
  const int64_t scored = tokens - shift;
  SOTTO_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate({batch, scored}));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < scored; ++t) {
      const std::span<const float> row(logits.f32() + (b * tokens + t) * vocab,
                                       static_cast<size_t>(vocab));
      out.f32()[b * scored + t] = ScoreToken(row, ids.i32()[b * tokens + t + shift], 0).logprob;
    }
  }
  return out;
}

void Number(NamedTensors& out, std::string_view name, std::vector<Tensor>& tensors) {
  for (size_t i = 0; i < tensors.size(); ++i)
    out.emplace_back(StrCat(name, ".", i), std::move(tensors[i]));
}

}  // namespace

Result<InsidesOptions> InsidesOptions::Read(const Json& options) {
  if (!options.is_null() && !options.is_object())
    return InvalidArgument("options must be an object");
  for (const auto& [key, value] : options.members()) {
    if (key != "output_attentions" && key != "output_hidden_states" && key != "output_logprobs")
      return InvalidArgument(StrCat("'", key, "' is not an option of a model's insides"));
  }
  InsidesOptions out;
  SOTTO_ASSIGN_OR_RETURN(out.output_attentions, options.BoolOr("output_attentions", false));
  SOTTO_ASSIGN_OR_RETURN(out.output_hidden_states, options.BoolOr("output_hidden_states", false));
  SOTTO_ASSIGN_OR_RETURN(out.output_logprobs, options.BoolOr("output_logprobs", false));
  return out;
}

Result<ModelInput> SequenceInput(std::span<const int32_t> ids, std::span<const int32_t> decoder_ids,
                                 std::span<const int32_t> mask) {
  ModelInput input;
  const auto row = [](std::span<const int32_t> values) {
    return Tensor::FromInts({1, static_cast<int64_t>(values.size())}, values);
  };
  SOTTO_ASSIGN_OR_RETURN(input.ids, row(ids));
  if (!decoder_ids.empty()) {
    SOTTO_ASSIGN_OR_RETURN(input.decoder_ids, row(decoder_ids));
  }
  if (!mask.empty()) {
    SOTTO_ASSIGN_OR_RETURN(input.attention_mask,
                           Tensor::Allocate({1, static_cast<int64_t>(mask.size())}, DType::kU8));
    auto* to = static_cast<uint8_t*>(input.attention_mask.data());
    std::transform(mask.begin(), mask.end(), to, [](int32_t m) { return m != 0 ? 1 : 0; });
  }
  return input;
}

Result<NamedTensors> RunInsides(const Model& model, ThreadPool* pool, const ModelInput& input,
                                const InsidesOptions& options) {
  const Head head = model.head();
  const bool masked = head == Head::kMaskedLM || head == Head::kPreTraining;
  if (options.output_logprobs && !masked && head != Head::kCausalLM && head != Head::kSeq2SeqLM)
    return InvalidArgument("'output_logprobs' needs a language model");
  if (input.decoder_ids && !model.is_encoder_decoder())
    return InvalidArgument("decoder ids are for encoder-decoders: this model has no encoder");
  Arena arena;
  Context ctx(&arena, pool);
  Probe probe;
  probe.want_attentions = options.output_attentions;
  probe.want_hidden_states = options.output_hidden_states;
  if (options.output_attentions || options.output_hidden_states) ctx.set_probe(&probe);
  ModelOutput output = model.Forward(ctx, input);
  if (!ctx.ok()) return ctx.status();
  NamedTensors out;
  const auto add = [&](std::string_view name, const Tensor& tensor) {
    if (tensor) out.emplace_back(name, tensor);
  };
  add("logits", output.logits);
  add("last_hidden_state", output.last_hidden_state);
  add("pooler_output", output.pooler_output);
  add("seq_relationship_logits", output.next_sentence);
  add("encoder_last_hidden_state", output.encoder_last_hidden_state);
  add("p_gen", output.p_gen);
  add("copy_attention", output.copy_attention);
  if (options.output_logprobs) {
    if (output.logits.rank() != 3 || output.logits.dim(2) < model.vocab_size())
      return InvalidArgument("'output_logprobs' needs a language model");
    SOTTO_ASSIGN_OR_RETURN(
        Tensor logprobs,
        Logprobs(output.logits, input.decoder_ids ? input.decoder_ids : input.ids, masked ? 0 : 1));
    out.emplace_back("logprobs", std::move(logprobs));
  }
  Number(out, "hidden_states", probe.hidden_states);
  Number(out, "attentions", probe.attentions);
  Number(out, "encoder_hidden_states", probe.encoder_hidden_states);
  Number(out, "encoder_attentions", probe.encoder_attentions);
  Number(out, "decoder_hidden_states", probe.decoder_hidden_states);
  Number(out, "decoder_attentions", probe.decoder_attentions);
  Number(out, "cross_attentions", probe.cross_attentions);
  return out;
}

}  // namespace sotto
