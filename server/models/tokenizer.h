// Tokenizer turns text into the token ids of one model, with the files of its bundle.
//
// Thread-safe; texts are encoded one after the other, on the caller's thread. All tokenizers of a process
// share one OpenVINO runtime, which lives as long as the process.
#ifndef SERVER_MODELS_TOKENIZER_H_
#define SERVER_MODELS_TOKENIZER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace attribution::models {

class Tokenizer {
 public:
  // Loads tokenizer.xml, with tokenizer.bin beside it, and the names of the tokens from `vocabulary`, a
  // tokenizer.json, unless it is empty. The tokenizer operations of OpenVINO come from the library that the
  // environment variable ATTRIBUTION_OPENVINO_TOKENIZERS names, else from where the build found it.
  // FAILED_PRECONDITION, naming files without their directory, if one cannot be read or the library is
  // missing.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> Load(const std::filesystem::path& graph,
                                                         const std::filesystem::path& vocabulary);

  ~Tokenizer();
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  // Returns the ids of each text: special tokens on, no padding, nothing cut; an empty text gives the special
  // tokens alone. INVALID_ARGUMENT for text that is not UTF-8, with its number and the offset of the byte at
  // fault; INTERNAL with the first line of OpenVINO's error.
  absl::StatusOr<std::vector<std::vector<int64_t>>> Encode(const std::vector<std::string>& texts) const;

  // Cuts the ids of one encoded text to at most `max_length`, from the end of the text; the special tokens
  // stay, as long as they fit. Does nothing to ids that are short enough. REQUIRES: max_length >= 0.
  void Truncate(int64_t max_length, std::vector<int64_t>& ids) const;

  // Returns what each id is called in the vocabulary, raw (`##ing`, `Ġthe`, `▁the`); `<id>`, such as `<17>`,
  // for an id without a name. Empty if the bundle has no tokenizer.json.
  std::vector<std::string> TokenStrings(const std::vector<int64_t>& ids) const;

 private:
  struct Graph;
  explicit Tokenizer(std::unique_ptr<Graph> graph);

  // Finds how many special tokens end every text. REQUIRES: called once, before the tokenizer is shared.
  absl::Status FindSuffix();

  const std::unique_ptr<Graph> graph_;
  std::vector<std::string> token_strings_;  // by id; empty without tokenizer.json
  std::vector<int64_t> suffix_;             // special tokens after the text
};

}  // namespace attribution::models

#endif  // SERVER_MODELS_TOKENIZER_H_
