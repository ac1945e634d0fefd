// Gathers the events of one attribution into what is printed at its end.
//
// Not thread-safe.
#ifndef ATTRIBUTION_CLIENT_CLI_REPLY_H_
#define ATTRIBUTION_CLIENT_CLI_REPLY_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "attribution/events.h"
#include "client/cli/labelled_matrix.h"

namespace attribution::cli {

// The rows of one sequence's rollout that have come.
struct RolloutRows {
  int columns = 0;                         // length of the sequence
  std::map<int, std::vector<float>> rows;  // by row number, each of `columns` cells
};

// One finished attribution. Sequences are counted as in the request.
struct Reply {
  std::string model;               // empty: the caller sent the attention
  std::vector<std::string> texts;  // as sent; empty if ids were sent
  Admitted admitted;
  AttributionResult result;
  std::map<int, RolloutRows> rollouts;
  std::map<int, std::vector<Cell>> top_cells;
};

// Adds an event. After a Replanned the matrices and cells of the sequences it cancels are forgotten.
// DATA_LOSS if the bytes of a matrix do not match its shape; matrices must be float32.
absl::Status Collect(const Event& event, Reply& reply);

// Returns printable labels of a sequence of `length` tokens: its tokens, else its ids, else positions.
std::vector<std::string> TokenLabels(const Reply& reply, int sequence, int length);

// Returns the rows that came of a sequence's rollout, labelled. REQUIRES: reply.rollouts holds `sequence`.
LabelledMatrix RolloutOf(const Reply& reply, int sequence);

// Returns what to call a sequence: its text, shortened to `width` columns, else its number of tokens or
// positions.
std::string TitleOf(const Reply& reply, int sequence, int width);

// Returns the name that the contract gives a preset, such as `ABNAR_2020`.
std::string PresetName(Preset preset);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_REPLY_H_
