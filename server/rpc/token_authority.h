// TokenAuthority knows the bearer tokens of a file, which it reads again when it changes.
//
// A file that is not valid any more leaves the tokens as they were, which is logged once. Thread-safe.
#ifndef SERVER_RPC_TOKEN_AUTHORITY_H_
#define SERVER_RPC_TOKEN_AUTHORITY_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/token_file.h"

namespace attribution::rpc {

class TokenAuthority {
 public:
  // Reads the file. INVALID_ARGUMENT, with the path, if it cannot be read or is not valid. The file is looked
  // at again by the first call that comes after `refresh_interval`.
  static absl::StatusOr<std::unique_ptr<TokenAuthority>> Open(const std::string& path,
                                                              absl::Duration refresh_interval,
                                                              std::function<absl::Time()> clock);

  // Lets a call in that comes with the token `secret` and needs `role`; returns the token's name.
  //   UNAUTHENTICATED     the token is unknown, or empty.
  //   PERMISSION_DENIED   its role does not suffice.
  //   RESOURCE_EXHAUSTED  RATE_LIMITED, with a retry delay: it calls too often.
  // Takes the same time for every token that is not known.
  absl::StatusOr<std::string> LetIn(std::string_view secret, Role role);

 private:
  // How many calls a token may make now.
  struct Bucket {
    double calls = 0;
    absl::Time filled;
  };

  TokenAuthority(std::string path, absl::Duration refresh_interval, std::function<absl::Time()> clock)
      : path_(std::move(path)), refresh_interval_(refresh_interval), clock_(std::move(clock)) {}

  absl::Status Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshIfDue(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Take(const Token& token, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const absl::Duration refresh_interval_;
  const std::function<absl::Time()> clock_;

  std::mutex mutex_;
  std::vector<Token> tokens_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mutex_);  // by name, of those with a rate limit
  std::string stamp_ ABSL_GUARDED_BY(mutex_);                      // of the file as it was read last
  absl::Time next_look_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_TOKEN_AUTHORITY_H_
