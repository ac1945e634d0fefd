#include "server/models/load_bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/models/fake_runner.h"
#include "tests/models/temporary_directory.h"

namespace attribution::models {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

// Of the three bytes `abc`, from FIPS 180-2.
const char kSha256OfAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

// Images of a fixed size that become `positions`.
capture::ModelDescription ImageModel(int64_t positions) {
  capture::ModelDescription description = ThreeLayers();
  description.inputs = {{"pixel_values", capture::InputRole::kOther, TensorDtype::kFloat32, {-1, 3, 8, 8}}};
  description.site_lengths = {capture::LengthRule{.slope = 0, .offset = positions}};
  return description;
}

class LoadBundleTest : public ::testing::Test {
 protected:
  LoadBundleTest() { directory_.Write("m/7/model.pt", "abc"); }

  void WriteManifest(const std::string& lines) {
    directory_.Write("m/7/manifest.yaml", "format_version: 1\n" + lines);
  }

  absl::StatusOr<std::shared_ptr<const ResidentModel>> Load(const ModelLoader& loader = LoadThreeLayers) {
    const absl::StatusOr<RepositoryScan> scan = ScanRepository(directory_.path());
    if (!scan.ok()) return scan.status();
    EXPECT_EQ(scan->bundles.size(), 1u);
    return LoadBundle(scan->bundles.at(0), c10::Device(c10::kCPU), loader);
  }

  // The sentence with which loading fails.
  std::string Failure(const ModelLoader& loader = LoadThreeLayers) {
    const absl::Status status = Load(loader).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    return std::string(status.message());
  }

  const TemporaryDirectory directory_;
};

TEST_F(LoadBundleTest, ModelAloneHasDefaults) {
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->name, "m");
  EXPECT_EQ((*model)->version, 7);
  EXPECT_EQ((*model)->sha256, kSha256OfAbc);
  EXPECT_EQ((*model)->tokenizer, nullptr);
}

TEST_F(LoadBundleTest, InfoSaysWhatTheRunnerFound) {
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelInfo info = (*model)->info();
  EXPECT_EQ(info.name, "m");
  EXPECT_EQ(info.version, "7");
  EXPECT_EQ(info.state, ModelState::kServing);
  EXPECT_EQ(info.sha256, kSha256OfAbc);
  EXPECT_EQ(info.device, "cpu");
  EXPECT_EQ(info.num_layers, 3);
  EXPECT_EQ(info.num_heads, 4);
  EXPECT_EQ(info.vocabulary_size, 100);
  EXPECT_EQ(info.max_sequence_length, 64);
  ASSERT_EQ(info.inputs.size(), 2u);
  EXPECT_EQ(info.inputs[1].name, "mask");
  EXPECT_EQ(info.inputs[1].dtype, TensorDtype::kInt64);
  EXPECT_THAT(info.inputs[1].shape, ElementsAre(-1, -1));
  EXPECT_FALSE(info.has_tokenizer);
  EXPECT_EQ(info.sites.size(), 1u);
  EXPECT_EQ(info.skipped.size(), 1u);
  EXPECT_EQ(info.resident_bytes, 12345);
  EXPECT_EQ(info.load_error, "");
}

TEST_F(LoadBundleTest, ManifestReachesTheLoader) {
  WriteManifest(
      "inputs: [a, b]\nvocabulary_size: 50\nmax_sequence_length: 40\nattention_layer_pattern: x\n"
      "warmup_shapes: [[1, 8], [2, 13]]\n");
  std::string path;
  capture::LoadOptions options;
  const auto model = Load([&](const std::string& given_path, const capture::LoadOptions& given) {
    path = given_path;
    options = given;
    return LoadThreeLayers(given_path, given);
  });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(path, (directory_.path() / "m/7/model.pt").string());
  EXPECT_THAT(options.input_names, ElementsAre("a", "b"));
  EXPECT_EQ(options.vocabulary_size, 50);
  EXPECT_EQ(options.max_sequence_length, 40);
  EXPECT_EQ(options.attention_layer_pattern, "x");
  EXPECT_THAT(options.warmup_shapes, ElementsAre(Pair(1, 8), Pair(2, 13)));
  EXPECT_TRUE(options.device.is_cpu());
}

TEST_F(LoadBundleTest, DeclaredInputsReachTheLoaderAndInfo) {
  WriteManifest("inputs: [{name: pixel_values, dtype: float32, shape: [-1, 3, 8, 8]}]\n");
  std::vector<ModelInput> declared;
  const auto model = Load([&](const std::string&, const capture::LoadOptions& given) {
    declared = given.declared_inputs;
    return std::make_unique<FakeRunner>(ImageModel(17));
  });
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_EQ(declared.size(), 1u);
  EXPECT_EQ(declared[0].name, "pixel_values");
  EXPECT_EQ((*model)->info().inputs.at(0).dtype, TensorDtype::kFloat32);
  EXPECT_THAT((*model)->info().inputs.at(0).shape, ElementsAre(-1, 3, 8, 8));
  EXPECT_EQ((*model)->info().patch_grid, std::nullopt);
}

TEST_F(LoadBundleTest, PatchGridMustFitTheAttention) {
  WriteManifest("patch_grid: {rows: 4, columns: 4, first_position: 1}\n");
  const auto load = [](int64_t positions) {
    return [positions](const std::string&, const capture::LoadOptions&) {
      return std::make_unique<FakeRunner>(ImageModel(positions));
    };
  };
  const auto model = Load(load(17));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().patch_grid, (PatchGrid{4, 4, 1}));
  EXPECT_EQ(Failure(load(16)),
            "The patch grid does not fit the attention. 4 x 4 patches from position 1 need 17 positions; the "
            "attention has 16. Correct patch_grid.");
}

TEST_F(LoadBundleTest, MatchingSha256Loads) {
  WriteManifest(std::string("sha256: ") + kSha256OfAbc);
  EXPECT_TRUE(Load().ok());
}

TEST_F(LoadBundleTest, OtherSha256IsRefusedBeforeTheModelIsOpened) {
  WriteManifest(absl::StrCat("sha256: ", std::string(64, '0')));
  bool opened = false;
  EXPECT_EQ(Failure([&](const std::string& path, const capture::LoadOptions& options) {
              opened = true;
              return LoadThreeLayers(path, options);
            }),
            "model.pt does not match the manifest's sha256. Copy or export the bundle again.");
  EXPECT_FALSE(opened);
}

TEST_F(LoadBundleTest, BadManifestIsALoadError) {
  WriteManifest("num_layers: six\n");
  EXPECT_THAT(Failure(), HasSubstr("line 2: `num_layers` must be a whole number."));
}

TEST_F(LoadBundleTest, HugeManifestIsALoadError) {
  WriteManifest(std::string(kMaxManifestBytes, '#'));
  EXPECT_THAT(Failure(), HasSubstr("The manifest is not valid. It is"));
}

TEST_F(LoadBundleTest, LayersThatAreNotSeenAreALoadError) {
  WriteManifest("num_layers: 4\n");
  EXPECT_THAT(Failure(), HasSubstr("The manifest's num_layers is 4, the graph computes 3."));
}

TEST_F(LoadBundleTest, PatternMaySelectFewerLayers) {
  WriteManifest("num_layers: 4\nattention_layer_pattern: x\n");
  EXPECT_TRUE(Load().ok());
}

TEST_F(LoadBundleTest, ModelWithoutAttentionLoads) {
  WriteManifest("num_layers: 4\n");
  const auto model = Load([](const std::string&, const capture::LoadOptions&) {
    return absl::StatusOr<std::unique_ptr<capture::ModelRunner>>(
        std::make_unique<FakeRunner>(capture::ModelDescription{}));
  });
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().num_layers, 0);
}

TEST_F(LoadBundleTest, BrokenTokenizerIsALoadError) {
  directory_.Write("m/7/tokenizer.xml", "<net>");
  directory_.Write("m/7/tokenizer.bin", "");
  EXPECT_EQ(Failure(), "tokenizer.xml cannot be read. Export the model again.");
}

TEST_F(LoadBundleTest, TokenizerOfTheBundleIsUsed) {
  for (const char* file : {"tokenizer.xml", "tokenizer.bin", "tokenizer.json"}) {
    fs::copy_file(fs::path(ATTRIBUTION_TOKENIZER_CASES) / "word-piece" / file,
                  directory_.path() / "m/7" / file);
  }
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_NE((*model)->tokenizer, nullptr);
  EXPECT_TRUE((*model)->info().has_tokenizer);
  EXPECT_THAT((*model)->tokenizer->TokenStrings({101}), ElementsAre("[CLS]"));
}

TEST_F(LoadBundleTest, LoadersErrorKeepsOneLineAndNoPath) {
  const std::string failure = Failure([](const std::string& path, const capture::LoadOptions&) {
    return absl::StatusOr<std::unique_ptr<capture::ModelRunner>>(
        absl::InternalError("Cannot read " + path + ".\nframe #0: somewhere"));
  });
  EXPECT_EQ(failure, "Cannot read model.pt.");
}

TEST_F(LoadBundleTest, LoaderThatThrowsIsALoadError) {
  EXPECT_THAT(
      Failure([](const std::string&,
                 const capture::LoadOptions&) -> absl::StatusOr<std::unique_ptr<capture::ModelRunner>> {
        throw std::runtime_error("/secret");
      }),
      Not(HasSubstr("/")));
  EXPECT_THAT(
      Failure([](const std::string&, const capture::LoadOptions&)
                  -> absl::StatusOr<std::unique_ptr<capture::ModelRunner>> { throw std::bad_alloc(); }),
      HasSubstr("memory is not enough"));
}

}  // namespace
}  // namespace attribution::models
