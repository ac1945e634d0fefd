#include "server/models/token_strings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace attribution::models {
namespace {

using ::testing::ElementsAre;

using Strings = std::vector<std::string>;

TEST(TokenStringsTest, DictionaryWithAddedTokens) {
  const auto strings =
      ParseTokenStrings(R"({"model": {"type": "BPE", "vocab": {"b": 1, "Ġa": 0}, "merges": []},
      "added_tokens": [{"id": 3, "content": "<s>", "special": true}]})");
  ASSERT_TRUE(strings.ok()) << strings.status();
  EXPECT_THAT(*strings, ElementsAre("Ġa", "b", "", "<s>"));
}

TEST(TokenStringsTest, ListOfPairs) {
  const auto strings =
      ParseTokenStrings(R"({"model": {"type": "Unigram", "vocab": [["<unk>", 0], ["▁a", -1.5]]}})");
  ASSERT_TRUE(strings.ok()) << strings.status();
  EXPECT_THAT(*strings, ElementsAre("<unk>", "▁a"));
}

TEST(TokenStringsTest, AddedTokenReplacesTheVocabularysName) {
  const auto strings =
      ParseTokenStrings(R"({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 0, "content": "b"}]})");
  EXPECT_EQ(strings.value_or(Strings{}), Strings{"b"});
}

class TokenStringsRefusalTest : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenStringsRefusalTest, IsFailedPrecondition) {
  EXPECT_EQ(ParseTokenStrings(GetParam()).status().code(), absl::StatusCode::kFailedPrecondition);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, TokenStringsRefusalTest,
    ::testing::Values("", "{", "[]", "{\"model\": 1}", "{\"model\": {}}", "{\"model\": {\"vocab\": 1}}",
                      "{\"model\": {\"vocab\": {\"a\": -1}}}", "{\"model\": {\"vocab\": {\"a\": \"0\"}}}",
                      "{\"model\": {\"vocab\": {\"a\": 99999999999}}}", "{\"model\": {\"vocab\": [[]]}}",
                      "{\"model\": {\"vocab\": [[1]]}}", "{\"model\": {\"vocab\": {\"\xFF\": 0}}}",
                      "{\"model\": {\"vocab\": {}}, \"added_tokens\": [1]}",
                      "{\"model\": {\"vocab\": {}}, \"added_tokens\": [{\"id\": 1}]}"));

TEST(TokenStringsTest, DeepNestingIsRefused) {
  EXPECT_FALSE(ParseTokenStrings(std::string(5'000'000, '[')).ok());
}

}  // namespace
}  // namespace attribution::models
