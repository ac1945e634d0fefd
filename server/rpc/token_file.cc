#include "server/rpc/token_file.h"

#include <openssl/sha.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/text/nearest_name.h"

namespace attribution::rpc {
namespace {

constexpr size_t kMinTokenBytes = 16;  // a shorter one could be guessed
constexpr size_t kMaxNameBytes = 64;
constexpr double kMaxRate = 1e6;

absl::Status Error(const YAML::Mark& mark, absl::string_view text) {
  const std::string line = mark.is_null() ? "" : absl::StrCat(" Line ", mark.line + 1, ":");
  return absl::InvalidArgumentError(absl::StrCat("The file of tokens is not valid.", line, " ", text));
}

// Names go into logs and metadata as they are.
bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= kMaxNameBytes &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
         });
}

absl::Status ReadValue(const std::string& key, const YAML::Node& node, Token& token, bool& has_secret) {
  if (!node.IsScalar()) return Error(node.Mark(), absl::StrCat("`", key, "` must be a plain value."));
  const std::string& text = node.Scalar();
  if (key == "name") {
    token.name = text;
    if (IsName(text)) return absl::OkStatus();
    return Error(node.Mark(),
                 absl::StrCat("`name` must be 1 to ", kMaxNameBytes, " letters, digits, '.', '_' and '-'."));
  }
  if (key == "role") {
    token.role = text == "admin" ? Role::kAdmin : Role::kAttribute;
    if (text == "admin" || text == "attribute") return absl::OkStatus();
    return Error(node.Mark(), "`role` must be attribute or admin.");
  }
  if (key == "rate_limit" || key == "burst") {
    double& value = key == "burst" ? token.burst : token.rate_limit;
    if (absl::SimpleAtod(text, &value) && value > 0 && value <= kMaxRate) return absl::OkStatus();
    return Error(node.Mark(), absl::StrCat("`", key, "` must be a number above 0, at most ", kMaxRate, "."));
  }
  if (has_secret) return Error(node.Mark(), "`token` and `sha256` stand together. Keep one.");
  has_secret = true;
  if (key == "token") {
    token.digest = DigestOf(text);
    const bool printable =
        std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isgraph(c); });
    if (text.size() >= kMinTokenBytes && printable) return absl::OkStatus();
    return Error(node.Mark(), absl::StrCat("`token` must be at least ", kMinTokenBytes,
                                           " printable characters without spaces."));
  }
  const bool digits =
      text.size() == 2 * sizeof(Digest) &&
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isxdigit(c); });
  if (!digits) return Error(node.Mark(), "`sha256` must be 64 hexadecimal digits.");
  const std::string bytes = absl::HexStringToBytes(text);
  std::copy(bytes.begin(), bytes.end(), token.digest.begin());
  return absl::OkStatus();
}

absl::StatusOr<Token> ReadToken(const YAML::Node& node) {
  if (!node.IsMap()) return Error(node.Mark(), "A token must be a mapping of keys to values.");
  const std::vector<std::string> keys = {"name", "token", "sha256", "role", "rate_limit", "burst"};
  Token token;
  bool has_secret = false;
  std::set<std::string> seen;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) return Error(entry.first.Mark(), "A key must be a word.");
    const std::string& key = entry.first.Scalar();
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      const std::string nearest = text::NearestName(key, keys);
      return Error(entry.first.Mark(),
                   nearest.empty()
                       ? "A key is not known. There are name, token, sha256, role, rate_limit and burst."
                       : absl::StrCat("A key is not known. Did you mean `", nearest, "`?"));
    }
    if (!seen.insert(key).second)
      return Error(entry.first.Mark(), absl::StrCat("`", key, "` is given twice."));
    if (absl::Status status = ReadValue(key, entry.second, token, has_secret); !status.ok()) return status;
  }
  if (!seen.contains("name")) return Error(node.Mark(), "`name` is missing.");
  if (!seen.contains("role")) return Error(node.Mark(), "`role` is missing. It is attribute or admin.");
  if (!has_secret) return Error(node.Mark(), "The token is missing. Give `token` or `sha256`.");
  if (token.burst > 0 && token.rate_limit == 0) return Error(node.Mark(), "`burst` needs `rate_limit`.");
  if (token.rate_limit > 0) token.burst = std::max(1.0, token.burst > 0 ? token.burst : token.rate_limit);
  return token;
}

absl::StatusOr<std::vector<Token>> Parse(std::string_view yaml) {
  const YAML::Node document = YAML::Load(std::string(yaml));
  const bool has_list = document.IsMap() && document.size() == 1 && document["tokens"];
  if (!has_list || !document["tokens"].IsSequence() || document["tokens"].size() == 0) {
    return Error(document.Mark(), "It must hold one key, `tokens`, with a list of at least one token.");
  }
  std::vector<Token> tokens;
  std::set<std::string> names;
  std::set<Digest> digests;
  for (const YAML::Node& node : document["tokens"]) {
    absl::StatusOr<Token> token = ReadToken(node);
    if (!token.ok()) return token.status();
    if (!names.insert(token->name).second) return Error(node.Mark(), "Its name is there twice. Keep one.");
    if (!digests.insert(token->digest).second)
      return Error(node.Mark(), "Its token is there twice. Keep one.");
    tokens.push_back(*std::move(token));
  }
  return tokens;
}

}  // namespace

Digest DigestOf(std::string_view text) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

absl::StatusOr<std::vector<Token>> ParseTokens(std::string_view yaml) {
  if (yaml.size() > kMaxTokenFileBytes) {
    return Error(YAML::Mark::null_mark(), absl::StrCat("It is ", yaml.size(), " bytes long, at most ",
                                                       kMaxTokenFileBytes, " are read."));
  }
  try {
    return Parse(yaml);
  } catch (const YAML::Exception& error) {
    // yaml-cpp's own words may quote what it read.
    return Error(error.mark, "It cannot be read as YAML.");
  } catch (const std::exception&) {
    return Error(YAML::Mark::null_mark(), "It cannot be read as YAML.");
  }
}

}  // namespace attribution::rpc
