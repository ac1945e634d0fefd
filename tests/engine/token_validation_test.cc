#include "server/engine/token_validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "attribution/status_details.h"

namespace attribution::engine {
namespace {

using testing::HasSubstr;

TokenRanges Ranges() {
  TokenRanges ranges;
  ranges.vocabulary_size = 10;
  ranges.token_type_vocabulary_size = 2;
  ranges.max_length = 4;
  return ranges;
}

// Expects `sequence`, after a good one, to be refused at `field` with a sentence that holds `sentence`.
void ExpectRefused(const TokenSequence& sequence, const std::string& field, const std::string& sentence,
                   const TokenRanges& ranges = Ranges()) {
  const absl::Status status = ValidateSequences({{{1}, {}, {}}, sequence}, ranges, "tokens");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_EQ(FieldOf(status), field);
  EXPECT_THAT(std::string(status.message()), HasSubstr(sentence));
}

absl::Status Validate(const TokenSequence& sequence, const TokenRanges& ranges = Ranges()) {
  return ValidateSequences({sequence}, ranges, "tokens");
}

TEST(TokenValidationTest, TakesTheWholeOfEveryRange) {
  EXPECT_EQ(Validate({{0, 9, 5, 1}, {1, 0, 0, 1}, {0, 1, 1, 0}}), absl::OkStatus());
  EXPECT_EQ(Validate({{3}, {}, {}}), absl::OkStatus());
}

TEST(TokenValidationTest, EmptySequence) {
  ExpectRefused({{}, {}, {}}, "tokens.sequences[1].input_ids", "A sequence is empty.");
}

TEST(TokenValidationTest, SequenceLongerThanTheModelTakes) {
  ExpectRefused({{1, 1, 1, 1, 1}, {}, {}}, "tokens.sequences[1].input_ids",
                "It has 5 tokens; at most 4 fit.");
}

TEST(TokenValidationTest, LengthWithoutALimit) {
  TokenRanges ranges = Ranges();
  ranges.max_length = 0;
  EXPECT_EQ(Validate({std::vector<int64_t>(5000, 1), {}, {}}, ranges), absl::OkStatus());
}

TEST(TokenValidationTest, IdAtAndAboveTheVocabulary) {
  ExpectRefused({{1, 10}, {}, {}}, "tokens.sequences[1].input_ids[1]", "in [0, 10)");
  ExpectRefused({{int64_t{1} << 40}, {}, {}}, "tokens.sequences[1].input_ids[0]", "It is 1099511627776");
}

TEST(TokenValidationTest, NegativeId) {
  ExpectRefused({{1, 2, -1}, {}, {}}, "tokens.sequences[1].input_ids[2]", "It is -1");
}

TEST(TokenValidationTest, IdAtAMaskedPosition) {
  ExpectRefused({{1, 10}, {1, 0}, {}}, "tokens.sequences[1].input_ids[1]", "masked positions count too");
}

TEST(TokenValidationTest, UnknownVocabularyTakesAnyIdButNegativeOnes) {
  TokenRanges ranges = Ranges();
  ranges.vocabulary_size = 0;
  EXPECT_EQ(Validate({{1000000}, {}, {}}, ranges), absl::OkStatus());
  ExpectRefused({{-1}, {}, {}}, "tokens.sequences[1].input_ids[0]", "not negative", ranges);
}

TEST(TokenValidationTest, MaskOfAnotherLength) {
  ExpectRefused({{1, 2}, {1}, {}}, "tokens.sequences[1].attention_mask",
                "attention_mask has 1 values for 2 ids.");
  ExpectRefused({{1}, {1, 1}, {}}, "tokens.sequences[1].attention_mask",
                "attention_mask has 2 values for 1 ids.");
}

TEST(TokenValidationTest, MaskValueOtherThanZeroAndOne) {
  ExpectRefused({{1, 2}, {1, 2}, {}}, "tokens.sequences[1].attention_mask[1]", "It is 2 at position 1.");
  ExpectRefused({{1, 2}, {-1, 1}, {}}, "tokens.sequences[1].attention_mask[0]", "It is -1");
}

TEST(TokenValidationTest, MaskWithoutAValidPosition) {
  ExpectRefused({{1, 2}, {0, 0}, {}}, "tokens.sequences[1].attention_mask", "no valid position");
}

TEST(TokenValidationTest, ZeroInTheMaskOfAModelWithoutOne) {
  TokenRanges ranges = Ranges();
  ranges.has_mask = false;
  EXPECT_EQ(Validate({{1, 2}, {1, 1}, {}}, ranges), absl::OkStatus());
  ExpectRefused({{1, 2}, {1, 0}, {}}, "tokens.sequences[1].attention_mask[1]", "takes no attention mask",
                ranges);
}

TEST(TokenValidationTest, TokenTypesOfAModelWithoutThem) {
  TokenRanges ranges = Ranges();
  ranges.has_token_types = false;
  ExpectRefused({{1}, {}, {0}}, "tokens.sequences[1].token_type_ids", "takes no token type ids", ranges);
}

TEST(TokenValidationTest, TokenTypesOfAnotherLength) {
  ExpectRefused({{1, 2}, {}, {0}}, "tokens.sequences[1].token_type_ids", "token_type_ids has 1 for 2 ids.");
}

TEST(TokenValidationTest, TokenTypeOutOfRange) {
  ExpectRefused({{1, 2}, {}, {0, 2}}, "tokens.sequences[1].token_type_ids[1]", "in [0, 2)");
  ExpectRefused({{1, 2}, {}, {-1, 0}}, "tokens.sequences[1].token_type_ids[0]", "token type id");
}

TEST(TokenValidationTest, PathsOfTextBeginWithTheText) {
  const absl::Status status = ValidateSequences({{{1, 1, 1, 1, 1}, {}, {}}}, Ranges(), "text");
  EXPECT_EQ(FieldOf(status), "text.texts[0]");
}

}  // namespace
}  // namespace attribution::engine
