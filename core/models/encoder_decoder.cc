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
  nn::Looked looked;
  nn::Source source{.states = continues ? Tensor() : input.encoder_states,
                    .mask = input.attention_mask,
                    .looked = pointer_ ? &looked : nullptr};
  ModelInput decoded = input;
  Tensor source_ids;
  if (pointer_) {
    source_ids = SourceIds(ctx, input, cache);
    decoded.ids = pointer_->Read(ctx, input.ids);
    decoded.decoder_ids = pointer_->Read(ctx, input.decoder_ids);
  }
  if (!continues && !source.states) {
    source.states = out.encoder_last_hidden_state = Encode(ctx, decoded);
    if (probe != nullptr) {
      MoveTo(probe->attentions, probe->encoder_attentions);
      MoveTo(probe->hidden_states, probe->encoder_hidden_states);
    }
  }
  if (!decoded.decoder_ids) decoded.decoder_ids = DefaultDecoderIds(ctx, input);
  out.last_hidden_state = Decode(ctx, decoded, source, cache);
  if (probe != nullptr) {
    MoveTo(probe->attentions, probe->decoder_attentions);
    MoveTo(probe->hidden_states, probe->decoder_hidden_states);
  }
  if (cache != nullptr && ctx.ok()) cache->Advance(decoded.decoder_ids.dim(1));
  RunHead(ctx, decoded, out);
  if (pointer_ && ctx.ok()) {
    (*pointer_)(ctx, looked, DecoderEmbeddings(ctx, decoded.decoder_ids), source_ids, input.rows,
                out);
  }
  return out;
}

// The ids [batch, source] that may be copied: those of the call, or of the one that the cache began
// with.
Tensor EncoderDecoder::SourceIds(Context& ctx, const ModelInput& input, KvCache* cache) const {
  const bool continues = cache != nullptr && cache->length() > 0;
  Tensor ids = continues ? cache->State(0) : input.ids;
  if (!ids || ids.rank() != 2 || ids.dtype() != DType::kI32) {
    return ctx.Fail(
        InvalidArgument("a pointer-generator needs the ids of its source, int32 [batch, tokens]"));
  }
  if (cache != nullptr && !continues) cache->State(0) = ids;
  return ids;
}

Status EncoderDecoder::DeclarePointer(const Json& config) {
  const std::vector<Json>& classes = config["architectures"].items();
  if (classes.empty() || !classes.front().as_string().ends_with(kPointerGeneration))
    return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(pointer_, PointerGenerator::Create(config, vocab_size_));
  pointer_->Declare(parameters_, hidden_size_);
  copies_ = true;
  copied_unknown_ = pointer_->unknown();
  return OkStatus();
}

Tensor EncoderDecoder::DecoderEmbeddings(Context& ctx, const Tensor&) const {
  return ctx.Fail(Unsupported("this architecture has no pointer-generator"));
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

Tensor AtLastEnds(Context& ctx, const Tensor& x, const ModelInput& input, int32_t end) {
  if (!ctx.ok()) return {};
  const Tensor& ids = input.ids;
  if (!ids || ids.shape() != input.decoder_ids.shape())
    return ctx.Fail(InvalidArgument("to classify a sequence the decoder must be fed all of it"));
  Tensor rows = ctx.New({ids.dim(0)}, DType::kI32);
  if (!rows) return rows;
  for (int64_t b = 0; b < ids.dim(0); ++b) {
    const int64_t begin = b * ids.dim(1);
    int64_t at = begin + ids.dim(1) - 1;
    while (at >= begin && ids.i32()[at] != end) --at;
    if (at < begin) {
      return ctx.Fail(
          InvalidArgument(StrCat("sequence ", b, " has no end (the id ", end, ") to classify")));
    }
    rows.i32()[b] = static_cast<int32_t>(at);
  }
  return SelectRows(ctx, x, rows);
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
