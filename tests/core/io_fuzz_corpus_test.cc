// Replays the inputs that the fuzz targets start from.
#include "tests/fuzz/replay.h"

#define LLVMFuzzerTestOneInput FuzzJson
#include "tests/fuzz/json_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput FuzzSafetensors
#include "tests/fuzz/safetensors_fuzz.cc"
#undef LLVMFuzzerTestOneInput

namespace sotto {
namespace {

TEST(FuzzCorpus, JsonHoldsItsPromises) { EXPECT_GE(ReplayCorpus("json", FuzzJson), 14); }

TEST(FuzzCorpus, SafetensorsHoldsItsPromises) {
  EXPECT_GE(ReplayCorpus("safetensors", FuzzSafetensors), 60);
}

}  // namespace
}  // namespace sotto
