#include "core/models/pointer_generator.h"

#include <algorithm>

#include "core/models/architecture.h"
#include "core/ops/pointer.h"

namespace sotto {

Result<PointerGenerator> PointerGenerator::Create(const Json& config, int64_t vocab) {
  PointerGenerator p;
  p.vocab_ = vocab;
  SOTTO_ASSIGN_OR_RETURN(const int64_t unknown, config.IntOr("unk_token_id", -1, -1, vocab - 1));
  p.unknown_ = static_cast<int32_t>(unknown);
  return p;
}

void PointerGenerator::Declare(ParameterList& list, int64_t width) {
  w_h_.Declare(list, "pointer_generator.w_h", 1, width, /*with_bias=*/false);
  w_s_.Declare(list, "pointer_generator.w_s", 1, width, /*with_bias=*/false);
  w_x_.Declare(list, "pointer_generator.w_x", 1, width);
}

Tensor PointerGenerator::Read(Context& ctx, const Tensor& ids) const {
  if (!ids || !ctx.ok() || unknown_ < 0) return ids;
  const int32_t *begin = ids.i32(), *end = begin + ids.elements();
  const auto unknown = [&](int32_t id) { return id >= vocab_; };
  if (std::none_of(begin, end, unknown)) return ids;
  Tensor known = ctx.New(ids.shape(), DType::kI32);
  if (known) std::replace_copy_if(begin, end, known.i32(), unknown, unknown_);
  return known;
}

void PointerGenerator::operator()(Context& ctx, const nn::Looked& looked, const Tensor& x,
                                  const Tensor& source_ids, const Tensor& rows,
                                  ModelOutput& out) const {
  const Tensor attention = MeanAttention(ctx, looked.queries, looked.keys, looked.spec);
  if (!ctx.ok()) return;
  const int64_t tokens = attention.dim(1);
  const Tensor gate = Add(ctx,
                          Add(ctx, w_h_(ctx, AtRows(ctx, looked.out, rows)),
                              w_s_(ctx, AtRows(ctx, out.last_hidden_state, rows))),
                          w_x_(ctx, AtRows(ctx, x, rows)));
  out.p_gen = Activate(ctx, gate, Activation::kSigmoid);
  Tensor owners = ctx.New({out.logits.shape().rows()}, DType::kI32);
  if (!ctx.ok()) return;
  for (int64_t r = 0; r < owners.elements(); ++r)
    owners.i32()[r] = static_cast<int32_t>((rows ? rows.i32()[r] : r) / tokens);
  // Numbered one after another, there are not more of them than tokens.
  const int32_t last =
      *std::max_element(source_ids.i32(), source_ids.i32() + source_ids.elements());
  if (last >= vocab_ + source_ids.dim(1)) {
    ctx.Fail(InvalidArgument(StrCat("the id ", last, " is neither in the vocabulary of ", vocab_,
                                    " nor the number of an unknown word of the source")));
    return;
  }
  out.copy_attention = AtRows(ctx, attention, rows);
  out.logits = CopyMixture(ctx, out.logits, out.p_gen, out.copy_attention, source_ids, owners,
                           std::max<int64_t>(vocab_, int64_t{last} + 1));
}

}  // namespace sotto
