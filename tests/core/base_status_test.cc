#include "core/base/status.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "core/base/checked.h"
#include "gtest/gtest.h"

namespace sotto {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return InvalidArgument(StrCat("cannot halve ", n));
  return n / 2;
}

Result<int> Quarter(int n) {
  SOTTO_ASSIGN_OR_RETURN(const int half, Half(n));
  return Half(half);
}

Status CheckQuarter(int n) {
  SOTTO_RETURN_IF_ERROR(Quarter(n).status());
  return OkStatus();
}

TEST(Status, SaysItsCodeAndSentence) {
  const Status status = InvalidFile("the header is cut short");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::kInvalidFile);
  EXPECT_EQ(status.message(), "the header is cut short");
  EXPECT_EQ(StatusCodeName(status.code()), "invalid-file");
}

TEST(Status, EveryCodeHasANameOfItsOwn) {
  std::string names = " ";
  for (int code = 0; code <= static_cast<int>(StatusCode::kInternal); ++code) {
    const std::string name = StrCat(" ", StatusCodeName(static_cast<StatusCode>(code)), " ");
    EXPECT_EQ(names.find(name), std::string::npos) << name;
    names += name;
  }
}

TEST(Status, AnErrorSeenFromFurtherOutNamesThePlace) {
  EXPECT_EQ(NotFound("no tensor 'w'").In("model.safetensors").message(),
            "model.safetensors: no tensor 'w'");
  EXPECT_EQ(NotFound("x").In("y").code(), StatusCode::kNotFound);
  EXPECT_TRUE(OkStatus().In("anywhere").ok());
}

TEST(Result, HoldsAValueOrTheReasonThatThereIsNone) {
  EXPECT_EQ(*Half(6), 3);
  ASSERT_FALSE(Half(7).ok());
  EXPECT_EQ(Half(7).status().message(), "cannot halve 7");
}

TEST(Result, TheMacrosPassErrorsOnUnchanged) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status().message(), "cannot halve 3");
  EXPECT_TRUE(CheckQuarter(8).ok());
  EXPECT_EQ(CheckQuarter(5).code(), StatusCode::kInvalidArgument);
}

TEST(Result, MovesValuesThatCannotBeCopied) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  const std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 5);
}

TEST(StrCat, JoinsStringsCharactersAndNumbers) {
  EXPECT_EQ(StrCat("a", 'b', 12, std::string("c"), uint64_t{1} << 63), "ab12c9223372036854775808");
}

TEST(Checked, RefusesSumsAndProductsThatWrap) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  EXPECT_EQ(CheckedAdd(kMax - 1, 1), kMax);
  EXPECT_EQ(CheckedAdd(kMax, 1), std::nullopt);
  EXPECT_EQ(CheckedMul(uint64_t{1} << 32, (uint64_t{1} << 32) - 1), kMax - 0xFFFFFFFF);
  EXPECT_EQ(CheckedMul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(CheckedMul(0, kMax), 0u);
}

}  // namespace
}  // namespace sotto
