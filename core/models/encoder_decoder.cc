#include "core/models/encoder_decoder.h"

#include <iterator>
#include <utility>

namespace sotto {
namespace {

void MoveTo(std::vector<Tensor>& from, std::vector<Tensor>& to) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  from.clear();
}

}  // namespace

ModelOutput EncoderDecoder::Forward(Context& ctx, const ModelInput& input, KvCache* cache) const {
  ModelOutput out;
  Probe* probe = ctx.probe();
  const bool continues = cache != nullptr && cache->length() > 0;
  nn::Source source{.states = continues ? Tensor() : input.encoder_states,
                    .mask = input.attention_mask};
  if (!continues && !source.states) {
    source.states = out.encoder_last_hidden_state = Encode(ctx, input);
    if (probe != nullptr) {
      MoveTo(probe->attentions, probe->encoder_attentions);
      MoveTo(probe->hidden_states, probe->encoder_hidden_states);
    }
  }
  ModelInput decoded = input;
  if (!decoded.decoder_ids) decoded.decoder_ids = DefaultDecoderIds(ctx, input);
  out.last_hidden_state = Decode(ctx, decoded, source, cache);
  if (probe != nullptr) {
    MoveTo(probe->attentions, probe->decoder_attentions);
    MoveTo(probe->hidden_states, probe->decoder_hidden_states);
  }
  if (cache != nullptr && ctx.ok()) cache->Advance(decoded.decoder_ids.dim(1));
  RunHead(ctx, decoded, out);
  return out;
}

Tensor EncoderDecoder::DefaultDecoderIds(Context& ctx, const ModelInput&) const {
  return ctx.Fail(InvalidArgument("this model needs decoder ids beside those of its encoder"));
}

Sequence EncoderDecoder::EncoderSequence(Context& ctx, const ModelInput& input) const {
  return ReadSequence(ctx, {.ids = input.ids, .attention_mask = input.attention_mask}, nullptr,
                      max_positions_, /*counted_positions=*/false);
}

Sequence EncoderDecoder::DecoderSequence(Context& ctx, const ModelInput& input,
                                         const KvCache* cache) const {
  return ReadSequence(ctx,
                      {.ids = input.decoder_ids, .attention_mask = input.decoder_attention_mask},
                      cache, max_positions_, /*counted_positions=*/false);
}

Tensor ShiftedRight(Context& ctx, const Tensor& ids, int32_t first, int32_t pad) {
  if (!ctx.ok()) return {};
  if (ids.rank() != 2 || ids.dtype() != DType::kI32)
    return ctx.Fail(InvalidArgument("ids to shift must be int32 [batch, tokens]"));
  Tensor shifted = ctx.New(ids.shape(), DType::kI32);
  if (!shifted) return shifted;
  const int64_t tokens = ids.dim(1);
  for (int64_t i = 0; i < ids.elements(); ++i) {
    const int32_t id = i % tokens == 0 ? first : ids.i32()[i - 1];
    shifted.i32()[i] = id == kIgnoreTarget ? pad : id;
  }
  return shifted;
}

}  // namespace sotto
