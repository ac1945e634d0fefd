// Bearer tokens: their file, and who gets in with them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/rpc/token_authority.h"
#include "server/rpc/token_file.h"
#include "tests/models/temporary_directory.h"

namespace attribution::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTwoTokens[] = R"(tokens:
  - name: dashboards
    token: 0123456789abcdef
    role: attribute
    rate_limit: 2
    burst: 3
  - name: operators
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    role: admin
)";

TEST(TokenFileTest, ReadsEveryKey) {
  const auto tokens = ParseTokens(kTwoTokens);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  ASSERT_EQ(tokens->size(), 2);
  EXPECT_EQ((*tokens)[0].name, "dashboards");
  EXPECT_EQ((*tokens)[0].digest, DigestOf("0123456789abcdef"));
  EXPECT_EQ((*tokens)[0].role, Role::kAttribute);
  EXPECT_EQ((*tokens)[0].rate_limit, 2);
  EXPECT_EQ((*tokens)[0].burst, 3);
  EXPECT_EQ((*tokens)[1].digest, DigestOf("test"));  // FIPS 180-4; the digest is that of `sha256sum`
  EXPECT_EQ((*tokens)[1].role, Role::kAdmin);
  EXPECT_EQ((*tokens)[1].rate_limit, 0);
}

TEST(TokenFileTest, BurstIsASecondsWorthAndAtLeastOne) {
  const auto of = [](const std::string& rate) {
    return ParseTokens(absl::StrCat("tokens: [{name: a, token: 0123456789abcdef, role: admin, rate_limit: ",
                                    rate, "}]"))
        ->front()
        .burst;
  };
  EXPECT_EQ(of("5"), 5);
  EXPECT_EQ(of("0.1"), 1);
}

TEST(TokenFileTest, EverythingElseIsAnErrorThatQuotesNoToken) {
  const std::string secret = "0123456789abcdef";
  const auto one = [](const std::string& keys) { return absl::StrCat("tokens: [{", keys, "}]"); };
  const std::pair<std::string, const char*> cases[] = {
      {"", "list of at least one token"},
      {"tokens: []", "list of at least one token"},
      {"token: [{}]", "list of at least one token"},
      {secret, "list of at least one token"},
      {"tokens: [" + secret + "]", "must be a mapping"},
      {one("token: " + secret + ", role: admin"), "`name` is missing"},
      {one("name: a, token: " + secret), "`role` is missing"},
      {one("name: a, role: admin"), "The token is missing"},
      {one("name: a b, token: " + secret + ", role: admin"), "`name` must be"},
      {one("name: a, token: short, role: admin"), "`token` must be at least 16"},
      {one("name: a, token: '0123456789 abcdef', role: admin"), "`token` must be"},
      {one("name: a, sha256: abc, role: admin"), "64 hexadecimal digits"},
      {one("name: a, token: " + secret + ", role: root"), "`role` must be"},
      {one("name: a, token: " + secret + ", role: admin, rate_limit: 0"), "`rate_limit` must be"},
      {one("name: a, token: " + secret + ", role: admin, rate_limit: nan"), "`rate_limit` must be"},
      {one("name: a, token: " + secret + ", role: admin, burst: 3"), "`burst` needs `rate_limit`"},
      {one("name: a, token: " + secret + ", role: admin, rate_limt: 3"), "Did you mean `rate_limit`"},
      {one("name: a, token: " + secret + ", role: admin, role: admin"), "given twice"},
      {one("name: a, role: admin, token: " + secret + ", sha256: " + std::string(64, 'a')), "stand together"},
      {"tokens: [{name: a, role: admin, token: " + secret + "}, {name: b, role: admin, token: " + secret +
           "}]",
       "Its token is there twice"},
      {"tokens: [{" + secret, "cannot be read as YAML"},
  };
  for (const auto& [text, message] : cases) {
    const absl::Status status = ParseTokens(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << text;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr(secret))) << text;
  }
  EXPECT_FALSE(ParseTokens(std::string(kMaxTokenFileBytes + 1, ' ')).ok());
}

class TokenAuthorityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Write(kTwoTokens);
    auto authority = TokenAuthority::Open(Path(), absl::Seconds(10), [this] { return now_; });
    ASSERT_TRUE(authority.ok()) << authority.status();
    authority_ = *std::move(authority);
  }

  std::string Path() const { return (directory_.path() / "tokens.yaml").string(); }
  void Write(const std::string& text) { directory_.Write("tokens.yaml", text); }

  const models::TemporaryDirectory directory_;
  absl::Time now_ = absl::UnixEpoch();
  std::unique_ptr<TokenAuthority> authority_;
};

TEST_F(TokenAuthorityTest, KnownTokensGetInByTheirRole) {
  EXPECT_EQ(*authority_->LetIn("0123456789abcdef", Role::kAttribute), "dashboards");
  EXPECT_EQ(*authority_->LetIn("test", Role::kAttribute), "operators");
  EXPECT_EQ(*authority_->LetIn("test", Role::kAdmin), "operators");
  const absl::Status refused = authority_->LetIn("0123456789abcdef", Role::kAdmin).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(ReasonOf(refused), "ROLE_TOO_SMALL");
}

TEST_F(TokenAuthorityTest, OthersDoNot) {
  for (const char* secret : {"", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef ", "Test"}) {
    const absl::Status refused = authority_->LetIn(secret, Role::kAttribute).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kUnauthenticated) << secret;
    EXPECT_EQ(ReasonOf(refused), "TOKEN_UNKNOWN");
  }
}

TEST_F(TokenAuthorityTest, RateIsLimitedAndComesBack) {
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(authority_->LetIn("0123456789abcdef", Role::kAttribute).ok()) << i;
  const absl::Status refused = authority_->LetIn("0123456789abcdef", Role::kAttribute).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused), "RATE_LIMITED");
  EXPECT_EQ(RetryDelayOf(refused), absl::Milliseconds(500));
  EXPECT_TRUE(authority_->LetIn("test", Role::kAttribute).ok());  // another token's affair
  now_ += absl::Milliseconds(500);
  EXPECT_TRUE(authority_->LetIn("0123456789abcdef", Role::kAttribute).ok());
  EXPECT_FALSE(authority_->LetIn("0123456789abcdef", Role::kAttribute).ok());
  now_ += absl::Milliseconds(500);
  EXPECT_EQ(authority_->LetIn("0123456789abcdef", Role::kAdmin).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(authority_->LetIn("0123456789abcdef", Role::kAttribute).ok());  // what is refused counts, too
  now_ += absl::Hours(1);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(authority_->LetIn("0123456789abcdef", Role::kAttribute).ok()) << i;
  EXPECT_FALSE(authority_->LetIn("0123456789abcdef", Role::kAttribute).ok());  // never more than the burst
}

TEST_F(TokenAuthorityTest, ChangedFileIsReadAgainWithinItsInterval) {
  Write("tokens: [{name: new, token: fedcba9876543210, role: admin}]");
  EXPECT_FALSE(authority_->LetIn("fedcba9876543210", Role::kAdmin).ok());
  now_ += absl::Seconds(10);
  EXPECT_EQ(*authority_->LetIn("fedcba9876543210", Role::kAdmin), "new");
  EXPECT_FALSE(authority_->LetIn("test", Role::kAdmin).ok());
}

TEST_F(TokenAuthorityTest, BadFileLeavesTheTokensAsTheyWere) {
  Write("tokens: [{");
  now_ += absl::Seconds(10);
  EXPECT_TRUE(authority_->LetIn("test", Role::kAdmin).ok());
  std::filesystem::remove(Path());
  now_ += absl::Seconds(10);
  EXPECT_TRUE(authority_->LetIn("test", Role::kAdmin).ok());
}

TEST_F(TokenAuthorityTest, FileThatCannotBeUsedIsNamedAtTheStart) {
  const auto open = [this](const std::string& path) {
    return TokenAuthority::Open(path, absl::Seconds(10), [this] { return now_; }).status();
  };
  EXPECT_THAT(std::string(open("/nowhere/tokens.yaml").message()), HasSubstr("/nowhere/tokens.yaml"));
  Write("tokens: 3");
  EXPECT_EQ(open(Path()).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attribution::rpc
