// A GGUF file in Hugging Face's terms: the texts of a model folder made of its metadata, and its
// tensors under the names that checkpoints have, with what is to be undone to them. Everything that
// is not understood is an error that names it: a key of the architecture, a tensor, a setting.
#ifndef SOTTO_CORE_IO_GGUF_MODEL_H_
#define SOTTO_CORE_IO_GGUF_MODEL_H_

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/io/gguf.h"
#include "core/io/model_folder.h"

namespace sotto {

// The bytes of a tensor that the texts depend on (factors of rotary positions), or nothing where
// they have not arrived.
using GgufPeek = std::function<std::optional<std::string_view>(const TensorInfo& tensor)>;

// Fills the texts of `files` and renames `tensors`, which are those of all parts. False: more bytes
// are needed for the tensors that `peek` was asked for.
Result<bool> DescribeGguf(const GgufMetadata& metadata, std::vector<TensorInfo>& tensors,
                          const GgufPeek& peek, ModelFiles& files);

// Only the texts of the tokenizer, of which a file may have nothing but the words.
Status DescribeGgufTokenizer(const GgufMetadata& metadata, ModelFiles& files);

}  // namespace sotto

#endif  // SOTTO_CORE_IO_GGUF_MODEL_H_
