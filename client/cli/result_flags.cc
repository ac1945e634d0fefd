#include "client/cli/result_flags.h"

#include <fstream>
#include <iostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/errors.h"
#include "client/cli/html_page.h"
#include "client/cli/json_output.h"
#include "client/cli/npy.h"
#include "client/cli/query_report.h"

namespace attribution::cli {
namespace {

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file) return UsageError(absl::StrCat("Cannot write the file: ", path, "."));
  return absl::OkStatus();
}

// Makes a selection with or without the rollout.
absl::StatusOr<OutputSelection> MakeOutput(const OutputFlags& flags, bool rollout) {
  const absl::StatusOr<RowSelection> rows = ReadRows(flags.rows);
  if (!rows.ok()) return rows.status();
  OutputSelection output;
  output.rows = *rows;
  output.layer_metrics = true;
  output.rollout_matrix = rollout;
  output.top_k = flags.top_k;
  output.skip_rollout_metrics = flags.skip_rollout_metrics;
  if (!output.rollout_matrix && output.rows.kind != RowSelection::Kind::kAll)
    return UsageError(
        "--rows chooses rows of the rollout, which --no-matrix leaves out. Give only one of them.");
  return output;
}

constexpr char kResult[] = "Result";

}  // namespace

void AddOutputFlags(CLI::App& command, OutputFlags& flags) {
  command.add_option("--rows", flags.rows, "Rows of the rollout: all, first, last, or numbers such as 0,4")
      ->type_name("ROWS")
      ->capture_default_str()
      ->group(kResult);
  command.add_option("--top-k", flags.top_k, "List the largest K cells of each rollout")
      ->type_name("K")
      ->group(kResult);
  command.add_flag("--no-matrix", flags.no_matrix, "Leave the rollout out")->group(kResult);
  command
      .add_flag("--skip-rollout-metrics", flags.skip_rollout_metrics,
                "Leave out the metrics that need every row of the rollout")
      ->group(kResult);
}

void AddResultFlags(CLI::App& command, ResultFlags& flags) {
  AddOutputFlags(command, flags);
  command.add_option("--html", flags.html, "Write a web page of the reply")
      ->type_name("FILE")
      ->group(kResult);
  command.add_option("--npy", flags.npy, "Write the rollouts as a numpy array [B, S, S]")
      ->type_name("FILE")
      ->group(kResult);
  command
      .add_option("--progress", flags.progress,
                  "Progress on standard error: auto (on a terminal), lines or never")
      ->type_name("STYLE")
      ->check(CLI::IsMember({"auto", "lines", "never"}))
      ->capture_default_str()
      ->group(kResult);
}

absl::StatusOr<RowSelection> ReadRows(const std::string& text) {
  if (text == "all") return RowSelection{};
  if (text == "first") return RowSelection{.kind = RowSelection::Kind::kFirstValid, .indices = {}};
  if (text == "last") return RowSelection{.kind = RowSelection::Kind::kLastValid, .indices = {}};
  RowSelection rows{.kind = RowSelection::Kind::kIndices, .indices = {}};
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (!absl::SimpleAtoi(part, &rows.indices.emplace_back())) {
      return UsageError(
          absl::StrCat("Not rows: --rows ", text, ". Write all, first, last, or numbers such as 0,4."));
    }
  }
  return rows;
}

absl::StatusOr<OutputSelection> ReadOutput(const OutputFlags& flags) {
  return MakeOutput(flags, !flags.no_matrix);
}

absl::StatusOr<OutputSelection> ReadResult(const ResultFlags& flags) {
  return MakeOutput(flags, !flags.no_matrix || !flags.html.empty() || !flags.npy.empty());
}

absl::Status WriteReply(const Reply& reply, const ResultFlags& flags, const CommonFlags& common) {
  std::cout << (common.json() ? JsonOfReply(reply, !flags.no_matrix)
                              : QueryReport(reply, !flags.no_matrix, OutputTerminal(common)))
            << std::flush;
  if (!flags.html.empty()) {
    if (absl::Status status = WriteFile(flags.html, HtmlPage(reply)); !status.ok()) return status;
  }
  if (!flags.npy.empty()) return WriteFile(flags.npy, NpyOfRollouts(reply));
  return absl::OkStatus();
}

}  // namespace attribution::cli
