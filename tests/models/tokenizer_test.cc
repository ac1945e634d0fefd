// Expected ids and tokens are Hugging Face's; make_tokenizer_cases.py writes them before the tests run.
#include "server/models/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/models/temporary_directory.h"

namespace attribution::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

using Ids = std::vector<int64_t>;

struct Case {
  std::string text;
  Ids ids;
  std::vector<std::string> tokens;
};

fs::path FilesOf(const std::string& family) { return fs::path(ATTRIBUTION_TOKENIZER_CASES) / family; }

std::vector<Case> CasesOf(const std::string& family) {
  std::ifstream file(FilesOf(family) / "cases.json");
  EXPECT_TRUE(file) << "Not made yet. Run: ctest -R models";
  std::vector<Case> cases;
  for (const auto& entry : nlohmann::json::parse(file)) {
    cases.push_back(
        Case{entry["text"], entry["ids"].get<Ids>(), entry["tokens"].get<std::vector<std::string>>()});
  }
  return cases;
}

std::unique_ptr<Tokenizer> Load(const std::string& family) {
  auto tokenizer = Tokenizer::Load(FilesOf(family) / "tokenizer.xml", FilesOf(family) / "tokenizer.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

class TokenizerFamilyTest : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerFamilyTest, IdsAreThoseOfHuggingFace) {
  const auto tokenizer = Load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  for (const Case& expected : CasesOf(GetParam())) {
    const auto encoded = tokenizer->Encode({expected.text});
    ASSERT_TRUE(encoded.ok()) << encoded.status();
    ASSERT_EQ(encoded->size(), 1u);
    // Compared as a whole: gMock would print 10^5 numbers.
    EXPECT_TRUE((*encoded)[0] == expected.ids) << expected.text.substr(0, 80);
  }
}

TEST_P(TokenizerFamilyTest, TokenStringsAreThoseOfHuggingFace) {
  const auto tokenizer = Load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  for (const Case& expected : CasesOf(GetParam())) {
    EXPECT_TRUE(tokenizer->TokenStrings(expected.ids) == expected.tokens) << expected.text.substr(0, 80);
  }
}

TEST_P(TokenizerFamilyTest, TextsOfOneCallDoNotPadEachOther) {
  const auto tokenizer = Load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<Case> cases = CasesOf(GetParam());
  std::vector<std::string> texts;
  for (size_t i = 0; i < 6; ++i) texts.push_back(cases[i].text);
  const auto encoded = tokenizer->Encode(texts);
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  ASSERT_EQ(encoded->size(), 6u);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ((*encoded)[i], cases[i].ids) << i;
}

TEST_P(TokenizerFamilyTest, ThreadsMayShareOne) {
  const auto tokenizer = Load(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  std::vector<Case> cases = CasesOf(GetParam());
  cases.resize(20);
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        for (const Case& expected : cases) {
          const auto encoded = tokenizer->Encode({expected.text});
          if (!encoded.ok() || (*encoded)[0] != expected.ids) ++different;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerFamilyTest,
                         ::testing::Values("word-piece", "byte-level-bpe", "byte-level-bpe-with-ends",
                                           "sentencepiece-unigram", "sentencepiece-bpe"));

class TokenizerTest : public ::testing::Test {
 protected:
  const std::unique_ptr<Tokenizer> tokenizer_ = Load("word-piece");
};

TEST_F(TokenizerTest, NoTextsGiveNoIds) {
  const auto encoded = tokenizer_->Encode({});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_THAT(*encoded, IsEmpty());
}

TEST_F(TokenizerTest, EmptyTextGivesTheSpecialTokens) {
  const auto encoded = tokenizer_->Encode({""});
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  EXPECT_THAT(*encoded, ElementsAre(ElementsAre(101, 102)));
  EXPECT_THAT(tokenizer_->TokenStrings({101, 102}), ElementsAre("[CLS]", "[SEP]"));
}

TEST_F(TokenizerTest, TextThatIsNoUtf8SaysWhere) {
  const auto encoded = tokenizer_->Encode({"fine", "bad \xFF"});
  EXPECT_EQ(encoded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(encoded.status().message(), "The text is not UTF-8. Text 1, byte 4.");
}

TEST_F(TokenizerTest, TruncationKeepsTheLastSpecialToken) {
  Ids ids = {101, 7, 8, 9, 102};
  tokenizer_->Truncate(4, ids);
  EXPECT_THAT(ids, ElementsAre(101, 7, 8, 102));
}

TEST_F(TokenizerTest, TruncationLeavesShortIdsAlone) {
  Ids ids = {101, 7, 102};
  tokenizer_->Truncate(3, ids);
  EXPECT_THAT(ids, ElementsAre(101, 7, 102));
}

TEST_F(TokenizerTest, TruncationToNothingGivesNothing) {
  Ids ids = {101, 7, 102};
  tokenizer_->Truncate(0, ids);
  EXPECT_THAT(ids, IsEmpty());
}

TEST_F(TokenizerTest, TruncationWithoutSpecialTokensCutsTheEnd) {
  Ids ids = {4, 5, 6};
  Load("byte-level-bpe")->Truncate(2, ids);
  EXPECT_THAT(ids, ElementsAre(4, 5));
}

TEST_F(TokenizerTest, IdWithoutANameIsShownAsANumber) {
  EXPECT_THAT(tokenizer_->TokenStrings({-1, 30522}), ElementsAre("<-1>", "<30522>"));
}

TEST_F(TokenizerTest, VocabularyMayBeMissing) {
  const auto bare = Tokenizer::Load(FilesOf("word-piece") / "tokenizer.xml", "");
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_THAT((*bare)->TokenStrings({101}), IsEmpty());
}

TEST_F(TokenizerTest, BrokenGraphIsRefusedWithoutAPath) {
  const TemporaryDirectory directory;
  directory.Write("tokenizer.bin", "");
  const auto loaded = Tokenizer::Load(directory.Write("tokenizer.xml", "<net>"), "");
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(loaded.status().message(), "tokenizer.xml cannot be read. Export the model again.");
}

TEST_F(TokenizerTest, TruncatedWeightsAreRefused) {
  const TemporaryDirectory directory;
  fs::copy_file(FilesOf("word-piece") / "tokenizer.xml", directory.path() / "tokenizer.xml");
  directory.Write("tokenizer.bin", "short");
  const auto loaded = Tokenizer::Load(directory.path() / "tokenizer.xml", "");
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(loaded.status().message()), Not(HasSubstr("/")));
}

TEST_F(TokenizerTest, BrokenVocabularyIsRefused) {
  const TemporaryDirectory directory;
  const auto loaded =
      Tokenizer::Load(FilesOf("word-piece") / "tokenizer.xml", directory.Write("tokenizer.json", "{"));
  EXPECT_EQ(loaded.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("tokenizer.json is not a tokenizer"));
}

}  // namespace
}  // namespace attribution::models
