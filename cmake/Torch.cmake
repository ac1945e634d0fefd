# Defines attribution::torch: LibTorch of the Python wheel, or of Torch_DIR (<prefix>/share/cmake/Torch).
#
# Torch's own CMake package is not used: it asks for a CUDA toolkit where only the CUDA libraries are needed, exports
# -D flags of features we do not use, and links protobuf::libprotobuf. We need its headers and four libraries.
# A CPU and a CUDA LibTorch are linked alike; the CUDA libraries are linked when they are there.

if(NOT Torch_DIR)
  attribution_python_package(torch_package torch)
  set(Torch_DIR ${torch_package}/share/cmake/Torch)
endif()
cmake_path(SET torch_package_folder NORMALIZE "${Torch_DIR}/../../..")
string(REGEX REPLACE "/$" "" torch_prefix "${torch_package_folder}")

file(
  STRINGS ${torch_prefix}/include/torch/headeronly/version.h
  torch_version_lines
  REGEX "define TORCH_VERSION_M(AJOR|INOR) "
)
string(
  REGEX REPLACE "[^0-9]+([0-9]+)[^0-9]+([0-9]+).*"
  "\\1.\\2"
  ATTRIBUTION_TORCH_VERSION
  "${torch_version_lines}"
)
if(NOT ATTRIBUTION_TORCH_VERSION VERSION_EQUAL 2.13)
  message(
    WARNING
    "LibTorch ${ATTRIBUTION_TORCH_VERSION} in ${torch_prefix} is untested. The supported version is 2.13; run: make setup"
  )
endif()

add_library(attribution_torch INTERFACE)
add_library(attribution::torch ALIAS attribution_torch)
# The wheel's include folder also holds protobuf, fmt and others, in versions other than Debian's. Searched last, it
# cannot shadow them in a source that includes both.
foreach(folder IN ITEMS include include/torch/csrc/api/include)
  target_compile_options(attribution_torch INTERFACE "SHELL:-idirafter ${torch_prefix}/${folder}")
endforeach()
# at::parallel_for is serial in a source compiled without -fopenmp. The runtime is the wheel's own libgomp: one for all.
# The thread sanitizer cannot see that runtime's barriers and would report them as races, so there it stays serial.
if(NOT ATTRIBUTION_SANITIZE MATCHES "thread")
  target_compile_options(attribution_torch INTERFACE -fopenmp)
endif()

# Nothing refers to libtorch or to the CUDA libraries by symbol: they are wanted for the operators they register.
set(torch_libraries)
foreach(
  name
  IN
  ITEMS torch torch_cpu c10 torch_cuda c10_cuda
)
  if(EXISTS ${torch_prefix}/lib/lib${name}.so)
    list(APPEND torch_libraries ${torch_prefix}/lib/lib${name}.so)
  endif()
endforeach()
file(GLOB torch_gomp ${torch_prefix}/lib/libgomp*.so*)
list(APPEND torch_libraries ${torch_gomp})
list(JOIN torch_libraries " " torch_libraries)
target_link_libraries(
  attribution_torch
  INTERFACE "-Wl,--no-as-needed ${torch_libraries} -Wl,--as-needed" Threads::Threads
)
target_link_options(attribution_torch INTERFACE LINKER:-rpath,${torch_prefix}/lib)
