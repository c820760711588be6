// A published model, which the repository does not hold: it lies beside the repository, or where
// SOTTO_FIXTURES says. What Hugging Face makes of it is in tests/golden/g2p.json, as digests.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/file.h"
#include "core/io/tensor_source.h"
#include "core/run/token_search.h"
#include "tests/core/text_digests.h"

namespace sotto {
namespace {

// The characters of a text, by their ids.
std::vector<std::string> Characters(const std::string& text) {
  std::vector<std::string> out;
  for (const char c : text) {
    if ((c & 0xC0) == 0x80) {
      out.back() += c;
    } else {
      out.emplace_back(1, c);
    }
  }
  return out;
}

// The ids of a word; empty where a character has none. The first four ids are no characters.
std::vector<int32_t> Spelled(const std::string& word, const std::vector<std::string>& letters,
                             int32_t start, int32_t end) {
  std::vector<int32_t> ids = {start};
  for (const std::string& c : Characters(word)) {
    const auto found = std::find(letters.begin() + 4, letters.end(), c);
    if (found == letters.end()) return {};
    ids.push_back(static_cast<int32_t>(found - letters.begin()));
  }
  ids.push_back(end);
  return ids;
}

bool IsRight(const std::string& sounds, const Json& entry) {
  if (!entry.is_object()) return entry.as_string() == sounds;
  return std::any_of(entry.members().begin(), entry.members().end(), [&](const auto& by_part) {
    return !by_part.second.is_null() && by_part.second.as_string() == sounds;
  });
}

TEST(Fixtures, ABartPronouncesItsLexiconWordForWordAsHuggingFaceSays) {
  const char* set = std::getenv("SOTTO_FIXTURES");
  const std::string folder =
      (set != nullptr ? std::string(set) : std::string(SOTTO_SOURCE_DIR) + "/../shared/fixtures") +
      "/models/bart-g2p-us/";
  if (!FileExists(folder + "us_bart.safetensors")) GTEST_SKIP() << "no model in " << folder;
  const Json golden = *Json::Parse(*ReadFile(SOTTO_SOURCE_DIR "/tests/golden/g2p.json"));
  const Json config = *Json::Parse(*ReadFile(folder + "us_bart_config.json"));
  Result<std::unique_ptr<Model>> model = CreateModel(config);
  ASSERT_TRUE(model.ok()) << model.status().message();
  auto file = std::make_shared<FileView>(*FileView::Open(folder + "us_bart.safetensors"));
  TensorSource tensors;
  ASSERT_TRUE(tensors.AddSafetensors(file->bytes(), file).ok());
  const Status loaded = LoadWeights(**model, tensors);
  ASSERT_TRUE(loaded.ok()) << loaded.message();

  const auto options = GenerationOptions::Read(
      Json::Object({{"max_new_tokens", golden["max_new_tokens"]}, {"forced_eos_token_id", Json()}}),
      Json(), config, 20);
  ASSERT_TRUE(options.ok()) << options.status().message();
  const std::vector<std::string> letters = Characters(config["grapheme_chars"].as_string()),
                                 phonemes = Characters(config["phoneme_chars"].as_string());
  const Json lexicon = *Json::Parse(*ReadFile(folder + "us_gold.json"));
  std::vector<std::pair<std::vector<int32_t>, const Json*>> words;
  for (const auto& [word, entry] : lexicon.members()) {
    std::vector<int32_t> ids =
        Spelled(word, letters, *options->decoder_start_token_id, options->eos_token_ids.front());
    if (!ids.empty()) words.emplace_back(std::move(ids), &entry);
  }
  const size_t count = static_cast<size_t>(golden["words"].as_int()),
               group = static_cast<size_t>(golden["group"].as_int());
  int64_t right = 0;
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    const auto& [ids, entry] = words[i * words.size() / count];
    const auto search = TokenSearch::Start(**model, nullptr, ids, {}, *options);
    ASSERT_TRUE(search.ok()) << search.status().message();
    for (bool done = false; !done;) {
      const auto step = (*search)->Next();
      ASSERT_TRUE(step.ok()) << step.status().message();
      done = step->done;
    }
    std::string sounds;
    for (const int32_t id : (*search)->sequences().front().ids) {
      if (id > 3) sounds += phonemes[static_cast<size_t>(id)];
    }
    right += IsRight(sounds, *entry) ? 1 : 0;
    text += (i % group == 0 ? "" : "\n") + sounds;
    if ((i + 1) % group != 0) continue;
    EXPECT_EQ(static_cast<int64_t>(Crc(0, text)), golden["digests"].items()[i / group].as_int())
        << "words " << i + 1 - group << " to " << i;
    text.clear();
  }
  EXPECT_EQ(right, golden["right"].as_int());
  RecordProperty("right", std::to_string(right));
}

}  // namespace
}  // namespace sotto
