#include "server/models/tokenizer.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <mutex>
#include <openvino/openvino.hpp>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/models/token_strings.h"
#include "server/text/utf8.h"

namespace attribution::models {
namespace {

// Largest tokenizer.json that is read; the largest known vocabularies take about 35 MB.
constexpr uintmax_t kMaxVocabularyBytes = uintmax_t{256} << 20;

// The runtime with the tokenizer operations, made at first use and never destroyed: compiled graphs may
// outlive static objects.
struct Runtime {
  ov::Core core;
  absl::Status status;
};

Runtime* MakeRuntime() {
  auto* runtime = new Runtime;
  const char* named = std::getenv("ATTRIBUTION_OPENVINO_TOKENIZERS");
  try {
    runtime->core.add_extension(named != nullptr ? named : ATTRIBUTION_TOKENIZERS_LIBRARY);
  } catch (const std::exception&) {
    runtime->status = absl::FailedPreconditionError(
        "The tokenizer library of OpenVINO cannot be loaded. Set ATTRIBUTION_OPENVINO_TOKENIZERS to the path "
        "of "
        "libopenvino_tokenizers.so.");
  }
  return runtime;
}

Runtime& SharedRuntime() {
  static Runtime* const runtime = MakeRuntime();
  return *runtime;
}

// The first line of a foreign error, safe to put into a message.
std::string FirstLine(const std::exception& error) {
  const std::string text = error.what();
  return absl::CHexEscape(text.substr(0, std::min(text.find('\n'), size_t{200})));
}

absl::StatusOr<std::vector<std::string>> ReadTokenStrings(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return absl::FailedPreconditionError("tokenizer.json cannot be read.");
  if (bytes > kMaxVocabularyBytes) {
    return absl::FailedPreconditionError(absl::StrCat("tokenizer.json is ", bytes, " bytes long, at most ",
                                                      kMaxVocabularyBytes, " are read."));
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return ParseTokenStrings(text);
}

// Copies the ids of the only text in the batch, without padding if the graph adds any.
template <typename Integer>
std::vector<int64_t> CopyIds(const ov::Tensor& ids, const ov::Tensor& mask) {
  std::vector<int64_t> copied;
  copied.reserve(ids.get_size());
  for (size_t i = 0; i < ids.get_size(); ++i) {
    if (mask && mask.data<const Integer>()[i] == 0) continue;
    copied.push_back(ids.data<const Integer>()[i]);
  }
  return copied;
}

}  // namespace

// The compiled tokenizer and the one request that runs it. Encoding takes about 0.1 ms, so callers take
// turns.
struct Tokenizer::Graph {
  ov::CompiledModel model;
  bool has_mask = false;
  std::mutex mutex;
  ov::InferRequest request ABSL_GUARDED_BY(mutex);

  std::vector<int64_t> Encode(const std::string& text) {
    const std::lock_guard lock(mutex);
    ov::Tensor input(ov::element::string, ov::Shape{1});
    *input.data<std::string>() = text;
    request.set_input_tensor(input);
    request.infer();
    const ov::Tensor ids = request.get_tensor("input_ids");
    const ov::Tensor mask = has_mask ? request.get_tensor("attention_mask") : ov::Tensor();
    return ids.get_element_type() == ov::element::i32 ? CopyIds<int32_t>(ids, mask)
                                                      : CopyIds<int64_t>(ids, mask);
  }
};

Tokenizer::Tokenizer(std::unique_ptr<Graph> graph) : graph_(std::move(graph)) {}

Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(const std::filesystem::path& graph_path,
                                                           const std::filesystem::path& vocabulary) {
  Runtime& runtime = SharedRuntime();
  if (!runtime.status.ok()) return runtime.status;
  auto graph = std::make_unique<Graph>();
  try {
    // One thread: a text is too short to share, and the cores belong to the models. No pinning: the thread is
    // the caller's.
    graph->model = runtime.core.compile_model(graph_path.string(), "CPU", ov::inference_num_threads(1),
                                              ov::num_streams(1), ov::hint::enable_cpu_pinning(false));
    const std::lock_guard lock(graph->mutex);
    graph->request = graph->model.create_infer_request();
    const auto has_output = [&](const char* name) {
      return std::any_of(graph->model.outputs().begin(), graph->model.outputs().end(),
                         [&](const auto& output) { return output.get_names().count(name) > 0; });
    };
    const bool takes_text =
        graph->model.inputs().size() == 1 && graph->model.input().get_element_type() == ov::element::string;
    if (!takes_text || !has_output("input_ids")) {
      return absl::FailedPreconditionError(
          "tokenizer.xml is not a tokenizer: it must take one text and give `input_ids`. Export the model "
          "again.");
    }
    graph->has_mask = has_output("attention_mask");
  } catch (const std::exception&) {
    return absl::FailedPreconditionError("tokenizer.xml cannot be read. Export the model again.");
  }
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(graph)));
  if (!vocabulary.empty()) {
    absl::StatusOr<std::vector<std::string>> strings = ReadTokenStrings(vocabulary);
    if (!strings.ok()) return strings.status();
    tokenizer->token_strings_ = *std::move(strings);
  }
  if (absl::Status status = tokenizer->FindSuffix(); !status.ok()) return status;
  return tokenizer;
}

absl::Status Tokenizer::FindSuffix() {
  const absl::StatusOr<std::vector<std::vector<int64_t>>> probes = Encode({"", "a"});
  if (!probes.ok()) {
    return absl::FailedPreconditionError("tokenizer.xml cannot encode a text. Export the model again.");
  }
  // What an empty text gives is the prefix and the suffix; what it shares with the start of another text is
  // the prefix.
  const std::vector<int64_t>& special = (*probes)[0];
  const std::vector<int64_t>& letter = (*probes)[1];
  const auto prefix_end = std::mismatch(special.begin(), special.end(), letter.begin(), letter.end()).first;
  suffix_.assign(prefix_end, special.end());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<int64_t>>> Tokenizer::Encode(
    const std::vector<std::string>& texts) const {
  std::vector<std::vector<int64_t>> encoded;
  encoded.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    if (const size_t valid = text::ValidUtf8Prefix(texts[i]); valid != texts[i].size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("The text is not UTF-8. Text ", i, ", byte ", valid, "."));
    }
    try {
      encoded.push_back(graph_->Encode(texts[i]));
    } catch (const std::exception& error) {
      return absl::InternalError(absl::StrCat("The tokenizer failed. Text ", i, ": ", FirstLine(error)));
    }
  }
  return encoded;
}

void Tokenizer::Truncate(int64_t max_length, std::vector<int64_t>& ids) const {
  const size_t most = static_cast<size_t>(std::max<int64_t>(max_length, 0));
  if (ids.size() <= most) return;
  const size_t kept = std::min(suffix_.size(), most);
  ids.resize(most - kept);
  ids.insert(ids.end(), suffix_.end() - static_cast<std::ptrdiff_t>(kept), suffix_.end());
}

std::vector<std::string> Tokenizer::TokenStrings(const std::vector<int64_t>& ids) const {
  std::vector<std::string> strings;
  if (token_strings_.empty()) return strings;
  strings.reserve(ids.size());
  for (const int64_t id : ids) {
    const bool named =
        id >= 0 && id < static_cast<int64_t>(token_strings_.size()) && !token_strings_[id].empty();
    strings.push_back(named ? token_strings_[id] : absl::StrCat("<", id, ">"));
  }
  return strings;
}

}  // namespace attribution::models
