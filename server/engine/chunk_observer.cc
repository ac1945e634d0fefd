#include "server/engine/chunk_observer.h"

#include <algorithm>
#include <utility>

#include "server/memory/allocation_counter.h"

namespace attribution::engine {

void ChunkObserver::Add(ChunkFold& fold, int64_t sequences, std::function<absl::Status()> stop_reason) {
  const auto first = static_cast<int64_t>(part_of_.size());
  part_of_.insert(part_of_.end(), sequences, parts_.size());
  parts_.push_back({&fold, first, sequences, std::move(stop_reason)});
}

bool ChunkObserver::BeginLayer(const capture::LayerShape& shape) {
  memory::CheckLimit();
  bool wanted = false;
  const bool whole = shape.batch == static_cast<int64_t>(part_of_.size());
  for (Part& part : parts_) {
    part.wants = false;
    if (part.is_over) continue;
    if (absl::Status status = part.stop_reason(); !status.ok()) {
      part.fold->Fail(std::move(status));
    } else {
      capture::LayerShape own = shape;
      own.batch = whole ? part.count : shape.batch;
      part.wants = part.fold->BeginLayer(own);
    }
    part.is_over = part.fold->has_failed();
    wanted = wanted || part.wants;
  }
  return wanted;
}

bool ChunkObserver::IsOver() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const Part& part) { return part.is_over; });
}

bool ChunkObserver::WantsVisible() const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return part.wants && part.fold->WantsVisible(); });
}

void ChunkObserver::AddVisible(int64_t sequence, int64_t first_row, const at::Tensor& visible) {
  const Part& part = PartOf(sequence);
  if (part.wants && part.fold->WantsVisible())
    part.fold->AddVisible(sequence - part.first, first_row, visible);
}

void ChunkObserver::AddRows(int64_t sequence, int64_t first_row, const at::Tensor& probabilities) {
  const Part& part = PartOf(sequence);
  if (part.wants) part.fold->AddRows(sequence - part.first, first_row, probabilities);
}

void ChunkObserver::EndSequence(int64_t sequence) {
  const Part& part = PartOf(sequence);
  if (part.wants) part.fold->EndSequence(sequence - part.first);
}

bool ChunkObserver::EndLayer() {
  for (Part& part : parts_) {
    if (!part.wants) continue;
    part.is_over = !part.fold->EndLayer();
    if (part.is_over) continue;
    if (absl::Status status = part.stop_reason(); !status.ok()) {
      part.fold->Fail(std::move(status));
      part.is_over = true;
    }
  }
  return !IsOver();
}

}  // namespace attribution::engine
