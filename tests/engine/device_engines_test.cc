// Tests how requests are spread over devices, with a puppet for each.
#include "server/engine/device_engines.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/recording_sink.h"
#include "tests/rpc/fake_engine.h"

namespace attribution::engine {
namespace {

ModelInfo Model(ModelState state, const std::string& device) {
  ModelInfo info;
  info.name = "model";
  info.version = "1";
  info.state = state;
  info.device = device;
  return info;
}

class DeviceEnginesTest : public testing::Test {
 protected:
  DeviceEnginesTest() {
    std::vector<std::unique_ptr<Engine>> engines;
    for (rpc::FakeEngine** fake : {&first_, &second_}) {
      auto engine = std::make_unique<rpc::FakeEngine>();
      *fake = engine.get();
      engines.push_back(std::move(engine));
    }
    engines_ = std::make_unique<DeviceEngines>(std::move(engines));
  }

  void Serve() {
    first_->SetModel(Model(ModelState::kServing, "cuda:0"));
    second_->SetModel(Model(ModelState::kServing, "cuda:1"));
  }

  void Start() {
    AttributionRequest request;
    request.model = "model";
    engines_->Attribute(std::move(request), {}, std::make_shared<RecordingSink>());
  }

  rpc::FakeEngine* first_ = nullptr;
  rpc::FakeEngine* second_ = nullptr;
  std::unique_ptr<DeviceEngines> engines_;
};

TEST_F(DeviceEnginesTest, RequestsGoWhereTheFewestAreUnderWay) {
  Serve();
  Start();
  Start();
  EXPECT_EQ(first_->num_calls(), 1);
  EXPECT_EQ(second_->num_calls(), 1);
  second_->TakeCall()->sink->OnDone(absl::OkStatus());
  Start();
  EXPECT_EQ(second_->num_calls(), 2);
}

TEST_F(DeviceEnginesTest, RequestsGoWhereTheModelServes) {
  first_->SetModel(Model(ModelState::kLoading, "cuda:0"));
  second_->SetModel(Model(ModelState::kServing, "cuda:1"));
  Start();
  Start();
  EXPECT_EQ(second_->num_calls(), 2);
}

TEST_F(DeviceEnginesTest, WhatServesNowhereIsAnsweredByTheFirst) {
  Start();
  EXPECT_EQ(first_->num_calls(), 1);
}

TEST_F(DeviceEnginesTest, AModelServesAsSoonAsOneDeviceServesIt) {
  first_->SetModel(Model(ModelState::kLoading, ""));
  second_->SetModel(Model(ModelState::kServing, "cuda:1"));
  EXPECT_EQ(engines_->GetModel("model", "")->state, ModelState::kServing);
  EXPECT_EQ(engines_->GetModel("model", "")->device, "cuda:1");
  ASSERT_EQ(engines_->ListModels().size(), 1);
  EXPECT_EQ(engines_->ListModels()[0].state, ModelState::kServing);
  first_->SetModel(Model(ModelState::kServing, "cuda:0"));
  EXPECT_EQ(engines_->ListModels()[0].device, "cuda:0,cuda:1");
}

TEST_F(DeviceEnginesTest, AModelIsLoadingWhileADeviceLoadsItAndNoneServes) {
  first_->SetModel(Model(ModelState::kFailed, ""));
  second_->SetModel(Model(ModelState::kLoading, ""));
  EXPECT_EQ(engines_->GetModel("model", "1")->state, ModelState::kLoading);
  second_->SetModel(Model(ModelState::kFailed, ""));
  EXPECT_EQ(engines_->GetModel("model", "1")->state, ModelState::kFailed);
}

TEST_F(DeviceEnginesTest, ListenersHearWhatTheDevicesSayTogether) {
  first_->SetModel(Model(ModelState::kLoading, ""));
  second_->SetModel(Model(ModelState::kLoading, ""));
  std::vector<ModelState> told;
  engines_->WatchModels([&told](const ModelInfo& info) { told.push_back(info.state); });
  second_->SetModel(Model(ModelState::kServing, "cuda:1"));
  first_->SetModel(Model(ModelState::kFailed, ""));
  EXPECT_EQ(told, (std::vector<ModelState>{ModelState::kLoading, ModelState::kLoading, ModelState::kServing,
                                           ModelState::kServing}));
}

TEST_F(DeviceEnginesTest, DrainsAll) { EXPECT_TRUE(engines_->Drain(absl::ZeroDuration())); }

}  // namespace
}  // namespace attribution::engine
