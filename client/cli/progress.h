// Shows on standard error how far a request is.
#ifndef ATTRIBUTION_CLIENT_CLI_PROGRESS_H_
#define ATTRIBUTION_CLIENT_CLI_PROGRESS_H_

#include <iosfwd>
#include <string>

#include "attribution/events.h"

namespace attribution::cli {

// A bar that rewrites its line on a terminal, or one line an event. Not thread-safe.
class Progress {
 public:
  enum class Style { kNone, kBar, kLines };

  // `out` outlives the object.
  Progress(Style style, std::ostream& out) : style_(style), out_(out) {}

  // Tells of an event.
  void Show(const Event& event);

  // Removes the bar. Nothing is shown afterwards.
  void Finish();

 private:
  void ShowLayer(const LayerMetrics& layer);

  Style style_;
  std::ostream& out_;
  int num_layers_ = 0;
  int num_chunks_ = 0;
  int seen_layers_ = 0;
  bool bar_is_drawn_ = false;
};

// Chooses the style: `lines`, `never`, or `auto`, a bar if standard error is a terminal that can rewrite a
// line.
Progress::Style ProgressStyle(const std::string& flag);

}  // namespace attribution::cli

#endif  // ATTRIBUTION_CLIENT_CLI_PROGRESS_H_
