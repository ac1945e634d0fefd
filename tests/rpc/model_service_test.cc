#include "server/rpc/model_service.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

using ::testing::ElementsAre;

ModelInfo Version(const std::string& name, const std::string& version) {
  ModelInfo model;
  model.name = name;
  model.version = version;
  model.state = ModelState::kServing;
  return model;
}

class ModelServiceTest : public ServerFixture {
 protected:
  grpc::Status List(int32_t page_size, const std::string& page_token) {
    grpc::ClientContext context;
    v1::ListModelsRequest request;
    request.set_page_size(page_size);
    request.set_page_token(page_token);
    page_.Clear();
    return models_->ListModels(&context, request, &page_);
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const v1::Model& model : page_.models()) names.push_back(model.name() + ":" + model.version());
    return names;
  }

  v1::ListModelsResponse page_;
};

TEST_F(ModelServiceTest, ListsByNameThenVersionAsNumbers) {
  for (const char* version : {"10", "9", "1"}) engine_.SetModel(Version("b", version));
  engine_.SetModel(Version("a", "2"));
  ASSERT_TRUE(List(0, "").ok());
  EXPECT_THAT(Names(), ElementsAre("a:2", "b:1", "b:9", "b:10"));
  EXPECT_EQ(page_.next_page_token(), "");
}

TEST_F(ModelServiceTest, PagesFollowEachOther) {
  for (const char* version : {"1", "2", "3"}) engine_.SetModel(Version("a", version));
  ASSERT_TRUE(List(2, "").ok());
  EXPECT_THAT(Names(), ElementsAre("a:1", "a:2"));
  ASSERT_TRUE(List(2, page_.next_page_token()).ok());
  EXPECT_THAT(Names(), ElementsAre("a:3"));
  EXPECT_EQ(page_.next_page_token(), "");
}

TEST_F(ModelServiceTest, AModelThatComesBetweenTwoPagesRepeatsNothing) {
  for (const char* version : {"2", "3", "4"}) engine_.SetModel(Version("a", version));
  ASSERT_TRUE(List(2, "").ok());
  engine_.SetModel(Version("a", "1"));
  ASSERT_TRUE(List(2, page_.next_page_token()).ok());
  EXPECT_THAT(Names(), ElementsAre("a:4"));
}

TEST_F(ModelServiceTest, APageHoldsAThousandAtMost) {
  std::vector<ModelInfo> models;
  for (int i = 1000; i < 2001; ++i) models.push_back(Version("a", std::to_string(i)));
  v1::ListModelsRequest request;
  request.set_page_size(5000);
  EXPECT_EQ(PageOfModels(models, request)->models_size(), 1000);
  request.set_page_size(0);
  EXPECT_EQ(PageOfModels(models, request)->models_size(), 100);
}

TEST_F(ModelServiceTest, ABadTokenIsInvalid) {
  for (const std::string& token :
       {std::string("x"), std::string("!!!"), absl::WebSafeBase64Escape("after/a")}) {
    EXPECT_EQ(List(0, token).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << token;
  }
}

TEST_F(ModelServiceTest, ANegativeSizeIsInvalid) {
  EXPECT_EQ(List(-1, "").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ModelServiceTest, GetModelTellsEverything) {
  ModelInfo model = Version("minilm", "1");
  model.state = ModelState::kFailed;
  model.load_error = "Broken.";
  model.num_layers = 6;
  model.has_tokenizer = true;
  model.inputs = {{"input_ids", TensorDtype::kInt64, {-1, -1}}};
  model.sites = {{3, "encoder.layer.3", SiteKind::kTapped, "aten::softmax", 2}};
  model.skipped = {{"gate", "not square"}};
  engine_.SetModel(model);
  grpc::ClientContext context;
  v1::GetModelRequest request;
  v1::GetModelResponse response;
  request.set_model("minilm");
  ASSERT_TRUE(models_->GetModel(&context, request, &response).ok());
  EXPECT_EQ(response.model().state(), v1::MODEL_STATE_FAILED);
  EXPECT_EQ(response.model().load_error(), "Broken.");
  EXPECT_EQ(response.model().num_layers(), 6);
  EXPECT_TRUE(response.model().has_tokenizer());
  EXPECT_EQ(response.model().inputs(0).dtype(), v1::TENSOR_DTYPE_INT64);
  EXPECT_EQ(response.model().sites(0).kind(), v1::SITE_KIND_TAPPED);
  EXPECT_EQ(response.model().sites(0).executions(), 2);
  EXPECT_EQ(response.model().skipped(0).reason(), "not square");
}

TEST_F(ModelServiceTest, AnUnknownModelIsNotFound) {
  grpc::ClientContext context;
  v1::GetModelResponse response;
  EXPECT_EQ(models_->GetModel(&context, {}, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ModelServiceTest, LoadsWhatTheRequestSays) {
  ModelInfo model;
  model.name = "minilm";
  model.version = "2";
  model.state = ModelState::kServing;
  engine_.SetModel(model);
  grpc::ClientContext context;
  v1::LoadModelRequest request;
  request.set_model("minilm");
  request.set_model_version("2");
  request.set_unload_first(true);
  v1::LoadModelResponse response;
  ASSERT_TRUE(models_->LoadModel(&context, request, &response).ok());
  EXPECT_EQ(response.model().version(), "2");
  EXPECT_EQ(response.model().state(), v1::MODEL_STATE_SERVING);
  ASSERT_EQ(engine_.loads().size(), 1);
  EXPECT_TRUE(engine_.loads()[0].unload_first);
  EXPECT_FALSE(engine_.loads()[0].force);
}

TEST_F(ModelServiceTest, ErrorsOfLoadingAndUnloadingAreTold) {
  grpc::ClientContext load_context;
  v1::LoadModelResponse load;
  EXPECT_EQ(models_->LoadModel(&load_context, {}, &load).error_code(), grpc::StatusCode::NOT_FOUND);
  grpc::ClientContext unload_context;
  v1::UnloadModelResponse unload;
  EXPECT_EQ(models_->UnloadModel(&unload_context, {}, &unload).error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace attribution::rpc
