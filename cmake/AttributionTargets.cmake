# The two functions by which rooms and their tests are declared.
#
#   attribution_library(<room> SOURCES a.cc... [PUBLIC dependency...] [PRIVATE dependency...] [TORCH])
#   attribution_test(<room>_test SOURCES a_test.cc... [LIBS dependency...] [LABELS label...] [TORCH])
#
# TORCH links LibTorch and uses the precompiled header shared by all such targets.

# Compiles <ATen/ATen.h> once for the whole build; every TORCH target reuses it.
add_library(attribution_torch_header STATIC ${PROJECT_SOURCE_DIR}/cmake/torch_header.cc)
target_link_libraries(attribution_torch_header PUBLIC attribution::torch)
target_precompile_headers(attribution_torch_header PRIVATE <ATen/ATen.h>)
target_compile_options(attribution_torch_header PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)

# Applies what libraries, tests and executables of ours have in common.
function(attribution_common_settings target)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "TORCH" "" "")
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
  if(ARG_TORCH)
    target_link_libraries(${target} PUBLIC attribution::torch)
    target_precompile_headers(${target} REUSE_FROM attribution_torch_header)
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  endif()
endfunction()

# Makes static library attribution_<room>, alias attribution::<room>.
function(attribution_library room)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "TORCH" "" "SOURCES;PUBLIC;PRIVATE")
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "attribution_library(${room}): unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  set(target attribution_${room})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(attribution::${room} ALIAS ${target})
  target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  set(torch)
  if(ARG_TORCH)
    set(torch TORCH)
  endif()
  attribution_common_settings(${target} ${torch})
endfunction()

# What tests run with; it matters only to sanitizers.
# TSAN_OPTIONS silences reports about libraries that were not built with the sanitizer; ours are still watched.
# UBSAN_OPTIONS makes a test fail on undefined behaviour, which is only printed otherwise.
# TBB_ENABLE_SANITIZERS keeps the TBB of OpenVINO from dlopen(RTLD_DEEPBIND), at which sanitizers end a process.
set(
  ATTRIBUTION_TEST_ENVIRONMENT
  "TSAN_OPTIONS=ignore_noninstrumented_modules=1 halt_on_error=1 \
suppressions='${PROJECT_SOURCE_DIR}/cmake/tsan-suppressions.txt'"
  "UBSAN_OPTIONS=halt_on_error=1 print_stacktrace=1"
  "TBB_ENABLE_SANITIZERS=1"
)

# Makes test executable `name` with GoogleTest's main and registers it with ctest under the same name.
function(attribution_test name)
  cmake_parse_arguments(PARSE_ARGV 1 ARG "TORCH" "" "SOURCES;LIBS;LABELS")
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "attribution_test(${name}): unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LIBS} GTest::gmock_main)
  set(torch)
  if(ARG_TORCH)
    set(torch TORCH)
  endif()
  attribution_common_settings(${name} ${torch})
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(
    ${name}
    PROPERTIES LABELS "${ARG_LABELS}" ENVIRONMENT "${ATTRIBUTION_TEST_ENVIRONMENT}"
  )
endfunction()
