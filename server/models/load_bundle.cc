#include "server/models/load_bundle.h"

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "attribution/status_details.h"
#include "server/models/sha256.h"
#include "server/text/small_file.h"

namespace attribution::models {
namespace {

absl::StatusOr<Manifest> ReadManifest(const std::filesystem::path& path) {
  if (path.empty()) return Manifest{};
  const std::optional<std::string> text = text::ReadSmallFile(path.string(), kMaxManifestBytes);
  if (!text.has_value()) return absl::FailedPreconditionError("manifest.yaml cannot be read.");
  return ParseManifest(*text);
}

capture::LoadOptions LoadOptionsOf(const Manifest& manifest, c10::Device device) {
  capture::LoadOptions options;
  options.input_names = manifest.inputs;
  options.declared_inputs = manifest.declared_inputs;
  options.attention_layer_pattern = manifest.attention_layer_pattern;
  options.vocabulary_size = manifest.vocabulary_size;
  options.max_sequence_length = manifest.max_sequence_length;
  options.warmup_shapes = manifest.warmup_shapes;
  options.device = device;
  return options;
}

// Whether the patches are positions of the attention. Of attention whose length follows the input's only a
// request could tell.
absl::Status CheckPatchGrid(const PatchGrid& grid, const capture::ModelDescription& description) {
  const bool fixed = !capture::HasFreeLength(description.inputs);
  const int64_t end = int64_t{grid.rows} * grid.columns + grid.first_position;
  const int64_t length = description.LongestLength(1);
  if (!fixed || description.sites.empty() || end <= length) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("The patch grid does not fit the attention. ", grid.rows, " x ", grid.columns,
                   " patches from position ", grid.first_position, " need ", end,
                   " positions; the attention has ", length, ". Correct patch_grid."));
}

// Compares what loading found with what the exporter wrote. A model without attention loads: its requests say
// so.
absl::Status CheckAgainstManifest(const Manifest& manifest, const capture::ModelDescription& description) {
  if (manifest.patch_grid.has_value()) {
    if (absl::Status status = CheckPatchGrid(*manifest.patch_grid, description); !status.ok()) return status;
  }
  const int64_t seen = static_cast<int64_t>(description.execution_order.size());
  if (manifest.num_layers == 0 || !manifest.attention_layer_pattern.empty() || seen == 0)
    return absl::OkStatus();
  if (seen == manifest.num_layers) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "The attention of some layers is not seen. The manifest's num_layers is ", manifest.num_layers,
      ", the graph computes ", seen, ". Export the model again, or correct num_layers."));
}

absl::StatusOr<std::shared_ptr<const ResidentModel>> Load(const BundlePaths& bundle, c10::Device device,
                                                          const ModelLoader& loader) {
  if (!bundle.problem.ok()) return bundle.problem;
  auto model = std::make_shared<ResidentModel>();
  model->name = bundle.name;
  model->version = bundle.version;

  absl::StatusOr<Manifest> manifest = ReadManifest(bundle.manifest);
  if (!manifest.ok()) return manifest.status();
  model->manifest = *std::move(manifest);

  absl::StatusOr<std::string> sha256 = Sha256OfFile(bundle.model);
  if (!sha256.ok()) return sha256.status();
  model->sha256 = *std::move(sha256);
  if (!model->manifest.sha256.empty() && model->sha256 != model->manifest.sha256) {
    return absl::FailedPreconditionError(
        "model.pt does not match the manifest's sha256. Copy or export the bundle again.");
  }

  if (!bundle.tokenizer.empty()) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
        Tokenizer::Load(bundle.tokenizer, bundle.vocabulary);
    if (!tokenizer.ok()) return tokenizer.status();
    model->tokenizer = *std::move(tokenizer);
  }

  absl::StatusOr<std::unique_ptr<capture::ModelRunner>> runner =
      loader(bundle.model.string(), LoadOptionsOf(model->manifest, device));
  if (!runner.ok()) return runner.status();
  model->runner = *std::move(runner);
  if (absl::Status status = CheckAgainstManifest(model->manifest, model->runner->description()); !status.ok())
    return status;
  return model;
}

// Makes an error fit for clients: one line, files named without their directory, one code. What the loader
// kept for the operator, or its further lines, stay in the log detail.
absl::Status ForClients(const absl::Status& error, const BundlePaths& bundle) {
  std::string text(error.message());
  std::string detail = LogDetailOf(error).value_or("");
  const size_t line_end = text.find('\n');
  if (detail.empty() && line_end != std::string::npos) detail = text;
  text.resize(std::min(line_end, text.size()));
  text = absl::StrReplaceAll(text, {{absl::StrCat(bundle.model.parent_path().string(), "/"), ""},
                                    {absl::StrCat(bundle.directory.string(), "/"), ""}});
  absl::Status status = absl::FailedPreconditionError(text.empty() ? "The model cannot be loaded." : text);
  return detail.empty() ? status : WithLogDetail(std::move(status), detail);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ResidentModel>> LoadBundle(const BundlePaths& bundle, c10::Device device,
                                                                const ModelLoader& loader) {
  try {
    absl::StatusOr<std::shared_ptr<const ResidentModel>> model = Load(bundle, device, loader);
    if (model.ok()) return model;
    return ForClients(model.status(), bundle);
  } catch (const std::bad_alloc&) {
    return absl::FailedPreconditionError("The model cannot be loaded: memory is not enough.");
  } catch (const std::exception&) {
    return absl::FailedPreconditionError(
        "The model cannot be loaded: reading it failed in an unforeseen way.");
  }
}

}  // namespace attribution::models
