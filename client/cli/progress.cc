#include "client/cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/display_width.h"
#include "client/cli/format.h"
#include "client/cli/terminal.h"

namespace attribution::cli {
namespace {

constexpr int kBarWidth = 24;

}  // namespace

void Progress::Show(const Event& event) {
  if (style_ == Style::kNone) return;
  if (const auto* admitted = std::get_if<Admitted>(&event)) {
    num_layers_ = admitted->num_layers;
    num_chunks_ = admitted->num_chunks;
    if (style_ == Style::kLines) {
      out_ << absl::StrFormat("admitted: %d layers, %d chunk(s), estimated peak %s\n", num_layers_,
                              num_chunks_, FormatBytes(admitted->estimated_peak_bytes));
    }
  } else if (const auto* layer = std::get_if<LayerMetrics>(&event)) {
    ShowLayer(*layer);
  } else if (const auto* replanned = std::get_if<Replanned>(&event)) {
    seen_layers_ = 0;
    num_chunks_ = replanned->num_chunks;
    if (style_ == Style::kLines) out_ << "out of memory: again in smaller chunks\n";
  }
}

void Progress::ShowLayer(const LayerMetrics& layer) {
  ++seen_layers_;
  const std::string where = absl::StrCat("layer ", layer.layer_idx + 1, "/", num_layers_);
  if (style_ == Style::kLines) {
    out_ << absl::StrFormat("%s of chunk %d: entropy %s  %s\n", where, layer.chunk_index,
                            FormatValue(layer.attention_entropy), Printable(layer.module_path));
    return;
  }
  const int total = std::max(1, num_layers_ * num_chunks_);
  const int done = std::min(kBarWidth, kBarWidth * seen_layers_ / total);
  out_ << "\r\x1b[K[" << std::string(static_cast<size_t>(done), '#')
       << std::string(static_cast<size_t>(kBarWidth - done), '.') << "] " << where << std::flush;
  bar_is_drawn_ = true;
}

void Progress::Finish() {
  if (bar_is_drawn_) out_ << "\r\x1b[K" << std::flush;
  bar_is_drawn_ = false;
  style_ = Style::kNone;
}

Progress::Style ProgressStyle(const std::string& flag) {
  if (flag == "lines") return Progress::Style::kLines;
  const OutputFacts facts = FactsOf(STDERR_FILENO);
  const bool bar = flag == "auto" && facts.is_terminal && facts.environment("TERM") != "dumb";
  return bar ? Progress::Style::kBar : Progress::Style::kNone;
}

}  // namespace attribution::cli
