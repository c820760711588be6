#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/json.h"

namespace sotto {
namespace {

Json MustParse(std::string_view text) {
  Result<Json> json = Json::Parse(text);
  EXPECT_TRUE(json.ok()) << text << ": " << json.status().message();
  return json.ok() ? *json : Json();
}

std::string ErrorOf(std::string_view text, const JsonLimits& limits = {}) {
  Result<Json> json = Json::Parse(text, limits);
  EXPECT_FALSE(json.ok()) << text;
  if (json.ok()) return "";
  EXPECT_EQ(json.status().code(), StatusCode::kInvalidFile);
  return json.status().message();
}

std::string At(size_t offset, std::string_view why) {
  return StrCat("not valid JSON at byte ", offset, ": ", why);
}

TEST(Json, ReadsEveryKindOfValue) {
  const Json json = MustParse(R"( {"a": [1, -2.5, true, false, null, "x"], "b": {"c": ""}} )");
  const std::vector<Json>& a = json["a"].items();
  ASSERT_EQ(a.size(), 6u);
  EXPECT_EQ(a[0].as_int(), 1);
  EXPECT_TRUE(a[0].is_int());
  EXPECT_EQ(a[1].as_number(), -2.5);
  EXPECT_FALSE(a[1].is_int());
  EXPECT_TRUE(a[2].as_bool());
  EXPECT_TRUE(a[3].is_bool());
  EXPECT_FALSE(a[3].as_bool());
  EXPECT_TRUE(a[4].is_null());
  EXPECT_EQ(a[5].as_string(), "x");
  EXPECT_TRUE(json["b"]["c"].is_string());
  EXPECT_EQ(json["b"]["c"].as_string(), "");
  EXPECT_EQ(json.members()[1].first, "b");
}

TEST(Json, ReadsALoneScalarAndEmptyContainers) {
  EXPECT_EQ(MustParse("7").as_int(), 7);
  EXPECT_EQ(MustParse("\"\"").as_string(), "");
  EXPECT_TRUE(MustParse("[]").is_array());
  EXPECT_TRUE(MustParse("{}").is_object());
  EXPECT_TRUE(MustParse("[[],{}]").items()[1].is_object());
}

TEST(Json, KeepsIntegersOf64BitsExactAndTurnsLargerOnesIntoDoubles) {
  EXPECT_EQ(MustParse("9223372036854775807").as_int(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(MustParse("-9223372036854775808").as_int(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(MustParse("9007199254740993").as_int(), 9007199254740993);
  const Json large = MustParse("9223372036854775808");
  EXPECT_FALSE(large.is_int());
  EXPECT_EQ(large.as_number(), 0x1p63);
  EXPECT_EQ(large.as_int(), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(MustParse("-1e300").as_int(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(MustParse("-2.9").as_int(), -2);
}

TEST(Json, ReadsDoublesToTheLastBit) {
  EXPECT_EQ(MustParse("0.1").as_number(), 0.1);
  EXPECT_EQ(MustParse("2.2250738585072011e-308").as_number(), 2.2250738585072011e-308);
  EXPECT_EQ(MustParse("1.7976931348623157e308").as_number(), 1.7976931348623157e308);
  EXPECT_EQ(MustParse("5e-324").as_number(), 5e-324);
  EXPECT_EQ(MustParse("3e-324").as_number(), 5e-324);
  EXPECT_EQ(MustParse("2e-324").as_number(), 0.0);
  EXPECT_EQ(MustParse("9007199254740993.0").as_number(), 9007199254740992.0);
  EXPECT_EQ(MustParse("9007199254740993.00000000000000000000001").as_number(), 9007199254740994.0);
  EXPECT_EQ(MustParse("1e23").as_number(), 1e23);
  EXPECT_EQ(MustParse("0e99").as_number(), 0.0);
  EXPECT_TRUE(std::signbit(MustParse("-0.0").as_number()));
  EXPECT_TRUE(std::signbit(MustParse("-1e-400").as_number()));
  EXPECT_EQ(MustParse("-1e-5").as_number(), -1e-5);
  EXPECT_EQ(MustParse("-1.2345678901234567e-7").as_number(), -1.2345678901234567e-7);
  EXPECT_EQ(MustParse("0." + std::string(400, '0') + "1").as_number(), 0.0);
  EXPECT_EQ(MustParse("0." + std::string(300, '0') + "1e290").as_number(), 1e-11);
  EXPECT_EQ(MustParse("1" + std::string(300, '0') + ".5").as_number(), 1e300);
  EXPECT_EQ(MustParse("1e-400").as_number(), 0.0);
  EXPECT_EQ(MustParse("123456789012345678901234567890").as_number(), 1.2345678901234568e29);
}

TEST(Json, DecodesEscapesAndSurrogatePairs) {
  EXPECT_EQ(MustParse(R"("\"\\\/\b\f\n\r\t")").as_string(), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(MustParse(R"("\u00e9\ud83d\ude00")").as_string(), "\xC3\xA9\xF0\x9F\x98\x80");
  EXPECT_EQ(MustParse(R"("a\u0000b")").as_string(), std::string("a\0b", 3));
}

TEST(Json, RefusesWhatIsNotJsonAndSaysWhere) {
  EXPECT_EQ(ErrorOf(""), At(0, "the text ends too early"));
  EXPECT_EQ(ErrorOf("  "), At(2, "the text ends too early"));
  EXPECT_EQ(ErrorOf("[1,"), At(3, "the text ends too early"));
  EXPECT_EQ(ErrorOf("{\"a\":"), At(5, "the text ends too early"));
  EXPECT_EQ(ErrorOf("]"), At(0, "a value was expected"));
  EXPECT_EQ(ErrorOf("[1,]"), At(3, "a value was expected"));
  EXPECT_EQ(ErrorOf("[1 2]"), At(3, "',' or ']' was expected"));
  EXPECT_EQ(ErrorOf("{\"a\" 1}"), At(5, "':' was expected after the key"));
  EXPECT_EQ(ErrorOf("{\"a\":1 \"b\":2}"), At(7, "',' or '}' was expected"));
  EXPECT_EQ(ErrorOf("{a:1}"), At(1, "a key in double quotes was expected"));
  EXPECT_EQ(ErrorOf("{\"a\":1,}"), At(7, "a key in double quotes was expected"));
  EXPECT_EQ(ErrorOf("1 2"), At(2, "there is more after the value"));
  EXPECT_EQ(ErrorOf(std::string_view("{}\0{}", 5)), At(2, "there is more after the value"));
  EXPECT_EQ(ErrorOf("\xEF\xBB\xBF{}"), At(0, "a value was expected"));
  EXPECT_EQ(ErrorOf("[1, // no\n2]"), At(4, "a value was expected"));
  EXPECT_EQ(ErrorOf("['a']"), At(1, "a value was expected"));
}

TEST(Json, RefusesNumbersThatJsonDoesNotHave) {
  for (const char* text :
       {"NaN", "Infinity", "-Infinity", "+1", ".5", "0x10", "-", "nul", "True"}) {
    EXPECT_NE(ErrorOf(StrCat("[", text, "]")).find("not valid JSON at byte "), std::string::npos);
  }
  EXPECT_NE(ErrorOf("[01]").find("',' or ']' was expected"), std::string::npos);
  EXPECT_NE(ErrorOf("[1.]").find("digits must follow the '.'"), std::string::npos);
  EXPECT_NE(ErrorOf("[1e]").find("digits must follow the exponent's 'e'"), std::string::npos);
  EXPECT_NE(ErrorOf("[1e400]").find("the number is too large"), std::string::npos);
  EXPECT_NE(ErrorOf("[1.8e308]").find("the number is too large"), std::string::npos);
  EXPECT_NE(ErrorOf("[-1e99999999999]").find("the number is too large"), std::string::npos);
  EXPECT_NE(ErrorOf("[" + std::string(400, '9') + "]").find("too large"), std::string::npos);
}

TEST(Json, RefusesStringsThatAreNotText) {
  EXPECT_EQ(ErrorOf("\"abc"), At(4, "the text ends too early"));
  EXPECT_EQ(ErrorOf("[\"a\nb\"]"), At(3, "a control character must be escaped"));
  EXPECT_EQ(ErrorOf(std::string_view("[\"a\0b\"]", 7)),
            At(3, "a control character must be escaped"));
  EXPECT_NE(ErrorOf("[\"\\x41\"]").find("the escape after '\\' is unknown"), std::string::npos);
  EXPECT_NE(ErrorOf("[\"\\u12g4\"]").find("four hexadecimal digits"), std::string::npos);
  for (const char* bytes : {"\xFF", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    EXPECT_NE(ErrorOf(StrCat("[\"", bytes, "\"]")).find("not valid UTF-8"), std::string::npos);
  }
}

TEST(Json, RefusesLoneSurrogatesInValuesAndKeys) {
  for (const char* escape :
       {"\\ud800", "\\udc00", "\\ud800\\ud800", "\\udc00\\ud800", "\\ud800x"}) {
    EXPECT_NE(ErrorOf(StrCat("[\"", escape, "\"]")).find("lone surrogate"), std::string::npos);
    EXPECT_NE(ErrorOf(StrCat("{\"", escape, "\":1}")).find("lone surrogate"), std::string::npos);
  }
}

TEST(Json, RefusesDuplicateKeysAndNamesTheSecondOne) {
  EXPECT_EQ(ErrorOf(R"({"a":1,"a":2})"), At(7, "the key \"a\" appears twice"));
  EXPECT_EQ(ErrorOf(R"({"a":1,"\u0061":2})"), At(7, "the key \"a\" appears twice"));
  EXPECT_EQ(ErrorOf(R"({"\"":1,"\"":2})"), At(8, "the key \"\"\" appears twice"));
  std::string many = "{";
  for (int i = 0; i < 100; ++i) many += StrCat("\"k", i, "\":", i, ",");
  const size_t second = many.size();
  EXPECT_EQ(ErrorOf(many + "\"k50\":0}"), At(second, "the key \"k50\" appears twice"));
  MustParse(R"([{"a":1},{"a":2}])");
}

TEST(Json, CapsDepthBytesAndValues) {
  const std::string deep = std::string(64, '[') + std::string(64, ']');
  MustParse(deep);
  EXPECT_EQ(ErrorOf("[" + deep + "]"), At(64, "the nesting is deeper than 64"));
  EXPECT_EQ(ErrorOf(std::string(1000000, '[')), At(64, "the nesting is deeper than 64"));
  EXPECT_NE(ErrorOf("[1, 2]", {.max_bytes = 5}).find("has 6 bytes; at most 5"), std::string::npos);
  EXPECT_NE(ErrorOf("[1, 2]", {.max_values = 1}).find("more than 1 values"), std::string::npos);
}

TEST(Json, FindsMembersOfLargeObjectsByName) {
  std::string text = "{";
  for (int i = 0; i < 50000; ++i) text += StrCat(i ? "," : "", "\"token", i, "\":", i);
  const Json json = MustParse(text + "}");
  ASSERT_EQ(json.members().size(), 50000u);
  for (int i = 0; i < 50000; ++i) ASSERT_EQ(json[StrCat("token", i)].as_int(), i);
  EXPECT_FALSE(json.has("token50000"));
  EXPECT_TRUE(json["token50000"].is_null());
}

TEST(Json, GivesNeutralValuesForOtherKinds) {
  const Json text = MustParse("\"12\"");
  EXPECT_EQ(text.as_int(), 0);
  EXPECT_EQ(text.as_number(), 0.0);
  EXPECT_FALSE(text.as_bool());
  EXPECT_TRUE(text.items().empty());
  EXPECT_TRUE(text["x"]["y"].is_null());
  EXPECT_EQ(MustParse("12").as_string(), "");
}

TEST(Json, TypedMembersExplainWhatIsWrong) {
  const Json json = MustParse(R"({"size": 12.5, "name": 3, "big": 70000, "none": null, "ok": 5})");
  EXPECT_EQ(*json.IntAt("ok", 1, 10), 5);
  EXPECT_EQ(json.IntAt("size", 1, 10).status().message(),
            "'size' must be an integer between 1 and 10, not 12.5");
  EXPECT_EQ(json.IntAt("big", 1, 65536).status().message(),
            "'big' must be an integer between 1 and 65536, not 70000");
  EXPECT_EQ(json.StringAt("name").status().message(), "'name' must be a string, not 3");
  EXPECT_EQ(json.BoolAt("gone").status().message(), "'gone' must be true or false but is missing");
  EXPECT_EQ(json.NumberAt("none").status().message(), "'none' must be a number, not null");
  EXPECT_EQ(*json.IntOr("none", 9, 0, 10), 9);
  EXPECT_EQ(*json.NumberOr("size", 1), 12.5);
  EXPECT_EQ(*json.StringOr("gone", "x"), "x");
  EXPECT_FALSE(json.BoolOr("ok", true).ok());
}

TEST(Json, DumpsWhatParsesBackToTheSame) {
  const std::string text = R"({"a":[1,-2.5,1e300,5e-324,0.1,-0.0,true,null,"\"\\\n\u0001)"
                           "\xC3\xA9"
                           R"("],"b":{},"c":[]})";
  EXPECT_EQ(MustParse(text).Dump(), text);
  EXPECT_EQ(Json::Number(1.0).Dump(), "1");
  EXPECT_EQ(Json::Number(std::nan("")).Dump(), "null");
  EXPECT_EQ(Json::String("\xFF").Dump(), "\"\xEF\xBF\xBD\"");
  EXPECT_EQ(Json::Int(std::numeric_limits<int64_t>::min()).Dump(), "-9223372036854775808");
}

TEST(Json, DumpsWithIndentation) {
  EXPECT_EQ(MustParse(R"({"a":[1,2],"b":{}})").Dump(2),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}");
}

TEST(Json, CopiesShareAndMovesEmpty) {
  Json a = Json::Array({Json::String("x"), Json::Object({{"k", Json::Int(1)}})});
  Json b = a;
  EXPECT_EQ(&a.items(), &b.items());
  const Json c = std::move(a);
  b = Json::Bool(true);
  EXPECT_EQ(c.items()[1]["k"].as_int(), 1);
  b = c;
  b = *&b;
  EXPECT_EQ(b.Dump(), R"(["x",{"k":1}])");
}

}  // namespace
}  // namespace sotto
