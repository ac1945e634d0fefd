#include "server/capture/needed_columns.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace attribution::capture {
namespace {

// What the masks do to some cells: bool, broadcastable to the cells looked at.
struct Sight {
  at::Tensor hidden;  // by one mask at least
  at::Tensor seen;    // by every mask
  bool raises = false;
};

// What a mask of kind kAdded adds.
at::Tensor AddedBy(const ScoreMask& mask, const at::Tensor& cells) {
  return mask.factor == 1 ? cells : cells.to(at::kFloat).mul(mask.factor);
}

// The cells that `mask` leaves visible. What old models add to hide padding hides here too.
at::Tensor SeenBy(const ScoreMask& mask, const at::Tensor& cells) {
  switch (mask.kind) {
    case ScoreMask::Kind::kKeepsTrue:
      return cells;
    case ScoreMask::Kind::kHidesTrue:
      return cells.logical_not();
    case ScoreMask::Kind::kAdded:
      break;
  }
  return AddedBy(mask, cells).gt(kSees);
}

// NaN is neither hidden nor seen.
Sight SightOf(const ScoreMask& mask, const at::Tensor& cells) {
  const at::Tensor seen = SeenBy(mask, cells);
  if (mask.kind != ScoreMask::Kind::kAdded) return {seen.logical_not(), seen};
  const at::Tensor added = AddedBy(mask, cells);
  return {added.le(kHides), seen, added.gt(-kSees).any().item<bool>()};
}

// The cells of `mask` in some columns of one head's rows.
at::Tensor CellsOf(const ScoreMask& mask, int64_t head, int64_t first_row, int64_t rows, int64_t column,
                   int64_t columns) {
  at::Tensor cells = mask.cells.select(0, mask.cells.size(0) == 1 ? 0 : head);
  if (cells.size(0) != 1) cells = cells.narrow(0, first_row, rows);
  return cells.size(1) == 1 ? cells : cells.narrow(1, column, columns);
}

Sight Both(const Sight& a, const Sight& b) {
  if (!a.hidden.defined()) return b;
  return {a.hidden.logical_or(b.hidden), a.seen.logical_and(b.seen), a.raises || b.raises};
}

// The end of the columns that are not hidden in one head, `from` at least; `length` if a row sees nothing.
int64_t EndOfHead(const std::vector<ScoreMask>& masks, int64_t head, int64_t first_row, int64_t rows,
                  int64_t from, int64_t length) {
  Sight sight;
  for (const ScoreMask& mask : masks) {
    sight = Both(sight, SightOf(mask, CellsOf(mask, head, first_row, rows, 0, length)));
  }
  if (sight.raises || !sight.seen.any(1).all().item<bool>()) return length;
  const at::Tensor hidden = sight.hidden.all(0).expand({length}).contiguous();
  const bool* cells = hidden.const_data_ptr<bool>();
  int64_t end = length;
  while (end > from && cells[end - 1]) --end;
  return end;
}

// Whether the last column is hidden in every row: if it is not, nothing more has to be looked at.
bool HidesLastColumn(const std::vector<ScoreMask>& masks, int64_t heads, int64_t first_row, int64_t rows,
                     int64_t length) {
  for (int64_t head = 0; head < heads; ++head) {
    at::Tensor hidden;
    for (const ScoreMask& mask : masks) {
      const at::Tensor own = SightOf(mask, CellsOf(mask, head, first_row, rows, length - 1, 1)).hidden;
      hidden = hidden.defined() ? hidden.logical_or(own) : own;
    }
    if (!hidden.all().item<bool>()) return false;
  }
  return true;
}

}  // namespace

at::Tensor VisibleCells(const std::vector<ScoreMask>& masks, int64_t first_row, int64_t rows, int64_t length,
                        const at::TensorOptions& options) {
  int64_t heads = 1;
  for (const ScoreMask& mask : masks) heads = std::max(heads, mask.cells.size(0));
  if (masks.empty()) return at::ones({rows, length}, options.dtype(at::kBool));
  at::Tensor visible = at::zeros({rows, length}, options.dtype(at::kBool));
  for (int64_t head = 0; head < heads; ++head) {
    at::Tensor seen = at::ones({rows, length}, options.dtype(at::kBool));
    for (const ScoreMask& mask : masks) {
      seen.logical_and_(SeenBy(mask, CellsOf(mask, head, first_row, rows, 0, length)));
    }
    visible.logical_or_(seen);
  }
  return visible;
}

int64_t NeededColumns(const std::vector<ScoreMask>& masks, int64_t first_row, int64_t rows, int64_t length) {
  if (masks.empty() || length == 0) return length;
  int64_t heads = 1;
  for (const ScoreMask& mask : masks) {
    if (!mask.cells.device().is_cpu()) return length;
    heads = std::max(heads, mask.cells.size(0));
  }
  if (!HidesLastColumn(masks, heads, first_row, rows, length)) return length;
  int64_t needed = 1;
  for (int64_t head = 0; head < heads && needed < length; ++head) {
    needed = EndOfHead(masks, head, first_row, rows, needed, length);
  }
  return needed;
}

}  // namespace attribution::capture
