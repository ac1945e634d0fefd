#include "server/models/token_strings.h"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"

namespace attribution::models {
namespace {

using nlohmann::json;

// Bounds the table that one large id in a foreign file can ask for; vocabularies have at most a few hundred
// thousand.
constexpr int64_t kMaxTokenId = int64_t{1} << 22;

absl::Status Error() {
  return absl::FailedPreconditionError(
      "tokenizer.json is not a tokenizer of a known form. Export the model again.");
}

// Stores `token` under `id`. Returns whether both are what they must be.
bool Store(const json& id, const json& token, std::vector<std::string>& strings) {
  if (!id.is_number_unsigned() || !token.is_string()) return false;
  const uint64_t number = id.get<uint64_t>();
  if (number > static_cast<uint64_t>(kMaxTokenId)) return false;
  if (number >= strings.size()) strings.resize(number + 1);
  strings[number] = token.get_ref<const std::string&>();
  return true;
}

bool StoreVocabulary(const json& vocabulary, std::vector<std::string>& strings) {
  if (vocabulary.is_object()) {
    for (const auto& [token, id] : vocabulary.items()) {
      if (!Store(id, json(token), strings)) return false;
    }
    return true;
  }
  if (!vocabulary.is_array()) return false;
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const json& pair = vocabulary[id];
    if (!pair.is_array() || pair.empty() || !Store(json(id), pair[0], strings)) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseTokenStrings(std::string_view text) {
  std::vector<std::string> strings;
  try {
    // nlohmann's parser keeps its stack on the heap, so that deep nesting is no danger, and refuses invalid
    // UTF-8.
    const json content = json::parse(text, nullptr, /*allow_exceptions=*/false);
    const auto model = content.find("model");
    if (model == content.end() || !model->is_object()) return Error();
    const auto vocabulary = model->find("vocab");
    if (vocabulary == model->end() || !StoreVocabulary(*vocabulary, strings)) return Error();
    const auto added = content.find("added_tokens");
    if (added == content.end()) return strings;
    for (const json& token : *added) {
      if (!token.is_object() || !token.contains("id") || !token.contains("content")) return Error();
      if (!Store(token["id"], token["content"], strings)) return Error();
    }
  } catch (const std::exception&) {
    return Error();
  }
  return strings;
}

}  // namespace attribution::models
