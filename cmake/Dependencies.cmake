# Finds every library that a room may link. The versions are pinned in tools/debian-packages.txt and
# tools/requirements.txt; nothing is downloaded here.

# The interpreter whose packages carry LibTorch, OpenVINO and google/rpc/*.proto.
if(EXISTS ${PROJECT_SOURCE_DIR}/.venv/bin/python)
  set(default_python ${PROJECT_SOURCE_DIR}/.venv/bin/python)
else()
  find_program(default_python NAMES python3 NO_CACHE REQUIRED)
endif()
set(ATTRIBUTION_PYTHON ${default_python} CACHE FILEPATH "Python with the packages of tools/requirements.txt")

# Sets `variable` to the folder of an installed Python package, found without importing it.
function(attribution_python_package variable package)
  execute_process(
    COMMAND
      ${ATTRIBUTION_PYTHON} -c
      "import importlib.util as u; print(list(u.find_spec('${package}').submodule_search_locations)[0])"
    OUTPUT_VARIABLE folder
    OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET
    RESULT_VARIABLE result
  )
  if(NOT result EQUAL 0)
    message(
      FATAL_ERROR
      "Python package \"${package}\" was not found by ${ATTRIBUTION_PYTHON}. Run: make setup"
    )
  endif()
  set(${variable} ${folder} PARENT_SCOPE)
endfunction()

find_package(Threads REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
include(Re2)
include(Torch)
include(OpenVino)
if(ATTRIBUTION_BUILD_SERVER)
  find_package(CLI11 CONFIG REQUIRED)
  include(Grpc)
endif()
if(ATTRIBUTION_BUILD_TESTS)
  find_package(GTest CONFIG REQUIRED)
  find_package(benchmark CONFIG REQUIRED)
endif()
