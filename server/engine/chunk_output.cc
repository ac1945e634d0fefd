#include "server/engine/chunk_output.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/rollout/row_selection.h"
#include "server/rollout/selected_rows.h"
#include "server/rollout/top_cells.h"

namespace attribution::engine {
namespace {

using Tell = std::function<void(Event event, int64_t bytes)>;

int64_t BytesOf(size_t cells) { return static_cast<int64_t>(cells * sizeof(Cell)); }

// Counts memory that torch does not know of, for as long as it lives.
class Counted {
 public:
  Counted(memory::AllocationCounter& counter, int64_t bytes) : counter_(counter), bytes_(bytes) {
    counter_.AddExternal(bytes_);
  }
  ~Counted() { counter_.AddExternal(-bytes_); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  memory::AllocationCounter& counter_;
  const int64_t bytes_;
};

void TellMatrices(const PreparedRequest& request, int32_t sequence, const rollout::SequenceFold& fold,
                  RolloutMethod method, std::vector<rollout::SelectedRows> layers, const Tell& tell) {
  const auto emit = [&tell](MatrixSlice slice) {
    const auto bytes = static_cast<int64_t>(slice.data.size());
    tell(std::move(slice), bytes);
  };
  MatrixSlice header;
  header.sequence_index = sequence;
  header.encoding = request.output.encoding;
  if (request.output.rollout_matrix) {
    header.kind = MatrixKind::kRollout;
    const std::vector<rollout::RowRun> rows =
        rollout::SelectRows(request.output.rows, request.MaskOf(sequence), fold.valid().length());
    const auto cut = method == RolloutMethod::kSelectedRows ? rollout::CutChosenRows : rollout::CutRows;
    cut(fold.rollout(), rows, header, emit);
    if (IsCorrected(request)) {
      header.kind = MatrixKind::kCorrected;
      rollout::CutRows(fold.Corrected(), rows, header, emit);
    }
  }
  header.kind = MatrixKind::kLayerAttention;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const rollout::SelectedRows rows = std::move(layers[layer]);  // freed before the next is copied
    header.layer_idx = static_cast<int32_t>(layer);
    rows.Cut(header, emit);
  }
}

}  // namespace

void TellTopCells(int32_t sequence, MatrixKind kind, const at::Tensor& matrix,
                  const rollout::ValidPositions& valid, int64_t top_k, memory::AllocationCounter& counter,
                  const std::function<void(Event event, int64_t bytes)>& tell) {
  const std::vector<Cell> cells = rollout::LargestCells(matrix, valid, top_k);
  const Counted counted(counter, BytesOf(cells.size()));
  for (size_t first = 0; first < cells.size(); first += kMaxCellsPerEvent) {
    const size_t end = std::min(cells.size(), first + kMaxCellsPerEvent);
    TopCells event;
    event.sequence_index = sequence;
    event.kind = kind;
    event.cells.assign(cells.begin() + static_cast<ptrdiff_t>(first),
                       cells.begin() + static_cast<ptrdiff_t>(end));
    tell(std::move(event), BytesOf(end - first));
  }
}

absl::Status TellChunkOutput(const PreparedRequest& request, int32_t first_sequence, int32_t count,
                             ChunkFold& fold, memory::AllocationCounter& counter,
                             const std::function<absl::Status()>& stop_reason,
                             const std::function<void(Event event, int64_t bytes)>& tell) {
  for (int32_t i = 0; i < count; ++i) {
    if (absl::Status status = stop_reason(); !status.ok()) return status;
    TellMatrices(request, first_sequence + i, fold.fold(i), fold.method(), fold.TakeLayers(i), tell);
  }
  if (request.output.top_k == 0) return absl::OkStatus();
  for (int32_t i = 0; i < count; ++i) {
    if (absl::Status status = stop_reason(); !status.ok()) return status;
    const rollout::SequenceFold& sequence = fold.fold(i);
    const auto tell_cells = [&](MatrixKind kind, const at::Tensor& matrix) {
      TellTopCells(first_sequence + i, kind, matrix, sequence.valid(), request.output.top_k, counter, tell);
    };
    tell_cells(MatrixKind::kRollout, sequence.rollout());
    if (IsCorrected(request)) tell_cells(MatrixKind::kCorrected, sequence.Corrected());
  }
  return absl::OkStatus();
}

}  // namespace attribution::engine
