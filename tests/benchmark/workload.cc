#include "tests/benchmark/workload.h"

#include <random>
#include <utility>

namespace attribution::benchmark {

std::vector<TokenSequence> SequencesOf(const Shape& shape, const ModelFacts& model) {
  std::mt19937 generator(static_cast<uint32_t>(shape.batch * shape.length));
  const int64_t vocabulary = model.vocabulary_size > 0 ? model.vocabulary_size : 1000;
  std::vector<TokenSequence> sequences(shape.batch);
  for (TokenSequence& sequence : sequences) {
    for (int64_t i = 0; i < shape.length; ++i)
      sequence.input_ids.push_back(static_cast<int64_t>(generator()) % vocabulary);
  }
  return sequences;
}

OutputSelection RolloutRows(RowSelection::Kind rows) {
  OutputSelection output;
  output.rollout_matrix = true;
  output.skip_rollout_metrics = true;
  output.rows.kind = rows;
  return output;
}

AttributionRequest RequestOf(const Shape& shape, const ModelFacts& model) {
  TokenBatch batch;
  batch.sequences = SequencesOf(shape, model);
  AttributionRequest request;
  request.model = model.name;
  request.input = std::move(batch);
  return request;
}

}  // namespace attribution::benchmark
