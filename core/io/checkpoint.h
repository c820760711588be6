// Training checkpoints: one safetensors file with the parameters, the optimizer's state and, in its
// metadata, where the run was, so that a resumed run continues as if it had not stopped. Not for
// publishing weights: a model folder is (see model_folder.h).
#ifndef SOTTO_CORE_IO_CHECKPOINT_H_
#define SOTTO_CORE_IO_CHECKPOINT_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/io/safetensors.h"

namespace sotto {

struct Checkpoint {
  int64_t step = 0;  // optimizer steps done
  uint64_t seed = 0;
  uint64_t random_position = 0;  // Random::position() of the run's stream
  uint64_t data_cursor = 0;      // batches taken from the data, over all epochs
  Json extra;                    // what else the trainer wants back: an object, or null
  NamedTensors parameters;       // by their names in the model
  NamedTensors optimizer;        // by slot and parameter, as "m.lm_head.weight"
};

// Bytes in, copies out: the tensors do not refer to `bytes`.
Result<Checkpoint> ParseCheckpoint(std::string_view bytes);
Result<Checkpoint> ReadCheckpoint(const std::string& path);
// A crash leaves the old file or the new one.
Status WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint);

}  // namespace sotto

#endif  // SOTTO_CORE_IO_CHECKPOINT_H_
