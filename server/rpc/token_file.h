// The file of bearer tokens: who may call, as what, how often.
//
//   tokens:
//     - name: dashboards
//       token: 3q2-7w...            # or sha256: the token's digest, 64 hexadecimal digits
//       role: attribute             # or admin
//       rate_limit: 50              # calls a second; absent: any number
//       burst: 100                  # calls at once; absent: those of one second
//
// Plain values and one pure function; safe from any thread.
#ifndef SERVER_RPC_TOKEN_FILE_H_
#define SERVER_RPC_TOKEN_FILE_H_

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace attribution::rpc {

// Largest file of tokens that is read.
inline constexpr size_t kMaxTokenFileBytes = size_t{1} << 20;

// What a caller may do: kAttribute everything but to load and unload models, kAdmin everything.
enum class Role { kAttribute, kAdmin };

using Digest = std::array<unsigned char, 32>;

// SHA-256.
Digest DigestOf(std::string_view text);

struct Token {
  std::string name;  // for logs and fairness; names are unique
  Digest digest;     // of the token: the token itself is not kept
  Role role = Role::kAttribute;
  double rate_limit = 0;  // calls a second; 0: any number
  double burst = 0;       // calls at once, at least 1; 0 without rate_limit
};

// Reads the file's text. INVALID_ARGUMENT with the line and the key, never with a token, for whatever is
// wrong with it; an empty list is wrong. Never throws.
absl::StatusOr<std::vector<Token>> ParseTokens(std::string_view yaml);

}  // namespace attribution::rpc

#endif  // SERVER_RPC_TOKEN_FILE_H_
