# Defines re2::re2. Debian ships RE2 without a CMake package.

if(NOT TARGET re2::re2)
  find_library(RE2_LIBRARY re2 REQUIRED)
  find_path(RE2_INCLUDE_DIRECTORY re2/re2.h REQUIRED)
  mark_as_advanced(RE2_LIBRARY RE2_INCLUDE_DIRECTORY)
  add_library(re2::re2 SHARED IMPORTED GLOBAL)
  set_target_properties(re2::re2 PROPERTIES IMPORTED_LOCATION ${RE2_LIBRARY})
endif()
