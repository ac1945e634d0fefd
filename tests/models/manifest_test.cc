#include "server/models/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace attribution::models {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

const char kSha256[] = "64d014fcbaf2cdcaf1a3b2d666eddd80d960ff1016490e6c80ba3810c6344a67";

// The message with which `yaml` is refused; empty if it is taken.
std::string Refusal(std::string_view yaml) {
  const absl::StatusOr<Manifest> manifest = ParseManifest(yaml);
  if (manifest.ok()) return "";
  EXPECT_EQ(manifest.status().code(), absl::StatusCode::kFailedPrecondition);
  return std::string(manifest.status().message());
}

// The same for one more key after the format version, which is line 1.
std::string RefusalOfKey(const std::string& line) { return Refusal("format_version: 1\n" + line + "\n"); }

TEST(ManifestTest, ReadsEveryKeyOfAnExport) {
  const absl::StatusOr<Manifest> manifest = ParseManifest(std::string(R"(format_version: 1
name: minilm
sha256: )") + kSha256 + R"(
attention: sdpa
dtype: float32
frozen: true
inputs: [input_ids, attention_mask, token_type_ids]
vocabulary_size: 30522
max_sequence_length: 512
pad_token_id: 0
num_layers: 6
num_heads: 12
attention_layer_pattern: 'encoder\.layer'
warmup_shapes:
- [1, 8]
- [2, 13]
tokenizer: {model: tokenizer.xml, vocabulary: tokenizer.json, max_length: 512}
source: {architecture: BertModel, transformers: 5.23.0, torch: 2.13.0+cpu}
)");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->name, "minilm");
  EXPECT_EQ(manifest->sha256, kSha256);
  EXPECT_EQ(manifest->attention, "sdpa");
  EXPECT_EQ(manifest->dtype, "float32");
  EXPECT_TRUE(manifest->frozen);
  EXPECT_THAT(manifest->inputs, ElementsAre("input_ids", "attention_mask", "token_type_ids"));
  EXPECT_EQ(manifest->vocabulary_size, 30522);
  EXPECT_EQ(manifest->max_sequence_length, 512);
  EXPECT_EQ(manifest->pad_token_id, 0);
  EXPECT_EQ(manifest->num_layers, 6);
  EXPECT_EQ(manifest->num_heads, 12);
  EXPECT_EQ(manifest->attention_layer_pattern, "encoder\\.layer");
  EXPECT_THAT(manifest->warmup_shapes, ElementsAre(Pair(1, 8), Pair(2, 13)));
}

TEST(ManifestTest, EveryKeyButTheVersionMayBeAbsent) {
  const absl::StatusOr<Manifest> manifest = ParseManifest("format_version: 1\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_THAT(manifest->sha256, IsEmpty());
  EXPECT_THAT(manifest->inputs, IsEmpty());
  EXPECT_EQ(manifest->max_sequence_length, 0);
  EXPECT_EQ(manifest->pad_token_id, std::nullopt);
}

TEST(ManifestTest, FormatVersionMustBeThere) {
  EXPECT_THAT(Refusal("name: a\n"), HasSubstr("Add `format_version: 1`"));
}

TEST(ManifestTest, NewerFormatVersionIsRefused) {
  EXPECT_THAT(Refusal("name: a\nformat_version: 2\n"),
              AllOf(HasSubstr("line 2: `format_version` is 2"), HasSubstr("reads 1")));
}

TEST(ManifestTest, UnknownKeyNamesTheNearestOne) {
  EXPECT_THAT(
      RefusalOfKey("max_sequence_lenght: 8"),
      AllOf(HasSubstr("line 2: `max_sequence_lenght`"), HasSubstr("Did you mean `max_sequence_length`?")));
}

TEST(ManifestTest, UnknownKeyLikeNoneNamesNone) {
  EXPECT_THAT(RefusalOfKey("colour: red"),
              AllOf(HasSubstr("`colour` is not a key"), Not(HasSubstr("Did you mean"))));
}

TEST(ManifestTest, UnprintableKeyIsEscaped) {
  EXPECT_THAT(RefusalOfKey("\"a\\nb\": 1"), HasSubstr("`a\\nb`"));
}

TEST(ManifestTest, RepeatedKeyIsRefused) {
  EXPECT_THAT(RefusalOfKey("num_heads: 4\nnum_heads: 8"), HasSubstr("line 3: `num_heads` is given twice."));
}

TEST(ManifestTest, NegativeNumberIsRefused) {
  EXPECT_THAT(RefusalOfKey("vocabulary_size: -5"),
              HasSubstr("line 2: `vocabulary_size` must be at least 1, it is -5."));
}

TEST(ManifestTest, ZeroLengthIsRefused) {
  EXPECT_THAT(RefusalOfKey("max_sequence_length: 0"), HasSubstr("must be at least 1, it is 0."));
}

struct WrongType {
  const char* line;
  const char* message;
};

class ManifestWrongTypeTest : public ::testing::TestWithParam<WrongType> {};

TEST_P(ManifestWrongTypeTest, IsRefusedWithLineAndKey) {
  EXPECT_THAT(RefusalOfKey(GetParam().line), AllOf(HasSubstr("line 2: `"), HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, ManifestWrongTypeTest,
    ::testing::Values(WrongType{"num_layers: six", "`num_layers` must be a whole number."},
                      WrongType{"num_layers: \"6\"", "`num_layers` must be a whole number."},
                      WrongType{"num_layers: 6.5", "`num_layers` must be a whole number."},
                      WrongType{"num_layers: 99999999999999999999", "`num_layers` must be a whole number."},
                      WrongType{"num_layers: [6]", "`num_layers` must be a whole number."},
                      WrongType{"num_layers:", "`num_layers` has no value."},
                      WrongType{"frozen: 1", "`frozen` must be true or false."},
                      WrongType{"frozen: \"true\"", "`frozen` must be true or false."},
                      WrongType{"name: [a]", "`name` must be text."},
                      WrongType{"attention_layer_pattern: {a: b}", "`attention_layer_pattern` must be text."},
                      WrongType{"sha256: 12ab", "`sha256` must be 64 hexadecimal digits."},
                      WrongType{"inputs: input_ids", "`inputs` must be a list"},
                      WrongType{"inputs: []", "`inputs` must be a list"},
                      WrongType{"inputs: [a, a]", "`inputs` names \"a\" twice."},
                      WrongType{"inputs: [\"a b\"]", "`inputs` must hold names"},
                      WrongType{"warmup_shapes: [[1, 8]]", "`warmup_shapes` must be a list of 2"},
                      WrongType{"warmup_shapes: [[1, 8], [2]]", "`warmup_shapes` must hold shapes"},
                      WrongType{"warmup_shapes: [[1, 8], [0, 2]]", "`warmup_shapes` must be in [1,"},
                      WrongType{"warmup_shapes: [[1, 8], [60000, 60000]]", "`warmup_shapes` must not exceed"},
                      WrongType{"tokenizer: yes", "`tokenizer` must be a mapping."},
                      WrongType{"source: [a]", "`source` must be a mapping."}));

TEST(ManifestTest, PadTokenMustBeInTheVocabulary) {
  EXPECT_THAT(RefusalOfKey("pad_token_id: 100\nvocabulary_size: 100"),
              HasSubstr("`pad_token_id` 100 is not below"));
}

TEST(ManifestTest, WarmupMustFitTheModel) {
  EXPECT_THAT(RefusalOfKey("warmup_shapes: [[1, 8], [2, 13]]\nmax_sequence_length: 12"),
              HasSubstr("has length 13, above"));
}

TEST(ManifestTest, UpperCaseSha256MeansTheSame) {
  std::string upper(kSha256);
  for (char& c : upper) c = static_cast<char>(toupper(c));
  const absl::StatusOr<Manifest> manifest = ParseManifest("format_version: 1\nsha256: " + upper);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->sha256, kSha256);
}

TEST(ManifestTest, TextThatIsNoYamlSaysTheLine) {
  EXPECT_THAT(Refusal("format_version: 1\nname: [a\n"), HasSubstr("cannot be read as YAML"));
}

TEST(ManifestTest, EmptyTextIsRefused) { EXPECT_THAT(Refusal(""), HasSubstr("must hold one document")); }

TEST(ManifestTest, SecondDocumentIsRefused) {
  EXPECT_THAT(Refusal("format_version: 1\n---\nname: a\n"), HasSubstr("must hold one document"));
}

TEST(ManifestTest, StrayCommaEnds) {
  EXPECT_THAT(Refusal(",a: 1\nb: 2\n"), HasSubstr("must hold one document"));
}

TEST(ManifestTest, ListInPlaceOfAMappingIsRefused) {
  EXPECT_THAT(Refusal("- a\n"), HasSubstr("must be a mapping of keys"));
}

TEST(ManifestTest, KeyThatIsAListIsRefused) {
  EXPECT_THAT(RefusalOfKey("? [a]\n: b"), HasSubstr("A key must be a word."));
}

TEST(ManifestTest, TooLongTextIsRefusedUnread) {
  EXPECT_THAT(Refusal(std::string(kMaxManifestBytes + 1, '#')), HasSubstr("at most 1048576 are read"));
}

TEST(ManifestTest, DeepNestingIsRefused) {
  const std::string brackets(kMaxManifestBytes - 100, '[');
  EXPECT_THAT(RefusalOfKey("source: {a: " + brackets), HasSubstr("cannot be read as YAML"));
}

TEST(ManifestTest, AliasesOfAliasesDoNotGrow) {
  std::string bomb = "source:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 40; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    bomb += "  a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + below + ", " + below + ", " +
            below + "]\n";
  }
  EXPECT_EQ(RefusalOfKey(bomb), "");
}

TEST(ManifestTest, RandomBytesNeverThrow) {
  uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string text = "format_version: 1\nwarmup_shapes: [[1, 8], [2, 13]]\nsource: {a: b}\n";
    for (int change = 0; change < 4; ++change) {
      state = state * 1664525u + 1013904223u;
      text[(state >> 8) % text.size()] = static_cast<char>(state >> 24);
    }
    EXPECT_NO_THROW((void)ParseManifest(text)) << round;
  }
}

}  // namespace
}  // namespace attribution::models
