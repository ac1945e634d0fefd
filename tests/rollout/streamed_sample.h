// Makes the bytes of attention as a caller would stream it, and streams them.
#ifndef TESTS_ROLLOUT_STREAMED_SAMPLE_H_
#define TESTS_ROLLOUT_STREAMED_SAMPLE_H_

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "server/rollout/attention_stream.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {

inline at::ScalarType ScalarTypeOf(TensorDtype dtype) {
  if (dtype == TensorDtype::kFloat16) return at::kHalf;
  return dtype == TensorDtype::kBfloat16 ? at::kBFloat16 : at::kFloat;
}

// One layer of `sample` as a tensor [B, H, S, S].
inline at::Tensor LayerTensor(const Sample& sample, size_t layer, TensorDtype dtype) {
  std::vector<at::Tensor> sequences;
  for (const auto& heads : sample.layers[layer]) sequences.push_back(ToTensor(heads, ScalarTypeOf(dtype)));
  return at::stack(sequences);
}

inline std::string BytesOf(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.contiguous().const_data_ptr()), tensor.nbytes()};
}

// `sample` as its bytes tell it: every cell rounded to `dtype`.
inline Sample Rounded(Sample sample, TensorDtype dtype) {
  for (oracle::Layer& layer : sample.layers) {
    for (std::vector<oracle::Matrix>& heads : layer) {
      for (oracle::Matrix& head : heads) head = ToMatrix(ToTensor({head}, ScalarTypeOf(dtype))[0]);
    }
  }
  return sample;
}

inline AttentionHeader HeaderOf(const Sample& sample, TensorDtype dtype = TensorDtype::kFloat32) {
  AttentionHeader header;
  header.dtype = dtype;
  header.batch = static_cast<int64_t>(sample.masks.size());
  header.heads = static_cast<int64_t>(sample.layers[0][0].size());
  header.length = static_cast<int64_t>(sample.masks[0].size());
  header.layers = static_cast<int32_t>(sample.layers.size());
  header.masks = sample.masks;
  return header;
}

inline AttentionStream NewStream(const AttentionHeader& header, const ResolvedOptions& options) {
  auto stream = AttentionStream::Make(header, options, at::TensorOptions(at::kFloat));
  EXPECT_TRUE(stream.ok()) << stream.status();
  return *std::move(stream);
}

// Streams every layer of `sample` in pieces of `piece_bytes`; returns the first error.
inline absl::Status StreamSample(AttentionStream& stream, const Sample& sample, TensorDtype dtype,
                                 size_t piece_bytes) {
  for (size_t l = 0; l < sample.layers.size(); ++l) {
    const std::string bytes = BytesOf(LayerTensor(sample, l, dtype));
    for (size_t offset = 0; offset < bytes.size(); offset += piece_bytes) {
      const std::string_view piece = std::string_view(bytes).substr(offset, piece_bytes);
      const absl::Status status = stream.Append(static_cast<int32_t>(l), static_cast<int64_t>(offset), piece);
      if (!status.ok()) return status;
    }
  }
  return stream.Finish();
}

}  // namespace attribution::rollout

#endif  // TESTS_ROLLOUT_STREAMED_SAMPLE_H_
