#include "server/models/model_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace attribution::models {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ModelPolicyTest, SaysNothingMeansTheNewestAndNotPinned) {
  for (const char* text : {"", "\n", "# nothing\n", "{}"}) {
    const auto policy = ParseModelPolicy(text);
    ASSERT_TRUE(policy.ok()) << text << policy.status();
    EXPECT_FALSE(policy->pinned);
    EXPECT_THAT(WantedVersions(*policy, {1, 5, 9}), ElementsAre(9));
  }
}

TEST(ModelPolicyTest, ReadsEveryKey) {
  const auto policy = ParseModelPolicy("versions: [3, 1]\npinned: true\n");
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE(policy->pinned);
  EXPECT_THAT(WantedVersions(*policy, {1, 2, 3}), ElementsAre(1, 3));
  EXPECT_THAT(WantedVersions(*ParseModelPolicy("versions: all"), {1, 2, 3}), ElementsAre(1, 2, 3));
  EXPECT_THAT(WantedVersions(*ParseModelPolicy("versions: 2"), {1, 2, 3}), ElementsAre(2, 3));
  EXPECT_THAT(WantedVersions(*ParseModelPolicy("versions: 7"), {1, 2, 3}), ElementsAre(1, 2, 3));
  EXPECT_THAT(WantedVersions(*ParseModelPolicy("versions: 7"), {}), IsEmpty());
}

TEST(ModelPolicyTest, EverythingElseIsAnErrorThatNamesIt) {
  const std::pair<const char*, const char*> cases[] = {
      {"pinned: yes", "Line 1: `pinned` must be true or false."},
      {"pinned: 'true'", "`pinned` must be true or false."},
      {"versions: 0", "`versions` must be all"},
      {"versions: -1", "`versions` must be all"},
      {"versions: '2'", "`versions` must be all"},
      {"versions: []", "`versions` must be all"},
      {"versions: [1, x]", "`versions` must be all"},
      {"versions: {a: 1}", "`versions` must be all"},
      {"pinned: true\nversion: 1", "Line 2: A key is not known. Did you mean `versions`?"},
      {"colour: red", "There are versions and pinned."},
      {"pinned: true\npinned: true", "`pinned` is given twice."},
      {"[1, 2]", "must be a mapping"},
      {"just text", "must be a mapping"},
      {"? [a]\n: 1", "A key must be a word."},
      {"a: [", "cannot be read as YAML"},
  };
  for (const auto& [text, message] : cases) {
    const absl::Status status = ParseModelPolicy(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << text;
  }
  EXPECT_FALSE(ParseModelPolicy(std::string(kMaxPolicyBytes + 1, ' ')).ok());
}

}  // namespace
}  // namespace attribution::models
