// The tokenizer of a model's files, without the model.
#ifndef SOTTO_CORE_RUN_MODEL_TOKENIZER_H_
#define SOTTO_CORE_RUN_MODEL_TOKENIZER_H_

#include "core/base/status.h"
#include "core/io/model_folder.h"
#include "core/text/tokenizer.h"

namespace sotto {

// tokenizer.json, or what the older files amount to.
Result<Tokenizer> TokenizerOf(const ModelFiles& files);
// The same; the texts that nobody else reads are freed.
Result<Tokenizer> TakeTokenizer(ModelFiles& files);

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_MODEL_TOKENIZER_H_
