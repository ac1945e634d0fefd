// The manifest of a bundle: what its exporter knew about the model. docs/bundle.md lists the keys.
//
// Plain values and one pure function; safe from any thread.
#ifndef SERVER_MODELS_MANIFEST_H_
#define SERVER_MODELS_MANIFEST_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/model_info.h"

namespace attribution::models {

// Largest manifest that is read. One is about 600 bytes.
inline constexpr size_t kMaxManifestBytes = size_t{1} << 20;

// What a manifest says; a key that is absent leaves its default. A bundle without a manifest has all
// defaults.
struct Manifest {
  std::string name;       // under which it was exported; the directory's name is the one that serves
  std::string sha256;     // of model.pt, 64 lower-case hexadecimal digits; empty: not checked
  std::string attention;  // form that was traced, such as `sdpa`; for people
  std::string dtype;      // of the weights, such as `float32`; for people
  bool frozen = false;    // weights are constants of the graph and its modules have no paths; for people
  std::vector<std::string> inputs;          // of `forward`, in order; empty: its own argument names
  std::vector<ModelInput> declared_inputs;  // those of `inputs` that are given with dtype and shape
  std::optional<PatchGrid> patch_grid;      // of a vision model
  int64_t vocabulary_size = 0;              // 0: from the embedding that the ids reach
  int64_t max_sequence_length = 0;          // in tokens; 0: from the position tables
  std::optional<int64_t> pad_token_id;
  int64_t num_layers = 0;               // attention layers of one forward pass; 0: not checked
  int64_t num_heads = 0;                // 0: unknown
  std::string attention_layer_pattern;  // RE2 on the module path; empty: every site
  std::vector<std::pair<int64_t, int64_t>> warmup_shapes;  // (batch, length); empty: the server's own two
};

// Reads the text of manifest.yaml. FAILED_PRECONDITION with the line and the key for a wrong type, a number
// out of range, an unknown or repeated key, an unknown format version, text that is not YAML or is too long.
// Never throws.
absl::StatusOr<Manifest> ParseManifest(std::string_view yaml);

}  // namespace attribution::models

#endif  // SERVER_MODELS_MANIFEST_H_
