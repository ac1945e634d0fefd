// Reads every key by a function of its own in one table, so that an unknown key is found by not being there.
// Scalars are taken strictly: a quoted number is text, and text is not a number.
#include "server/models/manifest.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <exception>
#include <iterator>
#include <set>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/models/manifest_inputs.h"
#include "server/models/manifest_values.h"
#include "server/text/nearest_name.h"

namespace attribution::models {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr size_t kMaxInputs = 64;
constexpr size_t kMaxWarmupShapes = 16;
// Warm-up runs the model twice a shape: what it may cost is bounded, whatever the file says.
constexpr int64_t kMaxWarmupTokens = 65536;

absl::Status ReadFrozen(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  const bool plain = node.IsScalar() && node.Tag() != "!";
  if (!plain || (node.Scalar() != "true" && node.Scalar() != "false"))
    return Error(node, key, "must be true or false.");
  manifest.frozen = node.Scalar() == "true";
  return absl::OkStatus();
}

absl::Status ReadFormatVersion(const YAML::Node& node, absl::string_view key, Manifest&) {
  int64_t version = 0;
  if (absl::Status status = ReadInteger(node, key, 1, kMaxInt64, &version); !status.ok()) return status;
  if (version == kFormatVersion) return absl::OkStatus();
  return Error(
      node, key,
      absl::StrCat("is ", version, ", this server reads ", kFormatVersion, ". Export the model again."));
}

absl::Status ReadSha256(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  if (absl::Status status = ReadText(node, key, &manifest.sha256); !status.ok()) return status;
  absl::AsciiStrToLower(&manifest.sha256);
  const bool digits = std::all_of(manifest.sha256.begin(), manifest.sha256.end(),
                                  [](unsigned char c) { return absl::ascii_isxdigit(c); });
  if (manifest.sha256.size() != 64 || !digits) return Error(node, key, "must be 64 hexadecimal digits.");
  return absl::OkStatus();
}

bool IsIdentifier(absl::string_view name) {
  return !name.empty() && !absl::ascii_isdigit(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

absl::Status ReadInputs(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  if (!node.IsSequence() || node.size() == 0 || node.size() > kMaxInputs) {
    return Error(node, key, absl::StrCat("must be a list of 1 to ", kMaxInputs, " names."));
  }
  for (const YAML::Node& entry : node) {
    std::string name;
    if (entry.IsMap()) {
      absl::StatusOr<ModelInput> input = ReadDeclaredInput(entry, key);
      if (!input.ok()) return input.status();
      name = input->name;
      manifest.declared_inputs.push_back(*std::move(input));
    } else if (absl::Status status = ReadText(entry, key, &name); !status.ok()) {
      return status;
    }
    if (!IsIdentifier(name)) return Error(entry, key, "must hold names of letters, digits and '_'.");
    if (std::find(manifest.inputs.begin(), manifest.inputs.end(), name) != manifest.inputs.end()) {
      return Error(entry, key, absl::StrCat("names \"", name, "\" twice."));
    }
    manifest.inputs.push_back(std::move(name));
  }
  return absl::OkStatus();
}

absl::Status ReadWarmupShapes(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  if (!node.IsSequence() || node.size() < 2 || node.size() > kMaxWarmupShapes) {
    return Error(node, key,
                 absl::StrCat("must be a list of 2 to ", kMaxWarmupShapes, " shapes [batch, length]."));
  }
  for (const YAML::Node& shape : node) {
    if (!shape.IsSequence() || shape.size() != 2)
      return Error(shape, key, "must hold shapes [batch, length].");
    int64_t batch = 0;
    int64_t length = 0;
    if (absl::Status status = ReadInteger(shape[0], key, 1, kMaxWarmupTokens, &batch); !status.ok())
      return status;
    if (absl::Status status = ReadInteger(shape[1], key, 1, kMaxWarmupTokens, &length); !status.ok())
      return status;
    if (batch * length > kMaxWarmupTokens) {
      return Error(shape, key, absl::StrCat("must not exceed ", kMaxWarmupTokens, " tokens a shape."));
    }
    manifest.warmup_shapes.emplace_back(batch, length);
  }
  return absl::OkStatus();
}

absl::Status ReadPadTokenId(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  int64_t id = 0;
  if (absl::Status status = ReadInteger(node, key, 0, kMaxInt64, &id); !status.ok()) return status;
  manifest.pad_token_id = id;
  return absl::OkStatus();
}

// Holds what an exporter wants to note; only its form is checked.
absl::Status ReadFreeForm(const YAML::Node& node, absl::string_view key, Manifest&) {
  return node.IsMap() ? absl::OkStatus() : Error(node, key, "must be a mapping.");
}

template <std::string Manifest::* member>
absl::Status ReadTextKey(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  return ReadText(node, key, &(manifest.*member));
}

template <int64_t Manifest::* member>
absl::Status ReadCountKey(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  return ReadInteger(node, key, 1, kMaxInt64, &(manifest.*member));
}

absl::Status ReadPatchGridKey(const YAML::Node& node, absl::string_view key, Manifest& manifest) {
  absl::StatusOr<PatchGrid> grid = ReadPatchGrid(node, key);
  if (grid.ok()) manifest.patch_grid = *grid;
  return grid.status();
}

struct Key {
  const char* name;
  absl::Status (*read)(const YAML::Node& node, absl::string_view key, Manifest& manifest);
};

constexpr std::array kKeys = {
    Key{"format_version", ReadFormatVersion},
    Key{"name", ReadTextKey<&Manifest::name>},
    Key{"sha256", ReadSha256},
    Key{"attention", ReadTextKey<&Manifest::attention>},
    Key{"dtype", ReadTextKey<&Manifest::dtype>},
    Key{"frozen", ReadFrozen},
    Key{"inputs", ReadInputs},
    Key{"patch_grid", ReadPatchGridKey},
    Key{"vocabulary_size", ReadCountKey<&Manifest::vocabulary_size>},
    Key{"max_sequence_length", ReadCountKey<&Manifest::max_sequence_length>},
    Key{"pad_token_id", ReadPadTokenId},
    Key{"num_layers", ReadCountKey<&Manifest::num_layers>},
    Key{"num_heads", ReadCountKey<&Manifest::num_heads>},
    Key{"attention_layer_pattern", ReadTextKey<&Manifest::attention_layer_pattern>},
    Key{"warmup_shapes", ReadWarmupShapes},
    Key{"tokenizer", ReadFreeForm},
    Key{"source", ReadFreeForm},
};

absl::Status UnknownKey(const YAML::Node& node, const std::string& name) {
  std::vector<std::string> known;
  known.reserve(std::size(kKeys));
  for (const Key& key : kKeys) known.emplace_back(key.name);
  const std::string nearest = text::NearestName(name, known);
  return Error(node, absl::CHexEscape(name.substr(0, 64)),
               nearest.empty() ? std::string("is not a key of a manifest.")
                               : absl::StrCat("is not a key of a manifest. Did you mean `", nearest, "`?"));
}

// Holds what one key cannot see alone.
absl::Status CheckTogether(const Manifest& manifest) {
  if (manifest.pad_token_id.has_value() && manifest.vocabulary_size > 0 &&
      *manifest.pad_token_id >= manifest.vocabulary_size) {
    return Error(YAML::Mark::null_mark(),
                 absl::StrCat("`pad_token_id` ", *manifest.pad_token_id, " is not below `vocabulary_size` ",
                              manifest.vocabulary_size, "."));
  }
  for (const auto& [batch, length] : manifest.warmup_shapes) {
    if (manifest.max_sequence_length > 0 && length > manifest.max_sequence_length) {
      return Error(YAML::Mark::null_mark(),
                   absl::StrCat("`warmup_shapes` has length ", length, ", above `max_sequence_length` ",
                                manifest.max_sequence_length, "."));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Manifest> ReadDocument(const YAML::Node& document) {
  if (!document.IsMap()) return Error(document.Mark(), "It must be a mapping of keys to values.");
  Manifest manifest;
  std::set<std::string> seen;
  for (const auto& entry : document) {
    if (!entry.first.IsScalar()) return Error(entry.first.Mark(), "A key must be a word.");
    const std::string& name = entry.first.Scalar();
    const auto key =
        std::find_if(kKeys.begin(), kKeys.end(), [&](const Key& known) { return known.name == name; });
    if (key == kKeys.end()) return UnknownKey(entry.first, name);
    if (!seen.insert(name).second) return Error(entry.first, name, "is given twice.");
    if (entry.second.IsNull()) return Error(entry.first, name, "has no value.");
    if (absl::Status status = key->read(entry.second, name, manifest); !status.ok()) return status;
  }
  if (seen.count("format_version") == 0) {
    return Error(YAML::Mark::null_mark(),
                 absl::StrCat("`format_version` is missing. Add `format_version: ", kFormatVersion, "`."));
  }
  if (absl::Status status = CheckTogether(manifest); !status.ok()) return status;
  return manifest;
}

// Hears a document and keeps nothing.
class Deaf : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
  }
  void OnMapEnd() override {}
};

// Whether `yaml` holds exactly one document. YAML::LoadAll would tell too, but never ends on a stray comma:
// the parser finds an empty document there again and again.
bool HoldsOneDocument(const std::string& yaml) {
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  Deaf deaf;
  return parser.HandleNextDocument(deaf) && !parser.HandleNextDocument(deaf);
}

}  // namespace

absl::StatusOr<Manifest> ParseManifest(std::string_view yaml) {
  if (yaml.size() > kMaxManifestBytes) {
    return Error(YAML::Mark::null_mark(), absl::StrCat("It is ", yaml.size(), " bytes long, at most ",
                                                       kMaxManifestBytes, " are read."));
  }
  try {
    const std::string text(yaml);
    if (!HoldsOneDocument(text)) return Error(YAML::Mark::null_mark(), "It must hold one document.");
    return ReadDocument(YAML::Load(text));
  } catch (const YAML::Exception& error) {
    return Error(error.mark, absl::StrCat("It cannot be read as YAML: ", error.msg, "."));
  } catch (const std::exception&) {
    return Error(YAML::Mark::null_mark(), "It cannot be read as YAML.");
  }
}

}  // namespace attribution::models
