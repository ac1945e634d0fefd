// A caller's attention: a header of small numbers, then pieces, of which any may lie about its place.
#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "server/rollout/attention_stream.h"
#include "server/rollout/rollout_options.h"
#include "tests/fuzz/targets.h"

namespace attribution::fuzz {
namespace {

// Takes the input apart from the front; zeros once it is used up.
class Input {
 public:
  explicit Input(std::string_view bytes) : bytes_(bytes) {}

  uint8_t Byte() { return Take(1).empty() ? 0 : static_cast<uint8_t>(taken_[0]); }
  std::string_view Take(size_t size) {
    taken_ = bytes_.substr(0, std::min(size, bytes_.size()));
    bytes_.remove_prefix(taken_.size());
    return taken_;
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  std::string_view taken_;
};

AttentionHeader ReadHeader(Input& input) {
  AttentionHeader header;
  header.form = static_cast<AttentionForm>(input.Byte() % 3);
  constexpr TensorDtype kDtypes[] = {TensorDtype::kFloat32, TensorDtype::kFloat16, TensorDtype::kBfloat16,
                                     TensorDtype::kInt64};
  header.dtype = kDtypes[input.Byte() % 4];
  header.batch = input.Byte() % 4;
  header.heads = input.Byte() % 4;
  header.length = input.Byte() % 9;
  header.layers = input.Byte() % 4;
  const int masks = input.Byte() % 4;
  for (int i = 0; i < masks; ++i) {
    header.masks.emplace_back();
    for (int64_t j = input.Byte() % 9; j > 0; --j) header.masks.back().push_back(input.Byte() % 3);
  }
  return header;
}

AttributionOptions ReadOptions(Input& input) {
  AttributionOptions options;
  options.preset = static_cast<Preset>(input.Byte() % 5);
  options.head_fusion = static_cast<HeadFusion>(input.Byte() % 3);
  if (input.Byte() % 2 == 1) options.residual_weight = input.Byte() / 200.0;
  if (input.Byte() % 4 == 1) options.discard_ratio = input.Byte() / 200.0;
  if (input.Byte() % 4 == 1) options.start_layer = static_cast<int8_t>(input.Byte()) % 5;
  if (input.Byte() % 4 == 1) options.end_layer = static_cast<int8_t>(input.Byte()) % 5;
  if (input.Byte() % 4 == 1) options.head = static_cast<int8_t>(input.Byte()) % 5;
  options.include_padding = input.Byte() % 2 == 1;
  return options;
}

}  // namespace

void FuzzRollout(std::string_view bytes) {
  Input input(bytes);
  const AttentionHeader header = ReadHeader(input);
  const AttributionOptions asked = ReadOptions(input);
  if (!rollout::CheckHeader(header).ok()) return;
  const auto options = rollout::ResolveOptions(asked, header.layers, static_cast<int32_t>(header.heads));
  if (!options.ok()) return;
  auto stream = rollout::AttentionStream::Make(header, *options, at::TensorOptions());
  if (!stream.ok()) return;
  const int64_t layer_bytes = rollout::LayerBytes(header);
  int32_t layer = 0;
  int64_t offset = 0;
  bool honest = true;
  while (!input.empty()) {
    const uint8_t kind = input.Byte();
    const std::string_view piece = input.Take(std::min<int64_t>(1 + input.Byte(), layer_bytes - offset));
    const bool lies = kind % 16 == 15;
    honest = honest && !lies && !piece.empty();
    const absl::Status status =
        stream->Append(layer + (lies ? 1 : 0), offset + (kind % 32 == 31 ? 1 : 0), piece);
    if (!status.ok()) return;
    offset += static_cast<int64_t>(piece.size());
    if (offset == layer_bytes) {
      ++layer;
      offset = 0;
    }
    if (layer == header.layers) break;
  }
  FUZZ_CHECK(stream->completed_layers() <= header.layers);
  FUZZ_CHECK(!honest || stream->completed_layers() == layer);
  if (!stream->Finish().ok()) return;
  FUZZ_CHECK(stream->completed_layers() == header.layers);
  for (int64_t b = 0; b < header.batch; ++b) (void)stream->MetricsOf(b);
  (void)stream->BatchMetrics();
}

}  // namespace attribution::fuzz
