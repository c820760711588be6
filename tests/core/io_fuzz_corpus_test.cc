// Replays the inputs that the fuzz targets start from; a broken promise ends the program.
#include <dirent.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "core/base/file.h"

#define LLVMFuzzerTestOneInput FuzzJson
#include "tests/fuzz/json_fuzz.cc"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput FuzzSafetensors
#include "tests/fuzz/safetensors_fuzz.cc"
#undef LLVMFuzzerTestOneInput

namespace sotto {
namespace {

int Replay(const std::string& folder, int (*target)(const uint8_t*, size_t)) {
  int files = 0;
  DIR* listing = ::opendir(folder.c_str());
  if (listing == nullptr) return 0;
  while (const dirent* entry = ::readdir(listing)) {
    if (entry->d_name[0] == '.') continue;
    const std::string path = folder + "/" + entry->d_name;
    const Result<std::string> bytes = ReadFile(path);
    EXPECT_TRUE(bytes.ok()) << bytes.status().message();
    if (!bytes.ok()) continue;
    // An exact allocation, so that a sanitizer sees a read past the end.
    const auto exact = std::make_unique<uint8_t[]>(bytes->size());
    std::memcpy(exact.get(), bytes->data(), bytes->size());
    EXPECT_EQ(target(exact.get(), bytes->size()), 0) << path;
    ++files;
  }
  ::closedir(listing);
  return files;
}

TEST(FuzzCorpus, JsonHoldsItsPromises) {
  EXPECT_GE(Replay(SOTTO_SOURCE_DIR "/tests/fuzz/corpus/json", FuzzJson), 14);
}

TEST(FuzzCorpus, SafetensorsHoldsItsPromises) {
  EXPECT_GE(Replay(SOTTO_SOURCE_DIR "/tests/fuzz/corpus/safetensors", FuzzSafetensors), 60);
}

}  // namespace
}  // namespace sotto
