// One version of a model in memory: what runs it, what its bundle says, what turns text into its ids.
//
// Immutable once made; shared by shared_ptr<const ResidentModel>, which a job holds until it is done.
#ifndef SERVER_MODELS_RESIDENT_MODEL_H_
#define SERVER_MODELS_RESIDENT_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "attribution/model_info.h"
#include "server/capture/model_runner.h"
#include "server/models/manifest.h"
#include "server/models/tokenizer.h"

namespace attribution::models {

struct ResidentModel {
  std::string name;
  int64_t version = 0;
  std::string sha256;                                  // of model.pt
  Manifest manifest;                                   // defaults if the bundle has none
  std::unique_ptr<const capture::ModelRunner> runner;  // never null
  std::unique_ptr<const Tokenizer> tokenizer;          // null: the bundle takes ids only

  // What clients are told, state kServing.
  ModelInfo info() const;
};

}  // namespace attribution::models

#endif  // SERVER_MODELS_RESIDENT_MODEL_H_
