// What is known of one version of a model.
#ifndef ATTRIBUTION_MODEL_INFO_H_
#define ATTRIBUTION_MODEL_INFO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "attribution/request.h"

namespace attribution {

enum class ModelState { kLoading, kServing, kFailed, kUnloaded };

// How the attention of a site is seen.
enum class SiteKind {
  kBlocked,   // computed block by block in place of the model's own operators
  kTapped,    // read after a softmax, where all of one layer exists
  kReturned,  // returned by the model, where all of all layers exists
};

// A place in the model's graph where attention is computed.
struct AttentionSite {
  int32_t index = 0;
  std::string module_path;  // `site.<index>` in a frozen model
  SiteKind kind = SiteKind::kBlocked;
  std::string operator_name;  // of the original graph
  int32_t executions = 0;     // in one forward pass
  std::string tap_reason{};   // why it is not computed block by block; empty for kBlocked
  std::string group{};   // of an encoder-decoder model: the stream of positions it belongs to, else empty
  std::string source{};  // `file.py:12` of its operator, if the model's file says so
};

// A place that looked like attention and is not used.
struct SkippedSite {
  std::string name;
  std::string reason;
  std::string source{};  // as AttentionSite's
};

// Where the patches of an image are among the positions of a model's attention.
struct PatchGrid {
  int32_t rows = 0;
  int32_t columns = 0;
  int32_t first_position = 0;  // of the patch at the top left; the others follow row by row

  friend bool operator==(const PatchGrid&, const PatchGrid&) = default;
};

struct ModelInput {
  std::string name;
  TensorDtype dtype = TensorDtype::kInt64;
  std::vector<int64_t> shape;  // -1 where free; dimension 0 is the batch
};

struct LoadModelOptions {
  bool force = false;         // load again even if the same bytes serve
  bool unload_first = false;  // free the old copy before, when both do not fit; requests fail meanwhile
};

struct ModelInfo {
  std::string name;
  std::string version;
  ModelState state = ModelState::kUnloaded;
  std::string sha256;
  std::string device;
  int32_t num_layers = 0;
  int32_t num_heads = 0;
  int64_t vocabulary_size = 0;      // 0: unknown
  int64_t max_sequence_length = 0;  // 0: no limit of its own
  std::vector<ModelInput> inputs;   // in the order of `forward`
  std::optional<PatchGrid> patch_grid;
  bool has_tokenizer = false;
  std::vector<AttentionSite> sites;
  std::vector<SkippedSite> skipped;
  int64_t resident_bytes = 0;
  double load_seconds = 0;  // how long loading and checking took; 0 before that
  std::string load_error;   // empty unless kFailed
};

}  // namespace attribution

#endif  // ATTRIBUTION_MODEL_INFO_H_
