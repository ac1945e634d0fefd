// What admission would decide about a shape, without running anything.
#ifndef ATTRIBUTION_ESTIMATE_H_
#define ATTRIBUTION_ESTIMATE_H_

#include <cstdint>
#include <string>

#include "attribution/options.h"

namespace attribution {

struct EstimateRequest {
  std::string model;
  std::string model_version;  // empty: the newest that serves
  int32_t batch_size = 1;     // sequences
  int32_t seq_length = 1;     // of each
  AttributionOptions options;
  OutputSelection output;
};

struct AdmissionEstimate {
  int64_t estimated_peak_bytes = 0;  // the largest over chunks of bytes above the resident model
  int32_t chunk_size = 0;            // sequences of the largest chunk
  int32_t num_chunks = 0;
  bool fits_now = false;                 // it would start at once
  bool ever_fits = false;                // it could start on an idle server
  int32_t max_seq_length_that_fits = 0;  // of a single sequence, on an idle server
  double expected_wait_seconds = 0;
  double expected_duration_seconds = 0;  // once it has started
};

}  // namespace attribution

#endif  // ATTRIBUTION_ESTIMATE_H_
