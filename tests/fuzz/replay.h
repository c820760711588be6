// Feeds a corpus to a fuzz target inside an ordinary test. A broken promise ends the program.
#ifndef SOTTO_TESTS_FUZZ_REPLAY_H_
#define SOTTO_TESTS_FUZZ_REPLAY_H_

#include <dirent.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "core/base/file.h"

namespace sotto {

// Returns how many files of tests/fuzz/corpus/<name> were fed.
inline int ReplayCorpus(const std::string& name, int (*target)(const uint8_t*, size_t)) {
  const std::string folder = SOTTO_SOURCE_DIR "/tests/fuzz/corpus/" + name;
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
    if (!bytes->empty()) std::memcpy(exact.get(), bytes->data(), bytes->size());
    EXPECT_EQ(target(exact.get(), bytes->size()), 0) << path;
    ++files;
  }
  ::closedir(listing);
  return files;
}

}  // namespace sotto

#endif  // SOTTO_TESTS_FUZZ_REPLAY_H_
