#include "server/rpc/token_authority.h"

#include <openssl/crypto.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "attribution/status_details.h"
#include "server/telemetry/logging.h"
#include "server/text/small_file.h"

namespace attribution::rpc {
namespace {

absl::Status Unknown() {
  return WithReason(
      absl::UnauthenticatedError("The request has no token that this server knows. Send the metadata "
                                 "authorization: Bearer <token>; ask the server's operator for one."),
      "TOKEN_UNKNOWN");
}

absl::Status WrongRole(const std::string& name) {
  return WithReason(absl::PermissionDeniedError(absl::StrCat(
                        "The token may not do this. \"", name,
                        "\" has the role attribute, this method takes admin. Use a token of that role.")),
                    "ROLE_TOO_SMALL");
}

absl::Status RateLimited(const Token& token, absl::Duration wait) {
  return WithRetryDelay(WithReason(absl::ResourceExhaustedError(absl::StrCat(
                                       "The token calls too often. \"", token.name, "\" may call ",
                                       token.rate_limit, " times a second. Wait, and call again.")),
                                   "RATE_LIMITED", {{"rate_limit", absl::StrCat(token.rate_limit)}}),
                        wait);
}

// What changes when the file does; a link that is turned to another file counts too.
std::string StampOf(const std::string& path) {
  struct stat status = {};
  if (stat(path.c_str(), &status) != 0) return "";
  return absl::StrCat(status.st_dev, " ", status.st_ino, " ", status.st_size, " ", status.st_mtim.tv_sec, ".",
                      status.st_mtim.tv_nsec, " ", status.st_ctim.tv_sec, ".", status.st_ctim.tv_nsec);
}

bool IsOpenToAll(const std::string& path) {
  struct stat status = {};
  return stat(path.c_str(), &status) == 0 && (status.st_mode & S_IROTH) != 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TokenAuthority>> TokenAuthority::Open(const std::string& path,
                                                                     absl::Duration refresh_interval,
                                                                     std::function<absl::Time()> clock) {
  std::unique_ptr<TokenAuthority> authority(new TokenAuthority(path, refresh_interval, std::move(clock)));
  const std::lock_guard lock(authority->mutex_);
  authority->next_look_ = authority->clock_() + refresh_interval;
  if (absl::Status status = authority->Read(); !status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(status.message(), " Check --auth-tokens-file, \"", path, "\"."));
  }
  return authority;
}

absl::Status TokenAuthority::Read() {
  stamp_ = StampOf(path_);  // before the file: a change in between is seen at the next look
  std::optional<std::string> text = text::ReadSmallFile(path_, kMaxTokenFileBytes);
  if (!text.has_value()) return absl::InvalidArgumentError("The file of tokens cannot be read.");
  absl::StatusOr<std::vector<Token>> tokens = ParseTokens(*text);
  OPENSSL_cleanse(text->data(), text->size());
  if (!tokens.ok()) return tokens.status();
  tokens_ = *std::move(tokens);
  if (IsOpenToAll(path_)) {
    telemetry::Log(telemetry::LogLevel::kWarning,
                   "Every user of this machine can read the file of tokens. Take the right away.",
                   {{"file", path_}});
  }
  std::erase_if(buckets_, [this](const auto& bucket) {
    return std::none_of(tokens_.begin(), tokens_.end(),
                        [&bucket](const Token& token) { return token.name == bucket.first; });
  });
  return absl::OkStatus();
}

void TokenAuthority::RefreshIfDue(absl::Time now) {
  if (now < next_look_) return;
  next_look_ = now + refresh_interval_;
  if (StampOf(path_) == stamp_) return;
  const absl::Status status = Read();
  telemetry::Log(status.ok() ? telemetry::LogLevel::kInfo : telemetry::LogLevel::kError,
                 status.ok()
                     ? "The file of tokens has changed and was read again."
                     : "The file of tokens has changed and cannot be used. The tokens stay as they were.",
                 {{"file", path_}, {"error", std::string(status.message())}, {"tokens", tokens_.size()}});
}

absl::StatusOr<std::string> TokenAuthority::LetIn(std::string_view secret, Role role) {
  const Digest digest = DigestOf(secret);
  const std::lock_guard lock(mutex_);
  const absl::Time now = clock_();
  RefreshIfDue(now);
  const Token* found = nullptr;
  for (const Token& token : tokens_) {  // all of them, whichever it is
    if (CRYPTO_memcmp(token.digest.data(), digest.data(), digest.size()) == 0) found = &token;
  }
  if (found == nullptr) return Unknown();
  if (absl::Status status = Take(*found, now); !status.ok()) return status;
  if (role == Role::kAdmin && found->role != Role::kAdmin) return WrongRole(found->name);
  return found->name;
}

// A bucket that fills at the token's rate; each call takes one.
absl::Status TokenAuthority::Take(const Token& token, absl::Time now) {
  if (token.rate_limit == 0) return absl::OkStatus();
  const auto [entry, is_new] = buckets_.try_emplace(token.name, Bucket{token.burst, now});
  Bucket& bucket = entry->second;
  const double seconds = std::max(0.0, absl::ToDoubleSeconds(now - bucket.filled));
  bucket.calls = std::min(token.burst, bucket.calls + seconds * token.rate_limit);
  bucket.filled = now;
  if (bucket.calls < 1) return RateLimited(token, absl::Seconds((1 - bucket.calls) / token.rate_limit));
  bucket.calls -= 1;
  return absl::OkStatus();
}

}  // namespace attribution::rpc
