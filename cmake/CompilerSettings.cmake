# Sets what every target of ours is compiled with: warnings, sanitizers, ccache.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

add_compile_options(-Wall -Wextra -Wpedantic)
if(ATTRIBUTION_WERROR)
  add_compile_options(-Werror)
endif()

if(ATTRIBUTION_SANITIZE)
  # Without vptr: it needs type information of classes that LibTorch does not export, such as c10::DynamicType.
  add_compile_options(-fsanitize=${ATTRIBUTION_SANITIZE} -fno-sanitize=vptr -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${ATTRIBUTION_SANITIZE})
endif()

# Lets ccache keep objects that were compiled with a precompiled header; without the sloppiness it misses every one.
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(
    CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND}
    -E
    env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
    ${CCACHE_PROGRAM}
  )
endif()
