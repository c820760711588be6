// What a model folder holds and whether it can be run, from its files' headers and texts: no weight
// is read. Works on models that cannot be run too, and says why.
#ifndef SOTTO_CORE_RUN_INSPECT_H_
#define SOTTO_CORE_RUN_INSPECT_H_

#include <string>

#include "core/base/json.h"
#include "core/io/model_folder.h"

namespace sotto {

// {"architecture", "class", "head", "parameters", "vocabulary", "hidden_size", "context_length",
//  "labels", "tokenizer": {"kind", "vocabulary"}, "chat_template", "sentence_modules": [class, ...]
//  where modules.json lists some, "bytes", "bytes_by_dtype",
//  "tensors": [{"name", "dtype", "shape", "bytes"}], "unsupported": [sentence, ...]}. What is not
// known is null; context_length is also null where there is no limit.
Json InspectModel(const ModelFiles& files);

// The same to read.
std::string InspectTable(const Json& inspected);

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_INSPECT_H_
