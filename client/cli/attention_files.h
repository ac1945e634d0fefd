// Attention in numpy files: what its header is, and the bytes of each layer.
//
// Not thread-safe. Holds one file at a time.
#ifndef ATTRIBUTION_CLIENT_CLI_ATTENTION_FILES_H_
#define ATTRIBUTION_CLIENT_CLI_ATTENTION_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "attribution/attention_header.h"
#include "attribution/request.h"

namespace attribution::cli {

class AttentionFiles {
 public:
  // Reads the first file. One file of [L, B, H, S, S], or with `layers_first` also of [L, B, S, S] or
  // [L, S, S], holds every layer; otherwise each file is one layer: [B, H, S, S], [B, S, S] or [S, S].
  // Usage error for anything else, and for elements that are not float32 or float16.
  static absl::StatusOr<AttentionFiles> Open(std::vector<std::string> paths, bool layers_first);

  // Without masks.
  const AttentionHeader& header() const { return header_; }

  // Returns the bytes of a layer. Usage error for a file that cannot be read or differs from the first.
  // REQUIRES: 0 <= layer < header().layers; layers are asked for in order.
  absl::StatusOr<std::string> Layer(int32_t layer);

 private:
  AttentionFiles() = default;

  std::vector<std::string> paths_;
  bool stacked_ = false;  // one file holds every layer
  std::vector<int64_t> layer_shape_;
  NamedTensor tensor_;  // the file read last
  AttentionHeader header_;
};

// Reads masks of 0 and 1 from a file [B, S], or [S] for one sequence, of int64, int32 or bool. Usage error if
// it has not as many as `header` has sequences.
absl::StatusOr<std::vector<std::vector<int32_t>>> ReadMasks(const std::string& path,
                                                            const AttentionHeader& header);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_ATTENTION_FILES_H_
